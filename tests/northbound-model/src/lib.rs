//! A fake: an in-memory model of what ovsdb-server does with transactions, for one database of a given schema.
//!
//! Property tests need tens of thousands of transactions a second, which a real server does not give. This model is
//! allowed to stand in for one only because `tests/against_server.rs` sends the same random transactions to both and
//! finds the same results and the same content; whatever is not held against the server there is not in the model.
//! The one place where the server departs from the RFC and the model does not follow is told there. There are no clients,
//! no locks but those said to be held, no time: a `wait` that is not met fails at once.
//!
//! Sources: RFC 7047 §4.1.3 and §5.2, ovsdb-server(7), and what the real server answers.

mod commit;
mod condition;
mod constraint;
mod execute;
mod mutate;
mod references;
mod transaction;

use std::fmt;
use std::sync::Arc;

use hashbrown::HashSet;
use ovsdb_model::{Batch, Database, Name, Operation, Row, Schema, Uuid};

use references::References;
use transaction::Transaction;

/// Why an operation, or the commit, failed: `error` is RFC 7047's word (`constraint violation`, `timed out`…).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The word that programs look at.
    pub error: &'static str,
    /// The sentence that people read; the server's own differs.
    pub details: String,
}

impl Failure {
    fn new(error: &'static str, details: impl Into<String>) -> Self {
        Self {
            error,
            details: details.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.details)
    }
}

/// What became of one operation (RFC 7047 §5.2, "result").
#[derive(Clone, Debug, PartialEq)]
pub enum OperationResult {
    /// An insert's row.
    Inserted(Uuid),
    /// How many rows an update, mutate or delete matched.
    Count(usize),
    /// The rows of a select.
    Rows(Vec<Row>),
    /// Nothing to tell: wait, comment, commit, assert.
    Done,
    /// The operation failed, and with it the transaction.
    Failed(Failure),
    /// An operation before it failed.
    NotExecuted,
}

/// What became of a transaction.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// One result for each operation, in order.
    pub results: Vec<OperationResult>,
    /// Why the commit failed although every operation went through: the server's extra last element.
    pub commit: Option<Failure>,
    /// What changed in the database, whole rows; empty if the transaction failed.
    pub batch: Batch,
}

impl Reply {
    /// The failure of an operation or of the commit.
    pub fn failure(&self) -> Option<&Failure> {
        let failed = self.results.iter().find_map(|result| match result {
            OperationResult::Failed(failure) => Some(failure),
            _ => None,
        });
        failed.or(self.commit.as_ref())
    }
}

/// A database without a server.
#[derive(Debug)]
pub struct Northbound {
    schema: Arc<Schema>,
    content: Database,
    references: References,
    held_locks: HashSet<Name>,
    /// For inserts that leave the UUID to the server.
    inserted: u64,
}

impl Northbound {
    /// An empty database of `schema`.
    pub fn new(schema: Arc<Schema>) -> Self {
        Self {
            schema,
            content: Database::new(),
            references: References::default(),
            held_locks: HashSet::new(),
            inserted: 0,
        }
    }

    /// The schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// All rows with all columns, as a replica that monitors everything has them. For declaring indexes too.
    pub fn content(&self) -> &Database {
        &self.content
    }

    /// The same, to declare indexes.
    pub fn content_mut(&mut self) -> &mut Database {
        &mut self.content
    }

    /// Says whether the client that runs the transactions holds `lock`, for `assert`.
    pub fn hold_lock(&mut self, lock: impl Into<Name>, held: bool) {
        let lock = lock.into();
        if held {
            self.held_locks.insert(lock);
        } else {
            self.held_locks.remove(&lock);
        }
    }

    /// Runs a transaction: all of it or nothing.
    pub fn transact(&mut self, operations: &[Operation]) -> Reply {
        let mut reply = Reply::default();
        let mut transaction = Transaction::new(self);
        let mut failed = false;
        for operation in operations {
            reply.results.push(if failed {
                OperationResult::NotExecuted
            } else {
                match transaction.execute(operation) {
                    Ok(result) => result,
                    Err(failure) => {
                        failed = true;
                        OperationResult::Failed(failure)
                    }
                }
            });
        }
        let inserted = transaction.inserted;
        if !failed {
            match transaction.finish() {
                Ok(changes) => {
                    self.references.apply(&self.schema, &self.content, &changes);
                    let rows = changes
                        .into_iter()
                        .map(|((table, uuid), row)| (table, uuid, row));
                    reply.batch = self.content.set_rows(rows);
                }
                Err(failure) => reply.commit = Some(failure),
            }
        }
        self.inserted = inserted;
        reply
    }
}
