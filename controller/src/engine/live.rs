//! When a change is live: OVN's own counter. `NB_Global.nb_cfg` is raised with a transaction; once every chassis has
//! installed all that went before, ovn-northd raises `hv_cfg` to it (ovn-nb(5)).
//!
//! One raise is outstanding at a time and at most one is made a second (decision 6): raising costs every chassis a
//! write to the Southbound. Where rows wait for ovn-northd to acknowledge earlier changes, it may be raised twice a
//! second, whatever the chassis have reached.

use std::time::{Duration, Instant};

use ovsdb::model::{Database, Mutation, Mutator, Name, Operation};

/// The table that counts.
pub(super) const NB_GLOBAL: &str = "NB_Global";

/// The shortest time between two raises.
const INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two raises where somebody waits for one.
const PRESSING: Duration = Duration::from_millis(500);

/// The counter's bookkeeping.
#[derive(Debug, Default)]
pub(super) struct Live {
    raised: Option<Instant>,
    outstanding: Option<Outstanding>,
    /// When the changes were seen that are committed and not covered by a raise.
    uncovered: Vec<Instant>,
}

#[derive(Debug)]
struct Outstanding {
    target: i64,
    committed: Instant,
    seen: Vec<Instant>,
}

/// What became live.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// When the raise was committed.
    pub(super) committed: Instant,
    /// When the changes it covers were seen.
    pub(super) seen: Vec<Instant>,
}

/// The counters as the replica has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// As last raised, by whomever.
    pub(super) nb_cfg: i64,
    /// What all chassis have reached.
    pub(super) hv_cfg: i64,
}

// === impl Counters ===

impl Counters {
    /// Reads them; `None` while the Northbound has no NB_Global row (ovn-northd makes it).
    pub(super) fn read(database: &Database) -> Option<Self> {
        let (_, row) = database.rows(NB_GLOBAL).next()?;
        let integer = |column| row.get_integer(column).unwrap_or_default();
        Some(Self {
            nb_cfg: integer("nb_cfg"),
            hv_cfg: integer("hv_cfg"),
        })
    }
}

// === impl Live ===

impl Live {
    /// Whether a transaction that is sent now may raise the counter.
    pub(super) fn may_raise(&self, now: Instant) -> bool {
        self.outstanding.is_none() && self.raised.is_none_or(|raised| now >= raised + INTERVAL)
    }

    /// Whether one may be raised for rows that wait for ovn-northd.
    pub(super) fn may_press(&self, now: Instant) -> bool {
        self.pressing(now) <= now
    }

    /// From when on one may be raised for rows that wait for ovn-northd.
    pub(super) fn pressing(&self, now: Instant) -> Instant {
        self.raised.map_or(now, |raised| raised + PRESSING)
    }

    /// The operation that raises it by so much.
    pub(super) fn raise(by: i64) -> Operation {
        Operation::Mutate {
            table: Name::new_static(NB_GLOBAL),
            condition: Vec::new(),
            mutations: vec![Mutation::new(Name::new_static("nb_cfg"), Mutator::Add, by)],
        }
    }

    /// Changes seen at `seen` were committed at `now`, `raised` telling whether the transaction raised the counter and
    /// to what.
    pub(super) fn committed(&mut self, now: Instant, seen: Vec<Instant>, raised: Option<i64>) {
        self.uncovered.extend(seen);
        if let Some(target) = raised {
            self.raised = Some(now);
            if self.outstanding.is_some() {
                return;
            }
            let seen = std::mem::take(&mut self.uncovered);
            self.outstanding = Some(Outstanding {
                target,
                committed: now,
                seen,
            });
        }
    }

    /// The counters as they are now: what has become live.
    pub(super) fn observe(&mut self, counters: Counters) -> Option<Arrived> {
        // A Northbound that was replaced counts from the beginning.
        let reached = |target: i64| counters.hv_cfg >= target || counters.nb_cfg < target;
        let Outstanding {
            committed, seen, ..
        } = self
            .outstanding
            .take_if(|outstanding| reached(outstanding.target))?;
        Some(Arrived { committed, seen })
    }

    /// When a transaction of its own should raise the counter, for changes that were committed without.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.outstanding.is_none() && !self.uncovered.is_empty();
        due.then(|| self.raised.map_or(now, |raised| raised + INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_raise_at_a_time_and_one_a_second() {
        let (mut live, start) = (Live::default(), Instant::now());
        assert!(live.may_raise(start) && live.due(start).is_none());
        live.committed(start, vec![start], Some(7));
        assert!(!live.may_raise(start + INTERVAL), "outstanding");
        live.committed(start, vec![start, start], None);
        assert_eq!(live.due(start), None, "outstanding");
        assert_eq!(
            live.observe(Counters {
                nb_cfg: 7,
                hv_cfg: 6
            }),
            None
        );
        let arrived = live
            .observe(Counters {
                nb_cfg: 7,
                hv_cfg: 7,
            })
            .unwrap();
        assert_eq!(arrived.seen.len(), 1);
        assert!(!live.may_raise(start), "too soon");
        assert_eq!(live.due(start), Some(start + INTERVAL));
        live.committed(start + INTERVAL, vec![], Some(9));
        assert_eq!(
            live.observe(Counters {
                nb_cfg: 12,
                hv_cfg: 10
            })
            .unwrap()
            .seen
            .len(),
            2
        );
        assert!(live.due(start).is_none());
    }

    #[test]
    fn a_replaced_database_leaves_nothing_outstanding() {
        let (mut live, start) = (Live::default(), Instant::now());
        live.committed(start, vec![start], Some(700));
        assert!(
            live.observe(Counters {
                nb_cfg: 0,
                hv_cfg: 0
            })
            .is_some()
        );
    }
}
