//! OVSDB (RFC 7047) without any input or output: values, schemas, operations, updates and the replica's content.
//!
//! The crate knows neither sockets nor clocks; the `ovsdb` crate puts it on the wire. From the wire up:
//!
//! - An [`Atom`] is one value, a [`Datum`] what a column holds, in one canonical form; a [`Row`] has columns by name.
//! - A [`Schema`] says what a server takes. [`Schema::bind`] holds descriptions of tables against it and gives the
//!   [`Layout`] to monitor; [`Schema::prepare`] holds operations against it before they are sent.
//! - A [`Layout`] decodes what a server sends into an [`Update`], and a [`Database`] applies it and tells what changed
//!   as a [`Batch`]; after a lost connection [`Database::reconcile`] applies a dump and tells the difference.
//! - [`Table`] maps rows to Rust types, an [`Operation`] is a part of a transaction, an [`Outcome`] what came of one.
//!
//! ```
//! use ovsdb_model::update::Format;
//! use ovsdb_model::{Atom, Database, Index, Operation, Mutation, Schema, TableSpec, Uuid};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema: Schema = serde_json::from_str(
//!     r#"{"name": "Shop", "version": "1.0.0", "tables": {"Fruit": {"isRoot": true, "columns": {
//!         "name": {"type": "string"},
//!         "tags": {"type": {"key": "string", "min": 0, "max": "unlimited"}}}}}}"#,
//! )?;
//! let layout = schema.bind([&TableSpec::all("Fruit")])?.layout;
//! let mut database = Database::new();
//! database.declare_index("Fruit", Index::column("name"));
//!
//! // What a server sends: first everything, then what changes.
//! let id = "6ba7b810-9dad-51d1-80b4-00c04fd430c8";
//! let dump = format!(r#"{{"Fruit": {{"{id}": {{"initial": {{"name": "apple", "tags": "red"}}}}}}}}"#);
//! database.reconcile(&layout, layout.decode(&dump, Format::Update2)?)?;
//! let change = format!(r#"{{"Fruit": {{"{id}": {{"modify": {{"tags": ["set", ["red", "green"]]}}}}}}}}"#);
//! let batch = database.apply(layout.decode(&change, Format::Update2)?)?;
//! assert_eq!(batch.changes[0].new.as_ref().and_then(|row| row.get_str("tags")), Some("green"));
//!
//! // What is read, and what is written.
//! let (uuid, _) = database.find("Fruit", "name", &Atom::from("apple")).next().ok_or("no apple")?;
//! assert_eq!(uuid, Uuid::parse_str(id)?);
//! let wrong = Operation::mutate("Fruit", uuid, [Mutation::insert("tags", 7)]);
//! let refusal = schema.prepare(vec![wrong]).map_err(|error| error.to_string());
//! assert_eq!(
//!     refusal,
//!     Err("operation 0 (mutate on table Fruit): column tags: 7 is not of the type string".to_owned())
//! );
//! # Ok(())
//! # }
//! ```

mod atom;
mod batch;
mod clause;
mod database;
mod datum;
mod diff;
mod index;
mod json;
mod layout;
mod mutation;
mod operation;
mod outcome;
mod replica;
mod row;
pub mod schema;
mod store;
pub mod table;
pub mod update;

pub use atom::{Atom, AtomType, Name, Real};
pub use batch::{Batch, RowChange};
pub use clause::{Clause, Function};
pub use database::Database;
pub use datum::{Datum, DatumRef, Duplicate};
pub use diff::KindMismatch;
pub use index::Index;
pub use json::{AtomSeed, DatumSeed, UuidSeed};
pub use layout::{Layout, TableLayout};
pub use mutation::{Mutation, Mutator};
pub use operation::{Operation, Until};
pub use outcome::{ErrorClass, ErrorKind, OpError, OpResult, Outcome, TransactionError};
pub use ovsdb_derive::{StringEnum, Table};
pub use replica::ApplyError;
pub use row::{Columns, Row};
pub use schema::{ColumnType, Schema, TableSpec};
pub use smol_str::SmolStr;
pub use table::{
    AtomValue, ColumnKind, ColumnSpec, ColumnValue, MismatchError, RowError, Shape, Table,
};
pub use update::{Unreadable, Update};
pub use uuid::Uuid;
