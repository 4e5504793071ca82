//! What a message from the server leads to.
//!
//! Updates, lock notifications and the results of monitor requests are handed to a [`Handler`] as they are read, so
//! whatever follows them on the wire, in particular the reply to the transaction that caused them, is seen only
//! after they took effect. Replies to requests nobody made are counted and dropped; jsonrpsee would fall over them.

use bytes::Bytes;

use super::exchange::{Answer, MonitorRequest};
use super::shared::{ConnectionLost, Shared};
use super::wire::{self, Incoming};

/// Takes what is not a plain reply, in wire order. Called on whatever thread reads; big messages on a blocking one.
pub(crate) trait Handler: Send + 'static {
    /// `update`, `update2`, `update3`, `locked`, `stolen`, `monitor_canceled`, or anything else without an id.
    fn notification(&mut self, method: &str, params: &str) -> Result<(), String>;

    /// The result of a request for a monitor.
    fn monitored(&mut self, request: &MonitorRequest, result: &str) -> Result<(), String>;
}

/// The id of our probes. Those of requests are numbers.
const PROBE_ID: &str = "\"probe\"";

/// Asks the server for a sign of life.
pub(super) fn probe() -> String {
    format!(r#"{{"id":{PROBE_ID},"method":"echo","params":[]}}"#)
}

/// What a message leads to.
#[derive(Debug)]
pub(super) enum Outcome {
    Nothing,
    ToClient(String),
    ToPeer(String),
}

/// Parses one message and acts on it.
pub(super) fn digest<H: Handler>(
    message: &Bytes,
    handler: &mut H,
    shared: &Shared,
) -> Result<Outcome, ConnectionLost> {
    let text =
        std::str::from_utf8(message).map_err(|error| ConnectionLost::Message(error.to_string()))?;
    let incoming =
        Incoming::parse(text).map_err(|error| ConnectionLost::Message(error.to_string()))?;
    match incoming {
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
            let known = id.parse().ok();
            let known = known.and_then(|id| Some((id, shared.exchanges.answered(id)?)));
            let Some((id, sent)) = known else {
                shared.count_unexpected();
                tracing::debug!(%id, "reply to no request of ours dropped");
                return Ok(Outcome::Nothing);
            };
            let answer = match (outcome, &sent.monitor) {
                (Ok(result), Some(monitor)) => {
                    let result = result.unwrap_or("null");
                    handler.monitored(monitor, result).map_err(|reason| {
                        let method = monitor.method.as_str();
                        ConnectionLost::Message(format!("reply to {method}: {reason}"))
                    })?;
                    Ok(Answer::part_of(message, None))
                }
                (Ok(result), None) => Ok(Answer::part_of(message, result)),
                (Err(error), _) => Err(wire::read_error(error)),
            };
            // Who asked may have stopped waiting.
            let _ = sent.answer.send(answer);
            Ok(Outcome::ToClient(wire::receipt(id)))
        }
    }
}

/// A connection's state, for a fuzzer that plays the server: there is no socket.
#[cfg(fuzzing)]
#[derive(Debug)]
pub(crate) struct Expectation(std::sync::Arc<Shared>);

#[cfg(fuzzing)]
impl Default for Expectation {
    /// The requests 1 (`monitor_cond_since`), 2 (`monitor_cond`), 3 (`monitor`), for the monitor `m`, and 4 await
    /// replies.
    fn default() -> Self {
        use crate::state::MonitorMethod;
        let (shared, _) = Shared::new();
        let monitors = [
            MonitorMethod::MonitorCondSince,
            MonitorMethod::MonitorCond,
            MonitorMethod::Monitor,
        ];
        let requests = monitors
            .map(|method| {
                let id = "m".to_owned();
                Some(MonitorRequest { method, id })
            })
            .into_iter()
            .chain([None]);
        for request in requests {
            let (id, _) = shared
                .exchanges
                .open(wire::Request::new("fuzz", "[]"), request);
            shared.exchanges.send(id);
        }
        Self(shared)
    }
}

/// Digests a message; what goes to jsonrpsee must be what jsonrpsee can read, and what goes to the peer JSON.
#[cfg(fuzzing)]
pub(crate) fn digest_for_fuzzing<H: Handler>(
    message: &Bytes,
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
            let value: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&text);
            assert!(value.is_ok(), "{text}");
        }
    }
    Ok(())
}
