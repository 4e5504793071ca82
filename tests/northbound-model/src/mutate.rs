//! Mutations (RFC 7047 §5.1, `<mutation>`).

use ovsdb_model::schema::Limit;
use ovsdb_model::{Atom, AtomType, ColumnType, Datum, Mutation, Mutator, Real};

use crate::Failure;
use crate::constraint::{check_atom, count_allowed};

/// Checks a mutation's argument before any row is looked at: the server reads all of them first.
///
/// # Errors
/// `syntax error` for what does not go together.
pub(crate) fn check(kind: &ColumnType, mutation: &Mutation) -> Result<(), Failure> {
    let value = &mutation.value;
    let wrong = || {
        Failure::new(
            "syntax error",
            format!(
                "{} {value} does not go with {kind}",
                mutation.mutator.as_str()
            ),
        )
    };
    match mutation.mutator {
        Mutator::Insert | Mutator::Delete => {
            let scalar = !kind.is_map() && kind.min == 1 && kind.max == Limit::AtMost(1);
            // A set deletes a map's keys.
            let form = value.is_map() == kind.is_map()
                || (kind.is_map() && mutation.mutator == Mutator::Delete);
            let count = mutation.mutator == Mutator::Delete || kind.max.allows(value.len());
            if scalar || !form || !count {
                return Err(wrong());
            }
        }
        Mutator::Remainder if kind.key.atom != AtomType::Integer => return Err(wrong()),
        _ => {
            if kind.is_map()
                || !matches!(kind.key.atom, AtomType::Integer | AtomType::Real)
                || value.as_scalar().map(Atom::atom_type) != Some(kind.key.atom)
            {
                return Err(wrong());
            }
            return Ok(());
        }
    }
    for atom in value.elements() {
        check_atom(&kind.key, atom)?;
    }
    for (key, element) in value.pairs() {
        check_atom(&kind.key, key)?;
        if let Some(base) = &kind.value {
            check_atom(base, element)?;
        }
    }
    Ok(())
}

/// The column's content after the mutation.
///
/// # Errors
/// `constraint violation` for too many or too few elements or a number out of bounds, `range error` for an overflow,
/// `domain error` for a division by zero.
pub(crate) fn apply(
    kind: &ColumnType,
    datum: &Datum,
    mutation: &Mutation,
) -> Result<Datum, Failure> {
    let changed = match mutation.mutator {
        Mutator::Insert => insert(datum, &mutation.value),
        Mutator::Delete => delete(datum, &mutation.value),
        _ => return calculate(kind, datum, mutation),
    };
    if count_allowed(kind, changed.len()) {
        Ok(changed)
    } else {
        Err(Failure::new(
            "constraint violation",
            format!("{} elements for {kind}", changed.len()),
        ))
    }
}

/// The union; a map's key that is there keeps its value.
fn insert(datum: &Datum, value: &Datum) -> Datum {
    if datum.is_map() {
        // Of a key given twice the last counts.
        let pairs = value.pairs().iter().chain(datum.pairs());
        Datum::map(pairs.cloned())
    } else {
        Datum::set(datum.elements().iter().chain(value.elements()).cloned())
    }
}

/// Without the elements, the pairs that are exactly so, or (given a set) the keys.
fn delete(datum: &Datum, value: &Datum) -> Datum {
    if datum.is_map() {
        let left = datum.pairs().iter().filter(|(key, element)| {
            if value.is_map() {
                value.get(key) != Some(element)
            } else {
                !value.contains(key)
            }
        });
        Datum::map(left.cloned())
    } else {
        let left = datum.elements().iter().filter(|atom| !value.contains(atom));
        Datum::set(left.cloned())
    }
}

fn calculate(kind: &ColumnType, datum: &Datum, mutation: &Mutation) -> Result<Datum, Failure> {
    let Some(argument) = mutation.value.as_scalar() else {
        return Err(Failure::new("syntax error", "arithmetic with no number"));
    };
    let mut results = Vec::with_capacity(datum.len());
    for atom in datum.elements() {
        let result = match (atom, argument) {
            (Atom::Integer(left), Atom::Integer(right)) => {
                integers(mutation.mutator, *left, *right)?
            }
            (Atom::Real(left), Atom::Real(right)) => {
                reals(mutation.mutator, left.get(), right.get())?
            }
            _ => return Err(Failure::new("syntax error", "numbers of two types")),
        };
        check_atom(&kind.key, &result)?;
        results.push(result);
    }
    Datum::try_set(results)
        .map_err(|twice| Failure::new("constraint violation", format!("{twice} in the result")))
}

fn integers(mutator: Mutator, left: i64, right: i64) -> Result<Atom, Failure> {
    if matches!(mutator, Mutator::Divide | Mutator::Remainder) && right == 0 {
        return Err(Failure::new("domain error", "division by zero"));
    }
    let result = match mutator {
        Mutator::Add => left.checked_add(right),
        Mutator::Subtract => left.checked_sub(right),
        Mutator::Multiply => left.checked_mul(right),
        Mutator::Divide => left.checked_div(right),
        Mutator::Remainder => left.checked_rem(right),
        Mutator::Insert | Mutator::Delete => None,
    };
    result
        .map(Atom::Integer)
        .ok_or_else(|| Failure::new("range error", "the result is no 64-bit integer"))
}

fn reals(mutator: Mutator, left: f64, right: f64) -> Result<Atom, Failure> {
    if matches!(mutator, Mutator::Divide) && right == 0.0 {
        return Err(Failure::new("domain error", "division by zero"));
    }
    let result = match mutator {
        Mutator::Add => left + right,
        Mutator::Subtract => left - right,
        Mutator::Multiply => left * right,
        Mutator::Divide => left / right,
        Mutator::Remainder | Mutator::Insert | Mutator::Delete => f64::NAN,
    };
    Real::new(result)
        .map(Atom::Real)
        .ok_or_else(|| Failure::new("range error", "the result is no finite number"))
}
