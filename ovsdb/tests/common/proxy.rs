//! A man in the middle between a client and a real server, who is up to mischief.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ovsdb::framer::{FrameLimits, Framer};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

/// What is done to one connection.
#[derive(Clone, Default)]
pub(crate) struct Mischief {
    /// What the server sends is handed on in pieces of so many bytes.
    pub(crate) pieces: Option<usize>,
    /// Requests of these methods never reach the server: it "does not know" them.
    pub(crate) refused: Vec<&'static str>,
    /// Requests about this database reach the server as requests about one that it does not have.
    pub(crate) hidden: Option<&'static str>,
    /// The answer to the first request of this method is replaced by these bytes; none at all closes the connection.
    pub(crate) instead_of_reply: Option<(&'static str, Vec<u8>)>,
    /// After the answer to the first request of this method nothing is handed on any more.
    pub(crate) mute_after: Option<&'static str>,
    /// Once the first request of this method was seen nothing more is read from the client.
    pub(crate) deaf_after: Option<&'static str>,
    /// Once the first request of this method was seen nothing more is read from the client until it has taken so many
    /// bytes, counted from then on: ovsdb-server does not read either while it has something to send.
    pub(crate) deaf_until: Option<(&'static str, u64)>,
    /// The connection is cut when so many bytes have passed in either direction.
    pub(crate) cut_after: Option<u64>,
}

pub(crate) struct Proxy {
    address: String,
    connections: Arc<AtomicUsize>,
    inject: Arc<(Notify, parking_lot::Mutex<Vec<u8>>)>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Listens, and connects each client to the server's socket; `mischief` says what is done to the nth connection.
    pub(crate) async fn start(
        server: PathBuf,
        mischief: impl Fn(usize) -> Mischief + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let inject: Arc<(Notify, parking_lot::Mutex<Vec<u8>>)> = Arc::default();
        let task = tokio::spawn({
            let (connections, inject) = (connections.clone(), inject.clone());
            async move {
                let mut running = tokio::task::JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let number = connections.fetch_add(1, Ordering::SeqCst);
                    running.spawn(serve(
                        client,
                        server.clone(),
                        mischief(number),
                        inject.clone(),
                    ));
                }
            }
        });
        Ok(Self {
            address,
            connections,
            inject,
            task,
        })
    }

    pub(crate) fn remote(&self) -> String {
        format!("tcp:{}", self.address)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Sends these bytes to the client as if they came from the server, between two messages of its.
    pub(crate) fn inject(&self, bytes: impl AsRef<[u8]>) {
        self.inject.1.lock().extend_from_slice(bytes.as_ref());
        self.inject.0.notify_one();
    }
}

async fn serve(
    client: TcpStream,
    server: PathBuf,
    mischief: Mischief,
    inject: Arc<(Notify, parking_lot::Mutex<Vec<u8>>)>,
) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    let server = UnixStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // What goes to the client comes from several hands.
    let (outbox, mut letters) = mpsc::channel::<Option<Vec<u8>>>(4);
    let methods: parking_lot::Mutex<HashMap<String, String>> = parking_lot::Mutex::default();
    let taken = watch::Sender::new(0);
    let passed = std::sync::atomic::AtomicU64::new(0);
    // How many of these bytes may still pass.
    let allowance = |bytes: &[u8]| {
        let before = passed.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        match mischief.cut_after {
            Some(limit) => limit.saturating_sub(before).min(bytes.len() as u64) as usize,
            None => bytes.len(),
        }
    };
    let requests = async {
        let mut framer = Framer::new(FrameLimits::default());
        let mut goal = None;
        loop {
            while let Some(message) = framer.next_message()? {
                let mut request: Value = serde_json::from_slice(&message)?;
                if request.get("method").is_none() {
                    // The answer to what we made up; the server would close the connection over it.
                    continue;
                }
                let method = request["method"].as_str().unwrap_or_default().to_owned();
                if mischief.refused.contains(&method.as_str()) {
                    let reply = serde_json::json!({"id": request["id"], "result": null, "error": "unknown method"});
                    outbox.send(Some(reply.to_string().into_bytes())).await?;
                    continue;
                }
                methods
                    .lock()
                    .insert(request["id"].to_string(), method.clone());
                let mut message = message;
                if let Some(hidden) = mischief.hidden
                    && request["params"][0] == hidden
                {
                    request["params"][0] = "_Nowhere".into();
                    message = request.to_string().into();
                }
                let allowed = allowance(&message);
                to_server.write_all(&message[..allowed]).await?;
                if allowed < message.len() {
                    return anyhow::Ok(());
                }
                if mischief.deaf_after == Some(method.as_str()) {
                    std::future::pending::<()>().await;
                }
                if let Some((wanted, bytes)) = mischief.deaf_until
                    && wanted == method
                {
                    let mut taken = taken.subscribe();
                    let goal = *goal.get_or_insert(*taken.borrow() + bytes);
                    taken.wait_for(|taken| *taken >= goal).await?;
                }
            }
            if from_client.read_buf(framer.space()).await? == 0 {
                return Ok(());
            }
        }
    };
    let replies = async {
        let mut framer = Framer::new(FrameLimits::default());
        let mut replaced = false;
        loop {
            while let Some(message) = framer.next_message()? {
                let head: Value = serde_json::from_slice(&message)?;
                let method = methods
                    .lock()
                    .remove(&head["id"].to_string())
                    .unwrap_or_default();
                match &mischief.instead_of_reply {
                    Some((wanted, bytes)) if !replaced && *wanted == method => {
                        replaced = true;
                        if bytes.is_empty() {
                            return anyhow::Ok(());
                        }
                        outbox.send(Some(bytes.clone())).await?;
                    }
                    _ => outbox.send(Some(message.to_vec())).await?,
                }
                if mischief.mute_after == Some(method.as_str()) {
                    std::future::pending::<()>().await;
                }
            }
            if from_server.read_buf(framer.space()).await? == 0 {
                return Ok(());
            }
        }
    };
    let injections = async {
        loop {
            let bytes = std::mem::take(&mut *inject.1.lock());
            if !bytes.is_empty() {
                outbox.send(Some(bytes)).await?;
            }
            inject.0.notified().await;
        }
        #[allow(unreachable_code, reason = "names the type")]
        anyhow::Ok(())
    };
    let delivery = async {
        while let Some(Some(bytes)) = letters.recv().await {
            let allowed = allowance(&bytes);
            for piece in bytes[..allowed].chunks(mischief.pieces.unwrap_or(usize::MAX)) {
                to_client.write_all(piece).await?;
                taken.send_modify(|taken| *taken += piece.len() as u64);
                if mischief.pieces.is_some() {
                    // Lets the other side read what there is.
                    tokio::task::yield_now().await;
                }
            }
            if allowed < bytes.len() {
                return anyhow::Ok(());
            }
        }
        Ok(())
    };
    tokio::select! {
        done = requests => done,
        done = replies => {
            // What was handed over still arrives.
            tokio::time::sleep(Duration::from_millis(5)).await;
            done
        }
        done = delivery => done,
        done = injections => done,
    }
}
