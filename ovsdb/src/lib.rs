//! A client of OVSDB (RFC 7047, ovsdb-server(7)): sessions that survive what servers do, an in-memory replica,
//! transactions, locks and fences. It knows neither OVN nor Kubernetes.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use ovsdb::model::{Index, Mutation, Operation, Table, Uuid};
//! use ovsdb::{Client, Remote};
//!
//! #[derive(Debug, Table)]
//! #[ovsdb(table = "Load_Balancer")]
//! struct LoadBalancer {
//!     name: String,
//!     vips: BTreeMap<String, String>,
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let remotes = "unix:/run/ovn/ovnnb_db.sock";
//! # // Run as a test: a server of our own.
//! # let server = yusur_testbed::ovsdb::Standalone::start(&yusur_testbed::schemas::installed("ovn-nb")?)?;
//! # let remotes = &server.unix();
//! let client = Client::builder("OVN_Northbound")
//!     .remotes(Remote::parse_list(remotes)?)
//!     .table::<LoadBalancer>()
//!     .index("Load_Balancer", Index::column("name"))
//!     .start()?;
//! let mut changes = client.changes();
//! client.synced().await;
//!
//! let uuid = Uuid::from_u128(0x6ba7b810_9dad_51d1_80b4_00c04fd430c8);
//! let row = LoadBalancer { name: "web".to_owned(), vips: BTreeMap::new() };
//! client.transact(vec![Operation::insert_value(uuid, &row)]).await?;
//! let vip = Mutation::set_keys("vips", [("192.0.2.1:80", "10.0.0.1:8080")]);
//! client.transact(vec![Operation::mutate("Load_Balancer", uuid, vip)]).await?;
//!
//! // What a transaction changed is in the replica when it returns.
//! for (uuid, row) in client.read().find("Load_Balancer", "name", &"web".into()) {
//!     println!("{uuid} {row:?}");
//! }
//! # assert_eq!(client.read().len("Load_Balancer"), 1);
//! # client.close().await;
//! while let Some(batch) = changes.next_batch().await {
//!     for change in &batch.changes {
//!         println!("{} {}: {:?} -> {:?}", change.table, change.uuid, change.old, change.new);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What to rely on
//! - A transaction's own changes are in the replica before its result is handed over, and a reader never sees half a
//!   batch.
//! - Without a synchronised session [`Client::transact`] fails at once; the replica stays readable, as old as it then
//!   is.
//! - [`TransactError::OutcomeUnknown`] is the only error after which a transaction may have taken effect. Even then do
//!   not send it again: wait for [`Client::synced`], look, and compute anew. A cluster may apply a transaction twice
//!   (ovsdb(7)), so what is not idempotent needs a `wait` beside it.
//! - A replica may hold some tables only, some columns only ([`Builder::table`]), or some rows only
//!   ([`Builder::condition`]).
//! - A stream of changes never holds more than the database does, however slow its reader is, and never slows the
//!   session.

/// Values, schemas, operations, updates and the replica's content, without any input or output: the crate
/// `ovsdb-model`, so that a program needs to know only this one.
pub mod model {
    // They write `::ovsdb::model` where those of `ovsdb-model` write `::ovsdb_model`.
    pub use ovsdb_derive::{StringEnumByOvsdb as StringEnum, TableByOvsdb as Table};
    #[doc(inline)]
    pub use ovsdb_model::*;
}

mod builder;
pub mod changes;
mod client;
mod condition;
mod core;
mod error;
mod fence;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lock;
mod locks;
pub mod remote;
mod rpc;
mod server_db;
mod session;
mod state;
mod stream;
pub mod tls;
mod transact;
pub mod unixctl;

pub use builder::{BuildError, Builder};
pub use changes::{Changes, Event};
pub use client::{Client, Snapshot};
pub use error::{BrokenReason, FenceReason, RequestError, RetryReason, TransactError};
pub use fence::Fence;
pub use lock::Lock;
pub use locks::LockState;
pub use remote::Remote;
pub use rpc::framer;
pub use rpc::shared::ConnectionLost;
pub use state::{Counters, MonitorMethod, Phase, State};
pub use stream::ConnectError;
pub use tls::TlsOptions;
pub use transact::{SplitError, Transaction};
