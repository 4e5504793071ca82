//! What follows from how a transaction ended.

use std::time::{Duration, Instant};

use ovsdb::TransactError;
use tracing::{debug, info, warn};
use yusur_planner::{Group, Refused, Round, Severity};

use super::lanes::{Cargo, Landed, Which};
use super::live::Counters;
use super::{Engine, Pause};
use crate::metrics::Outcome;
use crate::status::StatusWrite;

impl Engine {
    /// A transaction has ended.
    pub(super) fn landed(&mut self, lane: Which, landed: Landed) {
        let Landed {
            cargo,
            sent,
            result,
        } = landed;
        self.curious = true;
        self.unmeasured = true;
        let now = Instant::now();
        let metrics = &self.parts.metrics;
        metrics
            .transaction
            .observe(now.duration_since(sent).as_secs_f64());
        let outcome = match &result {
            Ok(()) => Outcome::Ok,
            Err(
                TransactError::Constraint(_) | TransactError::Broken(_) | TransactError::Aborted,
            ) => Outcome::Refused,
            Err(TransactError::Fenced(_)) => Outcome::Fenced,
            Err(TransactError::Retry(_)) => Outcome::Retry,
            Err(TransactError::OutcomeUnknown(_)) => Outcome::Unknown,
        };
        metrics.transaction_ended(outcome);
        if outcome == Outcome::Ok {
            self.pause = Pause::default();
        }
        if cargo == Cargo::Claim {
            self.parts.authority.claimed(&result);
        }
        match result {
            Ok(()) => self.committed(lane, cargo, now),
            Err(TransactError::Fenced(reason)) => {
                metrics.fenced.inc();
                debug!(%reason, "fenced");
                if cargo != Cargo::Claim {
                    self.parts.authority.doubted(now);
                }
                self.abandon(lane);
            }
            Err(
                error @ (TransactError::Constraint(_)
                | TransactError::Broken(_)
                | TransactError::Aborted),
            ) => {
                self.refused(lane, cargo, &error, now);
            }
            Err(TransactError::Retry(reason)) => {
                debug!(%reason, "planning anew");
                self.abandon(lane);
                self.pause.longer(now);
            }
            Err(TransactError::OutcomeUnknown(reason)) => {
                warn!(
                    reason,
                    "it is unknown whether a transaction took effect; looking at the Northbound anew"
                );
                self.abandon(lane);
                self.pause.longer(now);
                let session = self.state.counters.sessions;
                self.outdated = Some(session);
                let current = self.parts.client.state().borrow().clone();
                if current.is_synced() && current.counters.sessions == session {
                    self.parts.client.reconnect();
                }
            }
        }
    }

    fn committed(&mut self, lane: Which, cargo: Cargo, now: Instant) {
        let raises = matches!(cargo, Cargo::Rows { raises: true } | Cargo::Raise);
        let raised = raises
            .then(|| Counters::read(&self.parts.client.read()))
            .flatten();
        let mut seen = Vec::new();
        if let Cargo::Rows { .. } = cargo {
            let round = &mut self.lanes.lane(lane).round;
            let groups = round.as_mut().map(Round::committed).unwrap_or_default();
            if round.as_ref().is_some_and(Round::is_done) {
                *round = None;
            }
            // The replica has our changes already; the inventory has to hear of them before it is asked whether they
            // are what was meant.
            while let Some(event) = self.changes.try_next() {
                self.northbound_event(event);
            }
            let raised = raised.map(|counters| counters.nb_cfg);
            self.inventory
                .committed(&groups, raised, &self.parts.client.read());
            for group in groups {
                for unit in &group.units {
                    self.holds.written(unit);
                }
                self.say(group.verdicts);
            }
            if self.lanes.are_done() {
                seen = std::mem::take(&mut self.carried);
                for seen in &seen {
                    self.parts
                        .metrics
                        .seen_to_committed
                        .observe(now.duration_since(*seen).as_secs_f64());
                }
            }
        }
        self.live
            .committed(now, seen, raised.map(|counters| counters.nb_cfg));
        if let Some(arrived) = raised.and_then(|counters| self.live.observe(counters)) {
            debug!(?arrived, "live at once");
        }
    }

    /// The server refused the content.
    fn refused(&mut self, lane: Which, cargo: Cargo, error: &TransactError, now: Instant) {
        let Cargo::Rows { .. } = cargo else {
            warn!(%error, ?cargo, "refused");
            self.pause.longer(now);
            return;
        };
        // What was expected to be there will not come.
        let Some(round) = &mut self.lanes.lane(lane).round else {
            return;
        };
        match round.refused() {
            Refused::Halved => debug!(%error, "refused; halving it"),
            Refused::Group(group) => {
                for unit in &group.units {
                    let pause = self.holds.refused(unit.clone(), now);
                    warn!(%unit, %error, again_in = ?pause, "the Northbound refuses the rows of this unit");
                }
                let message = format!("the Northbound refuses its rows: {error}");
                self.inventory.lost(&group);
                self.tell_refusal(group, "Refused", &message);
            }
        }
    }

    /// What the group rests on was refused.
    pub(super) fn postpone(&mut self, group: Group, reason: &'static str, message: &str) {
        let now = Instant::now();
        self.inventory.lost(&group);
        for unit in &group.units {
            self.holds.refused(unit.clone(), now);
        }
        self.tell_refusal(group, reason, message);
    }

    fn tell_refusal(&mut self, group: Group, reason: &'static str, message: &str) {
        let verdicts = group.verdicts.into_iter();
        self.verdicts
            .extend(verdicts.map(|verdict| verdict.uncommitted(reason, message)));
    }

    /// Gives the round up; its units are planned anew.
    fn abandon(&mut self, lane: Which) {
        let Some(round) = self.lanes.lane(lane).round.take() else {
            return;
        };
        for group in round.abandon() {
            self.inventory.lost(&group);
            self.inventory.put_back(&group.units);
        }
        self.seen.append(&mut self.carried);
    }

    /// Units that are about to be repaired: whether somebody keeps undoing it.
    pub(super) fn note_damage(&mut self, groups: &[Group], now: Instant) {
        if self.damaged.is_empty() {
            return;
        }
        let damaged: std::collections::HashSet<_> = self.damaged.drain(..).collect();
        let mut repaired = 0;
        for unit in groups
            .iter()
            .flat_map(|group| &group.units)
            .filter(|unit| damaged.contains(*unit))
        {
            repaired += 1;
            let Some(pause) = self.holds.undone(unit, now) else {
                continue;
            };
            let message = format!(
                "another program keeps changing its rows in the Northbound; they are repaired now, and next in {} s at \
                 the earliest",
                pause.as_secs().max(1)
            );
            warn!(%unit, reason = "Undone", "{message}");
            if let Some(object) = unit.object() {
                let event = yusur_planner::Event {
                    severity: Severity::Warning,
                    reason: "Undone",
                    message: message.into(),
                };
                let write = StatusWrite {
                    events: vec![event],
                    ..StatusWrite::events(object, String::new())
                };
                self.parts.status.push(write);
            }
        }
        if repaired > 0 {
            self.parts.metrics.repairs.inc_by(repaired);
            info!(
                units = repaired,
                "another program changed rows of ours; repairing them"
            );
        }
    }
}

impl Pause {
    /// Waits longer each time.
    fn longer(&mut self, now: Instant) {
        const SHORTEST: Duration = Duration::from_millis(20);
        const LONGEST: Duration = Duration::from_secs(5);
        let pause = SHORTEST
            .saturating_mul(1 << self.times.min(16))
            .min(LONGEST);
        self.times += 1;
        self.until = Some(now + pause);
    }
}
