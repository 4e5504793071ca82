//! Opens a byte stream to a [`Remote`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::remote::Remote;
use crate::tls::{TlsError, TlsOptions, server_name};

/// The half that receives.
pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// The half that sends.
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Why no stream could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket cannot be reached.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The host name has no address.
    #[error("host {0:?} has no address")]
    NoAddress(String),
    /// TLS files or settings are at fault.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The TLS handshake failed.
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    /// It took too long.
    #[error("no connection after {0:?}")]
    TimedOut(Duration),
}

/// Connects within `timeout`, the TLS handshake included.
pub(crate) async fn open(
    remote: &Remote,
    tls: Option<&TlsOptions>,
    timeout: Duration,
) -> Result<(ReadHalf, WriteHalf), ConnectError> {
    tokio::time::timeout(timeout, open_now(remote, tls, timeout))
        .await
        .unwrap_or(Err(ConnectError::TimedOut(timeout)))
}

async fn open_now(
    remote: &Remote,
    tls: Option<&TlsOptions>,
    timeout: Duration,
) -> Result<(ReadHalf, WriteHalf), ConnectError> {
    match remote {
        Remote::Unix(path) => {
            let (read, write) = UnixStream::connect(path).await?.into_split();
            Ok((Box::new(read), Box::new(write)))
        }
        Remote::Tcp { host, port } => {
            let (read, write) = tcp(host, *port, timeout).await?.into_split();
            Ok((Box::new(read), Box::new(write)))
        }
        Remote::Ssl { host, port } => {
            let options = tls.ok_or(TlsError::Missing)?.clone();
            let name = server_name(host)?;
            // Reading and checking files is not for the threads that serve sockets.
            let config = tokio::task::spawn_blocking(move || options.client_config())
                .await
                .map_err(io::Error::other)??;
            let stream = tcp(host, *port, timeout).await?;
            let stream = TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map_err(ConnectError::Handshake)?;
            let (read, write) = tokio::io::split(stream);
            Ok((Box::new(read), Box::new(write)))
        }
    }
}

/// Tries every address the host has, each with a fair share of the time.
async fn tcp(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let share = timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failure = ConnectError::NoAddress(host.to_owned());
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error.into(),
            Err(_) => failure = ConnectError::TimedOut(share),
        }
    }
    Err(failure)
}
