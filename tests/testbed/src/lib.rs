//! Real parts for tests: what a test needs to run against real programs and not against pretence.
//!
//! Everything started here belongs to the value that is handed out and is stopped, by pid, when that value is dropped,
//! or by the kernel when the test dies without dropping anything. Files live in temporary directories of their own.
//!
//! ```no_run
//! use yusur_testbed::{ovsdb::Standalone, schemas};
//!
//! # fn main() -> anyhow::Result<()> {
//! let server = Standalone::start(&schemas::installed("ovn-nb")?)?;
//! println!("the Northbound listens on {} and {}", server.unix(), server.tcp());
//! # Ok(())
//! # }
//! ```

pub mod controller;
pub mod kubernetes;
pub mod lab;
pub mod northd;
pub mod ovsdb;
pub mod process;
pub mod programs;
pub mod release;
pub mod schemas;
pub mod scratch;
