//! The clock: an OVSDB session of its own that monitors the whole Northbound (RFC 7047 §4.1.5; `monitor_cond` of
//! ovsdb-server(7)) and notes when each update arrived. It shares no code with the controller's client.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use yusur_testbed::schemas::Schema;

/// The table that changes without any row of ours: the claim and `nb_cfg`.
const GLOBAL: &str = "NB_Global";

/// A running monitor; its thread ends with the connection.
#[derive(Debug)]
pub(crate) struct Monitor {
    messages: Receiver<(Instant, Vec<u8>)>,
    socket: UnixStream,
}

/// What one update changed: rows, by table.
#[derive(Debug)]
pub(crate) struct Update {
    /// When it arrived.
    pub(crate) at: Instant,
    tables: BTreeMap<String, usize>,
}

/// A bare connection: bytes out, whole messages in.
#[derive(Debug)]
pub(crate) struct Bare {
    socket: UnixStream,
    space: Box<[u8]>,
    pending: Vec<u8>,
    scan: Scan,
}

/// How far the end of the pending message has been looked for: it is where braces balance outside of strings.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

// === impl Scan ===

impl Scan {
    /// Where the next message ends.
    fn end(&mut self, pending: &[u8]) -> Option<usize> {
        for &byte in &pending[self.at..] {
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                b'{' if !self.quoted => self.depth += 1,
                b'}' if !self.quoted => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

// === impl Bare ===

impl Bare {
    /// Connects to a server's socket.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let socket = UnixStream::connect(path)
            .with_context(|| format!("connecting to {}", path.display()))?;
        Ok(Self {
            socket,
            space: vec![0; 256 << 10].into(),
            pending: Vec::new(),
            scan: Scan::default(),
        })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(bytes)?)
    }

    /// The next messages, and when the end of the first of them was read.
    fn receive(&mut self) -> Result<(Instant, Vec<Vec<u8>>)> {
        loop {
            let read = self.socket.read(&mut self.space)?;
            let at = Instant::now();
            if read == 0 {
                bail!("the server closed the connection");
            }
            self.pending.extend_from_slice(&self.space[..read]);
            let (mut messages, mut start) = (Vec::new(), 0);
            while let Some(end) = self.scan.end(&self.pending) {
                messages.push(self.pending[start..end].to_vec());
                start = end;
            }
            self.pending.drain(..start);
            self.scan.at -= start;
            if !messages.is_empty() {
                return Ok((at, messages));
            }
        }
    }

    /// Waits for the reply to the one request that is outstanding.
    pub(crate) fn reply(&mut self) -> Result<Value> {
        loop {
            for message in self.receive()?.1 {
                let message: Value = serde_json::from_slice(&message)?;
                if message.get("method").is_none() {
                    anyhow::ensure!(message["error"].is_null(), "refused: {message}");
                    return Ok(message);
                }
                self.answer(&message)?;
            }
        }
    }

    /// Answers an echo, by which the server asks whether anybody is there.
    fn answer(&mut self, message: &Value) -> Result<()> {
        if message["method"] == "echo" {
            let reply = json!({"id": message["id"], "error": null, "result": message["params"]});
            self.send(reply.to_string().as_bytes())?;
        }
        Ok(())
    }
}

// === impl Monitor ===

impl Monitor {
    /// Monitors every column of every table, and knows what is there already.
    pub(crate) fn start(path: &Path, schema: &Schema) -> Result<Self> {
        let tables: Value = serde_json::from_str(&schema.text()?)?;
        let tables = tables["tables"]
            .as_object()
            .context("a schema without tables")?;
        let requests: serde_json::Map<String, Value> = tables
            .keys()
            .map(|table| (table.clone(), json!([{}])))
            .collect();
        let request =
            json!({"id": 0, "method": "monitor_cond", "params": [schema.name, "clock", requests]});
        let mut bare = Bare::connect(path)?;
        bare.send(request.to_string().as_bytes())?;
        bare.reply()?;
        let socket = bare.socket.try_clone()?;
        let (sender, messages) = channel();
        std::thread::Builder::new()
            .name("clock".to_owned())
            .spawn(move || {
                // Ends with the connection.
                while let Ok((at, messages)) = bare.receive() {
                    for message in messages {
                        // Echoes are short.
                        if message.len() < 200
                            && let Ok(message) = serde_json::from_slice::<Value>(&message)
                            && message["method"] == "echo"
                        {
                            let _ = bare.answer(&message);
                        } else if sender.send((at, message)).is_err() {
                            return;
                        }
                    }
                }
            })?;
        Ok(Self { messages, socket })
    }

    /// The next update within `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Result<Option<Update>> {
        match self.messages.recv_timeout(patience) {
            Ok((at, message)) => Update::read(at, &message).map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the Northbound has gone"),
        }
    }

    /// Everything that comes until it has been quiet for `quiet`, read only then, so that reading takes nothing from
    /// what is measured.
    pub(crate) fn until_quiet(&self, quiet: Duration) -> Result<Vec<Update>> {
        let mut raw = Vec::new();
        loop {
            match self.messages.recv_timeout(quiet) {
                Ok(message) => raw.push(message),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => bail!("the Northbound has gone"),
            }
        }
        raw.iter()
            .map(|(at, message)| Update::read(*at, message))
            .collect()
    }

    /// Forgets what has come.
    pub(crate) fn clear(&self) {
        while self.messages.try_recv().is_ok() {}
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Ends the thread; it is gone already where the server is.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

// === impl Update ===

impl Update {
    fn read(at: Instant, message: &[u8]) -> Result<Self> {
        let message: Value = serde_json::from_slice(message)?;
        let tables = message["params"][1].as_object().into_iter().flatten();
        let rows = |rows: &Value| rows.as_object().map_or(0, serde_json::Map::len);
        let tables = tables
            .map(|(table, changed)| (table.clone(), rows(changed)))
            .collect();
        Ok(Self { at, tables })
    }

    /// How many rows of the table changed.
    pub(crate) fn rows(&self, table: &str) -> usize {
        self.tables.get(table).copied().unwrap_or_default()
    }

    /// How many rows changed, those aside that change at every start.
    pub(crate) fn all_rows(&self) -> usize {
        self.tables
            .iter()
            .filter(|(table, _)| *table != GLOBAL)
            .map(|(_, rows)| rows)
            .sum()
    }
}
