//! Where objects come from. A source is a task that turns what it watches into [`SourceEvent`]s; the engine neither
//! knows nor asks which source it listens to (decision 8).
//!
//! # What a source owes
//! - It announces at its start every kind it will list ([`Sources::kinds`]); nothing is deleted in the Northbound
//!   before each of them has been listed in full once.
//! - It tells an object after the change, never before, and in the order in which it happened.
//! - A deletion it *saw* is a [`SourceEvent::Changed`] that removes; an object that is merely *missing* from a list is left to
//!   [`SourceEvent::ListEnded`] (where it told all objects anew) or told as [`SourceEvent::Lost`] (where it told only
//!   the changed ones). The engine then decides whether to believe it (decision 13).
//! - An object it cannot decode keeps its last good form; it says so by [`SourceEvent::Problem`].
//! - It waits when the channel is full: the engine is then busy, and nothing may be dropped.

use std::time::Instant;

use tokio::sync::mpsc;
use yusur_planner::{Change, Kind, ObjectRef};

pub mod kubernetes;
pub mod manifests;
pub mod shape;

/// How many events may wait for the engine before the source waits for it.
pub const DEPTH: usize = 512;

/// What a source tells.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all events are of the largest variant, and a box each would cost an allocation"
)]
pub enum SourceEvent {
    /// One object was set, or a deletion was seen.
    Changed {
        /// The object, as the planner takes it.
        change: Change,
        /// When the news reached this process: the clock of the latency metrics starts here.
        seen: Instant,
    },
    /// All objects of the kind will now be told anew, as [`SourceEvent::Changed`], until [`SourceEvent::ListEnded`].
    /// A second `ListBegun` of the kind before the end starts over.
    ListBegun(Kind),
    /// All were told; those known before and not told since `ListBegun` are missing.
    ListEnded(Kind),
    /// These objects are missing, found by looking and not by having seen their deletion.
    Lost(Vec<ObjectRef>),
    /// Whether part of what the source holds cannot be read and was never known: while that is so, rows without an
    /// object are left in the Northbound, since the object may be in that part.
    Unknown(bool),
    /// Something cannot be used as it is. It replaces what was said of the same `subject` before.
    Problem {
        /// The object or file.
        subject: String,
        /// The object, where Events and conditions can be written about it.
        object: Option<ObjectRef>,
        /// What is wrong, and the mend; `None`: all is well again.
        problem: Option<Problem>,
    },
}

/// What is wrong with an object or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One CamelCase word: the metric's label and the Event's reason.
    pub reason: &'static str,
    /// A sentence that says the mend.
    pub message: String,
}

/// A source's end of the channel.
pub type Sender = mpsc::Sender<SourceEvent>;

/// The engine's end: the events, and what must have been listed before anything may be deleted.
#[derive(Debug)]
pub struct Sources {
    /// The events of all sources.
    pub events: mpsc::Receiver<SourceEvent>,
    /// The kinds that will be listed.
    pub kinds: Vec<Kind>,
}

// === impl Sources ===

impl Sources {
    /// The two ends for a source that will list `kinds`.
    pub fn channel(kinds: Vec<Kind>) -> (Sender, Self) {
        let (sender, events) = mpsc::channel(DEPTH);
        (sender, Self { events, kinds })
    }
}
