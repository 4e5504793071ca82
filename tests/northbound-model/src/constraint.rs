//! Whether a value fits its column (RFC 7047 §3.2): types, bounds, words, lengths, numbers of elements.

use ovsdb_model::schema::BaseType;
use ovsdb_model::{Atom, ColumnType, Datum};

use crate::Failure;

/// Checks a whole datum against its column's type.
///
/// # Errors
/// `syntax error` for another type or number of elements, `constraint violation` for a value out of bounds.
pub(crate) fn check(kind: &ColumnType, datum: &Datum) -> Result<(), Failure> {
    // An empty set and an empty map look alike on the wire only when written so; here the kind is known.
    if datum.is_map() != kind.is_map() {
        return Err(Failure::new("syntax error", format!("{datum} for {kind}")));
    }
    for atom in datum.elements() {
        check_atom(&kind.key, atom)?;
    }
    for (key, value) in datum.pairs() {
        check_atom(&kind.key, key)?;
        if let Some(base) = &kind.value {
            check_atom(base, value)?;
        }
    }
    if !count_allowed(kind, datum.len()) {
        return Err(Failure::new(
            "syntax error",
            format!("{} elements for {kind}", datum.len()),
        ));
    }
    Ok(())
}

/// True if a column may hold this many elements.
pub(crate) fn count_allowed(kind: &ColumnType, count: usize) -> bool {
    kind.max.allows(count) && (count > 0 || kind.min == 0)
}

/// Checks one atom.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_atom(base: &BaseType, atom: &Atom) -> Result<(), Failure> {
    if atom.atom_type() != base.atom {
        return Err(Failure::new(
            "syntax error",
            format!("{atom} is no {}", base.atom),
        ));
    }
    let allowed = base
        .choices
        .as_ref()
        .is_none_or(|choices| choices.contains(atom))
        && base.minimum.as_ref().is_none_or(|least| least <= atom)
        && base.maximum.as_ref().is_none_or(|most| atom <= most)
        && atom.as_str().is_none_or(|text| {
            let length = text.chars().count();
            base.min_length <= length && length <= base.max_length
        });
    if allowed {
        Ok(())
    } else {
        Err(Failure::new(
            "constraint violation",
            format!("{atom} is out of bounds"),
        ))
    }
}
