//! Conditions: which rows an operation is about (RFC 7047 §5.1, `<condition>`).

use ovsdb_model::schema::Limit;
use ovsdb_model::{Atom, AtomType, Clause, ColumnType, Datum, Function, Name, Row, Uuid};

use crate::Failure;
use crate::constraint::check_atom;
use crate::transaction::Transaction;

impl Transaction<'_> {
    /// The rows of `table` that meet all clauses, sorted.
    pub(crate) fn matching(
        &self,
        table: &Name,
        condition: &[Clause],
    ) -> Result<Vec<Uuid>, Failure> {
        let uuid_column = ColumnType::scalar(AtomType::Uuid);
        let mut kinds = Vec::with_capacity(condition.len());
        for clause in condition {
            let kind = match clause.column.as_str() {
                "_uuid" => &uuid_column,
                column => self.column(table, column)?,
            };
            check_clause(kind, clause)?;
            kinds.push(kind);
        }
        let meets = |uuid: Uuid, row: &Row| {
            condition.iter().all(|clause| {
                if clause.column == "_uuid" {
                    meets(&Datum::scalar(uuid), clause)
                } else {
                    row.get(&clause.column)
                        .is_some_and(|datum| meets(datum, clause))
                }
            })
        };
        // Most conditions name one row.
        let one = condition
            .iter()
            .find(|clause| clause.column == "_uuid" && clause.function == Function::Equal)
            .and_then(|clause| clause.value.as_uuid());
        if let Some(uuid) = one {
            let row = self.row(table, uuid).filter(|row| meets(uuid, row));
            return Ok(row.map(|_| uuid).into_iter().collect());
        }
        let rows = self.rows(table).into_iter();
        Ok(rows
            .filter(|(uuid, row)| meets(*uuid, row))
            .map(|(uuid, _)| uuid)
            .collect())
    }
}

fn check_clause(kind: &ColumnType, clause: &Clause) -> Result<(), Failure> {
    let ordered = matches!(
        clause.function,
        Function::Less | Function::LessOrEqual | Function::Greater | Function::GreaterOrEqual
    );
    let scalar = !kind.is_map() && kind.min == 1 && kind.max == Limit::AtMost(1);
    let number = !kind.is_map()
        && !kind.is_composite()
        && matches!(kind.key.atom, AtomType::Integer | AtomType::Real);
    if (ordered && !number) || clause.value.is_map() != kind.is_map() {
        return Err(Failure::new(
            "syntax error",
            format!("{} does not go with {kind}", clause.function.as_str()),
        ));
    }
    for atom in clause.value.elements() {
        check_atom(&kind.key, atom)?;
    }
    for (key, value) in clause.value.pairs() {
        check_atom(&kind.key, key)?;
        if let Some(base) = &kind.value {
            check_atom(base, value)?;
        }
    }
    let count = clause.value.len();
    let counts = match clause.function {
        Function::Excludes if !scalar => true,
        Function::Includes if !scalar => kind.max.allows(count),
        _ => crate::constraint::count_allowed(kind, count),
    };
    if counts {
        Ok(())
    } else {
        Err(Failure::new(
            "syntax error",
            format!("{count} elements to compare with {kind}"),
        ))
    }
}

fn meets(datum: &Datum, clause: &Clause) -> bool {
    let compare =
        |test: fn(&Atom, &Atom) -> bool| match (datum.as_scalar(), clause.value.as_scalar()) {
            (Some(left), Some(right)) => test(left, right),
            // An optional number that is not there compares with nothing.
            _ => false,
        };
    match clause.function {
        Function::Equal => *datum == clause.value,
        Function::NotEqual => *datum != clause.value,
        Function::Less => compare(|left, right| left < right),
        Function::LessOrEqual => compare(|left, right| left <= right),
        Function::Greater => compare(|left, right| left > right),
        Function::GreaterOrEqual => compare(|left, right| left >= right),
        Function::Includes => {
            let elements = clause.value.elements();
            elements.iter().all(|atom| datum.contains(atom))
                && clause
                    .value
                    .pairs()
                    .iter()
                    .all(|(key, value)| datum.get(key) == Some(value))
        }
        Function::Excludes => {
            let elements = clause.value.elements();
            !elements.iter().any(|atom| datum.contains(atom))
                && !clause
                    .value
                    .pairs()
                    .iter()
                    .any(|(key, value)| datum.get(key) == Some(value))
        }
    }
}
