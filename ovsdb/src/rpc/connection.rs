//! One connection: jsonrpsee's client over our transport, with deadlines and errors in OVSDB's terms.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jsonrpsee_core::client::async_client::RpcService;
use jsonrpsee_core::client::{Client, ClientBuilder, Error as RpcError};
use jsonrpsee_core::middleware::{Request as RpcRequest, RpcServiceBuilder, RpcServiceT as _};
use ovsdb_model::OpError;

use super::digest::Handler;
use super::exchange::{Answer, MonitorRequest};
use super::shared::{ConnectionLost, Shared};
use super::transport::{TransportOptions, transport};
use super::wire::{Id, Request};
use crate::remote::Remote;
use crate::stream::{self, ConnectError};
use crate::tls::TlsOptions;

/// How long a server may take to say whether it has canceled a request. One that answers at all answers at once; one
/// that has not been told `set_db_change_aware`, or does not know it, cancels without a word.
const CANCEL_LIMIT: Duration = Duration::from_secs(1);

/// Why a request has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// The connection was gone before the request was made.
    #[error("not connected: {0}")]
    NotSent(Arc<ConnectionLost>),
    /// The deadline passed while the request waited for a server that does not read; it was never sent.
    #[error("not sent within {0:?}: the server does not take what was sent before it")]
    Withdrawn(Duration),
    /// The connection was lost before the answer came.
    #[error("connection lost before the answer: {0}")]
    Lost(Arc<ConnectionLost>),
    /// No answer within the deadline.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// No answer within the deadline; the server has then taken the request back, as it was told to.
    #[error("no answer within {0:?}, then canceled")]
    Canceled(Duration),
    /// The server answered with an error.
    #[error("{0}")]
    Refused(OpError),
    /// jsonrpsee has failed.
    #[error("{0}")]
    Unusable(String),
}

/// A live connection. Dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Keeps jsonrpsee's tasks alive.
    _client: Client<RpcService>,
    /// The same client without its own limit of time, for which every request would wake a thread; ours are per
    /// request.
    service: RpcService,
    shared: Arc<Shared>,
}

impl Connection {
    /// Connects; messages go to `handler` from then on.
    pub(crate) async fn open<H: Handler>(
        remote: &Remote,
        tls: Option<&TlsOptions>,
        connect_timeout: Duration,
        options: TransportOptions,
        handler: H,
    ) -> Result<Self, ConnectError> {
        let (read, write) = stream::open(remote, tls, connect_timeout).await?;
        let (sender, receiver, shared) = transport(read, write, options, handler);
        let service = Arc::new(OnceLock::new());
        let middleware = RpcServiceBuilder::new().layer_fn({
            let service = Arc::clone(&service);
            move |inner: RpcService| {
                service.get_or_init(|| inner.clone());
                inner
            }
        });
        let client = ClientBuilder::new()
            .set_rpc_middleware(middleware)
            .build_with_tokio(sender, receiver);
        let service = service.get().cloned().ok_or_else(|| {
            ConnectError::Io(io::Error::other("jsonrpsee has passed its middleware by"))
        })?;
        Ok(Self {
            _client: client,
            service,
            shared,
        })
    }

    /// Makes a request. Once the deadline has passed, the request is canceled.
    pub(crate) async fn call(
        &self,
        request: Request,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        self.make(request, None, deadline).await
    }

    /// Asks for a monitor; `params` is JSON. The handler has had its result when this returns.
    pub(crate) async fn monitor(
        &self,
        monitor: MonitorRequest,
        params: &str,
        deadline: Duration,
    ) -> Result<(), CallError> {
        let request = Request::new(monitor.method.as_str(), params);
        let result = self.make(request, Some(monitor), deadline).await;
        result.map(|_| ())
    }

    async fn make(
        &self,
        request: Request,
        monitor: Option<MonitorRequest>,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        if let Some(reason) = self.shared.lost() {
            return Err(CallError::NotSent(reason));
        }
        let (id, mut taker) = self.shared.exchanges.open(request, monitor);
        // Also where the caller loses patience: what was not sent yet never is.
        let _place = Place {
            shared: &self.shared,
            id,
        };
        let ticket = RpcRequest::borrowed("", None, jsonrpsee_types::Id::Number(id));
        let answer = async {
            self.service.call(ticket).await?;
            Ok::<_, RpcError>(taker.try_recv())
        };
        tokio::pin!(answer);
        let lost = self.shared.until_lost();
        tokio::pin!(lost);
        let mut canceled = false;
        loop {
            let limit = if canceled { CANCEL_LIMIT } else { deadline };
            tokio::select! {
                biased;
                answer = tokio::time::timeout(limit, &mut answer) => match answer {
                    Err(_) if canceled => return Err(CallError::TimedOut(deadline)),
                    Err(_) if self.shared.exchanges.withdraw(id) => {
                        return Err(CallError::Withdrawn(deadline));
                    }
                    Err(_) if self.cancel(id) => canceled = true,
                    Err(_) => return Err(CallError::TimedOut(deadline)),
                    Ok(Ok(Ok(Err(error)))) if canceled && error.error == "canceled" => {
                        return Err(CallError::Canceled(deadline));
                    }
                    Ok(Ok(Ok(outcome))) => return outcome.map_err(CallError::Refused),
                    // Before jsonrpsee hears of the answer, it is where it is taken from.
                    Ok(Ok(Err(error))) => return Err(CallError::Unusable(error.to_string())),
                    Ok(Err(other)) => return Err(CallError::Lost(self.shared.lost().unwrap_or_else(|| {
                        Arc::new(ConnectionLost::Message(other.to_string()))
                    }))),
                },
                // jsonrpsee notices as well, but only once both of its tasks have ended.
                reason = &mut lost => return Err(CallError::Lost(reason)),
            }
        }
    }

    /// Takes a request back (RFC 7047 §4.1.4). `false` where the server does not even read.
    fn cancel(&self, id: Id) -> bool {
        let cancel = Request::new("cancel", &format!("[{id}]"));
        self.shared.try_request(cancel.finish_notification())
    }

    /// Ends the connection for `reason`.
    pub(crate) fn close(&self, reason: impl Into<String>) {
        self.shared.close(ConnectionLost::Dropped(reason.into()));
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn lost(&self) -> Option<Arc<ConnectionLost>> {
        self.shared.lost()
    }

    /// Waits until the connection has ended.
    pub(crate) async fn until_lost(&self) -> Arc<ConnectionLost> {
        self.shared.until_lost().await
    }

    /// Requests without an answer yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.exchanges.waiting()
    }

    /// Replies that belonged to no request.
    pub(crate) fn unexpected_replies(&self) -> u64 {
        self.shared.unexpected()
    }
}

/// A request's place among those under way.
struct Place<'a> {
    shared: &'a Shared,
    id: Id,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.exchanges.withdraw(self.id);
    }
}
