//! Units that are set aside for a while: those the Northbound refuses, and those whose rows another program keeps
//! changing back. Each waits longer the oftener it happens, and is tried again by itself.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use yusur_planner::Unit;

/// The shortest and longest time a unit is set aside.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);

/// So many repairs of one unit are made without a pause...
const FREE_REPAIRS: u32 = 5;
/// ...and they are forgotten after so long a peace.
const PEACE: Duration = Duration::from_secs(60);

/// Why a unit is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    /// The Northbound refuses its rows.
    Refused,
    /// Another program keeps changing its rows.
    Undone,
}

/// The units set aside, and those on their way there.
#[derive(Debug, Default)]
pub(super) struct Holds {
    units: HashMap<Unit, Hold>,
    wake: BinaryHeap<Reverse<(Instant, Unit)>>,
}

#[derive(Debug)]
struct Hold {
    cause: Cause,
    times: u32,
    last: Instant,
    /// Until when it is not planned; `None` where it is only remembered.
    until: Option<Instant>,
}

// === impl Holds ===

impl Holds {
    /// The Northbound refused the unit: how long it is set aside.
    pub(super) fn refused(&mut self, unit: Unit, now: Instant) -> Duration {
        let hold = self.units.entry(unit.clone()).or_insert(Hold {
            cause: Cause::Refused,
            times: 0,
            last: now,
            until: None,
        });
        if hold.cause != Cause::Refused {
            *hold = Hold {
                cause: Cause::Refused,
                times: 0,
                last: now,
                until: None,
            };
        }
        let pause = pause(hold.times);
        hold.times += 1;
        hold.last = now;
        hold.until = Some(now + pause);
        self.wake.push(Reverse((now + pause, unit)));
        pause
    }

    /// Another program changed the unit's rows: how long it is set aside, if it happens too often.
    pub(super) fn undone(&mut self, unit: &Unit, now: Instant) -> Option<Duration> {
        let hold = self.units.entry(unit.clone()).or_insert(Hold {
            cause: Cause::Undone,
            times: 0,
            last: now,
            until: None,
        });
        if hold.cause == Cause::Undone
            && hold.until.is_none()
            && now.duration_since(hold.last) > PEACE
        {
            hold.times = 0;
        }
        if hold.until.is_some() {
            return None;
        }
        hold.cause = Cause::Undone;
        hold.times += 1;
        hold.last = now;
        if hold.times <= FREE_REPAIRS {
            self.wake.push(Reverse((now + PEACE, unit.clone())));
            return None;
        }
        let pause = pause(hold.times - FREE_REPAIRS + 1);
        hold.until = Some(now + pause);
        self.wake.push(Reverse((now + pause, unit.clone())));
        Some(pause)
    }

    /// The unit was written: the Northbound no longer refuses it.
    pub(super) fn written(&mut self, unit: &Unit) {
        if !self.units.is_empty()
            && self
                .units
                .get(unit)
                .is_some_and(|hold| hold.cause == Cause::Refused)
        {
            self.units.remove(unit);
        }
    }

    /// The unit's object changed: it may be planned at once. Repairs stay remembered.
    pub(super) fn release(&mut self, unit: &Unit) {
        if !self.units.is_empty()
            && let Some(hold) = self.units.get_mut(unit)
        {
            hold.until = None;
        }
    }

    /// Whether the unit is to be left alone now.
    pub(super) fn holds(&self, unit: &Unit) -> bool {
        !self.units.is_empty()
            && self
                .units
                .get(unit)
                .is_some_and(|hold| hold.until.is_some())
    }

    /// The units whose time is over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Unit> {
        let mut due = Vec::new();
        while self.wake.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, unit))) = self.wake.pop() else {
                break;
            };
            let Some(hold) = self.units.get_mut(&unit) else {
                continue;
            };
            match hold.until {
                Some(until) if until <= now => {
                    hold.until = None;
                    due.push(unit);
                }
                None if now.duration_since(hold.last) >= PEACE => {
                    self.units.remove(&unit);
                }
                _ => {}
            }
        }
        due
    }

    /// When [`Holds::due`] next has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.wake.peek().map(|Reverse((at, _))| *at)
    }

    /// How many units are set aside for this cause.
    pub(super) fn count(&self, cause: Cause) -> usize {
        self.units
            .values()
            .filter(|hold| hold.cause == cause && hold.until.is_some())
            .count()
    }
}

/// Doubles from time to time. No jitter: one process writes, and the units' own failures spread them.
fn pause(times: u32) -> Duration {
    SHORTEST
        .saturating_mul(1_u32.checked_shl(times.min(20)).unwrap_or(u32::MAX))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> Unit {
        Unit::Vpc(name.into())
    }

    #[test]
    fn refusals_wait_longer_and_longer() {
        let (mut holds, now) = (Holds::default(), Instant::now());
        assert_eq!(holds.refused(unit("a"), now), SHORTEST);
        assert!(holds.holds(&unit("a")) && !holds.holds(&unit("b")));
        assert!(holds.due(now).is_empty());
        assert_eq!(holds.due(now + SHORTEST), [unit("a")]);
        assert!(!holds.holds(&unit("a")));
        let mut last = SHORTEST;
        for _ in 0..30 {
            let pause = holds.refused(unit("a"), now);
            assert!(pause >= last);
            last = pause;
        }
        assert_eq!(last, LONGEST);
        assert_eq!(holds.count(Cause::Refused), 1);
        holds.release(&unit("a"));
        assert!(!holds.holds(&unit("a")));
        assert_eq!(
            holds.refused(unit("a"), now),
            LONGEST,
            "a change alone is no success"
        );
        holds.written(&unit("a"));
        assert_eq!(holds.refused(unit("a"), now), SHORTEST, "a success forgets");
    }

    #[test]
    fn a_few_repairs_are_free_and_a_war_is_not() {
        let (mut holds, now) = (Holds::default(), Instant::now());
        for _ in 0..FREE_REPAIRS {
            assert_eq!(holds.undone(&unit("a"), now), None);
            holds.written(&unit("a"));
        }
        let first = holds.undone(&unit("a"), now).unwrap();
        assert!(holds.holds(&unit("a")));
        assert_eq!(holds.undone(&unit("a"), now), None, "told once");
        assert_eq!(holds.due(now + first), [unit("a")]);
        let second = holds.undone(&unit("a"), now + first).unwrap();
        assert!(second > first);
        // After a peace it starts over.
        holds.due(now + first + second);
        let later = now + first + second + PEACE + PEACE;
        holds.due(later);
        assert_eq!(holds.undone(&unit("a"), later), None);
    }
}
