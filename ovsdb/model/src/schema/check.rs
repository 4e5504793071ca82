//! Holding values and operations against the schema before they are sent.

use super::{BaseType, ColumnSchema, ColumnType, Limit, Missing, Schema, TableSchema};
use crate::atom::{Atom, AtomType, Name};
use crate::clause::{Clause, Function};
use crate::datum::{Datum, DatumRef};
use crate::mutation::{Mutation, Mutator};
use crate::operation::Operation;
use crate::row::Row;

/// Operations as this server can take them.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The operations to send.
    pub operations: Vec<Operation>,
    /// Which of the operations given are not among them (by position, ascending), since the server lacks their table.
    pub left_out: Vec<usize>,
    /// The tables and columns that were left out, each once.
    pub missing: Vec<Missing>,
}

/// The condition of a monitor as this server can take it.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedCondition {
    /// The clauses of which a row must meet one; without any no row is followed. `None` if every row is.
    pub clauses: Option<Vec<Clause>>,
    /// The columns whose clauses were left out.
    pub missing: Vec<Missing>,
}

/// An operation that the server would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operation {operation} ({name} on table {table}): {problem}")]
pub struct CheckError {
    /// The operation's position, counted from 0.
    pub operation: usize,
    /// The operation's name, such as `insert`.
    pub name: String,
    /// The table.
    pub table: Name,
    /// What is wrong.
    pub problem: Box<Problem>,
}

/// What is wrong with an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A value is not of its column's type.
    #[error("column {column}: {problem}")]
    Value {
        /// The column.
        column: Name,
        /// What is wrong with the value.
        problem: ValueProblem,
    },
    /// The operation depends on a table or column that the server lacks.
    #[error("the server has no {0}, and the operation means nothing without it")]
    Missing(String),
    /// The column cannot change after the row's insertion.
    #[error("column {0} cannot be changed once the row exists: delete the row and insert another")]
    Immutable(Name),
    /// The mutator or comparison does not fit the column.
    #[error("column {column}, which is a {kind}, has no operator {verb}")]
    Verb {
        /// The column.
        column: Name,
        /// Its type.
        kind: String,
        /// The mutator or comparison as RFC 7047 writes it.
        verb: &'static str,
    },
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueProblem {
    /// A set for a map, or a value of another atomic type.
    #[error("{value} is not of the type {expected}")]
    Type {
        /// The value.
        value: String,
        /// The column's type.
        expected: String,
    },
    /// Too many elements, or none where one is needed.
    #[error("{count} elements; {expected} allowed")]
    Count {
        /// How many there are.
        count: usize,
        /// How many there may be.
        expected: String,
    },
    /// A word or number that the enum does not have.
    #[error("{value} is not one of the values this server knows: {choices}")]
    Choice {
        /// The value.
        value: String,
        /// The values allowed.
        choices: String,
    },
    /// A number out of range or a string of the wrong length.
    #[error("{value} is out of range: {expected}")]
    Range {
        /// The value.
        value: String,
        /// The bounds.
        expected: String,
    },
    /// A string with a NUL character: no server takes those.
    #[error("{0} contains a NUL character")]
    Nul(String),
}

impl ColumnType {
    /// Holds a value against the type: kind, atomic types, number of elements, enum, ranges and lengths.
    ///
    /// # Errors
    /// What the server would refuse about it.
    pub fn check(&self, value: &Datum) -> Result<(), ValueProblem> {
        self.check_counted(value, self.min, self.max)
    }

    fn check_counted(&self, value: &Datum, min: u32, max: Limit) -> Result<(), ValueProblem> {
        match (value.view(), &self.value) {
            (DatumRef::Set(atoms), None) => {
                atoms.iter().try_for_each(|atom| self.key.check(atom))?
            }
            (DatumRef::Map(pairs), Some(values)) => {
                for (key, value) in pairs {
                    self.key.check(key)?;
                    values.check(value)?;
                }
            }
            _ => {
                return Err(ValueProblem::Type {
                    value: value.to_string(),
                    expected: self.to_string(),
                });
            }
        }
        if value.len() < min as usize || !max.allows(value.len()) {
            let expected = match (min, max) {
                (1, Limit::AtMost(1)) => "exactly one is".to_owned(),
                (min, Limit::AtMost(max)) => format!("{min} to {max} are"),
                (min, Limit::Unlimited) => format!("at least {min} is"),
            };
            return Err(ValueProblem::Count {
                count: value.len(),
                expected,
            });
        }
        Ok(())
    }
}

impl BaseType {
    /// Holds an atom against the type: atomic type, enum, range and length.
    ///
    /// # Errors
    /// What the server would refuse about it.
    pub fn check(&self, atom: &Atom) -> Result<(), ValueProblem> {
        if atom.atom_type() != self.atom {
            return Err(ValueProblem::Type {
                value: atom.to_string(),
                expected: self.atom.to_string(),
            });
        }
        if let Some(choices) = self
            .choices
            .as_ref()
            .filter(|choices| !choices.contains(atom))
        {
            return Err(ValueProblem::Choice {
                value: atom.to_string(),
                choices: choices.to_string(),
            });
        }
        let too_small = self.minimum.as_ref().is_some_and(|minimum| atom < minimum);
        let too_great = self.maximum.as_ref().is_some_and(|maximum| atom > maximum);
        if too_small || too_great {
            let least = self
                .minimum
                .as_ref()
                .map_or_else(|| "any".to_owned(), Atom::to_string);
            let most = self
                .maximum
                .as_ref()
                .map_or_else(|| "any".to_owned(), Atom::to_string);
            return Err(ValueProblem::Range {
                value: atom.to_string(),
                expected: format!("{least} to {most}"),
            });
        }
        if let Atom::String(text) = atom {
            if text.contains('\0') {
                return Err(ValueProblem::Nul(atom.to_string()));
            }
            if self.min_length > 0 || self.max_length < text.len() {
                let length = text.chars().count();
                if length < self.min_length || length > self.max_length {
                    let expected = match self.max_length {
                        usize::MAX => format!("at least {} characters", self.min_length),
                        max => format!("{} to {max} characters", self.min_length),
                    };
                    return Err(ValueProblem::Range {
                        value: atom.to_string(),
                        expected,
                    });
                }
            }
        }
        Ok(())
    }
}

impl Schema {
    /// Fits operations to this server: columns that it lacks are left out of rows, mutations and selections, operations
    /// on tables that it lacks are left out whole, and what remains is checked. [`Operation::Raw`] passes unread.
    ///
    /// # Errors
    /// The first thing that the server would refuse.
    pub fn prepare(&self, operations: Vec<Operation>) -> Result<Prepared, CheckError> {
        let mut prepared = Prepared {
            operations: Vec::with_capacity(operations.len()),
            left_out: Vec::new(),
            missing: Vec::new(),
        };
        for (position, mut operation) in operations.into_iter().enumerate() {
            match self.fit(&mut operation, &mut prepared.missing) {
                Ok(true) => prepared.operations.push(operation),
                Ok(false) => prepared.left_out.push(position),
                Err(problem) => {
                    let table = Name::new(operation.table().unwrap_or_default());
                    return Err(CheckError {
                        operation: position,
                        name: operation.name().to_owned(),
                        table,
                        problem: Box::new(problem),
                    });
                }
            }
        }
        Ok(prepared)
    }

    /// Fits the condition of a monitor to this server: which rows of `table` it follows, those that meet one of these
    /// clauses. A clause on a column that the server lacks is left out. There it is as if every row had the value that a
    /// new column begins with, so that such a clause is met by no row, or by all of them. On a table that the server
    /// lacks any condition will do.
    ///
    /// # Errors
    /// The first thing that the server would refuse.
    pub fn fit_condition(
        &self,
        table: &Name,
        clauses: &[Clause],
    ) -> Result<FittedCondition, Problem> {
        let mut fitted = FittedCondition {
            clauses: Some(clauses.to_vec()),
            missing: Vec::new(),
        };
        let Some(schema) = self.table(table) else {
            return Ok(fitted);
        };
        let mut fit = Fit {
            name: table,
            table: schema,
            missing: &mut fitted.missing,
        };
        let mut kept = Vec::with_capacity(clauses.len());
        let mut all = false;
        for clause in clauses {
            if is_implicit(&clause.column) || fit.has(&clause.column) {
                kept.push(clause.clone());
            } else {
                all |= clause.is_met_by_nothing();
            }
        }
        fit.condition(&kept)?;
        fitted.clauses = (!all).then_some(kept);
        Ok(fitted)
    }

    /// Fits one operation; false if the server lacks its table.
    fn fit(&self, operation: &mut Operation, missing: &mut Vec<Missing>) -> Result<bool, Problem> {
        let Some(name) = operation
            .table()
            .filter(|_| !matches!(operation, Operation::Raw(_)))
            .map(Name::new)
        else {
            return Ok(true);
        };
        let Some(table) = self.table(&name) else {
            if matches!(operation, Operation::Wait { .. }) {
                return Err(Problem::Missing(format!("table {name}")));
            }
            note(missing, &name, None);
            return Ok(false);
        };
        let mut fit = Fit {
            name: &name,
            table,
            missing,
        };
        match operation {
            Operation::Insert { row, .. } => fit.row(row, false)?,
            Operation::Update { condition, row, .. } => {
                fit.condition(condition)?;
                fit.row(row, true)?;
            }
            Operation::Mutate {
                condition,
                mutations,
                ..
            } => {
                fit.condition(condition)?;
                mutations.retain(|mutation| fit.has(&mutation.column));
                mutations
                    .iter()
                    .try_for_each(|mutation| fit.mutation(mutation))?;
            }
            Operation::Delete { condition, .. } => fit.condition(condition)?,
            Operation::Select {
                condition, columns, ..
            } => {
                fit.condition(condition)?;
                if let Some(columns) = columns {
                    columns.retain(|column| is_implicit(column) || fit.has(column));
                }
            }
            Operation::Wait {
                condition,
                columns,
                rows,
                ..
            } => {
                fit.condition(condition)?;
                for column in columns.iter().flatten() {
                    fit.needed(column)?;
                }
                for row in rows {
                    for (column, value) in row.iter() {
                        let kind = fit.needed(column)?;
                        value_problem(column, kind.map_or(Ok(()), |kind| kind.kind.check(value)))?;
                    }
                }
            }
            Operation::Commit { .. }
            | Operation::Abort
            | Operation::Comment(_)
            | Operation::Assert { .. }
            | Operation::Raw(_) => {}
        }
        Ok(true)
    }
}

/// Fits the parts of an operation on one table.
struct Fit<'a> {
    name: &'a Name,
    table: &'a TableSchema,
    missing: &'a mut Vec<Missing>,
}

impl<'a> Fit<'a> {
    /// True if the server has the column; notes that it does not.
    fn has(&mut self, column: &Name) -> bool {
        let known = self.table.columns.contains_key(column);
        if !known {
            note(self.missing, self.name, Some(column));
        }
        known
    }

    /// The column's type; none for those that every table has.
    fn needed(&self, column: &Name) -> Result<Option<&'a ColumnSchema>, Problem> {
        match self.table.columns.get(column) {
            None if is_implicit(column) => Ok(None),
            None => Err(Problem::Missing(format!(
                "column {column} in table {}",
                self.name
            ))),
            found => Ok(found),
        }
    }

    fn row(&mut self, row: &mut Row, exists: bool) -> Result<(), Problem> {
        let mut lacking = Vec::new();
        for (column, value) in row.iter() {
            let Some(found) = self.table.columns.get(column) else {
                lacking.push(column.clone());
                continue;
            };
            if exists && !found.mutable {
                return Err(Problem::Immutable(column.clone()));
            }
            value_problem(column, found.kind.check(value))?;
        }
        for column in &lacking {
            note(self.missing, self.name, Some(column));
            row.remove(column);
        }
        Ok(())
    }

    fn condition(&self, condition: &[Clause]) -> Result<(), Problem> {
        condition.iter().try_for_each(
            |Clause {
                 column,
                 function,
                 value,
             }| {
                let uuid = ColumnType::scalar(AtomType::Uuid);
                let kind = self.needed(column)?.map_or(&uuid, |found| &found.kind);
                let (min, max) = match function {
                    Function::Equal | Function::NotEqual => (kind.min, kind.max),
                    Function::Includes if !kind.is_scalar() => (0, kind.max),
                    Function::Excludes if !kind.is_scalar() => (0, Limit::Unlimited),
                    Function::Includes | Function::Excludes => (1, Limit::AtMost(1)),
                    _ if kind.is_number() && !kind.is_composite() => (1, Limit::AtMost(1)),
                    _ => {
                        return Err(Problem::Verb {
                            column: column.clone(),
                            kind: kind.to_string(),
                            verb: function.as_str(),
                        });
                    }
                };
                value_problem(column, kind.check_counted(value, min, max))
            },
        )
    }

    fn mutation(&self, mutation: &Mutation) -> Result<(), Problem> {
        let Mutation {
            column,
            mutator,
            value,
        } = mutation;
        let Some(found) = self.table.columns.get(column) else {
            return Ok(());
        };
        if !found.mutable {
            return Err(Problem::Immutable(column.clone()));
        }
        let kind = &found.kind;
        let fits = match mutator {
            Mutator::Insert | Mutator::Delete => !kind.is_scalar(),
            Mutator::Remainder => kind.is_number() && kind.key.atom == AtomType::Integer,
            _ => kind.is_number(),
        };
        if !fits {
            return Err(Problem::Verb {
                column: column.clone(),
                kind: kind.to_string(),
                verb: mutator.as_str(),
            });
        }
        let checked = match mutator {
            Mutator::Insert => kind.check_counted(value, 0, kind.max),
            // A map's pairs go by whole pairs or by keys alone.
            Mutator::Delete if kind.is_map() && !value.is_map() => {
                let mut keys = value.elements().iter();
                keys.try_for_each(|key| kind.key.check(key))
            }
            Mutator::Delete => kind.check_counted(value, 0, Limit::Unlimited),
            // The operand may lie outside the column's range: only the outcome has to keep to it.
            _ => ColumnType::scalar(kind.key.atom).check(value),
        };
        value_problem(column, checked)
    }
}

/// Every table has these, although no schema says so (RFC 7047 §3.2).
fn is_implicit(column: &str) -> bool {
    matches!(column, "_uuid" | "_version")
}

fn value_problem(column: &Name, checked: Result<(), ValueProblem>) -> Result<(), Problem> {
    checked.map_err(|problem| Problem::Value {
        column: column.clone(),
        problem,
    })
}

fn note(missing: &mut Vec<Missing>, table: &Name, column: Option<&Name>) {
    let lacking = Missing {
        table: table.clone(),
        column: column.cloned(),
    };
    if !missing.contains(&lacking) {
        missing.push(lacking);
    }
}
