//! The operations (RFC 7047 §5.2), one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use ovsdb_model::{Clause, Datum, Mutation, Name, Operation, Row, Until, Uuid};

use crate::constraint::check;
use crate::references::made_up;
use crate::transaction::Transaction;
use crate::{Failure, OperationResult, mutate};

impl Transaction<'_> {
    /// Carries out one operation.
    ///
    /// # Errors
    /// With the server's word for what is wrong; the transaction is then to be given up.
    pub(crate) fn execute(&mut self, operation: &Operation) -> Result<OperationResult, Failure> {
        match operation {
            Operation::Insert { table, uuid, row } => self.insert(table, *uuid, row),
            Operation::Select {
                table,
                condition,
                columns,
            } => self.select(table, condition, columns.as_deref()),
            Operation::Update {
                table,
                condition,
                row,
            } => self.update(table, condition, row),
            Operation::Mutate {
                table,
                condition,
                mutations,
            } => self.mutate(table, condition, mutations),
            Operation::Delete { table, condition } => {
                self.table(table)?;
                let rows = self.matching(table, condition)?;
                let count = rows.len();
                for uuid in rows {
                    self.delete((table.clone(), uuid));
                }
                Ok(OperationResult::Count(count))
            }
            Operation::Wait {
                table,
                condition,
                columns,
                until,
                rows,
                timeout: _,
            } => self.wait(table, condition, columns.as_deref(), *until, rows),
            Operation::Commit { .. } | Operation::Comment(_) => Ok(OperationResult::Done),
            Operation::Abort => Err(Failure::new("aborted", "by request")),
            Operation::Assert { lock } => {
                if self.base.held_locks.contains(lock) {
                    Ok(OperationResult::Done)
                } else {
                    Err(Failure::new("not owner", format!("of lock {lock}")))
                }
            }
            Operation::Raw(json) => Err(Failure::new(
                "not supported",
                format!("the model does not read raw JSON: {json}"),
            )),
        }
    }

    fn insert(
        &mut self,
        table: &Name,
        uuid: Option<Uuid>,
        row: &Row,
    ) -> Result<OperationResult, Failure> {
        let schema = self.table(table)?;
        let uuid = uuid.unwrap_or_else(|| {
            self.inserted += 1;
            made_up(self.inserted)
        });
        let place = (table.clone(), uuid);
        if !self.may_insert(&place) {
            return Err(Failure::new("duplicate uuid", format!("{uuid} in {table}")));
        }
        for (name, datum) in row.iter() {
            check(self.column(table, name)?, datum)?;
        }
        let mut whole = Vec::with_capacity(schema.columns.len());
        for (name, column) in &schema.columns {
            let datum = match row.get(name) {
                Some(datum) => datum.clone(),
                None => {
                    let default = column.kind.default_datum();
                    check(&column.kind, &default)?;
                    default
                }
            };
            whole.push((name.clone(), datum));
        }
        self.set(place, whole.into_iter().collect());
        Ok(OperationResult::Inserted(uuid))
    }

    fn select(
        &self,
        table: &Name,
        condition: &[Clause],
        columns: Option<&[Name]>,
    ) -> Result<OperationResult, Failure> {
        self.table(table)?;
        let rows = self.matching(table, condition)?;
        let mut distinct = Vec::new();
        for uuid in rows {
            let row = self.project(table, uuid, columns)?;
            // Rows that are equal in the columns asked for come once.
            if !distinct.contains(&row) {
                distinct.push(row);
            }
        }
        Ok(OperationResult::Rows(distinct))
    }

    fn update(
        &mut self,
        table: &Name,
        condition: &[Clause],
        row: &Row,
    ) -> Result<OperationResult, Failure> {
        let schema = self.table(table)?;
        for (name, datum) in row.iter() {
            check(self.column(table, name)?, datum)?;
            if !schema
                .columns
                .get(name)
                .is_some_and(|column| column.mutable)
            {
                return Err(Failure::new(
                    "constraint violation",
                    format!("column {name} of {table} cannot change"),
                ));
            }
        }
        let rows = self.matching(table, condition)?;
        for uuid in &rows {
            let Some(mut changed) = self.row(table, *uuid).map(Arc::unwrap_or_clone) else {
                continue;
            };
            for (name, datum) in row.iter() {
                changed.set(name.clone(), datum.clone());
            }
            self.set((table.clone(), *uuid), changed);
        }
        Ok(OperationResult::Count(rows.len()))
    }

    fn mutate(
        &mut self,
        table: &Name,
        condition: &[Clause],
        mutations: &[Mutation],
    ) -> Result<OperationResult, Failure> {
        let schema = self.table(table)?;
        for mutation in mutations {
            let kind = self.column(table, &mutation.column)?;
            if !schema
                .columns
                .get(&mutation.column)
                .is_some_and(|column| column.mutable)
            {
                return Err(Failure::new(
                    "constraint violation",
                    format!("column {} of {table} cannot change", mutation.column),
                ));
            }
            mutate::check(kind, mutation)?;
        }
        let rows = self.matching(table, condition)?;
        for uuid in &rows {
            let Some(mut changed) = self.row(table, *uuid).map(Arc::unwrap_or_clone) else {
                continue;
            };
            for mutation in mutations {
                let kind = self.column(table, &mutation.column)?;
                let datum = changed.get(&mutation.column).cloned().unwrap_or_default();
                changed.set(
                    mutation.column.clone(),
                    mutate::apply(kind, &datum, mutation)?,
                );
            }
            self.set((table.clone(), *uuid), changed);
        }
        Ok(OperationResult::Count(rows.len()))
    }

    fn wait(
        &self,
        table: &Name,
        condition: &[Clause],
        columns: Option<&[Name]>,
        until: Until,
        rows: &[Row],
    ) -> Result<OperationResult, Failure> {
        let schema = self.table(table)?;
        let every: Vec<Name> = schema.columns.keys().cloned().collect();
        let columns = columns.unwrap_or(&every);
        let mut expected = BTreeSet::new();
        for row in rows {
            let mut cells = Vec::with_capacity(columns.len());
            for name in columns {
                // What a row does not name is compared with the column's default.
                let kind = self.column(table, name)?;
                let default = || kind.default_datum();
                cells.push(row.get(name).cloned().unwrap_or_else(default));
            }
            for (name, datum) in row.iter() {
                check(self.column(table, name)?, datum)?;
            }
            expected.insert(cells);
        }
        let mut actual = BTreeSet::new();
        for uuid in self.matching(table, condition)? {
            let row = self.project(table, uuid, Some(columns))?;
            let cell = |name: &Name| row.get(name).cloned().unwrap_or_default();
            actual.insert(columns.iter().map(cell).collect::<Vec<Datum>>());
        }
        let met = match until {
            Until::Equal => actual == expected,
            Until::NotEqual => actual != expected,
        };
        if met {
            Ok(OperationResult::Done)
        } else {
            Err(Failure::new("timed out", "the rows are not as awaited"))
        }
    }

    fn project(&self, table: &Name, uuid: Uuid, columns: Option<&[Name]>) -> Result<Row, Failure> {
        let Some(row) = self.row(table, uuid) else {
            return Ok(Row::new());
        };
        let Some(columns) = columns else {
            return Ok(Arc::unwrap_or_clone(row).with("_uuid", uuid));
        };
        let mut part = Row::new();
        for name in columns {
            if name == "_uuid" {
                part.set("_uuid", uuid);
            } else {
                self.column(table, name)?;
                part.set(name.clone(), row.get(name).cloned().unwrap_or_default());
            }
        }
        Ok(part)
    }
}
