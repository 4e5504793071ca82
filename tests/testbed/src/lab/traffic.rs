//! Servers that name themselves, and clients that say who answered.
//!
//! The protocol is one line each way: the client sends a line, the server answers `NAME CLIENT LOCAL`, where CLIENT is
//! the source address it saw and LOCAL its own address and port; over TCP as often as it is asked. A line that begins an HTTP
//! request is answered as one, so that curl works as well.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::namespace::Namespace;

/// After this long without an answer a request counts as unanswered. Not a measure of speed: an answer comes within
/// milliseconds, a refusal too, and only silence takes this long.
const SILENCE: Duration = Duration::from_secs(3);

/// A transport protocol. SCTP is absent: the userspace datapath's connection tracker does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A server on some ports of a namespace, over IPv4 and IPv6. Dropping it closes them and all connections.
#[derive(Debug)]
pub struct Server {
    name: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts to serve; when this returns, the ports are open.
    ///
    /// # Errors
    /// If a port is taken.
    pub fn start(namespace: &Namespace, name: &str, ports: &[(Protocol, u16)]) -> Result<Self> {
        let runtime = runtime()?;
        let _context = runtime.enter();
        let mut tasks = Vec::new();
        for &(protocol, port) in ports {
            // The unspecified IPv6 address takes IPv4 as well.
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let what = || format!("opening {protocol} port {port} for {name}");
            let name = name.to_owned();
            tasks.push(match protocol {
                Protocol::Tcp => {
                    let listener = namespace.enter(|| TcpListener::bind(address))?;
                    let listener = listener.with_context(what)?;
                    listener.set_nonblocking(true)?;
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    runtime.spawn(serve_tcp(listener, name))
                }
                Protocol::Udp => {
                    let socket = namespace.enter(|| UdpSocket::bind(address))?;
                    let socket = socket.with_context(what)?;
                    socket.set_nonblocking(true)?;
                    let socket = tokio::net::UdpSocket::from_std(socket)?;
                    runtime.spawn(serve_udp(socket, name))
                }
            });
        }
        Ok(Self {
            name: name.to_owned(),
            tasks,
        })
    }

    /// The name it answers with.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // The sockets are closed once the tasks are gone; a caller that goes on counts on that.
        if let Ok(runtime) = runtime() {
            for task in self.tasks.drain(..) {
                // An aborted task ends with an error that says so.
                let _ = runtime.block_on(task);
            }
        }
    }
}

/// One runtime for all servers of this process.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("servers")
                .enable_io()
                .build()
                .map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(|error| anyhow::anyhow!("starting the servers' runtime: {error}"))
}

async fn serve_tcp(listener: tokio::net::TcpListener, name: String) {
    // Connections belong to the server: when its task goes, the set goes, and with it every connection.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, client)) = listener.accept().await {
        let name = name.clone();
        // A connection that breaks concerns its client alone.
        connections.spawn(async move {
            let _ = serve_connection(stream, client, &name).await;
        });
    }
}

async fn serve_connection(
    mut stream: tokio::net::TcpStream,
    client: SocketAddr,
    name: &str,
) -> io::Result<()> {
    let answer = answer(name, client, stream.local_addr()?);
    let (reader, mut writer) = stream.split();
    let mut lines = tokio::io::BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        if line.contains(" HTTP/1.") {
            while lines
                .next_line()
                .await?
                .is_some_and(|line| !line.is_empty())
            {}
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length";
            let response = format!("{head}: {}\r\n\r\n{answer}", answer.len());
            return writer.write_all(response.as_bytes()).await;
        }
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn serve_udp(socket: tokio::net::UdpSocket, name: String) {
    let mut buffer = [0; 64];
    let Ok(local) = socket.local_addr() else {
        return;
    };
    // An error is an ICMP message about an earlier answer: that client has gone, the next one may come.
    loop {
        if let Ok((_, client)) = socket.recv_from(&mut buffer).await {
            let answer = answer(&name, client, local);
            let _ = socket.send_to(answer.as_bytes(), client).await;
        }
    }
}

fn answer(name: &str, client: SocketAddr, local: SocketAddr) -> String {
    format!("{name} {} {}\n", canonical(client), canonical(local))
}

/// An IPv4 address that a dual-stack socket shows as an IPv6 one, as IPv4 again.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Who answered a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The server's name.
    pub who: String,
    /// The source address and port the server saw.
    pub client: SocketAddr,
    /// The port the request reached.
    pub port: u16,
}

impl Reply {
    fn parse(line: &str) -> Result<Self, AskError> {
        let mut words = line.split_whitespace();
        let parsed = (|| {
            let who = words.next()?.to_owned();
            let client = words.next()?.parse().ok()?;
            let local: SocketAddr = words.next()?.parse().ok()?;
            let port = local.port();
            Some(Self { who, client, port })
        })();
        parsed.ok_or_else(|| AskError::Other(format!("not an answer: {line:?}")))
    }
}

/// How a request failed, in the words of a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// A TCP reset in answer to the first packet, or an ICMP "port unreachable".
    #[error("connection refused")]
    Refused,
    /// A TCP reset on an established connection, or its orderly end before an answer.
    #[error("connection lost")]
    Lost,
    /// Nothing came back.
    #[error("no answer")]
    Silence,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof => Self::Lost,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Silence,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Sends one request to `address` from inside a namespace, from a new source port, and returns who answered.
///
/// # Errors
/// How it failed.
pub fn ask(
    namespace: &Namespace,
    protocol: Protocol,
    address: SocketAddr,
) -> Result<Reply, AskError> {
    match protocol {
        Protocol::Tcp => connect(namespace, address)?.ask(),
        Protocol::Udp => flow(namespace, address)?.ask(),
    }
}

/// Sends a datagram from a new source port and returns the first that comes back.
pub(super) fn exchange(
    namespace: &Namespace,
    address: SocketAddr,
    datagram: &[u8],
) -> Result<Vec<u8>, AskError> {
    flow(namespace, address)?.exchange(datagram)
}

/// Opens a UDP socket inside a namespace, for requests to one address that all come from one source port.
///
/// # Errors
/// How it failed.
pub fn flow(namespace: &Namespace, address: SocketAddr) -> Result<Flow, AskError> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = inside(namespace, || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(SILENCE))?;
    Ok(Flow(socket))
}

/// A UDP socket that keeps its source port: to connection tracking, one connection.
#[derive(Debug)]
pub struct Flow(UdpSocket);

impl Flow {
    /// Takes a request for unanswered after `silence`: for one that may be lost, and is asked again.
    ///
    /// # Errors
    /// If `silence` is nothing.
    pub fn within(self, silence: Duration) -> Result<Self, AskError> {
        self.0.set_read_timeout(Some(silence))?;
        Ok(self)
    }

    /// Asks once more, from the same source port.
    ///
    /// # Errors
    /// How it failed.
    pub fn ask(&mut self) -> Result<Reply, AskError> {
        let answer = self.exchange(b"who\n")?;
        Reply::parse(&String::from_utf8_lossy(&answer))
    }

    fn exchange(&mut self, datagram: &[u8]) -> Result<Vec<u8>, AskError> {
        self.0.send(datagram)?;
        let mut buffer = vec![0; 2048];
        let length = self.0.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// Opens a TCP connection from inside a namespace.
///
/// # Errors
/// How it failed.
pub fn connect(namespace: &Namespace, address: SocketAddr) -> Result<Connection, AskError> {
    let stream = inside(namespace, || TcpStream::connect_timeout(&address, SILENCE))?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(Connection(BufReader::new(stream)))
}

fn inside<T: Send>(
    namespace: &Namespace,
    open: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, AskError> {
    namespace
        .enter(open)
        .map_err(|error| AskError::Other(format!("{error:#}")))?
        .map_err(AskError::from)
}

/// An open TCP connection to a [`Server`].
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Asks once more, over the same connection.
    ///
    /// # Errors
    /// How it failed.
    pub fn ask(&mut self) -> Result<Reply, AskError> {
        self.0.get_mut().write_all(b"who\n")?;
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(AskError::Lost);
        }
        Reply::parse(&line)
    }
}
