//! JSON-RPC as OVSDB speaks it: framing, dialect and the transport under jsonrpsee's client.

pub(crate) mod connection;
pub mod framer;
pub(crate) mod transport;
pub(crate) mod wire;
