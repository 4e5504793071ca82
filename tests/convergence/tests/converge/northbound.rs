//! A Northbound as the tests see it: a replica, transactions, news of what changed. In memory, or a real server.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use northbound_model::Northbound as Model;
use ovsdb_model::{Batch, Database, Operation, Schema};
use yusur_planner::nb;
use yusur_testbed::schemas;

/// The owner of our rows.
pub const OWNER: &str = "demo";

/// A Northbound.
pub trait Northbound {
    /// The replica.
    fn replica(&self) -> impl Deref<Target = Database>;

    /// Carries a transaction out, whole or not at all. What it changed is in the replica then.
    ///
    /// # Errors
    /// The server's words, if it refused.
    fn transact(&mut self, operations: &[Operation]) -> Result<(), String>;

    /// What has changed since this was last asked, by whomever.
    fn news(&mut self) -> Vec<Batch>;
}

/// The schema of the installed OVN.
pub fn schema() -> Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    let read = || {
        let file = schemas::installed("ovn-nb").expect("the schema of OVN");
        let text = file.text().expect("the schema's text");
        Arc::new(serde_json::from_str(&text).expect("a schema"))
    };
    Arc::clone(SCHEMA.get_or_init(read))
}

/// A Northbound in memory.
#[derive(Debug)]
pub struct Memory {
    model: Model,
    news: Vec<Batch>,
}

impl Memory {
    pub fn new() -> Self {
        let mut model = Model::new(schema());
        for (table, index) in nb::indexes(OWNER) {
            model.content_mut().declare_index(table, index);
        }
        Self {
            model,
            news: Vec::new(),
        }
    }
}

impl Northbound for Memory {
    fn replica(&self) -> impl Deref<Target = Database> {
        self.model.content()
    }

    fn transact(&mut self, operations: &[Operation]) -> Result<(), String> {
        let reply = self.model.transact(operations);
        match reply.failure() {
            Some(failure) => Err(failure.to_string()),
            None => {
                if !reply.batch.is_empty() {
                    self.news.push(reply.batch);
                }
                Ok(())
            }
        }
    }

    fn news(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.news)
    }
}
