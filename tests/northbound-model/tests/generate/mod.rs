//! Random operations for a schema, out of few names, numbers and rows, so that they meet and clash.

use std::collections::BTreeMap;
use std::sync::Arc;

use northbound_model::Northbound;
use ovsdb_model::schema::{BaseType, Limit, TableSchema};
use ovsdb_model::{
    Atom, AtomType, Clause, ColumnType, Datum, Function, Mutation, Mutator, Name, Operation, Real,
    Row, Schema, Until, Uuid,
};
use proptest::prelude::*;

/// The numbers that an operation is made from: proptest draws and shrinks them, the [`Generator`] reads them.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    kind: u8,
    table: u8,
    row: u8,
    columns: Vec<(u8, u32)>,
}

impl Arbitrary for Recipe {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let columns = prop::collection::vec(any::<(u8, u32)>(), 0..5);
        (any::<u8>(), any::<u8>(), any::<u8>(), columns)
            .prop_map(|(kind, table, row, columns)| Self {
                kind,
                table,
                row,
                columns,
            })
            .boxed()
    }
}

/// Makes operations from recipes.
pub(crate) struct Generator {
    schema: Arc<Schema>,
    tables: Vec<Name>,
    /// The rows that are there: most of what an operation names should exist.
    present: BTreeMap<Name, Vec<Uuid>>,
}

/// A stream of numbers from one number, for the inside of values.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        // The constants of Knuth's MMIX generator; quality does not matter, only that a seed gives one stream.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

impl Generator {
    /// Operations on `tables`, or on all.
    pub(crate) fn new(schema: Arc<Schema>, tables: Option<&[&str]>) -> Self {
        let tables = match tables {
            Some(tables) => tables.iter().map(Name::new).collect(),
            None => schema.tables.keys().cloned().collect(),
        };
        Self {
            schema,
            tables,
            present: BTreeMap::new(),
        }
    }

    /// The operations of one transaction on `model`.
    pub(crate) fn transaction(&mut self, recipes: &[Recipe], model: &Northbound) -> Vec<Operation> {
        self.present.clear();
        for table in &self.tables {
            let mut rows: Vec<Uuid> = model.content().rows(table).map(|(uuid, _)| uuid).collect();
            rows.sort_unstable();
            self.present.insert(table.clone(), rows);
        }
        let mut operations = Vec::with_capacity(recipes.len());
        for recipe in recipes {
            let operation = self.operation(recipe);
            if let Operation::Insert { table, uuid, .. } = &operation {
                let rows = self.present.entry(table.clone()).or_default();
                rows.extend(*uuid);
            }
            operations.push(operation);
        }
        operations
    }

    /// A row of a table: mostly one that is there.
    fn some_row(&self, table: &str, dice: &mut Dice) -> Uuid {
        match self.present.get(table) {
            Some(rows) if !rows.is_empty() && dice.roll(8) > 0 => rows[dice.roll(rows.len())],
            _ => row_uuid(table, dice.roll(5)),
        }
    }

    fn operation(&self, recipe: &Recipe) -> Operation {
        let table = self.tables[usize::from(recipe.table) % self.tables.len()].clone();
        let schema = &self.schema.tables[&table];
        let uuid = row_uuid(&table, usize::from(recipe.row));
        let condition = || self.condition(&table, schema, recipe);
        match recipe.kind % 16 {
            0..=5 => Operation::insert(table, uuid, self.row(schema, &recipe.columns)),
            6 | 7 => Operation::Update {
                condition: condition(),
                row: self.row(schema, recipe.columns.get(1..).unwrap_or_default()),
                table,
            },
            8..=11 => {
                let parts = recipe.columns.get(1..).unwrap_or_default().iter();
                Operation::Mutate {
                    condition: condition(),
                    mutations: parts
                        .map(|&(column, seed)| self.mutation(schema, column, seed))
                        .collect(),
                    table,
                }
            }
            12 | 13 => Operation::Delete {
                condition: condition(),
                table,
            },
            14 => Operation::Select {
                condition: condition(),
                columns: recipe.row.is_multiple_of(2).then(|| {
                    let columns = recipe.columns.iter();
                    let mut names: Vec<Name> = columns
                        .map(|&(column, _)| nth_column(schema, column).0.clone())
                        .collect();
                    names.sort();
                    names.dedup();
                    names
                }),
                table,
            },
            _ => {
                let row = self.row(schema, recipe.columns.get(1..).unwrap_or_default());
                Operation::Wait {
                    condition: condition(),
                    columns: Some(row.columns().names().to_vec()),
                    until: if recipe.row & 8 == 0 {
                        Until::NotEqual
                    } else {
                        Until::Equal
                    },
                    rows: if recipe.row & 16 == 0 {
                        vec![row]
                    } else {
                        Vec::new()
                    },
                    timeout: Some(0),
                    table,
                }
            }
        }
    }

    /// Mostly one row by UUID, now and then all rows or those with some value.
    fn condition(&self, table: &Name, schema: &TableSchema, recipe: &Recipe) -> Vec<Clause> {
        let uuid = self.some_row(table, &mut Dice(recipe.row.into()));
        let Some(&(column, seed)) = recipe.columns.first() else {
            return vec![Clause::uuid(uuid)];
        };
        let dice = &mut Dice(seed.into());
        match dice.roll(8) {
            0..=3 => vec![Clause::uuid(uuid)],
            4 => vec![Clause::new("_uuid", Function::NotEqual, uuid)],
            5 => Vec::new(),
            _ => {
                let (name, kind) = nth_column(schema, column);
                let value = self.datum(kind, dice);
                let number = matches!(kind.key.atom, AtomType::Integer | AtomType::Real)
                    && !kind.is_composite()
                    && !kind.is_map()
                    && value.len() == 1;
                let functions = [
                    Function::Equal,
                    Function::NotEqual,
                    Function::Includes,
                    Function::Excludes,
                    Function::Less,
                    Function::LessOrEqual,
                    Function::Greater,
                    Function::GreaterOrEqual,
                ];
                let function = functions[dice.roll(if number { 8 } else { 4 })];
                vec![Clause::new(name.clone(), function, value)]
            }
        }
    }

    fn row(&self, schema: &TableSchema, columns: &[(u8, u32)]) -> Row {
        columns
            .iter()
            .map(|&(column, seed)| {
                let (name, kind) = nth_column(schema, column);
                (name.clone(), self.datum(kind, &mut Dice(seed.into())))
            })
            .collect()
    }

    fn mutation(&self, schema: &TableSchema, column: u8, seed: u32) -> Mutation {
        let (name, kind) = nth_column(schema, column);
        let dice = &mut Dice(seed.into());
        let number = matches!(kind.key.atom, AtomType::Integer | AtomType::Real) && !kind.is_map();
        if number && dice.roll(3) > 0 {
            let mutators = [
                Mutator::Add,
                Mutator::Subtract,
                Mutator::Multiply,
                Mutator::Divide,
                Mutator::Remainder,
            ];
            let real = kind.key.atom == AtomType::Real;
            let mutator = mutators[dice.roll(if real { 4 } else { 5 })];
            // ovsdb-server 3.1 dies of a product with zero and refuses some that fit: its overflow check divides.
            let argument = match (mutator, real, dice.roll(2)) {
                (Mutator::Multiply, false, _) => Atom::Integer(2),
                (Mutator::Add | Mutator::Subtract, false, 1) => Atom::Integer(i64::MAX),
                _ => plain_atom(kind.key.atom, dice),
            };
            return Mutation::new(name.clone(), mutator, argument);
        }
        let value = self.datum_of(kind, dice, 3);
        match dice.roll(3) {
            0 => Mutation::insert(name.clone(), value),
            1 => Mutation::delete(name.clone(), value),
            // A set deletes elements, or a map's keys.
            _ => {
                let keys = value.elements().iter();
                let keys = keys.chain(value.pairs().iter().map(|(key, _)| key));
                let keys: Vec<Atom> = keys.cloned().collect();
                Mutation::delete_keys(name.clone(), keys)
            }
        }
    }

    /// A value of the column's type and number of elements; out of bounds now and then.
    fn datum(&self, kind: &ColumnType, dice: &mut Dice) -> Datum {
        let most = match kind.max {
            Limit::AtMost(most) => usize::try_from(most).unwrap().min(3),
            Limit::Unlimited => 3,
        };
        let datum = self.datum_of(kind, dice, most);
        if datum.is_empty() && kind.min > 0 {
            return self.exactly(kind, dice, 1);
        }
        datum
    }

    fn datum_of(&self, kind: &ColumnType, dice: &mut Dice, most: usize) -> Datum {
        let count = dice.roll(most + 1);
        self.exactly(kind, dice, count)
    }

    fn exactly(&self, kind: &ColumnType, dice: &mut Dice, count: usize) -> Datum {
        let mut bases = std::iter::once(&kind.key).chain(&kind.value);
        let to_nothing = bases.any(|base| match &base.reference {
            Some((table, _)) => self.present.get(table).is_none_or(Vec::is_empty),
            None => false,
        });
        let count = if to_nothing && dice.roll(8) > 0 {
            usize::try_from(kind.min).unwrap()
        } else {
            count
        };
        match &kind.value {
            Some(value) => {
                Datum::map((0..count).map(|_| (self.atom(&kind.key, dice), self.atom(value, dice))))
            }
            None => Datum::set((0..count).map(|_| self.atom(&kind.key, dice))),
        }
    }

    fn atom(&self, base: &BaseType, dice: &mut Dice) -> Atom {
        if let Some((table, _)) = &base.reference {
            return Atom::Uuid(self.some_row(table, dice));
        }
        if let Some(choices) = &base.choices
            && dice.roll(12) > 0
        {
            let choices = choices.elements();
            return choices[dice.roll(choices.len())].clone();
        }
        if let (Some(Atom::Integer(least)), true) = (&base.minimum, dice.roll(12) > 0) {
            return Atom::Integer(least + i64::try_from(dice.roll(3)).unwrap());
        }
        plain_atom(base.atom, dice)
    }
}

fn nth_column(schema: &TableSchema, column: u8) -> (&Name, &ColumnType) {
    let at = usize::from(column) % schema.columns.len();
    let (name, column) = schema.columns.iter().nth(at).unwrap();
    (name, &column.kind)
}

/// One of few rows of a table; some UUIDs stand in every table.
fn row_uuid(table: &str, row: usize) -> Uuid {
    match row % 5 {
        0 => Uuid::from_u64_pair(0x4000, 0x8 << 60),
        row => Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{table}/{row}").as_bytes()),
    }
}

fn plain_atom(kind: AtomType, dice: &mut Dice) -> Atom {
    let small = i64::try_from(dice.roll(7)).unwrap() - 3;
    match kind {
        AtomType::Integer => Atom::Integer(small),
        // Halves and quarters print and parse exactly.
        AtomType::Real => {
            Atom::Real(Real::new(f64::from(i32::try_from(small).unwrap()) / 4.0).unwrap())
        }
        AtomType::Boolean => Atom::Boolean(small < 0),
        AtomType::String => {
            let words = ["", "a", "b", "ab", "10.0.0.1:80", "long", "ü"];
            Atom::from(words[dice.roll(words.len())])
        }
        AtomType::Uuid => Atom::Uuid(row_uuid("", dice.roll(5))),
    }
}
