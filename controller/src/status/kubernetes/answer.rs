//! What the API server answers to a write of status, as far as it matters what comes next.

use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use kube::core::Status;

/// What is read of an answer's words that is no `Status`.
const WORDS: usize = 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// As asked.
    Written,
    /// There is no such object, or another of its name.
    Gone,
    /// To ask the same of the same object again would be in vain.
    Refused(String),
    /// It failed for this object; trying again may help.
    Failed(String),
    /// The server asks to be left alone: for this long, if it says (`Retry-After`).
    Throttled(Option<Duration>),
    /// The server cannot be reached, or cannot reach what it needs.
    Unreachable(String),
}

// === impl Answer ===

impl Answer {
    /// That to a request.
    pub(super) async fn to(client: &Client, request: Request<Body>) -> Self {
        let answer = match client.send(request).await {
            Ok(answer) => answer,
            Err(error) => return Self::Unreachable(error.to_string()),
        };
        let (head, body) = answer.into_parts();
        // Read to its end also where nobody needs it: the connection then serves the next request.
        let body = match body.collect_bytes().await {
            Ok(body) => body,
            // Whether it is written shows when it is tried again.
            Err(error) => return Self::Unreachable(error.to_string()),
        };
        if head.status.is_success() {
            return Self::Written;
        }
        let status = serde_json::from_slice(&body).ok();
        let words = String::from_utf8_lossy(&body[..body.len().min(WORDS)]);
        Self::of(head.status, &head.headers, status.as_ref(), &words)
    }

    /// That of an answer other than success: its code, its headers, its `Status` or, without one, its words.
    fn of(code: StatusCode, headers: &HeaderMap, status: Option<&Status>, words: &str) -> Self {
        let message = status.map(|status| &*status.message);
        let message = message.filter(|message| !message.is_empty());
        let words = format!("{} {}", code.as_u16(), message.unwrap_or(words.trim()));
        let details = status.and_then(|status| status.details.as_ref());
        match code.as_u16() {
            404 => Self::Gone,
            // A schema's refusal names its causes; a test that failed, here the uid's, does not: the name is another
            // object's now.
            422 if details.is_none_or(|details| details.causes.is_empty()) => Self::Gone,
            // The rights: they are the same for all objects, and a server that has just started knows none yet.
            403 if words.contains("cannot patch resource") => Self::Failed(words),
            // A policy or an admission webhook denies it.
            400 | 403 | 413 | 415 | 422 => Self::Refused(words),
            429 => Self::Throttled(retry_after(headers)),
            // What etcd says of an object above its limit (`--max-request-bytes`), and what its client says of one above
            // that of gRPC.
            500 if words.contains("request is too large") || words.contains("larger than max") => {
                Self::Refused(words)
            }
            503 => match retry_after(headers) {
                Some(asked) => Self::Throttled(Some(asked)),
                None => Self::Unreachable(words),
            },
            _ => Self::Failed(words),
        }
    }
}

/// `Retry-After`, in seconds as Kubernetes has it. The other form, a date, it does not use.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?;
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(code: u16, retry_after: Option<&'static str>, body: Value) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(
                http::header::RETRY_AFTER,
                http::HeaderValue::from_static(value),
            );
        }
        let code = StatusCode::from_u16(code).unwrap();
        let status: Option<Status> = serde_json::from_value(body.clone()).ok();
        Answer::of(
            code,
            &headers,
            status.as_ref(),
            body.as_str().unwrap_or_default(),
        )
    }

    fn status(code: u16, message: &str) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "code": code})
    }

    #[test]
    fn an_answer_is_taken_for_what_it_means() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let busy = json!("Too many requests, please try again later.\n");
        for (answer, wanted) in [
            (answer(404, None, status(404, "not found")), Answer::Gone),
            (
                answer(422, None, status(422, "the server rejected our request")),
                Answer::Gone,
            ),
            (
                answer(500, None, status(500, "etcdserver: request is too large")),
                Answer::Refused("500 etcdserver: request is too large".into()),
            ),
            (
                answer(500, None, status(500, "etcdserver: leader changed")),
                Answer::Failed("500 etcdserver: leader changed".into()),
            ),
            (
                answer(403, None, status(403, "a webhook denied it")),
                Answer::Refused("403 a webhook denied it".into()),
            ),
            (
                answer(
                    403,
                    None,
                    status(403, "User \"x\" cannot patch resource \"vpcs/status\""),
                ),
                Answer::Failed("403 User \"x\" cannot patch resource \"vpcs/status\"".into()),
            ),
            (
                answer(429, Some("3"), busy.clone()),
                Answer::Throttled(seconds(3)),
            ),
            (answer(429, None, busy), Answer::Throttled(None)),
            (
                answer(503, Some("1"), json!("starting")),
                Answer::Throttled(seconds(1)),
            ),
            (
                answer(503, None, json!("no endpoints")),
                Answer::Unreachable("503 no endpoints".into()),
            ),
            (
                answer(504, None, status(504, "request timed out")),
                Answer::Failed("504 request timed out".into()),
            ),
        ] {
            assert_eq!(answer, wanted);
        }
        let causes = json!({"causes": [{"reason": "FieldValueInvalid", "message": "no", "field": "status"}]});
        let mut invalid = status(422, "status: Invalid value");
        invalid["details"] = causes;
        assert_eq!(
            answer(422, None, invalid),
            Answer::Refused("422 status: Invalid value".into())
        );
    }
}
