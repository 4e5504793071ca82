//! What the planner's tests share: a model of the Northbound behind the planner, and manifests as changes.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]

pub mod external;
pub mod manifest;
pub mod show;
pub mod story;

use std::sync::Arc;

use northbound_model::Northbound as Model;
use ovsdb_model::{Batch, Database, Operation, Schema};
use yusur_planner::{Inventory, Northbound, nb};

/// The owner in all tests.
pub const OWNER: &str = "demo";

/// The installed OVN's Northbound schema.
pub fn schema() -> Arc<Schema> {
    let path = "/usr/share/ovn/ovn-nb.ovsschema";
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{path}: {error}; install ovn-common"));
    Arc::new(serde_json::from_str::<Schema>(&text).expect("the schema can be read"))
}

/// A Northbound in memory.
pub struct Memory {
    /// The database.
    pub model: Model,
    /// How many transactions it has carried out.
    pub transactions: usize,
}

impl Memory {
    pub fn new(schema: Arc<Schema>) -> Self {
        let mut model = Model::new(schema);
        for (table, index) in nb::indexes(OWNER) {
            model.content_mut().declare_index(table, index);
        }
        Self {
            model,
            transactions: 0,
        }
    }

    /// What somebody else does to the database; the inventory is told.
    pub fn tamper(&mut self, operations: &[Operation], inventory: &mut Inventory) {
        let reply = self.model.transact(operations);
        assert_eq!(reply.failure(), None, "{operations:?}");
        inventory.observe(&reply.batch, self.model.content());
    }
}

impl Northbound for Memory {
    type Error = String;

    fn database(&self) -> &Database {
        self.model.content()
    }

    fn transact(&mut self, operations: &[Operation]) -> Result<Batch, String> {
        self.transactions += 1;
        let reply = self.model.transact(operations);
        match reply.failure() {
            Some(failure) => Err(format!("{failure}\n{operations:#?}")),
            None => Ok(reply.batch),
        }
    }
}
