//! What objects are told about themselves, on its way out: the desk decides what is worth writing, the queue holds it
//! until a writer (the Kubernetes API, or files beside the manifests) has time.
//!
//! The engine never waits for a writer, and no object for another namespace's ([`queue`]). How fast the API server is written
//! to depends on how fast it answers (`pacer`).

pub mod desk;
pub mod directory;
pub mod kubernetes;
mod pacer;
pub mod queue;
pub(crate) mod round_robin;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;
use yusur_planner::{Event, ObjectRef};

pub use queue::{Job, Priority, StatusQueue};

/// Events that one write carries at most, the newest: while nothing can be written an object may be told much.
const EVENTS: usize = 8;

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
    /// Addresses in it that are waited for: rows are withheld until [`StatusQueue::finish`] says they are recorded.
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
    /// It was refused, with the writer's words. It is tried again when the object changes, and else seldom; if that
    /// succeeds, another receipt says so.
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

// === impl StatusWrite ===

impl StatusWrite {
    /// Only Events, to be filled in.
    pub(crate) fn events(object: ObjectRef, uid: String) -> Self {
        Self {
            object,
            uid,
            status: None,
            events: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Whether it is about the same object as an earlier one of the same name. Without a uid it is about whatever object
    /// has the name.
    fn follows(&self, earlier: &Self) -> bool {
        self.uid == earlier.uid || self.uid.is_empty() || earlier.uid.is_empty()
    }

    /// This write in place of one about the same object that was not written: that one's Events are kept, and where this
    /// one has no status, that one's. Of a predecessor of the same name nothing is kept.
    fn replace(mut self, earlier: Self) -> Self {
        if !self.follows(&earlier) {
            return self;
        }
        let mut events = earlier.events;
        events.append(&mut self.events);
        events.drain(..events.len().saturating_sub(EVENTS));
        self.events = events;
        if self.uid.is_empty() {
            self.uid = earlier.uid;
        }
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
