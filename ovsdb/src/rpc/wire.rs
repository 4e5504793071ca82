//! OVSDB's dialect of JSON-RPC 1.0, and how the 2.0 that jsonrpsee speaks is turned into it and back.
//!
//! ovsdb-server closes the connection on an unexpected member such as `"jsonrpc"` and on missing `params`; its
//! replies carry both `result` and `error`, one of them null, and errors that are strings or objects of their own.

use std::borrow::Cow;

use ovsdb_model::OpError;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Names a request, to jsonrpsee and on the wire.
pub(crate) type Id = u64;

/// Any message, its parts still unparsed.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) error: Option<&'a RawValue>,
}

/// What a message is to us.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// A request the peer wants answered.
    Request {
        id: &'a RawValue,
        method: Cow<'a, str>,
        params: &'a str,
    },
    /// A message without an answer.
    Notification {
        method: Cow<'a, str>,
        params: &'a str,
    },
    /// An answer, `Ok` or `Err`; a result of null is none.
    Reply {
        id: &'a str,
        outcome: Result<Option<&'a str>, &'a str>,
    },
}

impl<'a> Incoming<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let envelope: Envelope<'a> = serde_json::from_str(text)?;
        let params = envelope.params.map_or("[]", RawValue::get);
        Ok(match (envelope.method, envelope.id) {
            (Some(method), None) => Incoming::Notification { method, params },
            (Some(method), Some(id)) => Incoming::Request { id, method, params },
            (None, id) => Incoming::Reply {
                id: id.map_or("null", RawValue::get),
                outcome: match envelope.error {
                    Some(error) => Err(error.get()),
                    None => Ok(envelope.result.map(RawValue::get)),
                },
            },
        })
    }
}

/// A request as jsonrpsee writes it. What it says beside the id passes by jsonrpsee.
#[derive(Debug, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) id: Id,
}

/// A request but for its id, which comes last so that parameters, which may be long, are written once.
#[derive(Clone, Debug)]
pub(crate) struct Request(String);

impl Request {
    /// The request whose `params` are this JSON.
    pub(crate) fn new(method: &str, params: &str) -> Self {
        Self([&Self::head(method), params].concat())
    }

    /// What stands before the parameters.
    pub(crate) fn head(method: &str) -> String {
        let method = serde_json::Value::from(method);
        format!(r#"{{"method":{method},"params":"#)
    }

    /// The request that begins with [`Request::head`] and ends with its parameters.
    pub(crate) fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The whole request.
    pub(crate) fn finish(mut self, id: Id) -> String {
        self.0.push_str(r#","id":"#);
        self.0.push_str(&id.to_string());
        self.0.push('}');
        self.0
    }

    /// The same without an answer.
    pub(crate) fn finish_notification(mut self) -> String {
        self.0.push_str(r#","id":null}"#);
        self.0
    }
}

/// An answer to a request of the peer.
pub(crate) fn reply(id: &RawValue, outcome: Result<&str, &str>) -> String {
    let id = id.get();
    match outcome {
        Ok(result) => format!(r#"{{"id":{id},"result":{result},"error":null}}"#),
        Err(error) => format!(r#"{{"id":{id},"result":null,"error":{error}}}"#),
    }
}

/// What jsonrpsee is given for an answer to its request `id`: only that it has come.
pub(crate) fn receipt(id: Id) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":null}}"#)
}

/// Reads an OVSDB `<error>` (RFC 7047 §3.1). Takes any JSON: servers send a string, or an object with `error` and
/// `details`.
pub(crate) fn read_error(json: &str) -> OpError {
    match serde_json::from_str(json) {
        Ok(value) => OpError::from_json(&value),
        Err(_) => OpError::new(json, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_with_their_id() {
        let text = r#"{"jsonrpc":"2.0","id":7,"method":"list_dbs"}"#;
        let ticket: Ticket = serde_json::from_str(text).unwrap();
        assert_eq!(
            Request::new("a\"b", r#"["x"]"#).finish(ticket.id),
            r#"{"method":"a\"b","params":["x"],"id":7}"#
        );
        assert_eq!(
            Request::new("cancel", "[7]").finish_notification(),
            r#"{"method":"cancel","params":[7],"id":null}"#
        );
    }

    #[test]
    fn messages_are_told_apart() {
        let echo = r#"{"id":"echo","method":"echo","params":[]}"#;
        assert!(matches!(
            Incoming::parse(echo).unwrap(),
            Incoming::Request { .. }
        ));
        let update = r#"{"id":null,"method":"update3","params":[1]}"#;
        assert!(matches!(
            Incoming::parse(update).unwrap(),
            Incoming::Notification { params: "[1]", .. }
        ));
        let update = r#"{"method":"update3","params":[1]}"#;
        assert!(matches!(
            Incoming::parse(update).unwrap(),
            Incoming::Notification { .. }
        ));
        let good = r#"{"id":3,"result":{},"error":null}"#;
        assert!(matches!(
            Incoming::parse(good).unwrap(),
            Incoming::Reply {
                id: "3",
                outcome: Ok(Some("{}"))
            }
        ));
        let empty = r#"{"id":3,"result":null,"error":null}"#;
        assert!(matches!(
            Incoming::parse(empty).unwrap(),
            Incoming::Reply {
                outcome: Ok(None),
                ..
            }
        ));
        let bad = r#"{"id":3,"error":"canceled"}"#;
        assert!(matches!(
            Incoming::parse(bad).unwrap(),
            Incoming::Reply {
                outcome: Err("\"canceled\""),
                ..
            }
        ));
        assert!(Incoming::parse(r#"{"id":1,"id":2}"#).is_err());
        assert!(Incoming::parse(r#"{"method":5}"#).is_err());
    }

    #[test]
    fn errors_of_both_forms_are_read() {
        let error = read_error(r#"{"error":"unknown database","details":"no X"}"#);
        assert_eq!(error.to_string(), "unknown database: no X");
        assert_eq!(read_error(r#""canceled""#).error, "canceled");
        assert_eq!(read_error("[1]").error, "[1]");
    }
}
