//! OVSDB's dialect of JSON-RPC 1.0, and how it is turned into the 2.0 that jsonrpsee speaks and back.
//!
//! ovsdb-server closes the connection on an unexpected member such as `"jsonrpc"` and on missing `params`; its
//! replies carry both `result` and `error`, one of them null, and errors that are strings or objects of their own.

use std::borrow::Cow;

use ovsdb_model::OpError;
use serde::Deserialize;
use serde_json::value::RawValue;

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
    /// An answer, `Ok` or `Err`.
    Reply {
        id: &'a str,
        outcome: Result<&'a str, &'a str>,
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
                    None => Ok(envelope.result.map_or("null", RawValue::get)),
                },
            },
        })
    }
}

/// A request as jsonrpsee writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Outgoing<'a> {
    /// Missing in a notification.
    #[serde(default)]
    pub(crate) id: Option<u64>,
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) params: Option<&'a RawValue>,
}

impl Outgoing<'_> {
    /// The request in OVSDB's dialect.
    pub(crate) fn to_wire(&self) -> Result<String, serde_json::Error> {
        let params = self.params.map_or("[]", RawValue::get);
        let method = serde_json::to_string(&self.method)?;
        Ok(match self.id {
            Some(id) => format!(r#"{{"id":{id},"method":{method},"params":{params}}}"#),
            None => format!(r#"{{"id":null,"method":{method},"params":{params}}}"#),
        })
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

/// An answer in the form jsonrpsee accepts.
pub(crate) fn to_jsonrpc2(
    id: u64,
    outcome: Result<&str, &str>,
) -> Result<String, serde_json::Error> {
    Ok(match outcome {
        Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(error) => {
            let message = serde_json::to_string(&read_error(error).error)?;
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":{message},"data":{error}}}}}"#
            )
        }
    })
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
    fn requests_lose_what_the_server_refuses() {
        let text = r#"{"jsonrpc":"2.0","id":7,"method":"list_dbs"}"#;
        let request: Outgoing<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(
            request.to_wire().unwrap(),
            r#"{"id":7,"method":"list_dbs","params":[]}"#
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
                outcome: Ok("{}")
            }
        ));
        let empty = r#"{"id":3,"result":null,"error":null}"#;
        assert!(matches!(
            Incoming::parse(empty).unwrap(),
            Incoming::Reply {
                outcome: Ok("null"),
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
    fn errors_of_both_forms_reach_jsonrpsee() {
        assert_eq!(
            to_jsonrpc2(1, Err(r#"{"error":"unknown database","details":"no X"}"#)).unwrap(),
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"unknown database","data":{"error":"unknown database","details":"no X"}}}"#
        );
        assert!(
            to_jsonrpc2(1, Err(r#""canceled""#))
                .unwrap()
                .contains(r#""message":"canceled""#)
        );
        assert_eq!(read_error("[1]").error, "[1]");
    }
}
