//! What waits to be written: one write an object, the newest, so it cannot grow beyond the number of objects however slow
//! the writer is.
//!
//! A write waits in the lane of its [`Priority`], where namespaces take turns; is on its way; or rests:
//! until an object that was written a moment ago may be written again, or until what failed is tried again. What rests
//! takes no place among those on their way.

mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use yusur_planner::{Event, Name, ObjectRef};

use self::schedule::{Held, Queue};
use super::{Finished, Receipt, StatusWrite};
use crate::metrics::Metrics;

/// Who waits for a write, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Rows wait for the addresses in it.
    Record,
    /// It answers a change.
    Changed,
    /// Nobody: it is one of the many of a start.
    Backlog,
}

/// What waits to be written. Cloning shares it.
#[derive(Debug, Clone)]
pub struct StatusQueue {
    shared: Arc<Shared>,
    receipts: mpsc::UnboundedSender<Receipt>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Notify,
}

/// What a writer is handed.
#[derive(Debug, Default)]
pub struct Batch {
    /// Objects that have gone, with their uids: drop what is kept about them. Before the writes.
    pub gone: Vec<(ObjectRef, String)>,
    /// Events about the controller itself: of no object, or of objects that are no longer there.
    pub notices: Vec<Event>,
    /// What to write.
    pub writes: Vec<Job>,
}

/// A write on its way.
#[derive(Debug)]
pub struct Job {
    /// What to write.
    pub write: StatusWrite,
    /// Who waits for it.
    pub priority: Priority,
    /// When it was handed out, for [`StatusQueue::is_withdrawn`].
    pub term: u64,
}

// === impl Priority ===

impl Priority {
    /// All, most urgent first.
    pub const ALL: [Self; 3] = [Self::Record, Self::Changed, Self::Backlog];

    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Changed => "changed",
            Self::Backlog => "backlog",
        }
    }

    /// That of a write that is no part of a backlog.
    fn of(write: &StatusWrite) -> Self {
        if write.record.is_empty() {
            Self::Changed
        } else {
            Self::Record
        }
    }
}

// === impl StatusQueue ===

impl StatusQueue {
    /// An empty queue, and where the engine learns what has been written. Two writes about one object are at least
    /// `interval` apart, but for addresses to be recorded, which count by themselves.
    ///
    /// The receipts are not bounded by a number but by the writer: it sends one for each write it took, and takes no
    /// more than it was given.
    pub fn new(interval: Duration) -> (Self, mpsc::UnboundedReceiver<Receipt>) {
        let (receipts, receiver) = mpsc::unbounded_channel();
        let shared = Shared {
            queue: Mutex::new(Queue::new(interval)),
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

    /// Adds a write that answers a change. It takes the place of one that still waits for the same object.
    pub fn push(&self, write: StatusWrite) {
        let priority = Priority::of(&write);
        self.add(Held { write, priority });
    }

    /// Adds a write that nobody waits for.
    pub fn push_backlog(&self, write: StatusWrite) {
        let priority = Priority::of(&write);
        let priority = if priority == Priority::Changed {
            Priority::Backlog
        } else {
            priority
        };
        self.add(Held { write, priority });
    }

    fn add(&self, held: Held) {
        self.shared.queue.lock().add(held);
        self.shared.arrived.notify_one();
    }

    /// The object has changed: what was refused about it may be accepted now.
    pub fn touch(&self, object: &ObjectRef) {
        self.shared.queue.lock().touch(object);
    }

    /// The object has gone: nothing need be written about it any more.
    pub fn forget(&self, object: ObjectRef, uid: String) {
        let mut queue = self.shared.queue.lock();
        queue.remove(&object);
        queue.gone.push((object, uid));
        drop(queue);
        self.shared.arrived.notify_one();
    }

    /// Takes back all writes: another process tells now. Returns the objects of those that waited; a writer finishes what
    /// it was handed and has not sent as [`Finished::Withdrawn`].
    pub fn withdraw(&self) -> Vec<ObjectRef> {
        self.shared.queue.lock().withdraw()
    }

    /// Whether what was handed out in that term has been taken back.
    pub fn is_withdrawn(&self, term: u64) -> bool {
        self.shared.queue.lock().term != term
    }

    /// An Event about the controller itself.
    pub fn notice(&self, event: Event) {
        self.shared.queue.lock().notices.push(event);
        self.shared.arrived.notify_one();
    }

    /// Takes up to `max` writes, those to be recorded first, waiting until there is one. `None` once the queue is
    /// closed and empty.
    pub async fn take(&self, max: usize) -> Option<Batch> {
        loop {
            let batch = self.take_now(|queue| {
                std::iter::from_fn(|| queue.next(true, true, |_| true))
                    .take(max)
                    .collect()
            });
            if !(batch.writes.is_empty() && batch.gone.is_empty() && batch.notices.is_empty()) {
                return Some(batch);
            }
            if self.is_finished() {
                return None;
            }
            self.changed().await;
        }
    }

    fn take_now(&self, writes: impl FnOnce(&mut Queue) -> Vec<Job>) -> Batch {
        let mut queue = self.shared.queue.lock();
        Batch {
            gone: std::mem::take(&mut queue.gone),
            notices: std::mem::take(&mut queue.notices),
            writes: writes(&mut queue),
        }
    }

    /// What there is beside writes.
    pub(super) fn take_notices(&self) -> Vec<Event> {
        self.take_now(|_| Vec::new()).notices
    }

    /// The next write that may begin, of the namespaces that are `allowed`.
    pub(super) fn next(
        &self,
        prompt: bool,
        backlog: bool,
        allowed: impl FnMut(&Name) -> bool,
    ) -> Option<Job> {
        self.shared.queue.lock().next(prompt, backlog, allowed)
    }

    /// Resolves when something has come, or when something that rested waits again.
    pub(super) async fn changed(&self) {
        let rested = std::future::poll_fn(|context| self.shared.queue.lock().poll_rested(context));
        tokio::select! {
            () = self.shared.arrived.notified() => {}
            () = rested => {}
        }
    }

    /// Tells the engine how a write ended that was taken. Every write taken ends once: by this, by
    /// [`StatusQueue::retry`] or by [`StatusQueue::refuse`].
    pub fn finish(&self, job: Job, end: Finished) {
        self.shared.queue.lock().finish(&job.write);
        // What has come meanwhile may have to be looked at.
        self.shared.arrived.notify_one();
        self.receipt(job.write, end);
    }

    /// The write failed for now: it is kept and tried again, after `pause` or, without, after ever longer ones; unless a
    /// newer one takes its place.
    pub fn retry(&self, job: Job, pause: Option<Duration>) {
        if self.is_withdrawn(job.term) {
            return self.finish(job, Finished::Withdrawn);
        }
        self.shared.queue.lock().keep(job, false, pause);
        self.shared.arrived.notify_one();
    }

    /// As [`StatusQueue::retry`], with what went wrong. Returns whether that is other than what was last said about the
    /// object.
    pub fn fail(&self, job: Job, words: &str) -> bool {
        let news = self.shared.queue.lock().note(&job.write.object, words);
        self.retry(job, None);
        news
    }

    /// The write was refused, with these words: it is kept and tried again when the object changes, and else seldom.
    /// Tells the engine once; returns whether this is news.
    pub fn refuse(&self, job: Job, words: &str) -> bool {
        if self.is_withdrawn(job.term) {
            self.finish(job, Finished::Withdrawn);
            return false;
        }
        let mut queue = self.shared.queue.lock();
        let news = queue.note(&job.write.object, words);
        let write = news.then(|| job.write.clone());
        queue.keep(job, true, None);
        drop(queue);
        self.shared.arrived.notify_one();
        if let Some(write) = write {
            self.receipt(write, Finished::Refused(words.to_owned()));
        }
        news
    }

    fn receipt(&self, write: StatusWrite, end: Finished) {
        // The engine may have stopped already: then nobody needs to know.
        let _ = self.receipts.send(Receipt {
            write: Arc::new(write),
            end,
        });
    }

    /// How many writes are not done, without those that were refused.
    pub fn len(&self) -> usize {
        let queue = self.shared.queue.lock();
        queue.waiting() + queue.counts.flying + queue.counts.held - queue.counts.refused
    }

    /// Whether all is written that can be.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many writes of a priority wait for their turn.
    pub(crate) fn waiting(&self, priority: Priority) -> usize {
        self.shared.queue.lock().lanes[priority as usize].len()
    }

    /// How many of a namespace do.
    pub(crate) fn waiting_of(&self, priority: Priority, namespace: &Name) -> usize {
        self.shared.queue.lock().lanes[priority as usize].len_of(namespace)
    }

    /// No more will come. What rests is written now, but for what was refused.
    pub fn close(&self) {
        self.shared.queue.lock().close();
        self.shared.arrived.notify_one();
    }

    /// Whether no more will come.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.queue.lock().closed
    }

    /// Whether no more will come, and all that came has been written.
    pub(super) fn is_finished(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.closed
            && queue.gone.is_empty()
            && queue.notices.is_empty()
            && queue.counts.flying + queue.counts.held == 0
            && queue.waiting() == 0
    }

    /// Sets the gauges.
    pub(super) fn measure(&self, metrics: &Metrics) {
        let queue = self.shared.queue.lock();
        for priority in Priority::ALL {
            metrics.status_queued(priority.as_str(), queue.lanes[priority as usize].len());
        }
        metrics.status_queued("resting", queue.counts.held - queue.counts.refused);
        metrics.status_refused.set(gauge(queue.counts.refused));
        metrics.status_in_flight.set(gauge(queue.counts.flying));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
