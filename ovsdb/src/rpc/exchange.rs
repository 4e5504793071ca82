//! Requests under way. jsonrpsee parses and copies the parameters of a request and the result of its reply several
//! times each, which for large transactions is most of a client's work. So it carries a request without its parameters
//! and a reply without its result; the texts themselves wait here, and pass where the socket is.

use std::collections::HashMap;

use bytes::Bytes;
use ovsdb_model::OpError;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::wire::{Id, Request};
use crate::state::MonitorMethod;

/// The result of a request: valid UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct Answer(Bytes);

/// Shorter results are copied, so that the buffer they came in can be used again.
const KEEP_MESSAGE: usize = 64 << 10;

impl Answer {
    /// `result` must be a slice of `message`. Without one the answer is null.
    pub(crate) fn part_of(message: &Bytes, result: Option<&str>) -> Self {
        Self(match result {
            Some(result) if result.len() < KEEP_MESSAGE => {
                Bytes::copy_from_slice(result.as_bytes())
            }
            Some(result) => message.slice_ref(result.as_bytes()),
            None => Bytes::from_static(b"null"),
        })
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        // Made of a `str` and never changed.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Takes the answer.
pub(crate) type Taker = oneshot::Receiver<Result<Answer, OpError>>;

/// A monitor that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct MonitorRequest {
    pub(crate) method: MonitorMethod,
    /// The monitor's name.
    pub(crate) id: String,
}

/// A request that has reached the socket.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The monitor that it asks for; its result is dealt with in the order of the wire.
    pub(crate) monitor: Option<MonitorRequest>,
    pub(crate) answer: oneshot::Sender<Result<Answer, OpError>>,
}

#[derive(Debug)]
struct Unsent {
    request: Request,
    monitor: Option<MonitorRequest>,
    answer: oneshot::Sender<Result<Answer, OpError>>,
}

/// The requests under way on one connection.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: Id,
    unsent: HashMap<Id, Unsent>,
    sent: HashMap<Id, Sent>,
}

impl Exchanges {
    /// Takes in a request, which waits until jsonrpsee comes to send it.
    pub(crate) fn open(&self, request: Request, monitor: Option<MonitorRequest>) -> (Id, Taker) {
        let (answer, taker) = oneshot::channel();
        let mut inner = self.inner.lock();
        inner.last += 1;
        let id = inner.last;
        let unsent = Unsent {
            request,
            monitor,
            answer,
        };
        inner.unsent.insert(id, unsent);
        (id, taker)
    }

    /// Gives out a request that is being sent. Where it was withdrawn, one that does nothing takes its place, since
    /// jsonrpsee wants an answer.
    pub(crate) fn send(&self, id: Id) -> Request {
        let mut inner = self.inner.lock();
        let (request, monitor, answer) = match inner.unsent.remove(&id) {
            Some(unsent) => (unsent.request, unsent.monitor, unsent.answer),
            None => (Request::new("echo", "[]"), None, oneshot::channel().0),
        };
        inner.sent.insert(id, Sent { monitor, answer });
        request
    }

    /// Takes a request back if it is not sent yet.
    pub(crate) fn withdraw(&self, id: Id) -> bool {
        self.inner.lock().unsent.remove(&id).is_some()
    }

    /// The request that this is the answer to; the server has no other one for it.
    pub(crate) fn answered(&self, id: Id) -> Option<Sent> {
        self.inner.lock().sent.remove(&id)
    }

    /// Requests sent that have no answer yet.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().sent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_back_only_before_it_is_sent() {
        let exchanges = Exchanges::default();
        let (first, mut taker) = exchanges.open(Request::new("a", "[1]"), None);
        let (second, _) = exchanges.open(Request::new("b", "[2]"), None);
        let wire = exchanges.send(first).finish(first);
        assert_eq!(wire, r#"{"method":"a","params":[1],"id":1}"#);
        assert!(!exchanges.withdraw(first));
        assert!(exchanges.withdraw(second));
        let wire = exchanges.send(second).finish(second);
        assert_eq!(wire, r#"{"method":"echo","params":[],"id":2}"#);
        assert_eq!(exchanges.waiting(), 2);

        let message = Bytes::from_static(br#"{"id":1,"result":["x"]}"#);
        let text = std::str::from_utf8(&message).unwrap();
        let answer = Answer::part_of(&message, Some(&text[17..22]));
        let sent = exchanges.answered(first).unwrap();
        sent.answer.send(Ok(answer)).unwrap();
        assert_eq!(taker.try_recv().unwrap().unwrap().as_str(), r#"["x"]"#);
        assert!(exchanges.answered(first).is_none());
        assert!(exchanges.answered(second).is_some());
        assert_eq!(exchanges.waiting(), 0);
    }
}
