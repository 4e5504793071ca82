//! What the server does when all operations went through: references, orphans, limits, indexes, in the server's order.

use hashbrown::HashMap;
use ovsdb_model::schema::RefType;
use ovsdb_model::{Datum, Name, Row, Uuid};

use crate::Failure;
use crate::constraint::count_allowed;
use crate::references::{each, weak_tables};
use crate::transaction::{Changes, Place, Transaction};

impl Transaction<'_> {
    /// Carries out the checks and consequences of a commit, and hands over what changed.
    ///
    /// # Errors
    /// `referential integrity violation` or `constraint violation`.
    pub(crate) fn finish(mut self) -> Result<Changes, Failure> {
        self.forget_unchanged();
        if self.changes.is_empty() {
            return Ok(self.changes);
        }
        let mut counts = self.count_references();
        self.check_references(&counts)?;
        self.collect_orphans(&mut counts);
        self.check_row_limits()?;
        self.drop_dangling()?;
        self.check_indexes()?;
        self.forget_unchanged();
        Ok(self.changes)
    }

    fn forget_unchanged(&mut self) {
        let base = self.base;
        self.changes
            .retain(|place, new| base.content.row(&place.0, place.1) != *new);
    }

    /// How the number of strong references to each row changes.
    fn count_references(&self) -> HashMap<Place, isize> {
        let mut counts: HashMap<Place, isize> = HashMap::new();
        for (place, new) in &self.changes {
            let mut add = |row: Option<&Row>, sign: isize| {
                let Some(row) = row else { return };
                each(self.schema(), place, row, |how, to| {
                    if how == RefType::Strong {
                        *counts.entry(to).or_default() += sign;
                    }
                });
            };
            add(self.old_row(place).as_deref(), -1);
            add(new.as_deref(), 1);
        }
        counts
    }

    fn references(&self, place: &Place, counts: &HashMap<Place, isize>) -> usize {
        let change = counts.get(place).copied().unwrap_or(0);
        self.base
            .references
            .strong(place)
            .saturating_add_signed(change)
    }

    fn check_references(&self, counts: &HashMap<Place, isize>) -> Result<(), Failure> {
        let deleted = self
            .changes
            .iter()
            .filter(|(_, new)| new.is_none())
            .map(|(place, _)| place);
        for place in counts.keys().chain(deleted) {
            let count = self.references(place, counts);
            if count > 0 && self.row(&place.0, place.1).is_none() {
                return Err(Failure::new(
                    "referential integrity violation",
                    format!("{count} references to {} {}, not there", place.0, place.1),
                ));
            }
        }
        Ok(())
    }

    /// Deletes rows of non-root tables that nothing refers to, and what only they referred to.
    fn collect_orphans(&mut self, counts: &mut HashMap<Place, isize>) {
        let mut suspects: Vec<Place> = self.changes.keys().cloned().collect();
        suspects.extend(counts.keys().cloned());
        while let Some(place) = suspects.pop() {
            let is_root = self
                .schema()
                .table(&place.0)
                .is_none_or(|table| table.is_root);
            if is_root || self.references(&place, counts) > 0 {
                continue;
            }
            let Some(row) = self.row(&place.0, place.1) else {
                continue;
            };
            each(self.schema(), &place, &row, |how, to| {
                if how == RefType::Strong {
                    *counts.entry(to.clone()).or_default() -= 1;
                    suspects.push(to);
                }
            });
            self.delete(place);
        }
    }

    fn check_row_limits(&self) -> Result<(), Failure> {
        for table in self.touched_tables() {
            let limit = self.schema().table(&table).and_then(|table| table.max_rows);
            let count = self.count(&table);
            if limit.is_some_and(|limit| u64::try_from(count).is_ok_and(|count| count > limit)) {
                return Err(Failure::new(
                    "constraint violation",
                    format!("{count} rows in {table}"),
                ));
            }
        }
        Ok(())
    }

    fn touched_tables(&self) -> Vec<Name> {
        let mut tables: Vec<Name> = self
            .changes
            .keys()
            .map(|(table, _)| table.clone())
            .collect();
        tables.dedup();
        tables
    }

    /// Takes weak references to rows that are not there out of all rows.
    fn drop_dangling(&mut self) -> Result<(), Failure> {
        let mut suspects: Vec<Place> = Vec::new();
        for (place, new) in &self.changes {
            match new {
                Some(_) => suspects.push(place.clone()),
                None => suspects.extend(self.base.references.weak(place).cloned()),
            }
        }
        for place in suspects {
            let Some(row) = self.row(&place.0, place.1) else {
                continue;
            };
            let Some(table) = self.schema().table(&place.0) else {
                continue;
            };
            let mut changed = Row::clone(&row);
            for (name, column) in &table.columns {
                let weak = weak_tables(&column.kind);
                let (None, None) = weak else {
                    let datum = changed.get(name).cloned().unwrap_or_default();
                    let left = self.without_dangling(&datum, weak);
                    if left != datum {
                        if !count_allowed(&column.kind, left.len()) {
                            return Err(Failure::new(
                                "constraint violation",
                                format!("the weak references of {name} are gone"),
                            ));
                        }
                        changed.set(name.clone(), left);
                    }
                    continue;
                };
            }
            if changed != *row {
                self.set(place, changed);
            }
        }
        Ok(())
    }

    fn without_dangling(&self, datum: &Datum, weak: (Option<&Name>, Option<&Name>)) -> Datum {
        let stands = |table: Option<&Name>, uuid: Option<Uuid>| match (table, uuid) {
            (Some(table), Some(uuid)) => self.row(table, uuid).is_some(),
            _ => true,
        };
        if datum.is_map() {
            let pairs = datum.pairs().iter().filter(|(key, value)| {
                stands(weak.0, key.as_uuid()) && stands(weak.1, value.as_uuid())
            });
            Datum::map(pairs.cloned())
        } else {
            let atoms = datum.elements().iter();
            Datum::set(atoms.filter(|atom| stands(weak.0, atom.as_uuid())).cloned())
        }
    }

    fn check_indexes(&self) -> Result<(), Failure> {
        for name in self.touched_tables() {
            let Some(table) = self.schema().table(&name) else {
                continue;
            };
            for index in &table.indexes {
                let rows = self.rows(&name);
                let mut seen: HashMap<Vec<&Datum>, Uuid> = HashMap::new();
                for (&uuid, row) in &rows {
                    let key: Vec<&Datum> =
                        index.iter().filter_map(|column| row.get(column)).collect();
                    if let Some(other) = seen.insert(key, uuid) {
                        return Err(Failure::new(
                            "constraint violation",
                            format!("rows {other} and {uuid} of {name} are equal in {index:?}"),
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
