//! What comes in: the sources' events and the Northbound's.

use std::time::Instant;

use ovsdb::State;
use ovsdb::model::Batch;
use tracing::{debug, error, info, warn};
use yusur_planner::{Change, ObjectRef, Severity, nb};

use super::guard::Judgement;
use super::live::{Counters, NB_GLOBAL};
use super::{Engine, Event, SourceEvent, Standing};
use crate::metrics::{DatabaseLabel, KindLabel, ReasonLabel};
use crate::status::StatusWrite;

impl Engine {
    /// One event of a source.
    pub(super) fn take_in(&mut self, event: SourceEvent) {
        self.unmeasured = true;
        match event {
            SourceEvent::Changed { change, seen } => self.changed(change, seen),
            SourceEvent::ListBegun(kind) => self.guard.list_begun(kind),
            SourceEvent::ListEnded(kind) => {
                let missing = self.guard.list_ended(kind);
                debug!(%kind, missing = missing.len(), "listed");
                self.missing(missing);
                if self.guard.is_complete() && self.parts.metrics.sources_synced.get() == 0 {
                    info!(elapsed = ?self.started.elapsed(), "all objects are known");
                }
            }
            SourceEvent::Lost(missing) => {
                self.missing(missing);
            }
            SourceEvent::Unknown(unknown) => {
                if unknown {
                    warn!("part of the objects is unknown; nothing is swept until it can be read");
                }
                self.guard.set_unknown(unknown);
            }
            SourceEvent::Problem {
                subject,
                object,
                problem,
            } => self.problem(subject, object, problem),
        }
    }

    fn changed(&mut self, change: Change, seen: Instant) {
        let object = change.object();
        let kind = KindLabel {
            kind: object.kind.as_str(),
        };
        self.parts.metrics.source_events.get_or_create(&kind).inc();
        if let Change::Removed(object) = change {
            return self.remove(object, seen);
        }
        self.guard.set(&object);
        // Its news may be just what was wrong with it.
        if let Some(unit) = object.unit() {
            self.holds.release(&unit);
        }
        let standby = self.parts.authority.standing(seen) == Standing::Standby;
        self.desk.seed(&change, standby);
        self.parts.status.touch(&object);
        let before = self.inventory.dirty();
        self.inventory.apply(change);
        // Before all objects are known, they are not changes but what a start finds.
        if self.inventory.dirty() > before
            && self.guard.is_complete()
            && let Some(unit) = object.unit()
        {
            self.untold.change(unit);
        }
        self.seen.push(seen);
    }

    fn remove(&mut self, object: ObjectRef, seen: Instant) {
        self.guard.removed(&object);
        if let Some(uid) = self.desk.forget(&object) {
            self.parts.status.forget(object.clone(), uid);
        }
        if let Some(unit) = object.unit() {
            self.untold.forget(&unit);
        }
        self.inventory.apply(Change::Removed(object));
        self.seen.push(seen);
    }

    /// Objects that a source no longer has, without having seen them go.
    fn missing(&mut self, missing: Vec<ObjectRef>) {
        if missing.is_empty() {
            return;
        }
        let now = Instant::now();
        match self.guard.judge(missing) {
            Judgement::Gone(objects) => {
                for object in objects {
                    self.remove(object, now);
                }
            }
            Judgement::Kept {
                kind,
                missing,
                known,
            } => {
                let message = format!(
                    "{missing} of {known} objects of kind {kind} are missing at once, without their deletion having \
                     been seen; they are kept. If they are meant to be gone, restart with --allow-mass-deletion"
                );
                error!(reason = "MassDeletion", "{message}");
                self.parts.status.notice(yusur_planner::Event {
                    severity: Severity::Warning,
                    reason: "MassDeletion",
                    message: message.into(),
                });
            }
        }
    }

    fn problem(
        &mut self,
        subject: String,
        object: Option<ObjectRef>,
        problem: Option<crate::source::Problem>,
    ) {
        let before = match &problem {
            Some(problem) => self.problems.insert(subject, problem.reason),
            None => self.problems.remove(&subject),
        };
        let gauge = |reason| {
            self.parts
                .metrics
                .source_problems
                .get_or_create_owned(&ReasonLabel { reason })
        };
        if let Some(reason) = before {
            gauge(reason).dec();
        }
        let Some(problem) = problem else { return };
        gauge(problem.reason).inc();
        if let Some(object) = object {
            let event = yusur_planner::Event {
                severity: Severity::Warning,
                reason: problem.reason,
                message: problem.message.into(),
            };
            // Without a uid: whatever object has the name now.
            let write = StatusWrite {
                events: vec![event],
                ..StatusWrite::events(object, String::new())
            };
            self.parts.status.push(write);
        }
    }

    /// EIP gateways are on other chassis.
    pub(super) fn gateways_moved(&mut self) {
        self.unmeasured = true;
        let before = self.inventory.dirty();
        let serving = self.parts.serving.borrow_and_update();
        self.inventory.serving(&serving);
        if self.inventory.dirty() > before {
            self.seen.push(Instant::now());
        }
    }

    /// One event of the Northbound's client.
    pub(super) fn northbound_event(&mut self, event: Event) {
        self.unmeasured = true;
        match event {
            Event::Batch(batch) => self.observe(&batch),
            Event::State(state) => {
                let database = DatabaseLabel {
                    database: "OVN_Northbound",
                };
                let resyncs = self.parts.metrics.resyncs.get_or_create_owned(&database);
                resyncs.inc_by(state.counters.full_syncs.saturating_sub(resyncs.get()));
                if self.state.is_synced() != state.is_synced() {
                    if state.is_synced() {
                        info!(northbound = %state, "connected");
                        for missing in &state.missing {
                            warn!(%missing, "this Northbound's schema is older; what needs this is left out");
                        }
                    } else {
                        warn!(northbound = %state, "disconnected");
                    }
                }
                self.warn_unreachable(&state);
                self.state = state;
            }
        }
    }

    /// Says so, ever more rarely, while there is no Northbound.
    fn warn_unreachable(&self, state: &State) {
        const FEW: u32 = 4;
        let failures = state.failures;
        if failures != self.state.failures && failures >= FEW && failures.is_power_of_two() {
            let error = state.last_error.as_deref().unwrap_or("no error is known");
            warn!(
                failures,
                error,
                "no OVN Northbound can be reached, and nothing is written meanwhile; see that ovn-central runs and that \
                 --nb-address names it; trying again and again"
            );
        }
    }

    /// Rows of the Northbound changed: by us, or by somebody else.
    fn observe(&mut self, batch: &Batch) {
        if batch.of_table(NB_GLOBAL).next().is_some() {
            let counters = Counters::read(&self.parts.client.read()).unwrap_or_default();
            self.parts
                .metrics
                .live_lag
                .set(counters.nb_cfg - counters.hv_cfg);
            if let Some(arrived) = self.live.observe(counters) {
                let now = Instant::now();
                let metrics = &self.parts.metrics;
                metrics
                    .committed_to_live
                    .observe(now.duration_since(arrived.committed).as_secs_f64());
                for seen in arrived.seen {
                    metrics
                        .seen_to_live
                        .observe(now.duration_since(seen).as_secs_f64());
                }
            }
        }
        // Before the inventory was loaded there is nothing to compare with, and loading looks at everything.
        if self.loaded.is_none() {
            return;
        }
        let before = self.inventory.dirty();
        self.inventory.observe(batch, &self.parts.client.read());
        if self.inventory.dirty() > before {
            self.seen.push(Instant::now());
            let owner = &self.parts.planner.owner;
            let ours = batch.changes.iter().filter_map(|change| {
                let row = change.old.as_deref().or(change.new.as_deref())?;
                nb::unit_of(owner, &change.table, row)
            });
            self.damaged.extend(ours);
        }
    }
}
