//! What objects are told about themselves, on its way out: the desk decides what is worth writing, the queue holds it
//! until a writer (the Kubernetes API, or files beside the manifests) has time.
//!
//! The engine never waits for a writer. The queue keeps one write an object, the newest, so it cannot grow beyond the
//! number of objects however slow the writer is.

pub mod desk;
pub mod directory;
pub mod kubernetes;

use std::net::IpAddr;
use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use yusur_planner::{Event, ObjectRef};

/// One object's new status and the Events that tell of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusWrite {
    /// The object.
    pub object: ObjectRef,
    /// Its `metadata.uid`: a successor of the same name must not get this status. Empty where only Events are to be
    /// published and the uid is not known: about whatever object has the name.
    pub uid: String,
    /// The whole of `status`, conditions with their times included; `None` where only Events are to be published
    /// (the object is not ours, as a Pod).
    pub status: Option<StatusText>,
    /// Events, oldest first.
    pub events: Vec<Event>,
    /// Addresses in it that are waited for: rows are withheld until [`StatusQueue::finish`] says they are recorded. Such
    /// a write goes before others.
    pub record: Vec<IpAddr>,
}

/// A status as JSON text: a fifth of what it takes as a tree, of which ten thousand may wait after a cold start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusText(Box<str>);

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// It is written.
    Written,
    /// There is no such object (any more); nothing to do.
    Gone,
    /// It was [withdrawn](StatusQueue::withdraw) before it was written.
    Withdrawn,
    /// It was refused for good, with the writer's words.
    Refused(String),
}

/// A write that has ended.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// What was written.
    pub write: Arc<StatusWrite>,
    /// How it ended.
    pub end: Finished,
}

/// What waits to be written. Cloning shares it.
#[derive(Debug, Clone)]
pub struct StatusQueue {
    shared: Arc<Shared>,
    receipts: mpsc::UnboundedSender<Receipt>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Those with `record` set.
    first: IndexMap<ObjectRef, StatusWrite>,
    rest: IndexMap<ObjectRef, StatusWrite>,
    gone: Vec<(ObjectRef, String)>,
    notices: Vec<Event>,
    closed: bool,
    /// Grows with each [`StatusQueue::withdraw`].
    term: u64,
}

/// What a writer is handed.
#[derive(Debug, Default)]
pub struct Batch {
    /// Objects that have gone, with their uids: drop what is kept about them. Before the writes.
    pub gone: Vec<(ObjectRef, String)>,
    /// Events about the controller itself: of no object, or of objects that are no longer there.
    pub notices: Vec<Event>,
    /// What to write.
    pub writes: Vec<StatusWrite>,
    /// When they were handed out, for [`StatusQueue::is_withdrawn`].
    pub term: u64,
}

// === impl StatusWrite ===

impl StatusWrite {
    /// This write in place of one about the same object that was not written: that one's Events are kept, and where this
    /// one has no status, that one's.
    pub(crate) fn replace(mut self, earlier: Self) -> Self {
        let mut events = earlier.events;
        events.append(&mut self.events);
        self.events = events;
        if self.status.is_none() {
            (self.status, self.record) = (earlier.status, earlier.record);
        }
        self
    }
}

// === impl StatusText ===

impl StatusText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text of any status.
    ///
    /// # Errors
    /// When it cannot be expressed as JSON.
    pub fn new(status: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::to_string(status).map(|text| Self(text.into()))
    }

    /// The status as a tree.
    pub fn to_value(&self) -> Value {
        // Only the constructors make one, from what was JSON.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<Value> for StatusText {
    fn from(status: Value) -> Self {
        Self(status.to_string().into())
    }
}

impl Serialize for StatusText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

// === impl StatusQueue ===

impl StatusQueue {
    /// An empty queue, and where the engine learns what has been written.
    ///
    /// The receipts are not bounded by a number but by the writer: it sends one for each write it took, and takes no
    /// more than it was given.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Receipt>) {
        let (receipts, receiver) = mpsc::unbounded_channel();
        let shared = Shared {
            waiting: Mutex::default(),
            arrived: Notify::new(),
        };
        (
            Self {
                shared: Arc::new(shared),
                receipts,
            },
            receiver,
        )
    }

    /// Adds a write. It takes the place of one that still waits for the same object.
    pub fn push(&self, mut write: StatusWrite) {
        let mut waiting = self.shared.waiting.lock();
        let earlier = waiting
            .first
            .shift_remove(&write.object)
            .or_else(|| waiting.rest.shift_remove(&write.object))
            .filter(|earlier| earlier.uid == write.uid);
        if let Some(earlier) = earlier {
            write = write.replace(earlier);
        }
        let lane = if write.record.is_empty() {
            &mut waiting.rest
        } else {
            &mut waiting.first
        };
        lane.insert(write.object.clone(), write);
        drop(waiting);
        self.shared.arrived.notify_one();
    }

    /// The object has gone: nothing need be written about it any more.
    pub fn forget(&self, object: ObjectRef, uid: String) {
        let mut waiting = self.shared.waiting.lock();
        waiting.first.shift_remove(&object);
        waiting.rest.shift_remove(&object);
        waiting.gone.push((object, uid));
        drop(waiting);
        self.shared.arrived.notify_one();
    }

    /// Takes back all writes: another process tells now. Returns the objects of those that waited; a writer finishes what
    /// it was handed and has not sent as [`Finished::Withdrawn`].
    pub fn withdraw(&self) -> Vec<ObjectRef> {
        let mut waiting = self.shared.waiting.lock();
        waiting.term += 1;
        let first = std::mem::take(&mut waiting.first);
        let rest = std::mem::take(&mut waiting.rest);
        first.into_keys().chain(rest.into_keys()).collect()
    }

    /// Whether what was handed out in that term has been taken back.
    pub fn is_withdrawn(&self, term: u64) -> bool {
        self.shared.waiting.lock().term != term
    }

    /// An Event about the controller itself.
    pub fn notice(&self, event: Event) {
        self.shared.waiting.lock().notices.push(event);
        self.shared.arrived.notify_one();
    }

    /// Takes up to `max` writes, those to be recorded first, waiting until there is one. `None` once the queue is
    /// closed and empty.
    pub async fn take(&self, max: usize) -> Option<Batch> {
        loop {
            let arrived = self.shared.arrived.notified();
            {
                let mut waiting = self.shared.waiting.lock();
                let first = waiting.first.len().min(max);
                let rest = waiting.rest.len().min(max - first);
                let mut writes: Vec<_> = waiting
                    .first
                    .drain(..first)
                    .map(|(_, write)| write)
                    .collect();
                writes.extend(waiting.rest.drain(..rest).map(|(_, write)| write));
                let gone = std::mem::take(&mut waiting.gone);
                let notices = std::mem::take(&mut waiting.notices);
                if !writes.is_empty() || !gone.is_empty() || !notices.is_empty() {
                    return Some(Batch {
                        gone,
                        notices,
                        writes,
                        term: waiting.term,
                    });
                }
                if waiting.closed {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// Tells the engine how a write ended. Every write taken is finished once; a writer that cannot write *now* keeps
    /// it and tries again, unless a newer one for the object is [waiting](StatusQueue::superseded).
    pub fn finish(&self, write: StatusWrite, end: Finished) {
        // The engine may have stopped already: then nobody needs to know.
        let _ = self.receipts.send(Receipt {
            write: Arc::new(write),
            end,
        });
    }

    /// Whether a newer write for the object waits, so that trying an older one again would be in vain.
    pub fn superseded(&self, object: &ObjectRef) -> bool {
        let waiting = self.shared.waiting.lock();
        waiting.first.contains_key(object) || waiting.rest.contains_key(object)
    }

    /// How many writes wait.
    pub fn len(&self) -> usize {
        let waiting = self.shared.waiting.lock();
        waiting.first.len() + waiting.rest.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No more will come: [`StatusQueue::take`] returns `None` once it has handed out the rest.
    pub fn close(&self) {
        self.shared.waiting.lock().closed = true;
        self.shared.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yusur_planner::{Kind, ObjectName, Severity};

    fn write(name: &str, uid: &str, number: i64, record: bool) -> StatusWrite {
        StatusWrite {
            object: ObjectRef {
                kind: Kind::YusurService,
                name: ObjectName::new("a", name),
            },
            uid: uid.into(),
            status: Some(Value::from(number).into()),
            events: vec![Event {
                severity: Severity::Normal,
                reason: "Ready",
                message: number.to_string().into(),
            }],
            record: record
                .then_some(IpAddr::from([10, 96, 0, 1]))
                .into_iter()
                .collect(),
        }
    }

    #[tokio::test]
    async fn the_newest_status_wins_and_no_event_is_lost() {
        let (queue, mut receipts) = StatusQueue::new();
        queue.push(write("x", "1", 1, false));
        queue.push(write("y", "1", 5, false));
        queue.push(write("x", "1", 2, false));
        let batch = queue.take(10).await.unwrap().writes;
        let x = batch
            .iter()
            .find(|write| &*write.object.name.name == "x")
            .unwrap();
        assert_eq!(x.status, Some(Value::from(2).into()));
        assert_eq!(x.events.len(), 2);
        assert_eq!(batch.len(), 2);
        queue.finish(x.clone(), Finished::Written);
        assert_eq!(receipts.recv().await.unwrap().end, Finished::Written);
    }

    #[tokio::test]
    async fn a_successor_inherits_nothing() {
        let (queue, _receipts) = StatusQueue::new();
        queue.push(write("x", "1", 1, true));
        queue.push(write("x", "2", 2, false));
        let batch = queue.take(10).await.unwrap().writes;
        assert_eq!(
            (batch.len(), batch[0].events.len(), batch[0].record.len()),
            (1, 1, 0)
        );
    }

    #[tokio::test]
    async fn what_is_withdrawn_is_not_written() {
        let (queue, _receipts) = StatusQueue::new();
        queue.push(write("x", "1", 1, false));
        let batch = queue.take(1).await.unwrap();
        assert!(!queue.is_withdrawn(batch.term));
        queue.push(write("y", "1", 1, true));
        queue.push(write("z", "1", 1, false));
        let names: Vec<_> = queue
            .withdraw()
            .into_iter()
            .map(|object| object.name.name)
            .collect();
        assert_eq!(names, ["y", "z"]);
        assert!(queue.is_withdrawn(batch.term) && queue.is_empty());
    }

    #[tokio::test]
    async fn what_rows_wait_for_goes_first() {
        let (queue, _receipts) = StatusQueue::new();
        queue.push(write("x", "1", 1, false));
        queue.push(write("y", "1", 1, true));
        let batch = queue.take(1).await.unwrap().writes;
        assert_eq!(&*batch[0].object.name.name, "y");
        queue.forget(write("x", "1", 1, false).object, "1".into());
        assert!(queue.is_empty());
        queue.close();
        assert_eq!(queue.take(1).await.unwrap().gone.len(), 1);
        assert!(queue.take(1).await.is_none());
    }
}
