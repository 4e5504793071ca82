//! A Northbound on a real ovsdb-server, reached through the product's own client. One server serves all cases, one after
//! another; each finds it empty.

use std::ops::Deref;
use std::rc::Rc;

use ovsdb::{Changes, Client, Event, Remote};
use ovsdb_model::{Batch, Database, Operation};
use tokio::runtime::Runtime;
use yusur_planner::nb;
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::schemas;

use crate::northbound::{Northbound, OWNER, schema};

/// A server and a client of it.
pub struct Host {
    runtime: Runtime,
    client: Client,
    server: Standalone,
}

impl Host {
    pub fn start() -> Rc<Self> {
        let file = schemas::installed("ovn-nb").expect("the schema of OVN");
        let server = Standalone::start(&file).expect("an ovsdb-server");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let remote: Remote = server.unix().parse().expect("a remote");
        let mut builder = Client::builder("OVN_Northbound")
            .remote(remote)
            .everything();
        for (table, index) in nb::indexes(OWNER) {
            builder = builder.index(table, index);
        }
        let _inside = runtime.enter();
        let client = builder.start().expect("a client");
        assert!(runtime.block_on(client.synced()), "a session");
        drop(_inside);
        Rc::new(Self {
            runtime,
            client,
            server,
        })
    }

    /// Where it listens.
    pub fn remote(&self) -> String {
        self.server.unix()
    }

    fn transact(&self, operations: Vec<Operation>) -> Result<(), String> {
        let done = self.runtime.block_on(self.client.transact(operations));
        done.map(drop).map_err(|error| error.to_string())
    }

    /// The Northbound with nothing in it.
    pub fn empty(self: &Rc<Self>) -> Server {
        let schema = schema();
        let deletes = schema.tables.keys().map(|table| Operation::Delete {
            table: table.clone(),
            condition: Vec::new(),
        });
        self.transact(deletes.collect())
            .expect("an empty Northbound");
        Server {
            changes: self.client.changes_from_now(),
            host: Rc::clone(self),
        }
    }
}

/// The Northbound of one case.
pub struct Server {
    host: Rc<Host>,
    changes: Changes,
}

impl Northbound for Server {
    fn replica(&self) -> impl Deref<Target = Database> {
        self.host.client.read()
    }

    fn transact(&mut self, operations: &[Operation]) -> Result<(), String> {
        self.host.transact(operations.to_vec())
    }

    fn news(&mut self) -> Vec<Batch> {
        let mut news = Vec::new();
        while let Some(event) = self.changes.try_next() {
            if let Event::Batch(batch) = event {
                news.push(Batch::clone(&batch));
            }
        }
        news
    }
}
