//! Streams of changes to the replica.
//!
//! A stream holds back whatever its reader has not taken yet. It cannot grow without bound, and never makes the
//! connection wait: once it holds more than [`LIMIT`] row changes, they are merged into one batch that has each row
//! once, from its oldest to its newest content, so what is kept is bounded by the database itself.

use std::collections::VecDeque;
use std::sync::Arc;

use ovsdb_model::Batch;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::state::State;

/// Row changes that a stream holds before it merges them.
pub const LIMIT: usize = 1 << 16;

/// What a stream tells.
#[derive(Clone, Debug)]
pub enum Event {
    /// Rows changed together: one transaction of the server (or several, where the reader lagged), or the differences
    /// that a resynchronisation found.
    Batch(Arc<Batch>),
    /// The connection's state changed. States that were overtaken by newer ones may be left out.
    State(Arc<State>),
}

/// What a [`Changes`] and the replica share.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    changes: usize,
    /// How many changes the merged batch at the head held after the last merge: the next merge waits until as many
    /// again have come, so that merging costs a constant share.
    merged: usize,
    closed: bool,
}

impl Feed {
    /// Adds a batch.
    pub(crate) fn batch(&self, batch: &Arc<Batch>) {
        let mut queue = self.queue.lock();
        queue.changes += batch.len();
        queue.events.push_back(Event::Batch(batch.clone()));
        if queue.changes > LIMIT.max(2 * queue.merged) {
            queue.merge();
        }
        drop(queue);
        self.more.notify_one();
    }

    /// Adds a state; one that nobody has seen yet gives way.
    pub(crate) fn state(&self, state: &Arc<State>) {
        let mut queue = self.queue.lock();
        if let Some(Event::State(last)) = queue.events.back_mut() {
            *last = state.clone();
        } else {
            queue.events.push_back(Event::State(state.clone()));
        }
        drop(queue);
        self.more.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.more.notify_one();
    }
}

impl Queue {
    fn merge(&mut self) {
        let mut state = None;
        let mut changes = Vec::with_capacity(self.changes);
        for event in self.events.drain(..) {
            match event {
                Event::Batch(batch) => changes.extend(batch.changes.iter().cloned()),
                Event::State(latest) => state = Some(latest),
            }
        }
        let merged = Batch::join(changes);
        self.changes = merged.len();
        self.merged = self.changes;
        if !merged.is_empty() {
            self.events.push_back(Event::Batch(Arc::new(merged)));
        }
        self.events.extend(state.map(Event::State));
    }
}

/// A stream of [`Event`]s, from [`Client::changes`](crate::Client::changes).
#[derive(Debug)]
pub struct Changes {
    pub(crate) feed: Arc<Feed>,
}

impl Changes {
    /// Waits for the next event. `None` once the client is gone.
    ///
    /// Cancel-safe: an event is taken only when it is returned.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut queue = self.feed.queue.lock();
                if let Some(event) = queue.pop() {
                    return Some(event);
                }
                if queue.closed {
                    return None;
                }
            }
            self.feed.more.notified().await;
        }
    }

    /// Waits for the next batch, passing over states. `None` once the client is gone.
    pub async fn next_batch(&mut self) -> Option<Arc<Batch>> {
        loop {
            if let Event::Batch(batch) = self.next().await? {
                return Some(batch);
            }
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.feed.queue.lock().pop()
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Batch(batch) = &event {
            self.changes -= batch.len();
        }
        if self.events.is_empty() {
            self.merged = 0;
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ovsdb_model::{Row, RowChange, Uuid};

    use super::*;

    fn change(uuid: u128, old: Option<i64>, new: Option<i64>) -> RowChange {
        let row = |value| Arc::new(Row::new().with("value", value));
        RowChange {
            table: "T".into(),
            uuid: Uuid::from_u128(uuid),
            old: old.map(row),
            new: new.map(row),
        }
    }

    #[test]
    fn a_slow_reader_is_told_no_more_than_there_is() {
        let feed = Arc::new(Feed::default());
        let batch = |changes| Arc::new(Batch { changes });
        feed.batch(&batch(vec![
            change(1, None, Some(0)),
            change(2, None, Some(0)),
        ]));
        let rounds = 3 * LIMIT as i64;
        for round in 0..rounds {
            feed.batch(&batch(vec![change(1, Some(round), Some(round + 1))]));
            assert!(feed.queue.lock().changes <= LIMIT + 2);
        }
        feed.batch(&batch(vec![change(2, Some(0), None)]));
        let mut stream = Changes { feed };
        let mut held: HashMap<Uuid, Option<Arc<Row>>> = HashMap::new();
        while let Some(Event::Batch(batch)) = stream.try_next() {
            for change in &batch.changes {
                let before = held.insert(change.uuid, change.new.clone()).flatten();
                assert_eq!(before, change.old);
            }
        }
        let last = held[&Uuid::from_u128(1)]
            .as_ref()
            .and_then(|row| row.get_integer("value"));
        assert_eq!(last, Some(rounds));
        assert_eq!(held[&Uuid::from_u128(2)], None);
    }
}
