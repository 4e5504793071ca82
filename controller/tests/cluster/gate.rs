//! A gate between a client and its ovsdb-server: what the client sends can be held back, as a slow network would, and
//! what passes is remembered.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes that have come by.
type Heard = Arc<Mutex<Vec<u8>>>;

pub(crate) struct Gate {
    socket: PathBuf,
    shut: watch::Sender<bool>,
    requests: Heard,
    replies: Heard,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    /// Listens at `socket` and connects each client to the server's socket. Open at first.
    pub(crate) fn before(server: PathBuf, socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let (shut, _) = watch::channel(false);
        let (requests, replies) = (Heard::default(), Heard::default());
        let task = tokio::spawn({
            let (shut, requests, replies) = (shut.subscribe(), requests.clone(), replies.clone());
            let (_, open) = watch::channel(false);
            async move {
                let mut running = tokio::task::JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(server) = UnixStream::connect(&server).await else {
                        continue;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    running.spawn(pass(from_client, to_server, shut.clone(), requests.clone()));
                    running.spawn(pass(from_server, to_client, open.clone(), replies.clone()));
                }
            }
        });
        Self {
            socket: socket.to_owned(),
            shut,
            requests,
            replies,
            task,
        }
    }

    /// The remote that leads through the gate.
    pub(crate) fn remote(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// Holds back what the client sends from now on; what the server sends still passes.
    pub(crate) fn shut(&self) {
        self.shut.send_replace(true);
    }

    /// Lets it pass.
    pub(crate) fn open(&self) {
        self.shut.send_replace(false);
    }

    /// All that the client has sent, also what is held back.
    pub(crate) fn requests(&self) -> String {
        text(&self.requests)
    }

    /// All that the server has sent.
    pub(crate) fn replies(&self) -> String {
        text(&self.replies)
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut shut: watch::Receiver<bool>,
    heard: Heard,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(&bytes[..count]);
        let open = shut.wait_for(|shut| !shut).await.is_ok();
        if !open || to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
}

fn text(heard: &Heard) -> String {
    let bytes = heard.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes).into_owned()
}
