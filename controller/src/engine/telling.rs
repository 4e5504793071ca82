//! What follows from plans for the objects, on its way to the status desk. Rows before words: what comes of large plans is
//! told when there is time, and before that what somebody has just changed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tracing::{debug, error};
use yusur_planner::{Name, ObjectRef, Unit, Verdict};

use super::Engine;
use crate::status::desk::Decision;
use crate::status::round_robin::RoundRobin;
use crate::status::{Finished, Priority, Receipt, StatusQueue};

/// How long words wait for the rows of large plans, at the longest.
const SILENCE: Duration = Duration::from_secs(10);

/// How many units are looked at again in one go: few enough to hold nothing up.
const AGAIN: usize = 16;

/// How many statuses of one priority wait to be written before more units are looked at: enough for the writer always to
/// find one that it may write. Of all namespaces, and of one.
const READY: (usize, usize) = (64, 4);

/// Units of which nothing was told, because their plans were large. As units they take little memory; ten thousand statuses in
/// waiting would take much.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Those whose objects somebody has changed since all objects were known.
    changed: RoundRobin<Unit, ()>,
    /// The backlog of a start, or of a synchronisation anew.
    backlog: RoundRobin<Unit, ()>,
    /// Units whose objects were changed and that nothing was told of since.
    news: HashSet<Unit>,
    /// Units of the backlog that are looked at again now.
    again: HashSet<Unit>,
}

// === impl Untold ===

impl Untold {
    /// Somebody has changed the unit's object.
    pub(super) fn change(&mut self, unit: Unit) {
        self.again.remove(&unit);
        self.news.insert(unit);
    }

    /// The unit's object has gone.
    pub(super) fn forget(&mut self, unit: &Unit) {
        self.changed.remove(unit);
        self.backlog.remove(unit);
        self.news.remove(unit);
        self.again.remove(unit);
    }

    /// Nothing is to be told of any.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many units there are.
    pub(super) fn len(&self) -> usize {
        self.changed.len() + self.backlog.len()
    }

    /// The unit's words wait until there is time.
    fn put_off(&mut self, namespace: &Name, unit: Unit) {
        if self.news.contains(&unit) {
            self.backlog.remove(&unit);
            self.changed.insert(namespace, unit, ());
        } else {
            self.backlog.insert(namespace, unit, ());
        }
    }

    /// The unit's words are told now. Whether they are of the backlog.
    fn told(&mut self, unit: &Unit) -> bool {
        self.news.remove(unit);
        self.again.remove(unit)
    }

    /// Whether the writer has need of more.
    fn is_wanted(&self, queue: &StatusQueue) -> bool {
        let wanted = |units: &RoundRobin<Unit, ()>, priority| {
            !units.is_empty()
                && queue.waiting(priority) < READY.0
                && units.any(|namespace| queue.waiting_of(priority, namespace) < READY.1)
        };
        wanted(&self.changed, Priority::Changed) || wanted(&self.backlog, Priority::Backlog)
    }

    /// Takes the units that are to be looked at again.
    fn take(&mut self, queue: &StatusQueue) -> Vec<Unit> {
        self.again.clear();
        let mut taken = take(&mut self.changed, queue, Priority::Changed, AGAIN);
        let room = AGAIN - taken.len();
        let backlog = take(&mut self.backlog, queue, Priority::Backlog, room);
        self.again.extend(backlog.iter().cloned());
        taken.extend(backlog);
        taken
    }
}

/// Takes units of namespaces that have few statuses of this priority in the queue.
fn take(
    units: &mut RoundRobin<Unit, ()>,
    queue: &StatusQueue,
    priority: Priority,
    most: usize,
) -> Vec<Unit> {
    let room = READY.0.saturating_sub(queue.waiting(priority)).min(most);
    let mut of: HashMap<Name, usize> = HashMap::new();
    let mut taken = Vec::new();
    while taken.len() < room {
        let next = units.pop(|namespace| {
            let taken = of.get(namespace).copied().unwrap_or_default();
            let free = queue.waiting_of(priority, namespace) + taken < READY.1;
            if free {
                of.insert(namespace.clone(), taken + 1);
            }
            free
        });
        let Some((unit, ())) = next else { break };
        taken.push(unit);
    }
    taken
}

// === impl Engine ===

impl Engine {
    /// Hands some verdicts to the status desk; few at a time, so that they hold nothing up.
    pub(super) fn tell_some(&mut self) {
        const SOME: usize = 64;
        if self.verdicts.is_empty() {
            return;
        }
        let now = Timestamp::now();
        for verdict in self.verdicts.drain(..self.verdicts.len().min(SOME)) {
            let backlog = self.untold.told(&verdict.unit);
            // One that has gone meanwhile is told nothing, and nothing is kept about it.
            let gone = |object: &ObjectRef| !self.guard.knows(object);
            if verdict.object.as_ref().is_some_and(|it| gone(&it.object)) {
                continue;
            }
            match self.desk.judge(&verdict, now) {
                Ok(Decision::Unchanged) => {
                    self.inventory.recorded(&verdict.unit, &verdict.record())
                }
                Ok(Decision::Write(write)) if backlog => self.parts.status.push_backlog(*write),
                Ok(Decision::Write(write)) => self.parts.status.push(*write),
                Err(error) => {
                    error!(unit = %verdict.unit, %error, "a status cannot be written as JSON")
                }
            }
        }
    }

    /// What follows from a plan for its objects. Of a large plan only what rows wait for is told at once, and the rest when
    /// there is time.
    pub(super) fn say(&mut self, verdicts: impl IntoIterator<Item = Verdict>) {
        for verdict in verdicts {
            if self.behind.is_some() && !verdict.record_first {
                let object = verdict.object.as_ref().map(|it| &it.object.name.namespace);
                let namespace = object.cloned().unwrap_or_default();
                self.untold.put_off(&namespace, verdict.unit);
            } else {
                self.verdicts.push_back(verdict);
            }
        }
    }

    /// Whether there is time to look again at units of which nothing was told.
    pub(super) fn has_time(&self) -> bool {
        self.untold.len() > 0
            && self.behind.is_none_or(|since| since.elapsed() > SILENCE)
            && self.lanes.are_done()
            && self.inventory.dirty() == 0
            && self.verdicts.is_empty()
            && self.untold.is_wanted(&self.parts.status)
    }

    /// Looks again at some units of which nothing was told: as a rule there is nothing to write, and what is to be told is
    /// found out anew.
    pub(super) fn look_again(&mut self) {
        if self.has_time() {
            let units = self.untold.take(&self.parts.status);
            self.inventory.put_back(&units);
        }
    }

    /// A status has been written, or could not be.
    pub(super) fn receipt(&mut self, receipt: &Receipt) {
        let write = &receipt.write;
        match &receipt.end {
            Finished::Written => {
                if let Some(unit) = write.object.unit() {
                    self.inventory.recorded(&unit, &write.record);
                }
            }
            Finished::Gone => {
                debug!(object = %write.object, "gone before its status could be written");
            }
            Finished::Withdrawn => {
                self.desk.forget(&write.object);
            }
            // The writer has said it, and tries again.
            Finished::Refused(reason) => {
                debug!(object = %write.object, reason, "the status was refused");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use yusur_planner::{Kind, ObjectName};

    use super::*;
    use crate::status::StatusWrite;

    fn unit(namespace: &str, name: &str) -> Unit {
        Unit::Service(ObjectName::new(namespace, name))
    }

    /// Looks again as long as more is wanted, as if every unit had something to be told.
    fn told(untold: &mut Untold, queue: &StatusQueue) -> Vec<Unit> {
        let mut all = Vec::new();
        while untold.is_wanted(queue) {
            for unit in untold.take(queue) {
                let Unit::Service(name) = &unit else {
                    panic!("only services");
                };
                let object = ObjectRef {
                    kind: Kind::YusurService,
                    name: name.clone(),
                };
                let write = StatusWrite::events(object, "1".into());
                if untold.told(&unit) {
                    queue.push_backlog(write);
                } else {
                    queue.push(write);
                }
                all.push(unit);
            }
        }
        all
    }

    #[test]
    fn of_each_namespace_some_are_ready_to_be_written() {
        let (queue, _receipts) = StatusQueue::new(Duration::ZERO);
        let mut untold = Untold::default();
        for n in 0..1000 {
            untold.put_off(&"many".into(), unit("many", &format!("s{n}")));
        }
        untold.put_off(&"few".into(), unit("few", "only"));
        let first = told(&mut untold, &queue);
        assert_eq!(first.len(), READY.1 + 1, "{first:?}");
        assert!(first.contains(&unit("few", "only")));
        assert_eq!(untold.len(), 1000 - READY.1);
        // A namespace that comes later does not wait for the one that has much.
        untold.put_off(&"late".into(), unit("late", "x"));
        assert_eq!(told(&mut untold, &queue), [unit("late", "x")]);
    }

    #[test]
    fn what_somebody_changed_goes_before_the_backlog() {
        let (queue, _receipts) = StatusQueue::new(Duration::ZERO);
        let mut untold = Untold::default();
        for n in 0..100 {
            untold.put_off(&"a".into(), unit("a", &format!("s{n}")));
        }
        untold.change(unit("a", "s99"));
        untold.put_off(&"a".into(), unit("a", "s99"));
        assert_eq!(untold.len(), 100);
        let first = told(&mut untold, &queue);
        assert_eq!(first[0], unit("a", "s99"));
        assert_eq!(queue.waiting(Priority::Changed), 1);
        assert_eq!(queue.waiting(Priority::Backlog), READY.1);
        // Who changes an object while it is looked at again is told at once.
        for n in 0..READY.1 {
            queue.forget(
                ObjectRef {
                    kind: Kind::YusurService,
                    name: ObjectName::new("a", format!("s{n}")),
                },
                String::new(),
            );
        }
        let again = untold.take(&queue);
        untold.change(again[0].clone());
        assert!(!untold.told(&again[0]) && untold.told(&again[1]));
    }

    #[test]
    fn nothing_is_kept_about_what_has_gone() {
        let mut untold = Untold::default();
        for n in 0..1000 {
            let unit = unit("a", &format!("s{n}"));
            untold.change(unit.clone());
            untold.put_off(&"a".into(), unit.clone());
            untold.forget(&unit);
        }
        assert!(untold.len() == 0 && untold.news.is_empty() && untold.again.is_empty());
    }
}
