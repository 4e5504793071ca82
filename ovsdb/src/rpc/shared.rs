//! What sender, receiver and owner of a connection share: whether it still lives, and what is under way on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::exchange::Exchanges;
use super::framer::FrameError;

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

/// The error jsonrpsee sees: only that the connection is gone. The reason is in [`Shared`].
#[derive(Debug, thiserror::Error)]
#[error("connection lost: {0}")]
pub(crate) struct Gone(pub(super) Arc<ConnectionLost>);

/// Requests that wait for the writer. Few: what waits here has left the caller's hands, so waiting further back is better.
const REQUESTS: usize = 16;
/// Answers that wait for the writer. ovsdb-server does not read while it has something to send: a reader that waited for
/// room to answer, instead of reading on, could wait for ever.
const ANSWERS: usize = 1024;

/// What is to be written: answers, which pass by the requests that wait, and requests.
#[derive(Debug)]
pub(super) struct Outbox {
    requests: mpsc::Receiver<String>,
    answers: mpsc::Receiver<String>,
}

impl Outbox {
    /// The next message; `None` once nobody has any more.
    pub(super) async fn next(&mut self) -> Option<String> {
        tokio::select! {
            biased;
            Some(answer) = self.answers.recv() => Some(answer),
            Some(request) = self.requests.recv() => Some(request),
            else => None,
        }
    }
}

/// What sender, receiver and owner of a connection share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) exchanges: Exchanges,
    requests: mpsc::Sender<String>,
    answers: mpsc::Sender<String>,
    lost: watch::Sender<Option<Arc<ConnectionLost>>>,
    unexpected: AtomicU64,
}

impl Shared {
    /// For a connection, and what its writer takes messages from.
    pub(super) fn new() -> (Arc<Self>, Outbox) {
        let (requests, outgoing_requests) = mpsc::channel(REQUESTS);
        let (answers, outgoing_answers) = mpsc::channel(ANSWERS);
        let shared = Self {
            exchanges: Exchanges::default(),
            requests,
            answers,
            lost: watch::Sender::new(None),
            unexpected: AtomicU64::new(0),
        };
        let outbox = Outbox {
            requests: outgoing_requests,
            answers: outgoing_answers,
        };
        (Arc::new(shared), outbox)
    }

    /// Hands a request to the writer, once it has room.
    pub(super) async fn request(&self, message: String) -> Result<(), Gone> {
        self.hand_over(&self.requests, message).await
    }

    /// Hands a request to the writer if it has room now.
    pub(super) fn try_request(&self, message: String) -> bool {
        self.requests.try_send(message).is_ok()
    }

    /// Hands an answer to the writer.
    pub(super) async fn answer(&self, message: String) -> Result<(), Gone> {
        self.hand_over(&self.answers, message).await
    }

    /// Hands a probe to the writer, to be sent before requests that wait. With so many answers ahead of it that there
    /// is no room, there is no need for it either.
    pub(super) fn probe(&self, message: String) {
        let _ = self.answers.try_send(message);
    }

    async fn hand_over(&self, to: &mpsc::Sender<String>, message: String) -> Result<(), Gone> {
        tokio::select! {
            biased;
            reason = self.until_lost() => Err(Gone(reason)),
            sent = to.send(message) => match sent {
                Ok(()) => Ok(()),
                Err(_) => Err(Gone(self.until_lost().await)),
            },
        }
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

    /// Counts a reply that belonged to no request.
    pub(super) fn count_unexpected(&self) {
        self.unexpected.fetch_add(1, Ordering::Relaxed);
    }

    /// Replies that belonged to no request.
    pub(crate) fn unexpected(&self) -> u64 {
        self.unexpected.load(Ordering::Relaxed)
    }
}
