//! Who refers to whom: strong references counted, weak ones by referrer.

use hashbrown::HashMap;
use ovsdb_model::schema::{BaseType, RefType};
use ovsdb_model::{Atom, ColumnType, Database, Name, Row, Schema, Uuid};

use crate::transaction::{Changes, Place};

/// The references of all rows at rest.
#[derive(Debug, Default)]
pub(crate) struct References {
    strong: HashMap<Place, usize>,
    weak: HashMap<Place, HashMap<Place, usize>>,
}

impl References {
    /// How many strong references a row has.
    pub(crate) fn strong(&self, place: &Place) -> usize {
        self.strong.get(place).copied().unwrap_or(0)
    }

    /// The rows that refer weakly to a row.
    pub(crate) fn weak(&self, place: &Place) -> impl Iterator<Item = &Place> {
        self.weak
            .get(place)
            .into_iter()
            .flatten()
            .map(|(from, _)| from)
    }

    /// Takes over what a transaction changed; `content` is still the old.
    pub(crate) fn apply(&mut self, schema: &Schema, content: &Database, changes: &Changes) {
        for (place, new) in changes {
            if let Some(old) = content.row(&place.0, place.1) {
                each(schema, place, &old, |how, to| match how {
                    RefType::Strong => subtract(&mut self.strong, &to),
                    RefType::Weak => {
                        if let Some(from) = self.weak.get_mut(&to) {
                            subtract(from, place);
                            if from.is_empty() {
                                self.weak.remove(&to);
                            }
                        }
                    }
                });
            }
            if let Some(new) = new {
                each(schema, place, new, |how, to| match how {
                    RefType::Strong => *self.strong.entry(to).or_default() += 1,
                    RefType::Weak => {
                        *self
                            .weak
                            .entry(to)
                            .or_default()
                            .entry(place.clone())
                            .or_default() += 1;
                    }
                });
            }
        }
    }
}

fn subtract(counts: &mut HashMap<Place, usize>, place: &Place) {
    if let Some(count) = counts.get_mut(place) {
        *count -= 1;
        if *count == 0 {
            counts.remove(place);
        }
    }
}

/// Calls `found` for each reference that `row` holds. A row's strong references to its own UUID do not count, in
/// whatever table, as the server has it.
pub(crate) fn each(
    schema: &Schema,
    place: &Place,
    row: &Row,
    mut found: impl FnMut(RefType, Place),
) {
    let Some(table) = schema.table(&place.0) else {
        return;
    };
    for (name, column) in &table.columns {
        if !refers(&column.kind) {
            continue;
        }
        let Some(datum) = row.get(name) else { continue };
        let mut count = |reference: &Option<(Name, RefType)>, atom: &Atom| {
            if let (Some((to, how)), Some(uuid)) = (reference, atom.as_uuid())
                && (*how == RefType::Weak || uuid != place.1)
            {
                found(*how, (to.clone(), uuid));
            }
        };
        for atom in datum.elements() {
            count(&column.kind.key.reference, atom);
        }
        for (key, value) in datum.pairs() {
            count(&column.kind.key.reference, key);
            if let Some(kind) = &column.kind.value {
                count(&kind.reference, value);
            }
        }
    }
}

/// True if a column of this type can hold references.
pub(crate) fn refers(kind: &ColumnType) -> bool {
    kind.key.reference.is_some()
        || kind
            .value
            .as_ref()
            .is_some_and(|value| value.reference.is_some())
}

/// What `kind` says of weak references among keys and values: the tables they point at.
pub(crate) fn weak_tables<'a>(kind: &'a ColumnType) -> (Option<&'a Name>, Option<&'a Name>) {
    let weak = |base: &'a BaseType| match &base.reference {
        Some((table, RefType::Weak)) => Some(table),
        _ => None,
    };
    (weak(&kind.key), kind.value.as_ref().and_then(weak))
}

/// A UUID that the model makes up where the client leaves it to the server.
pub(crate) fn made_up(count: u64) -> Uuid {
    // The version and variant bits of a random UUID, and the count: like the server's to look at, the same every run.
    Uuid::from_u64_pair(0x0000_0000_0000_4000, (0x8 << 60) | count)
}
