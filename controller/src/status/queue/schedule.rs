//! Which object's write waits, is on its way or rests, and which is next.

use std::collections::HashMap;
use std::task::{Context, Poll};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;
use yusur_planner::{Event, Name, ObjectRef};

use super::super::StatusWrite;
use super::super::round_robin::RoundRobin;
use super::{Job, Priority};

/// How long a write that failed waits before it is tried again: the first time, and at the longest.
const FAILED: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The same of a write that was refused, while its object does not change.
const REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

#[derive(Debug)]
pub(super) struct Queue {
    /// The least time between two writes about one object.
    interval: Duration,
    pub(super) lanes: [RoundRobin<ObjectRef, StatusWrite>; 3],
    /// Where each object is: those that wait, are on their way or rest.
    pub(super) entries: HashMap<ObjectRef, Entry>,
    /// When what rests is to be looked at.
    timers: DelayQueue<ObjectRef>,
    pub(super) gone: Vec<(ObjectRef, String)>,
    pub(super) notices: Vec<Event>,
    pub(super) closed: bool,
    /// Grows each time that all is withdrawn.
    pub(super) term: u64,
    /// Records and changes take turns: the last that was handed out was a record.
    recorded_last: bool,
    pub(super) counts: Counts,
}

/// How many writes are somewhere else than in a lane.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) flying: usize,
    pub(super) held: usize,
    pub(super) refused: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    state: State,
    /// When it was last tried to write it: with addresses to be recorded, and otherwise.
    recorded: Option<Instant>,
    told: Option<Instant>,
    /// How often in a row what is newest has failed or was refused.
    attempts: usize,
    /// What was last said of why it is not written.
    said: Option<Box<str>>,
}

#[derive(Debug)]
enum State {
    Waiting(Priority),
    Flying {
        /// What has come meanwhile: two at once might arrive in the wrong order.
        newer: Option<Held>,
        /// The object has changed meanwhile.
        touched: bool,
    },
    Resting {
        timer: Key,
        /// Without one it was written a moment ago.
        held: Option<Held>,
        /// The server has refused it.
        refused: bool,
    },
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) write: StatusWrite,
    pub(super) priority: Priority,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            lanes: Default::default(),
            entries: HashMap::new(),
            timers: DelayQueue::new(),
            gone: Vec::new(),
            notices: Vec::new(),
            closed: false,
            term: 0,
            recorded_last: false,
            counts: Counts::default(),
        }
    }

    /// How many writes wait in a lane.
    pub(super) fn waiting(&self) -> usize {
        self.lanes.iter().map(RoundRobin::len).sum()
    }

    pub(super) fn add(&mut self, held: Held) {
        let object = held.write.object.clone();
        let Some(mut entry) = self.entries.remove(&object) else {
            return self.wait(Entry::new(), held);
        };
        match entry.state {
            State::Waiting(at) => {
                let lane = &mut self.lanes[at as usize];
                if held.priority < at {
                    let earlier = lane.remove(&object).map(|write| Held {
                        write,
                        priority: at,
                    });
                    let held = match earlier {
                        Some(earlier) => earlier.followed_by(held),
                        None => held,
                    };
                    return self.wait(entry, held);
                }
                // What merely comes again keeps its place.
                lane.update(&object, |earlier| held.write.replace(earlier));
                self.entries.insert(object, entry);
            }
            State::Flying { ref mut newer, .. } => {
                *newer = Some(match newer.take() {
                    Some(earlier) => earlier.followed_by(held),
                    None => held,
                });
                self.entries.insert(object, entry);
            }
            State::Resting {
                ref timer,
                held: ref mut earlier,
                refused,
            } => {
                self.timers.try_remove(timer);
                let news = held.write.status.is_some();
                let held = match earlier.take() {
                    Some(earlier) => {
                        self.let_go(refused);
                        earlier.followed_by(held)
                    }
                    None => held,
                };
                if news {
                    entry.attempts = 0;
                }
                self.rest_or_wait(entry, held);
            }
        }
    }

    /// Something that rested is no longer held.
    fn let_go(&mut self, refused: bool) {
        self.counts.held -= 1;
        self.counts.refused -= usize::from(refused);
    }

    /// Puts it into its lane.
    fn wait(&mut self, mut entry: Entry, held: Held) {
        let object = held.write.object.clone();
        entry.state = State::Waiting(held.priority);
        self.lanes[held.priority as usize].insert(
            &object.name.namespace,
            object.clone(),
            held.write,
        );
        self.entries.insert(object, entry);
    }

    /// Puts it into its lane if the object may be written again, and else lets it rest until then.
    fn rest_or_wait(&mut self, entry: Entry, held: Held) {
        let last = if held.write.record.is_empty() {
            entry.told
        } else {
            entry.recorded
        };
        let due = last.map(|last| last + self.interval);
        match due.filter(|due| !self.closed && *due > Instant::now()) {
            Some(due) => self.rest(entry, held, due, false),
            None => self.wait(entry, held),
        }
    }

    fn rest(&mut self, mut entry: Entry, held: Held, due: Instant, refused: bool) {
        let object = held.write.object.clone();
        self.counts.held += 1;
        self.counts.refused += usize::from(refused);
        entry.state = State::Resting {
            timer: self.timers.insert_at(object.clone(), due),
            held: Some(held),
            refused,
        };
        self.entries.insert(object, entry);
    }

    /// Ready when something that rested waits again.
    pub(super) fn poll_rested(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut any = false;
        while let Poll::Ready(Some(expired)) = self.timers.poll_expired(context) {
            any |= self.rested(expired.get_ref());
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    }

    /// An object has rested. Whether something waits now.
    fn rested(&mut self, object: &ObjectRef) -> bool {
        let Some(mut entry) = self.entries.remove(object) else {
            return false;
        };
        let State::Resting { held, refused, .. } = &mut entry.state else {
            self.entries.insert(object.clone(), entry);
            return false;
        };
        let (Some(held), refused) = (held.take(), *refused) else {
            return false;
        };
        self.let_go(refused);
        self.wait(entry, held);
        true
    }

    pub(super) fn touch(&mut self, object: &ObjectRef) {
        let Some(entry) = self.entries.get_mut(object) else {
            return;
        };
        let last = entry.told.max(entry.recorded);
        match &mut entry.state {
            State::Flying { touched, .. } => *touched = true,
            State::Resting {
                timer,
                refused: true,
                ..
            } => {
                let now = Instant::now();
                let due = last.map_or(now, |last| now.max(last + self.interval));
                self.timers.try_remove(timer);
                *timer = self.timers.insert_at(object.clone(), due);
            }
            State::Resting { .. } | State::Waiting(_) => {}
        }
    }

    pub(super) fn remove(&mut self, object: &ObjectRef) {
        let Some(mut entry) = self.entries.remove(object) else {
            return;
        };
        match &mut entry.state {
            State::Waiting(at) => drop(self.lanes[*at as usize].remove(object)),
            State::Flying { newer, .. } => {
                *newer = None;
                self.entries.insert(object.clone(), entry);
            }
            State::Resting {
                timer,
                held,
                refused,
            } => {
                self.timers.try_remove(timer);
                if held.is_some() {
                    let refused = *refused;
                    self.let_go(refused);
                }
            }
        }
    }

    pub(super) fn withdraw(&mut self) -> Vec<ObjectRef> {
        self.term += 1;
        let mut objects: Vec<_> = self
            .lanes
            .iter_mut()
            .flat_map(|lane| lane.drain().map(|(object, _)| object))
            .collect();
        self.timers.clear();
        self.counts.held = 0;
        self.counts.refused = 0;
        self.entries.retain(|object, entry| match &mut entry.state {
            State::Waiting(_) => false,
            State::Flying { newer, .. } => {
                objects.extend(newer.take().map(|_| object.clone()));
                true
            }
            State::Resting { held, .. } => {
                objects.extend(held.take().map(|_| object.clone()));
                false
            }
        });
        objects
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        let resting: Vec<(ObjectRef, bool)> = self
            .entries
            .iter()
            .filter_map(|(object, entry)| match entry.state {
                State::Resting { refused, .. } => Some((object.clone(), refused)),
                _ => None,
            })
            .collect();
        for (object, refused) in resting {
            // The next start tries what was refused.
            if refused {
                self.remove(&object);
            } else {
                self.rested(&object);
            }
        }
        self.timers.clear();
    }

    pub(super) fn next(
        &mut self,
        prompt: bool,
        backlog: bool,
        mut allowed: impl FnMut(&Name) -> bool,
    ) -> Option<Job> {
        use Priority::{Backlog, Changed, Record};
        // Neither a flood of new addresses nor one of changes keeps the other from its turn.
        let order = if self.recorded_last {
            [Changed, Record, Backlog]
        } else {
            [Record, Changed, Backlog]
        };
        for priority in order {
            let may = if priority == Backlog { backlog } else { prompt };
            if !may {
                continue;
            }
            let Some((object, write)) = self.lanes[priority as usize].pop(&mut allowed) else {
                continue;
            };
            self.recorded_last = priority == Record;
            if let Some(entry) = self.entries.get_mut(&object) {
                entry.state = State::Flying {
                    newer: None,
                    touched: false,
                };
                self.counts.flying += 1;
            }
            return Some(Job {
                write,
                priority,
                term: self.term,
            });
        }
        None
    }

    /// Takes the object's entry back from its flight, with what has come meanwhile.
    fn landed(&mut self, write: &StatusWrite) -> Option<(Entry, Option<Held>, bool)> {
        let entry = self.entries.get_mut(&write.object)?;
        let State::Flying { newer, touched } = &mut entry.state else {
            return None;
        };
        let (newer, touched) = (newer.take(), *touched);
        let mut entry = self.entries.remove(&write.object)?;
        self.counts.flying -= 1;
        let now = Some(Instant::now());
        if write.status.is_none() {
            // Events alone do not count.
        } else if write.record.is_empty() {
            entry.told = now;
        } else {
            entry.recorded = now;
        }
        Some((entry, newer, touched))
    }

    /// Nothing more is to be done about the write.
    pub(super) fn finish(&mut self, write: &StatusWrite) {
        let Some((mut entry, newer, _)) = self.landed(write) else {
            return;
        };
        entry.attempts = 0;
        entry.said = None;
        if let Some(newer) = newer {
            return self.rest_or_wait(entry, newer);
        }
        let Some(last) = entry.told.max(entry.recorded) else {
            return;
        };
        let due = last + self.interval;
        if !self.closed && due > Instant::now() {
            let object = write.object.clone();
            entry.state = State::Resting {
                timer: self.timers.insert_at(object.clone(), due),
                held: None,
                refused: false,
            };
            self.entries.insert(object, entry);
        }
    }

    /// Notes why it is not written. Whether that is news.
    pub(super) fn note(&mut self, object: &ObjectRef, words: &str) -> bool {
        let Some(entry) = self.entries.get_mut(object) else {
            return false;
        };
        let news = entry.said.as_deref() != Some(words);
        if news {
            entry.said = Some(words.into());
        }
        news
    }

    /// Keeps a write that has failed or was refused, or what has come meanwhile.
    pub(super) fn keep(&mut self, job: Job, refused: bool, pause: Option<Duration>) {
        let Some((mut entry, newer, touched)) = self.landed(&job.write) else {
            return;
        };
        let (write, priority) = (job.write, job.priority);
        let mut held = Held { write, priority };
        if let Some(newer) = newer {
            let news = newer.write.status.is_some();
            held = held.followed_by(newer);
            if news {
                entry.attempts = 0;
                return self.rest_or_wait(entry, held);
            }
        }
        if refused && self.closed {
            return;
        }
        entry.attempts += 1;
        let delay = match pause {
            Some(pause) => pause,
            // What was wrong with it may be mended.
            None if refused && touched => self.interval,
            None => {
                let (first, longest) = if refused { REFUSED } else { FAILED };
                let delays = ExponentialBuilder::default()
                    .with_min_delay(first)
                    .with_max_delay(longest)
                    .with_jitter()
                    .without_max_times();
                let delay = delays.build().nth(entry.attempts.min(16) - 1);
                delay.unwrap_or(longest)
            }
        };
        self.rest(entry, held, Instant::now() + delay, refused);
    }
}

// === impl Entry ===

impl Entry {
    fn new() -> Self {
        Self {
            state: State::Waiting(Priority::Backlog),
            recorded: None,
            told: None,
            attempts: 0,
            said: None,
        }
    }
}

// === impl Held ===

impl Held {
    /// What is to be written after a newer one has come.
    fn followed_by(self, newer: Self) -> Self {
        Self {
            priority: self.priority.min(newer.priority),
            write: newer.write.replace(self.write),
        }
    }
}
