//! The engine: the one task that owns the inventory and writes the Northbound.
//!
//! Events of the sources and of the Northbound go into the inventory at once, whatever else is going on. While no
//! transaction is in flight, what has become dirty is planned against the replica and sent; while one is, changes
//! gather, and the next carries them all (decision 5). Only where there is much to add, at a start, is the next plan made
//! and sent while a transaction is in flight. There are no timers on this path. The few that exist are for what must wait:
//! units set aside, a pause after an error, the raise of `nb_cfg`.

mod authority;
mod guard;
mod holds;
mod intake;
mod lanes;
mod live;
mod outcome;
mod telling;
mod waits;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ovsdb::model::Name;
use ovsdb::{Changes, Client, Event, State};
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};
use yusur_planner::{
    Bounds, Group, Held, Inventory, Kind, Plan, Round, Unit, Verdict, nb, operations, plan,
};

pub use self::authority::Authority;
use self::authority::Standing;
use self::guard::Guard;
use self::holds::{Cause, Holds};
use self::lanes::{Cargo, Flight, Landed, Lanes, Which};
use self::live::{Counters, Live, NB_GLOBAL};
use self::telling::Untold;
use self::waits::{AWAITING_NORTHD, Waits};
use crate::http::{Check, Health, HealthRequests};
use crate::metrics::{DatabaseLabel, KindLabel, Metrics, ReasonLabel, TableLabel};
use crate::source::{SourceEvent, Sources};
use crate::southbound::Serving;
use crate::status::desk::Desk;
use crate::status::{Receipt, StatusQueue};

/// Units planned at a time: enough to make transactions large, few enough that what comes in does not wait for long. More
/// would not be quicker: ovsdb-server takes half as long again over the same rows in transactions of five times the size.
const UNITS: usize = 128;

/// A plan of more units than this is a large one.
const MANY: usize = 64;

/// Operations of one transaction.
const OPERATIONS: usize = 4000;

/// Source events taken in at a time before the Northbound's events get their turn.
const EVENTS: usize = 128;

/// How long the first plan waits for ovn-northd's first acknowledgement. Without it a good part of the plan would have to wait and
/// be made twice; where ovn-northd is slow, only those parts wait any longer.
const ACQUAINTANCE: Duration = Duration::from_millis(500);

/// How long the transaction in flight may take to end when the process is told to stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the engine works with.
#[derive(Debug)]
pub struct Parts {
    /// The Northbound, from [`northbound`].
    pub client: Client,
    /// Where objects come from.
    pub sources: Sources,
    /// Who may write.
    pub authority: Authority,
    /// Where status goes.
    pub status: StatusQueue,
    /// Where it is told that a status is written.
    pub receipts: mpsc::UnboundedReceiver<Receipt>,
    /// Who asks how the engine is.
    pub health: HealthRequests,
    /// What is measured.
    pub metrics: Metrics,
    /// The Southbound, where one is read.
    pub southbound: Option<Client>,
    /// Which chassis each EIP gateway is on.
    pub serving: watch::Receiver<Serving>,
    /// How the planner is set up.
    pub planner: yusur_planner::Config,
    /// Whether a suspicious loss of objects is carried out.
    pub allow_mass_deletion: bool,
}

/// Describes the client the engine needs: the planner's tables and indexes, and the counters.
pub fn northbound(builder: ovsdb::Builder, owner: &str) -> ovsdb::Builder {
    let mut builder = builder.columns(NB_GLOBAL, ["nb_cfg", "hv_cfg", "external_ids"]);
    for table in nb::TABLES {
        let columns = table
            .columns
            .iter()
            .map(|(column, _)| Name::new_static(column));
        builder = builder.columns(Name::new_static(table.name), columns);
    }
    for (table, index) in nb::indexes(owner) {
        builder = builder.index(Name::new_static(table), index);
    }
    builder
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    parts: Parts,
    changes: Changes,
    state: Arc<State>,
    inventory: Inventory,
    guard: Guard,
    desk: Desk,
    live: Live,
    holds: Holds,
    waits: Waits,
    lanes: Lanes,
    /// Whether it is worth asking what comes after the transaction in flight.
    curious: bool,
    /// When the changes came that are not planned yet, and those that the rounds in flight carry.
    seen: Vec<Instant>,
    carried: Vec<Instant>,
    /// Verdicts to be told while a transaction is in flight.
    verdicts: VecDeque<Verdict>,
    /// What is wrong in the sources: the reason, by subject.
    problems: std::collections::HashMap<String, &'static str>,
    /// Units whose rows somebody else changed, until they are planned.
    damaged: Vec<Unit>,
    /// The full synchronisation of the replica that the inventory was loaded from, and when that was.
    loaded: Option<u64>,
    loaded_at: Instant,
    swept: bool,
    /// Why the sweep is not carried out.
    blocked: Option<Blocked>,
    /// A lost answer: nothing is planned before the replica was synchronised by a later session than this.
    outdated: Option<u64>,
    pause: Pause,
    started: Instant,
    converged: bool,
    /// Since when plans have been large.
    behind: Option<Instant>,
    /// Units of which nothing was told meanwhile.
    untold: Untold,
    /// Something may have changed since the gauges were set.
    unmeasured: bool,
}

/// A sweep that is not carried out because too much would go.
#[derive(Debug)]
struct Blocked {
    message: String,
    /// How many services had an object.
    services: usize,
    since: Instant,
}

/// A pause after an error that is nobody's fault.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    times: u32,
}

// === impl Blocked ===

impl Blocked {
    /// When it is worth counting again, if the objects may have come back. Counting walks all services.
    fn due(&self, services: usize) -> Option<Instant> {
        const PATIENCE: Duration = Duration::from_secs(2);
        (services != self.services).then(|| self.since + PATIENCE)
    }
}

// === impl Engine ===

impl Engine {
    /// An engine that has not begun.
    pub fn new(parts: Parts) -> Self {
        let changes = parts.client.changes_from_now();
        let state = parts.client.state().borrow().clone();
        Self {
            changes,
            state,
            inventory: Inventory::new(parts.planner.clone()),
            guard: Guard::new(&parts.sources.kinds, parts.allow_mass_deletion),
            desk: Desk::default(),
            live: Live::default(),
            holds: Holds::default(),
            waits: Waits::default(),
            lanes: Lanes::default(),
            curious: false,
            seen: Vec::new(),
            carried: Vec::new(),
            verdicts: VecDeque::new(),
            problems: std::collections::HashMap::new(),
            damaged: Vec::new(),
            loaded: None,
            loaded_at: Instant::now(),
            swept: false,
            blocked: None,
            outdated: None,
            pause: Pause::default(),
            started: Instant::now(),
            converged: false,
            behind: None,
            untold: Untold::default(),
            unmeasured: true,
            parts,
        }
    }

    /// Works until `stop` resolves, then lets the transaction in flight end.
    ///
    /// # Errors
    /// When a source or the Northbound's client has ended by itself, which neither does.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut stop = std::pin::pin!(stop);
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            self.look_again();
            let now = Instant::now();
            self.depart(now);
            let wake = self.next_wake(now);
            tokio::select! {
                biased;
                () = &mut stop => break,
                (lane, landed) = self.lanes.next() => self.landed(lane, landed),
                count = self.parts.sources.events.recv_many(&mut events, EVENTS) => {
                    anyhow::ensure!(count > 0, "the source has stopped");
                    for event in events.drain(..) {
                        self.take_in(event);
                    }
                }
                event = self.changes.next() => {
                    let event = event.ok_or_else(|| anyhow::anyhow!("the Northbound's client has stopped"))?;
                    self.northbound_event(event);
                    // What has come meanwhile is one look at the inventory more, not one planning more.
                    while let Some(event) = self.changes.try_next() {
                        self.northbound_event(event);
                    }
                }
                receipt = self.parts.receipts.recv() => {
                    if let Some(receipt) = receipt {
                        self.receipt(&receipt);
                    }
                }
                () = self.parts.authority.changed() => self.authority_changed(),
                // Without a Southbound nobody tells.
                Ok(()) = self.parts.serving.changed() => self.gateways_moved(),
                request = self.parts.health.recv() => {
                    if let Some(request) = request {
                        // Whoever asked may have given up.
                        let _ = request.send(self.health());
                    }
                }
                // By now what departed is on its way, and there is time: to see what could follow it, and for words.
                () = tokio::task::yield_now(), if self.lanes.any_flies() && self.wants_to_look_ahead() => {}
                () = std::future::ready(()), if self.has_chores() => self.do_chores(),
                () = sleep_until(wake) => self.unmeasured = true,
            }
        }
        let until = tokio::time::Instant::now() + FAREWELL;
        while self.lanes.any_flies() {
            match tokio::time::timeout_at(until, self.lanes.next()).await {
                Ok((lane, landed)) => self.landed(lane, landed),
                Err(_) => {
                    warn!(
                        "stopping without knowing how the last transaction ended; the next start finds out"
                    );
                    break;
                }
            }
        }
        while !self.verdicts.is_empty() {
            self.tell_some();
        }
        self.parts.status.close();
        Ok(())
    }

    /// Another may be the one who writes.
    fn authority_changed(&mut self) {
        self.unmeasured = true;
        self.loaded = None;
        if self.parts.authority.standing(Instant::now()) == Standing::Standby {
            // Who does not write tells nothing either: it may be old by now, and the one who writes tells the new.
            self.verdicts.clear();
            self.untold.clear();
            for object in self.parts.status.withdraw() {
                self.desk.forget(&object);
            }
        }
    }

    /// Plans and sends what there is to send, as far as anything may be sent now.
    fn depart(&mut self, now: Instant) {
        // Once for each that has left or landed: what could not go along has to wait.
        let looks_ahead = self.wants_to_look_ahead();
        self.curious = false;
        if !self.state.is_synced() || self.pause.until.is_some_and(|until| now < until) {
            return;
        }
        let sessions = self.state.counters.sessions;
        if self.outdated.is_some_and(|outdated| sessions <= outdated) {
            return;
        }
        if self.outdated.take().is_some() {
            self.inventory.outcome_unknown(&self.parts.client.read());
        }
        let flies = self.lanes.any_flies();
        match self.parts.authority.standing(now) {
            Standing::Standby => return,
            Standing::Claim if flies => return,
            Standing::Claim => {
                let claim = self.parts.authority.claim(&self.parts.client.read());
                if let Some(transaction) = claim {
                    return self.send(Which::First, transaction, Cargo::Claim);
                }
            }
            Standing::Writes => {}
        }
        if !self.guard.is_complete() {
            return;
        }
        if !flies {
            self.load();
            for unit in self.holds.due(now) {
                self.inventory.put_back([&unit]);
            }
            let waiting = self.waits.due(now, &self.inventory);
            self.inventory.put_back(&waiting);
        }
        for lane in [Which::First, Which::Second] {
            self.send_run(lane, now);
        }
        let acquainted = self.acquaintance(now).is_none();
        while acquainted && self.lanes.are_done() && self.plan(now) {
            self.send_run(Which::First, now);
        }
        if flies && looks_ahead {
            self.look_ahead(now);
        }
        if self.lanes.any_flies() {
            return;
        }
        if (self.live.due(now).is_some_and(|due| due <= now) || self.may_press(now))
            && Counters::read(&self.parts.client.read()).is_some()
        {
            let transaction = self
                .parts
                .authority
                .prove(vec![Live::raise(self.raise_by())]);
            return self.send(Which::First, transaction, Cargo::Raise);
        }
        if !self.converged && self.inventory.dirty() == 0 && self.inventory.awaiting_count() == 0 {
            self.converged = true;
            let services = self.inventory.services();
            info!(services, elapsed = ?self.started.elapsed(), "the Northbound is what the objects mean");
        }
    }

    /// Until when nothing is planned because it is not known yet what ovn-northd has acknowledged.
    fn acquaintance(&self, now: Instant) -> Option<Instant> {
        let until = self.loaded_at + ACQUAINTANCE;
        (until > now && self.loaded.is_some() && self.inventory.is_unacquainted()).then_some(until)
    }

    /// Whether rows wait for ovn-northd and `nb_cfg` may be raised for them.
    fn may_press(&self, now: Instant) -> bool {
        self.inventory.needs_raise() && self.live.may_press(now)
    }

    fn raise_by(&self) -> i64 {
        if self.inventory.needs_raise() {
            self.inventory.raise_by()
        } else {
            1
        }
    }

    /// Sends the next transaction of the lane's round, if it has one and none is in flight.
    fn send_run(&mut self, which: Which, now: Instant) {
        let alone = !self.lanes.any_flies();
        let lane = self.lanes.lane(which);
        let Some(round) = lane.round.as_mut().filter(|_| lane.flight.is_none()) else {
            return;
        };
        let (groups, left_out) = round.next_run();
        let mut list = operations(groups.iter().copied());
        let (units, size) = (
            groups.iter().map(|group| group.units.len()).sum::<usize>(),
            list.len(),
        );
        let empty = groups.is_empty();
        if empty {
            lane.round = None;
        }
        for group in left_out {
            self.postpone(
                group,
                "DependencyRefused",
                "rows it rests on were refused; see the objects it refers to",
            );
        }
        if empty {
            return;
        }
        let raises = alone
            && (self.live.may_raise(now) || self.may_press(now))
            && Counters::read(&self.parts.client.read()).is_some();
        if raises {
            list.push(Live::raise(self.raise_by()));
        }
        let metrics = &self.parts.metrics;
        metrics.transaction_operations.observe(size as f64);
        metrics.transaction_units.observe(units as f64);
        debug!(units, operations = size, "writing");
        let transaction = self.parts.authority.prove(list);
        self.send(which, transaction, Cargo::Rows { raises });
        self.curious = true;
    }

    fn send(&mut self, lane: Which, transaction: ovsdb::Transaction, cargo: Cargo) {
        let client = self.parts.client.clone();
        let flight: Flight = Box::pin(async move {
            let sent = Instant::now();
            let result = client.transact(transaction).await.map(drop);
            Landed {
                cargo,
                sent,
                result,
            }
        });
        self.lanes.lane(lane).flight = Some(flight);
    }

    /// Brings the inventory up to a replica that was synchronised anew, and removes what nobody asks for any more.
    fn load(&mut self) {
        let full_syncs = self.state.counters.full_syncs;
        let fresh = self.loaded != Some(full_syncs);
        let now = Instant::now();
        let waits = self.blocked.as_ref().is_some_and(|blocked| {
            blocked
                .due(self.inventory.services())
                .is_none_or(|due| now < due)
        });
        if !fresh && (self.swept || waits) {
            return;
        }
        let database = self.parts.client.read();
        if fresh {
            self.inventory.load(&database);
            self.loaded = Some(full_syncs);
            self.loaded_at = now;
            self.damaged.clear();
        }
        if self.guard.is_unknown() {
            self.swept = false;
            return;
        }
        // What a running process holds in memory it has been told and has judged; only at the start is there nothing
        // but the Northbound to compare with.
        let census = self.inventory.census(&database);
        if self.swept || self.guard.may_sweep(census.services, census.gone) {
            self.inventory.sweep(&database);
            self.swept = true;
            self.blocked = None;
        } else {
            let message = format!(
                "{} of the {} services in the Northbound have no object any more; nothing is deleted. If that is meant, \
                 start with --allow-mass-deletion",
                census.gone, census.services
            );
            if self
                .blocked
                .as_ref()
                .is_none_or(|before| before.message != message)
            {
                error!(reason = "MassDeletion", "{message}");
                self.parts.status.notice(yusur_planner::Event {
                    severity: yusur_planner::Severity::Warning,
                    reason: "MassDeletion",
                    message: message.clone().into(),
                });
            }
            let services = self.inventory.services();
            self.blocked = Some(Blocked {
                message,
                services,
                since: now,
            });
        }
    }

    /// Plans what is dirty. Whether there was anything.
    fn plan(&mut self, now: Instant) -> bool {
        let Some(plan) = self.compare(now) else {
            return false;
        };
        self.adopt(Which::First, plan, now);
        true
    }

    /// Plans and sends what comes next while a transaction is in flight, where neither sees the other.
    fn look_ahead(&mut self, now: Instant) {
        let Some(lane) = self.lanes.free() else {
            return;
        };
        if !self.lanes.groups().all(Group::only_adds) {
            return;
        }
        let Some(plan) = self.compare(now) else {
            return;
        };
        if plan.stands_beside(self.lanes.groups()) {
            self.adopt(lane, plan, now);
            self.send_run(lane, now);
        } else {
            self.inventory.put_back(plan.units());
        }
    }

    /// Whether there is much to plan, and something that it could go beside. What is in flight is sent before the engine
    /// thinks about what comes next.
    fn wants_to_look_ahead(&self) -> bool {
        self.curious && self.behind.is_some() && self.inventory.dirty() > 0
    }

    /// Compares what some dirty units want with what is there, and was observed: the replica stands still meanwhile, and
    /// what it holds has been heard of. Else a row that has just been deleted could be inserted again as if it had
    /// never been there (see the planner's module `northd`).
    fn compare(&mut self, now: Instant) -> Option<Plan> {
        let client = self.parts.client.clone();
        let database = client.read();
        while let Some(event) = self.changes.try_next() {
            self.northbound_event(event);
        }
        if !self.state.is_synced() || self.loaded != Some(self.state.counters.full_syncs) {
            // It was synchronised anew: to be looked at in the next turn.
            self.unmeasured = true;
            return None;
        }
        let mut units = self.inventory.take_dirty(&database, UNITS);
        if units.is_empty() {
            self.behind = None;
            return None;
        }
        let many = units.len() + self.inventory.dirty() > MANY;
        self.behind = many.then(|| self.behind.unwrap_or(now));
        units.retain(|unit| !self.holds.holds(unit));
        let started = Instant::now();
        let plan = plan(&units, &self.inventory, &database);
        self.parts
            .metrics
            .plan
            .observe(started.elapsed().as_secs_f64());
        Some(plan)
    }

    /// Takes a plan over, to be sent on this lane.
    fn adopt(&mut self, lane: Which, plan: Plan, now: Instant) {
        self.inventory.planned(&plan);
        self.say(plan.verdicts);
        self.note_waits(plan.held, now);
        if self.inventory.dirty() == 0 {
            self.carried.append(&mut self.seen);
        }
        if plan.groups.is_empty() {
            self.damaged.clear();
            if self.lanes.are_done() {
                self.carried.clear();
            }
            return;
        }
        self.note_damage(&plan.groups, now);
        self.lanes.lane(lane).round = Some(Round::new(
            plan.groups,
            Bounds {
                operations: OPERATIONS,
            },
        ));
    }

    /// Rows that wait for ovn-northd. What is to be recorded first is said at once, the rest when it takes long.
    fn note_waits(&mut self, held: Vec<Held>, now: Instant) {
        if self.inventory.awaiting_count() == 0 {
            self.waits.clear();
        }
        if held.is_empty() {
            return;
        }
        let (nb_cfg, sb_cfg) = self.inventory.counters();
        for held in held {
            let late = self.waits.note(&held.unit, now);
            let Some(verdict) = held.verdict else {
                continue;
            };
            if late || verdict.record_first {
                let message = format!(
                    "ovn-northd has not yet acknowledged earlier changes of the Northbound, which these rows have to wait \
                     for (NB_Global.sb_cfg is {sb_cfg}, {} is awaited); if this lasts, see whether ovn-northd runs and \
                     reaches both databases",
                    held.target
                );
                self.verdicts
                    .push_back(verdict.uncommitted(AWAITING_NORTHD, &message));
            }
            if late && self.waits.remind(now) {
                warn!(
                    units = self.inventory.awaiting_count(),
                    nb_cfg,
                    sb_cfg,
                    "rows wait for ovn-northd to acknowledge earlier changes; does it run?"
                );
            }
        }
    }

    /// Words and figures.
    fn has_chores(&self) -> bool {
        self.unmeasured || !self.verdicts.is_empty()
    }

    fn do_chores(&mut self) {
        self.tell_some();
        if self.verdicts.is_empty() && std::mem::take(&mut self.unmeasured) {
            self.measure();
        }
    }

    /// When to look again although nothing happens. What was due `now` has been seen to, or waits for something else.
    fn next_wake(&self, now: Instant) -> Option<Instant> {
        if self.lanes.any_flies() {
            return None;
        }
        if self.has_time() {
            return Some(now);
        }
        // What was written makes room, of which nothing else tells where it failed.
        let more = (self.untold.len() > 0).then(|| now + Duration::from_secs(1));
        [
            more,
            self.pause.until,
            self.holds.next(),
            self.live.due(now),
            self.waits.next(),
            self.acquaintance(now),
            self.inventory
                .needs_raise()
                .then(|| self.live.pressing(now)),
            self.parts.authority.due(),
            self.blocked
                .as_ref()
                .and_then(|blocked| blocked.due(self.inventory.services())),
        ]
        .into_iter()
        .flatten()
        .filter(|moment| *moment > now)
        .min()
    }

    /// How the engine is.
    fn health(&mut self) -> Health {
        let northbound = connected(&self.state);
        let mut unlisted: Vec<&str> = self.guard.unlisted().map(Kind::as_str).collect();
        unlisted.sort_unstable();
        let sources = if unlisted.is_empty() {
            Ok(())
        } else {
            Err(format!("waiting for {}", unlisted.join(", ")))
        };
        let standby = self.parts.authority.standing(Instant::now()) == Standing::Standby;
        // A standby is ready to take over; it need not have written anything.
        let written = if self.converged || (standby && self.state.is_synced()) {
            Ok(())
        } else if self.inventory.dirty() == 0 && self.inventory.awaiting_count() > 0 {
            Err(format!(
                "{} parts of the first plan wait for ovn-northd to acknowledge what was there before",
                self.inventory.awaiting_count()
            ))
        } else {
            Err("the first plan is not written yet".to_owned())
        };
        let check = |name, state| Check {
            name,
            state,
            required: true,
        };
        let mut checks = vec![
            check("northbound", northbound),
            check("sources", sources),
            check("written", written),
        ];
        // Only metrics, and where EIP gateways are, come from there: services are written without it.
        checks.extend(self.parts.southbound.as_ref().map(|southbound| Check {
            required: false,
            ..check("southbound", connected(&southbound.state().borrow()))
        }));
        Health { checks }
    }

    /// Sets the gauges.
    fn measure(&mut self) {
        let metrics = &self.parts.metrics;
        metrics.queued_units.set(self.inventory.dirty() as i64);
        metrics.status_queued("untold", self.untold.len());
        let database = DatabaseLabel {
            database: "OVN_Northbound",
        };
        metrics
            .connected
            .get_or_create(&database)
            .set(i64::from(self.state.is_synced()));
        let writes = self.parts.authority.standing(Instant::now()) == Standing::Writes;
        metrics.leader.set(i64::from(writes));
        metrics
            .epoch
            .set(i64::try_from(self.parts.authority.epoch()).unwrap_or(i64::MAX));
        let database = self.parts.client.read();
        for table in nb::TABLES {
            let label = TableLabel { table: table.name };
            metrics
                .replica_rows
                .get_or_create(&label)
                .set(database.len(table.name) as i64);
        }
        for (kind, count) in self.guard.counts() {
            metrics
                .objects
                .get_or_create(&KindLabel {
                    kind: kind.as_str(),
                })
                .set(count as i64);
        }
        for (cause, reason) in [(Cause::Refused, "refused"), (Cause::Undone, "undone")] {
            metrics
                .held_units
                .get_or_create(&ReasonLabel { reason })
                .set(self.holds.count(cause) as i64);
        }
        metrics
            .held_units
            .get_or_create(&ReasonLabel { reason: "northd" })
            .set(self.inventory.awaiting_count() as i64);
        metrics
            .mass_deletion_blocked
            .set(self.guard.kept() as i64 + i64::from(self.blocked.is_some()));
        metrics
            .sources_synced
            .set(i64::from(self.guard.is_complete()));
    }
}

/// Pending for ever without a moment.
async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether a database can be used; if not, how far its client has come and why not further.
fn connected(state: &State) -> Result<(), String> {
    if state.is_synced() {
        Ok(())
    } else {
        Err(state.to_string())
    }
}
