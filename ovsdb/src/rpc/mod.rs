//! JSON-RPC as OVSDB speaks it: framing, dialect and the transport under jsonrpsee's client.

pub(crate) mod connection;
pub(crate) mod digest;
pub(crate) mod exchange;
pub mod framer;
pub(crate) mod shared;
pub(crate) mod transport;
pub(crate) mod wire;
