//! A bare blocking JSON-RPC session with an ovsdb-server: no replica, no reconnect, nothing clever.
//!
//! For tests and benchmarks that need a neutral second client, and as the floor against which ours is measured.

use std::collections::VecDeque;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::de::IoRead;
use serde_json::{Deserializer, StreamDeserializer, Value, json};

/// One connection over a unix socket.
pub struct Session {
    writer: UnixStream,
    messages: StreamDeserializer<'static, IoRead<BufReader<UnixStream>>, Value>,
    notifications: VecDeque<Value>,
    next_id: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("next_id", &self.next_id)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects to the unix socket at `path`.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(path: &Path) -> Result<Self> {
        let writer = UnixStream::connect(path)
            .with_context(|| format!("connecting to {}", path.display()))?;
        let reader = writer.try_clone().context("duplicating the socket")?;
        Ok(Self {
            writer,
            messages: Deserializer::from_reader(BufReader::new(reader)).into_iter(),
            notifications: VecDeque::new(),
            next_id: 0,
        })
    }

    /// Sends a request without waiting for its reply; returns its id.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn send(&mut self, method: &str, params: &Value) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let bytes = serde_json::to_vec(&json!({"id": id, "method": method, "params": params}))?;
        self.writer
            .write_all(&bytes)
            .with_context(|| format!("sending {method}"))?;
        Ok(id)
    }

    /// Sends a request and waits for its result; notifications that come before it are kept for [`Self::notification`].
    ///
    /// # Errors
    /// If the connection breaks or the server answers with an error.
    pub fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.send(method, params)?;
        loop {
            let mut message = self.receive()?;
            if message.get("method").is_some() {
                self.notifications.push_back(message);
            } else if message["id"] == id {
                if !message["error"].is_null() {
                    bail!("{method} failed: {}", message["error"]);
                }
                return Ok(message["result"].take());
            }
        }
    }

    /// Runs a transaction and returns the server's results as they are, errors included.
    ///
    /// # Errors
    /// If the connection breaks or the request as a whole is refused.
    pub fn transact(&mut self, database: &str, operations: &[Value]) -> Result<Vec<Value>> {
        let mut params = vec![Value::from(database)];
        params.extend_from_slice(operations);
        match self.request("transact", &Value::Array(params))? {
            Value::Array(results) => Ok(results),
            other => bail!("transact returned {other}"),
        }
    }

    /// Runs a transaction that must succeed.
    ///
    /// # Errors
    /// As [`Self::transact`], and if any operation, or the commit, failed.
    pub fn commit(&mut self, database: &str, operations: &[Value]) -> Result<Vec<Value>> {
        let results = self.transact(database, operations)?;
        if let Some(error) = results.iter().find(|result| result.get("error").is_some()) {
            bail!(
                "the transaction failed: {error}; all results: {}",
                Value::from(results.clone())
            );
        }
        Ok(results)
    }

    /// The next notification or request of the server (`update3`, `echo`…), waited for.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn notification(&mut self) -> Result<Value> {
        if let Some(message) = self.notifications.pop_front() {
            return Ok(message);
        }
        loop {
            let message = self.receive()?;
            if message.get("method").is_some() {
                return Ok(message);
            }
        }
    }

    /// The next message of any kind.
    ///
    /// # Errors
    /// If the connection breaks or what came is not JSON.
    pub fn receive(&mut self) -> Result<Value> {
        loop {
            let message = self
                .messages
                .next()
                .context("the server closed the connection")?
                .context("reading the server's answer")?;
            if message["method"] != "echo" {
                return Ok(message);
            }
            let reply = json!({"id": message["id"], "error": null, "result": message["params"]});
            self.writer.write_all(&serde_json::to_vec(&reply)?)?;
        }
    }
}
