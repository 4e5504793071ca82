//! Random transactions on the rows that are there: values mostly of their column's type, few enough different ones that
//! they meet.

use std::collections::BTreeMap;

use ovsdb::model::schema::{BaseType, Limit};
use ovsdb::model::{
    Atom, AtomType, Clause, ColumnType, Database, Datum, Function, Mutation, Mutator, Name,
    Operation, Real, Row, Schema, Uuid,
};

use super::choices::Choices;

/// Makes transactions for one schema.
pub(crate) struct Generator<'a> {
    schema: &'a Schema,
    tables: Vec<&'a Name>,
    /// Rows that may be referred to: those of the replica, and those of the transaction so far.
    rows: BTreeMap<Name, Vec<Uuid>>,
    next: u128,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            tables: schema.tables.keys().collect(),
            rows: BTreeMap::new(),
            next: 0,
        }
    }

    /// Some operations on what the database holds.
    pub(crate) fn transaction(
        &mut self,
        choices: &mut Choices,
        database: &Database,
    ) -> Vec<Operation> {
        self.rows.clear();
        for table in &self.tables {
            let mut uuids: Vec<Uuid> = database.rows(table).map(|(uuid, _)| uuid).collect();
            uuids.sort_unstable();
            self.rows.insert((*table).clone(), uuids);
        }
        let mut operations = vec![self.operation(choices, database)];
        while choices.more() && operations.len() < 8 {
            operations.push(self.operation(choices, database));
        }
        operations
    }

    fn operation(&mut self, choices: &mut Choices, database: &Database) -> Operation {
        let table = (*choices.of(&self.tables)).clone();
        match choices.below(24) {
            0..8 => self.insert(choices, table),
            8..12 => Operation::Update {
                condition: self.condition(choices, &table),
                row: self.row(choices, &table, true),
                table,
            },
            12..18 => Operation::Mutate {
                condition: self.condition(choices, &table),
                mutations: (0..1 + choices.below(3))
                    .filter_map(|_| self.mutation(choices, &table))
                    .collect(),
                table,
            },
            18..20 => Operation::Delete {
                condition: self.condition(choices, &table),
                table,
            },
            20 => {
                let uuid = self.any_row(choices, &table);
                match database.row(&table, uuid) {
                    Some(row) if !choices.one_in(3) => {
                        Operation::verify(table, uuid, Row::clone(&row))
                    }
                    _ => Operation::require(table, vec![Clause::uuid(uuid)]),
                }
            }
            21 => Operation::forbid(table.clone(), self.condition(choices, &table)),
            22 => Operation::comment("a remark, \"quoted\" and\nbroken"),
            _ if choices.one_in(4) => Operation::Abort,
            _ => Operation::select::<Name>(table.clone(), self.condition(choices, &table), []),
        }
    }

    fn insert(&mut self, choices: &mut Choices, table: Name) -> Operation {
        let row = self.row(choices, &table, false);
        if choices.one_in(6) {
            return Operation::Insert {
                table,
                uuid: None,
                row,
            };
        }
        let uuid = if choices.one_in(12) {
            self.any_row(choices, &table)
        } else {
            self.next += 1;
            Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + self.next)
        };
        self.rows.entry(table.clone()).or_default().push(uuid);
        Operation::insert(table, uuid, row)
    }

    /// A row of the table, or one that is nowhere.
    fn any_row(&self, choices: &mut Choices, table: &str) -> Uuid {
        match self.rows.get(table) {
            Some(rows) if !rows.is_empty() && !choices.one_in(10) => *choices.of(rows),
            _ => Uuid::from_u128(choices.below(3) as u128),
        }
    }

    fn condition(&self, choices: &mut Choices, table: &str) -> Vec<Clause> {
        if !choices.one_in(3) {
            return vec![Clause::uuid(self.any_row(choices, table))];
        }
        let columns = &self.schema.tables[table].columns;
        let names: Vec<&Name> = columns.keys().collect();
        let clause = |choices: &mut Choices| {
            let column = *choices.of(&names);
            let kind = &columns[column].kind;
            let number = kind.min == 1
                && matches!(kind.key.atom, AtomType::Integer | AtomType::Real)
                && !kind.is_map();
            let function = match choices.below(if number { 8 } else { 4 }) {
                0 => Function::Equal,
                1 => Function::NotEqual,
                2 => Function::Includes,
                3 => Function::Excludes,
                4 => Function::Less,
                5 => Function::LessOrEqual,
                6 => Function::Greater,
                _ => Function::GreaterOrEqual,
            };
            Clause::new(column.clone(), function, self.datum(choices, kind))
        };
        (0..choices.below(3)).map(|_| clause(choices)).collect()
    }

    fn row(&self, choices: &mut Choices, table: &str, exists: bool) -> Row {
        let mut row = Row::new();
        for (name, column) in &self.schema.tables[table].columns {
            // Immutable columns are named in updates seldom: each is a refusal.
            let wanted = if exists && !column.mutable {
                choices.one_in(12)
            } else {
                !choices.one_in(3)
            };
            if wanted {
                row.set(name.clone(), self.datum(choices, &column.kind));
            }
        }
        row
    }

    fn mutation(&self, choices: &mut Choices, table: &str) -> Option<Mutation> {
        let columns = &self.schema.tables[table].columns;
        let names: Vec<&Name> = columns
            .iter()
            .filter(|(_, column)| column.mutable)
            .map(|(name, _)| name)
            .collect();
        if names.is_empty() {
            return None;
        }
        let name = (*choices.of(&names)).clone();
        let kind = &columns[&name].kind;
        let many = ColumnType {
            min: 0,
            max: Limit::Unlimited,
            ..kind.clone()
        };
        let number = matches!(kind.key.atom, AtomType::Integer | AtomType::Real) && !kind.is_map();
        let scalar = kind.min == 1 && kind.max == Limit::AtMost(1);
        Some(match choices.below(3) {
            0 if number => {
                let mutators = [
                    Mutator::Add,
                    Mutator::Subtract,
                    Mutator::Multiply,
                    Mutator::Divide,
                    Mutator::Remainder,
                ];
                // The remainder is for integers only; that the others are refused is seen often enough.
                let real = kind.key.atom == AtomType::Real;
                let some = if real && !choices.one_in(6) {
                    &mutators[..4]
                } else {
                    &mutators[..]
                };
                let operand = self.atom(choices, &BaseType::plain(kind.key.atom), false);
                let mutator = *choices.of(some);
                // A product with zero kills the server: see `Mutator::Multiply`.
                if mutator == Mutator::Multiply && operand == Atom::Integer(0) {
                    return None;
                }
                Mutation::new(name, mutator, operand)
            }
            // A scalar has no insert and delete: that they are refused is seen often enough.
            _ if scalar && !choices.one_in(40) => {
                return None;
            }
            1 if kind.is_map() => {
                let keys: Vec<Atom> = self
                    .datum(choices, &many)
                    .pairs()
                    .iter()
                    .map(|(key, _)| key.clone())
                    .collect();
                Mutation::delete_keys(name, keys)
            }
            1 => Mutation::delete(name, self.datum(choices, &many)),
            _ => {
                let some = ColumnType {
                    min: 0,
                    ..kind.clone()
                };
                Mutation::insert(name, self.datum(choices, &some))
            }
        })
    }

    /// A value for the column; now and then one that does not fit.
    fn datum(&self, choices: &mut Choices, kind: &ColumnType) -> Datum {
        let wrong = choices.one_in(250);
        let most = match kind.max {
            Limit::AtMost(most) => most as usize,
            Limit::Unlimited => 4,
        };
        let least = kind.min as usize;
        let mut count = least + choices.below(most - least + 1);
        if wrong && choices.one_in(2) {
            count = most + 1;
        }
        let mut atom = |base: &BaseType| self.atom(choices, base, wrong);
        match &kind.value {
            Some(value) => Datum::map(
                (0..count)
                    .map(|_| (atom(&kind.key), atom(value)))
                    .collect::<Vec<_>>(),
            ),
            // Elements may coincide: a scalar stays one all the same.
            None => Datum::set((0..count).map(|_| atom(&kind.key)).collect::<Vec<_>>()),
        }
    }

    fn atom(&self, choices: &mut Choices, base: &BaseType, wrong: bool) -> Atom {
        if let Some(words) = base.choices.as_ref().filter(|_| !wrong) {
            return choices.of(words.elements()).clone();
        }
        // Numbers stay clear of what fifteen digits, the most a server prints, do not tell apart.
        let small = choices.below(4) as i64 - i64::from(base.minimum.is_some());
        match base.atom {
            AtomType::Integer if wrong => [i64::MAX, i64::MIN][choices.below(2)].into(),
            AtomType::Integer => small.into(),
            AtomType::Real => {
                let (least, most) = if base.minimum.is_some() && !wrong {
                    (-0.5, 1.0)
                } else {
                    (-1e9, 1e9)
                };
                let number = (small as f64 / 2.0).clamp(least, most);
                Real::new(if wrong { 1e300 } else { number })
                    .unwrap_or_default()
                    .into()
            }
            AtomType::Boolean => choices.one_in(2).into(),
            AtomType::String => {
                let texts = [
                    "",
                    "a",
                    "ü\"\\",
                    "\u{1f600}\n",
                    "a text beyond what is kept inline \u{7}",
                ];
                let fitting = if base.max_length < usize::MAX && !wrong {
                    4
                } else {
                    texts.len()
                };
                texts[choices.below(fitting)].into()
            }
            AtomType::Uuid => match &base.reference {
                Some((table, _)) => self.any_row(choices, table).into(),
                None => Uuid::from_u128(choices.below(4) as u128).into(),
            },
        }
    }
}
