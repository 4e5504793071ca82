//! The transport under jsonrpsee's client: two ends for jsonrpsee, and a task that writes. It rewrites the dialect,
//! puts in the texts that pass by jsonrpsee, and answers and sends probes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jsonrpsee_core::client::{ReceivedMessage, TransportReceiverT, TransportSenderT};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::digest::{Handler, Outcome, digest, probe};
use super::framer::{FrameLimits, Framer};
use super::shared::{ConnectionLost, Gone, Outbox, Shared};
use super::wire::Ticket;
use crate::stream::{ReadHalf, WriteHalf};

/// How a transport behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransportOptions {
    pub(crate) limits: FrameLimits,
    /// Silence after which a probe is sent; twice that ends the connection.
    pub(crate) probe_interval: Option<Duration>,
    /// How long a write may make no progress.
    pub(crate) stall_limit: Duration,
}

/// Makes the two ends for jsonrpsee and starts the task that writes.
pub(crate) fn transport<H: Handler>(
    read: ReadHalf,
    write: WriteHalf,
    options: TransportOptions,
    handler: H,
) -> (Sender, Receiver<H>, Arc<Shared>) {
    let (shared, outbox) = Shared::new();
    tokio::spawn(write_all(
        write,
        outbox,
        options.stall_limit,
        shared.clone(),
    ));
    let sender = Sender {
        shared: shared.clone(),
    };
    let receiver = Receiver {
        read,
        framer: Framer::new(options.limits),
        options,
        heard: Instant::now(),
        unheard_bytes: 0,
        probed: false,
        shared: shared.clone(),
        handler: Some(handler),
    };
    (sender, receiver, shared)
}

/// Writes until the connection is lost or both ends are gone.
async fn write_all(
    mut write: WriteHalf,
    mut outbox: Outbox,
    stall_limit: Duration,
    shared: Arc<Shared>,
) {
    let work = async {
        while let Some(message) = outbox.next().await {
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
    shared: Arc<Shared>,
}

impl TransportSenderT for Sender {
    type Error = Gone;

    async fn send(&mut self, message: String) -> Result<(), Gone> {
        let ticket: Ticket = serde_json::from_str(&message).map_err(|error| {
            let reason = format!("jsonrpsee sends what is no request: {error}");
            Gone(Arc::new(ConnectionLost::Message(reason)))
        })?;
        let request = self.shared.exchanges.send(ticket.id);
        self.shared.request(request.finish(ticket.id)).await
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
    shared: Arc<Shared>,
    /// Absent only while a blocking thread has it.
    handler: Option<H>,
}

/// Messages longer than this are parsed on a blocking thread, so that others' sockets are served meanwhile.
const BIG_MESSAGE: usize = 1 << 20;
/// A message that never ends shows no life by a byte now and then: so much of it must come to count.
const SIGN_OF_LIFE: usize = 4 << 10;
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
                    if self.shared.answer(message).await.is_err() {
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
            // What has come is heard before the clock: a process that was stopped for a while finds both ready.
            tokio::select! {
                biased;
                _ = self.shared.until_lost() => return Err(ConnectionLost::Closed),
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
                () = patience => {
                    let interval = silence.unwrap_or_default();
                    if self.probed {
                        return Err(ConnectionLost::Silent(interval * 2));
                    }
                    self.probed = true;
                    self.shared.probe(probe());
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
