//! Units whose rows wait until ovn-northd has acknowledged earlier changes: since when, and whether that has been said. As a rule it
//! takes some hundredths of a second and is not worth a word.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use yusur_planner::{Inventory, Unit};

/// How long a wait is not worth a word.
const GRACE: Duration = Duration::from_secs(1);

/// How often somebody is told who looks at the log.
const REMINDER: Duration = Duration::from_secs(60);

/// The reason of the conditions of objects that wait.
pub(super) const AWAITING_NORTHD: &str = "AwaitingNorthd";

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Waits {
    units: HashMap<Unit, Wait>,
    /// In the order in which they began to wait.
    untold: VecDeque<(Instant, Unit)>,
    reminded: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    since: Instant,
    /// It is queued to be looked at again, so that it can be said that it waits.
    told: bool,
}

// === impl Waits ===

impl Waits {
    /// The unit waits. Whether that has to be said.
    pub(super) fn note(&mut self, unit: &Unit, now: Instant) -> bool {
        let Some(wait) = self.units.get_mut(unit) else {
            let wait = Wait {
                since: now,
                told: false,
            };
            self.units.insert(unit.clone(), wait);
            self.untold.push_back((now, unit.clone()));
            return false;
        };
        wait.told |= now.duration_since(wait.since) >= GRACE;
        wait.told
    }

    /// Units that have waited for so long that it has to be said, each once.
    pub(super) fn due(&mut self, now: Instant, inventory: &Inventory) -> Vec<Unit> {
        let mut due = Vec::new();
        while self.next().is_some_and(|next| next <= now) {
            let Some((_, unit)) = self.untold.pop_front() else {
                break;
            };
            if !inventory.is_awaiting(&unit) {
                self.units.remove(&unit);
            } else if let Some(wait) = self.units.get_mut(&unit)
                && !wait.told
            {
                wait.told = true;
                due.push(unit);
            }
        }
        due
    }

    /// When [`Waits::due`] next has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.untold.front().map(|(since, _)| *since + GRACE)
    }

    /// Whether it is time to remind of those that wait.
    pub(super) fn remind(&mut self, now: Instant) -> bool {
        let due = self.reminded.is_none_or(|last| now >= last + REMINDER);
        if due {
            self.reminded = Some(now);
        }
        due
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        self.units.clear();
        self.untold.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_wait_is_not_worth_a_word() {
        let (mut waits, now) = (Waits::default(), Instant::now());
        let unit = Unit::Vpc("a".into());
        assert!(!waits.note(&unit, now));
        assert_eq!(waits.next(), Some(now + GRACE));
        assert!(!waits.note(&unit, now + GRACE / 2));
        assert!(waits.note(&unit, now + GRACE), "it has waited all the time");
        waits.clear();
        assert_eq!(waits.next(), None);
        assert!(!waits.note(&unit, now + GRACE));
        assert!(waits.remind(now) && !waits.remind(now) && waits.remind(now + REMINDER));
    }
}
