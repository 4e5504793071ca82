//! One connection: jsonrpsee's client over our transport, with deadlines and errors in OVSDB's terms.

use std::sync::Arc;
use std::time::Duration;

use jsonrpsee_core::client::async_client::RpcService;
use jsonrpsee_core::client::{Client, ClientBuilder, ClientT as _, Error as RpcError};
use jsonrpsee_core::middleware::RpcServiceBuilder;
use jsonrpsee_core::traits::ToRpcParams;
use ovsdb_model::OpError;
use serde_json::value::RawValue;

use super::transport::{ConnectionLost, Handler, Shared, TransportOptions, transport};
use super::wire::read_error;
use crate::remote::Remote;
use crate::stream::{self, ConnectError};
use crate::tls::TlsOptions;

/// Why a request has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// The connection was gone before the request was made.
    #[error("not connected: {0}")]
    NotSent(Arc<ConnectionLost>),
    /// The connection was lost before the answer came.
    #[error("connection lost before the answer: {0}")]
    Lost(Arc<ConnectionLost>),
    /// No answer within the deadline.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The server answered with an error.
    #[error("{0}")]
    Refused(OpError),
    /// The request could not be written, or the answer not be read, as JSON.
    #[error("{0}")]
    Unusable(String),
}

/// Parameters that are JSON text already.
struct Params(Box<RawValue>);

impl ToRpcParams for Params {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        Ok(Some(self.0))
    }
}

/// A live connection. Dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client<RpcService>,
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
        let client = ClientBuilder::new()
            // Deadlines are ours, per request: jsonrpsee has one for all.
            .request_timeout(Duration::from_secs(10 * 365 * 24 * 3600))
            .set_rpc_middleware(RpcServiceBuilder::new())
            .build_with_tokio(sender, receiver);
        Ok(Self { client, shared })
    }

    /// Makes a request; `params` is a JSON array.
    pub(crate) async fn call(
        &self,
        method: &str,
        params: &str,
        deadline: Duration,
    ) -> Result<Box<RawValue>, CallError> {
        if let Some(reason) = self.shared.lost() {
            return Err(CallError::NotSent(reason));
        }
        let params = RawValue::from_string(params.to_owned())
            .map_err(|error| CallError::Unusable(error.to_string()))?;
        let request = self
            .client
            .request::<Box<RawValue>, _>(method, Params(params));
        let lost = self.shared.until_lost();
        tokio::select! {
            biased;
            answer = tokio::time::timeout(deadline, request) => match answer {
                Err(_) => Err(CallError::TimedOut(deadline)),
                Ok(Ok(result)) => Ok(result),
                Ok(Err(RpcError::Call(error))) => Err(CallError::Refused(match error.data() {
                    Some(data) => read_error(data.get()),
                    None => OpError::new(error.message(), None),
                })),
                Ok(Err(RpcError::ParseError(error))) => Err(CallError::Unusable(error.to_string())),
                Ok(Err(other)) => Err(CallError::Lost(self.shared.lost().unwrap_or_else(|| {
                    Arc::new(ConnectionLost::Message(other.to_string()))
                }))),
            },
            // jsonrpsee notices as well, but only once both of its tasks have ended.
            reason = lost => Err(CallError::Lost(reason)),
        }
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
        self.shared.in_flight()
    }

    /// Replies that belonged to no request.
    pub(crate) fn unexpected_replies(&self) -> u64 {
        self.shared.unexpected()
    }
}
