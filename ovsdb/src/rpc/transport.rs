//! The transport under jsonrpsee's client: rewrites the dialect, answers and sends probes, and keeps back what must be
//! dealt with in the order of the wire.
//!
//! Updates, lock notifications and the results of monitor requests are handed to a [`Handler`] as they are read, so
//! whatever follows them on the wire, in particular the reply to the transaction that caused them, is seen only
//! after they took effect. Replies to requests nobody made are counted and dropped; jsonrpsee would fall over them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jsonrpsee_core::client::{ReceivedMessage, TransportReceiverT, TransportSenderT};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::framer::{FrameError, FrameLimits, Framer};
use super::wire::{self, Incoming, Outgoing};
use crate::stream::{ReadHalf, WriteHalf};

/// Takes what is not a plain reply, in wire order. Called on whatever thread reads; big messages on a blocking one.
pub(crate) trait Handler: Send + 'static {
    /// `update`, `update2`, `update3`, `locked`, `stolen`, `monitor_canceled`, or anything else without an id.
    fn notification(&mut self, method: &str, params: &str) -> Result<(), String>;

    /// The result of a request of one of the `monitor` methods for the monitor called `monitor` (JSON).
    fn monitored(&mut self, method: &str, monitor: &str, result: &str) -> Result<(), String>;
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionLost {
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no sequence of messages.
    #[error("the server's stream: {0}")]
    Frame(#[from] FrameError),
    /// A message is not what the protocol has.
    #[error("the server's message: {0}")]
    Message(String),
    /// Nothing came for so long, not even an answer to a probe.
    #[error("the server has been silent for {0:?}")]
    Silent(Duration),
    /// Nothing could be sent for so long.
    #[error("the server has not read for {0:?}")]
    Stalled(Duration),
    /// We closed it, for this reason.
    #[error("closed: {0}")]
    Dropped(String),
}

/// How a transport behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransportOptions {
    pub(crate) limits: FrameLimits,
    /// Silence after which a probe is sent; twice that ends the connection.
    pub(crate) probe_interval: Option<Duration>,
    /// How long a write may make no progress.
    pub(crate) stall_limit: Duration,
}

/// What sender, receiver and owner of a connection share.
#[derive(Debug)]
pub(crate) struct Shared {
    pending: Mutex<HashMap<u64, Expected>>,
    lost: watch::Sender<Option<Arc<ConnectionLost>>>,
    unexpected: AtomicU64,
}

#[derive(Debug)]
enum Expected {
    Plain,
    Monitor { method: String, monitor: String },
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            pending: Mutex::default(),
            lost: watch::Sender::new(None),
            unexpected: AtomicU64::new(0),
        })
    }

    /// Ends the connection; the first reason stands.
    pub(crate) fn close(&self, reason: ConnectionLost) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            if first {
                *lost = Some(Arc::new(reason));
            }
            first
        });
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn lost(&self) -> Option<Arc<ConnectionLost>> {
        self.lost.borrow().clone()
    }

    /// Waits until the connection has ended.
    pub(crate) async fn until_lost(&self) -> Arc<ConnectionLost> {
        let mut lost = self.lost.subscribe();
        loop {
            if let Some(reason) = lost.borrow_and_update().clone() {
                return reason;
            }
            if lost.changed().await.is_err() {
                return Arc::new(ConnectionLost::Closed);
            }
        }
    }

    /// Requests without an answer yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.pending.lock().len()
    }

    /// Replies that belonged to no request.
    pub(crate) fn unexpected(&self) -> u64 {
        self.unexpected.load(Ordering::Relaxed)
    }
}

/// The error jsonrpsee sees: only that the connection is gone. The reason is in [`Shared`].
#[derive(Debug, thiserror::Error)]
#[error("connection lost: {0}")]
pub(crate) struct Gone(Arc<ConnectionLost>);

/// Makes the two ends for jsonrpsee and starts the task that writes.
pub(crate) fn transport<H: Handler>(
    read: ReadHalf,
    write: WriteHalf,
    options: TransportOptions,
    handler: H,
) -> (Sender, Receiver<H>, Arc<Shared>) {
    let shared = Shared::new();
    // Small: what waits here has left the caller's hands, so waiting further back is better.
    let (to_writer, from_senders) = mpsc::channel(16);
    tokio::spawn(write_all(
        write,
        from_senders,
        options.stall_limit,
        shared.clone(),
    ));
    let sender = Sender {
        to_writer: to_writer.clone(),
        shared: shared.clone(),
    };
    let receiver = Receiver {
        read,
        framer: Framer::new(options.limits),
        options,
        heard: Instant::now(),
        unheard_bytes: 0,
        probed: false,
        to_writer,
        shared: shared.clone(),
        handler: Some(handler),
    };
    (sender, receiver, shared)
}

/// Writes until the connection is lost or both ends are gone.
async fn write_all(
    mut write: WriteHalf,
    mut from_senders: mpsc::Receiver<String>,
    stall_limit: Duration,
    shared: Arc<Shared>,
) {
    let work = async {
        while let Some(message) = from_senders.recv().await {
            let mut rest = message.as_bytes();
            while !rest.is_empty() {
                let written = tokio::time::timeout(stall_limit, write.write(rest))
                    .await
                    .map_err(|_| ConnectionLost::Stalled(stall_limit))??;
                if written == 0 {
                    return Err(ConnectionLost::Closed);
                }
                rest = &rest[written..];
            }
            tokio::time::timeout(stall_limit, write.flush())
                .await
                .map_err(|_| ConnectionLost::Stalled(stall_limit))??;
        }
        Ok::<(), ConnectionLost>(())
    };
    tokio::select! {
        outcome = work => {
            if let Err(reason) = outcome {
                shared.close(reason);
            }
        }
        _ = shared.until_lost() => {}
    }
    // TLS says goodbye; a peer that does not read must not hold us.
    let _ = tokio::time::timeout(Duration::from_millis(100), write.shutdown()).await;
}

/// The end jsonrpsee sends through.
#[derive(Debug)]
pub(crate) struct Sender {
    to_writer: mpsc::Sender<String>,
    shared: Arc<Shared>,
}

impl Sender {
    async fn enqueue(&self, message: String) -> Result<(), Gone> {
        enqueue(&self.to_writer, &self.shared, message).await
    }
}

async fn enqueue(
    to_writer: &mpsc::Sender<String>,
    shared: &Shared,
    message: String,
) -> Result<(), Gone> {
    tokio::select! {
        biased;
        reason = shared.until_lost() => Err(Gone(reason)),
        sent = to_writer.send(message) => match sent {
            Ok(()) => Ok(()),
            Err(_) => Err(Gone(shared.until_lost().await)),
        },
    }
}

impl TransportSenderT for Sender {
    type Error = Gone;

    async fn send(&mut self, message: String) -> Result<(), Gone> {
        let unusable = |error: serde_json::Error| {
            Gone(Arc::new(ConnectionLost::Message(format!(
                "request cannot be rewritten: {error}"
            ))))
        };
        let request: Outgoing<'_> = serde_json::from_str(&message).map_err(unusable)?;
        if let Some(id) = request.id {
            let expected =
                if request.method.starts_with("monitor") && request.method != "monitor_cancel" {
                    let params: Vec<&RawValue> =
                        serde_json::from_str(request.params.map_or("[]", RawValue::get))
                            .map_err(unusable)?;
                    Expected::Monitor {
                        method: request.method.clone().into_owned(),
                        monitor: params.get(1).map_or("null", |id| id.get()).to_owned(),
                    }
                } else {
                    Expected::Plain
                };
            self.shared.pending.lock().insert(id, expected);
        }
        self.enqueue(request.to_wire().map_err(unusable)?).await
    }

    async fn close(&mut self) -> Result<(), Gone> {
        self.shared
            .close(ConnectionLost::Dropped("no longer wanted".to_owned()));
        Ok(())
    }
}

/// The end jsonrpsee receives from.
pub(crate) struct Receiver<H> {
    read: ReadHalf,
    framer: Framer,
    options: TransportOptions,
    heard: Instant,
    /// Bytes received since then.
    unheard_bytes: usize,
    probed: bool,
    to_writer: mpsc::Sender<String>,
    shared: Arc<Shared>,
    /// Absent only while a blocking thread has it.
    handler: Option<H>,
}

/// Messages longer than this are parsed on a blocking thread, so that others' sockets are served meanwhile.
const BIG_MESSAGE: usize = 1 << 20;
/// A message that never ends shows no life by a byte now and then: so much of it must come to count.
const SIGN_OF_LIFE: usize = 4 << 10;
/// The id of our probes. jsonrpsee's ids are numbers.
const PROBE_ID: &str = "\"probe\"";

/// What a message leads to.
enum Outcome {
    Nothing,
    ToClient(String),
    ToPeer(String),
}

impl<H: Handler> TransportReceiverT for Receiver<H> {
    type Error = Gone;

    async fn receive(&mut self) -> Result<ReceivedMessage, Gone> {
        match self.next_for_client().await {
            Ok(message) => Ok(ReceivedMessage::Text(message)),
            Err(reason) => {
                self.shared.close(reason);
                Err(Gone(self.shared.until_lost().await))
            }
        }
    }
}

impl<H: Handler> Receiver<H> {
    async fn next_for_client(&mut self) -> Result<String, ConnectionLost> {
        loop {
            let Some(message) = self.framer.next_message()? else {
                self.read_more().await?;
                continue;
            };
            match self.dispatch(message).await? {
                Outcome::Nothing => {}
                Outcome::ToClient(message) => return Ok(message),
                Outcome::ToPeer(message) => {
                    if enqueue(&self.to_writer, &self.shared, message)
                        .await
                        .is_err()
                    {
                        return Err(ConnectionLost::Closed);
                    }
                }
            }
        }
    }

    fn heard_something(&mut self) {
        self.heard = Instant::now();
        self.unheard_bytes = 0;
        self.probed = false;
    }

    async fn read_more(&mut self) -> Result<(), ConnectionLost> {
        loop {
            let silence = self.options.probe_interval;
            let patience = async {
                match silence {
                    Some(interval) => {
                        let periods = if self.probed { 2 } else { 1 };
                        tokio::time::sleep_until(self.heard + interval * periods).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = self.read.read_buf(self.framer.space()) => {
                    match read {
                        Ok(0) => return Err(ConnectionLost::Closed),
                        Ok(bytes) => self.unheard_bytes += bytes,
                        // TLS: the peer died, or closed without a word.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            return Err(ConnectionLost::Closed);
                        }
                        Err(error) => return Err(error.into()),
                    }
                    if self.unheard_bytes >= SIGN_OF_LIFE {
                        self.heard_something();
                    }
                    return Ok(());
                }
                _ = self.shared.until_lost() => return Err(ConnectionLost::Closed),
                () = patience => {
                    let interval = silence.unwrap_or_default();
                    if self.probed {
                        return Err(ConnectionLost::Silent(interval * 2));
                    }
                    self.probed = true;
                    // A full queue means that the peer does not read: the writer's own limit covers that.
                    let probe = format!(r#"{{"id":{PROBE_ID},"method":"echo","params":[]}}"#);
                    let _ = self.to_writer.try_send(probe);
                }
            }
        }
    }

    async fn dispatch(&mut self, message: Bytes) -> Result<Outcome, ConnectionLost> {
        let broken = |what: &str| ConnectionLost::Message(what.to_owned());
        let mut handler = self.handler.take().ok_or_else(|| broken("handler lost"))?;
        let shared = self.shared.clone();
        let (outcome, handler) = if message.len() < BIG_MESSAGE {
            (digest(&message, &mut handler, &shared), handler)
        } else {
            tokio::task::spawn_blocking(move || (digest(&message, &mut handler, &shared), handler))
                .await
                .map_err(|error| broken(&error.to_string()))?
        };
        self.handler = Some(handler);
        // Also where the message took long to deal with: that time was ours, not the peer's silence.
        self.heard_something();
        outcome
    }
}

impl<H> Drop for Receiver<H> {
    fn drop(&mut self) {
        self.shared
            .close(ConnectionLost::Dropped("no longer wanted".to_owned()));
    }
}

/// Parses one message and acts on it.
fn digest<H: Handler>(
    message: &[u8],
    handler: &mut H,
    shared: &Shared,
) -> Result<Outcome, ConnectionLost> {
    let unusable = |error: serde_json::Error| ConnectionLost::Message(error.to_string());
    let text =
        std::str::from_utf8(message).map_err(|error| ConnectionLost::Message(error.to_string()))?;
    match Incoming::parse(text).map_err(unusable)? {
        Incoming::Request { id, method, params } => Ok(Outcome::ToPeer(if method == "echo" {
            wire::reply(id, Ok(params))
        } else {
            tracing::debug!(%method, "request from the server refused");
            wire::reply(id, Err("\"unknown method\""))
        })),
        Incoming::Notification { method, params } => {
            handler
                .notification(&method, params)
                .map_err(|reason| ConnectionLost::Message(format!("{method}: {reason}")))?;
            Ok(Outcome::Nothing)
        }
        Incoming::Reply { id: PROBE_ID, .. } => Ok(Outcome::Nothing),
        Incoming::Reply { id, outcome } => {
            let known = id.parse::<u64>().ok();
            let expected = known.and_then(|id| Some((id, shared.pending.lock().remove(&id)?)));
            let Some((id, expected)) = expected else {
                shared.unexpected.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%id, "reply to no request of ours dropped");
                return Ok(Outcome::Nothing);
            };
            let outcome = match (expected, outcome) {
                (Expected::Monitor { method, monitor }, Ok(result)) => {
                    handler
                        .monitored(&method, &monitor, result)
                        .map_err(|reason| {
                            ConnectionLost::Message(format!("reply to {method}: {reason}"))
                        })?;
                    Ok("null")
                }
                (_, outcome) => outcome,
            };
            wire::to_jsonrpc2(id, outcome)
                .map(Outcome::ToClient)
                .map_err(unusable)
        }
    }
}

/// Requests that a fuzzer's peer may answer.
#[cfg(fuzzing)]
#[derive(Debug)]
pub(crate) struct Expectation(Arc<Shared>);

#[cfg(fuzzing)]
impl Default for Expectation {
    fn default() -> Self {
        let shared = Shared::new();
        let methods = ["monitor_cond_since", "monitor_cond", "monitor"];
        for (id, method) in (1..).zip(methods) {
            let expected = Expected::Monitor {
                method: method.to_owned(),
                monitor: "\"m\"".to_owned(),
            };
            shared.pending.lock().insert(id, expected);
        }
        shared.pending.lock().insert(4, Expected::Plain);
        Self(shared)
    }
}

/// Digests a message; what goes to jsonrpsee must be what jsonrpsee can read, and what goes to the peer JSON.
#[cfg(fuzzing)]
pub(crate) fn digest_for_fuzzing<H: Handler>(
    message: &[u8],
    handler: &mut H,
    expectation: &Expectation,
) -> Result<(), ConnectionLost> {
    match digest(message, handler, &expectation.0)? {
        Outcome::Nothing => {}
        Outcome::ToPeer(text) => {
            let reply: Result<wire::Envelope<'_>, _> = serde_json::from_str(&text);
            assert!(reply.is_ok_and(|reply| reply.id.is_some()), "{text}");
        }
        Outcome::ToClient(text) => {
            let value: Result<&RawValue, _> = serde_json::from_str(&text);
            assert!(value.is_ok(), "{text}");
        }
    }
    Ok(())
}
