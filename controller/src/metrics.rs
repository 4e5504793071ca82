//! What the controller measures about itself, in Prometheus' naming (<https://prometheus.io/docs/practices/naming/>):
//! base units, `_total` for counters, one name for one meaning.
//!
//! The three ages tell where time goes: *seen* is when an object's change reached this process (or a row of ours was
//! damaged by another), *committed* when the Northbound answered the transaction, *live* when every chassis has
//! installed it (`NB_Global.hv_cfg` caught up with the `nb_cfg` of that moment).

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// All metrics of one controller. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Seconds from a change seen to its transaction committed.
    pub seen_to_committed: Histogram,
    /// Seconds from a change seen to its being live on every chassis.
    pub seen_to_live: Histogram,
    /// Seconds from the `nb_cfg` bump that follows a commit to every chassis having reached it.
    pub committed_to_live: Histogram,
    /// Seconds the planner took for one batch of units.
    pub plan: Histogram,
    /// Seconds from a transaction sent to its reply.
    pub transaction: Histogram,
    /// Operations in a transaction.
    pub transaction_operations: Histogram,
    /// Units a transaction carried.
    pub transaction_units: Histogram,
    /// Transactions, by how they ended.
    pub transactions: Family<ResultLabel, Counter>,
    /// Units that wait for their turn.
    pub queued_units: Gauge,
    /// Units set aside because the Northbound refuses them, or because another program keeps undoing them.
    pub held_units: Family<ReasonLabel, Gauge>,
    /// Times rows of ours were changed by somebody else and planned again.
    pub repairs: Counter,
    /// Objects known, by kind.
    pub objects: Family<KindLabel, Gauge>,
    /// Objects or files that cannot be used as they are, by why.
    pub source_problems: Family<ReasonLabel, Gauge>,
    /// Events (watch events, file changes) taken from the sources.
    pub source_events: Family<KindLabel, Counter>,
    /// 1 once every source has answered in full.
    pub sources_synced: Gauge,
    /// Rows in the replica, by table.
    pub replica_rows: Family<TableLabel, Gauge>,
    /// 1 while connected, by database.
    pub connected: Family<DatabaseLabel, Gauge>,
    /// Full resynchronisations of the replica, by database.
    pub resyncs: Family<DatabaseLabel, Counter>,
    /// 1 while this process is the one that writes.
    pub leader: Gauge,
    /// The epoch under which it writes (0 with `--manifests`).
    pub epoch: Gauge,
    /// Transactions the fence refused.
    pub fenced: Counter,
    /// Objects a suspicious relist would have deleted and that are kept.
    pub mass_deletion_blocked: Gauge,
    /// Status writes, by how they ended.
    pub status_writes: Family<ResultLabel, Counter>,
    /// Statuses that are not written yet, by what they wait for.
    pub status_queue: Family<PriorityLabel, Gauge>,
    /// Status writes on their way.
    pub status_in_flight: Gauge,
    /// How many may be on their way, as far as the API server's answers allow; below one there are pauses between them.
    pub status_limit: Family<PriorityLabel, Gauge<f64, AtomicU64>>,
    /// Objects whose status is refused.
    pub status_refused: Gauge,
    /// The Northbound's `nb_cfg` less what all chassis have reached.
    pub live_lag: Gauge,
    /// The Southbound's `nb_cfg` less what the chassis has reached.
    pub chassis_lag: Family<ChassisLabel, Gauge>,
    /// How often an EIP gateway was seen on another chassis than before.
    pub gateway_moves: Family<GatewayLabel, Counter>,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// How it ended.
    pub result: Outcome,
}

/// How a transaction or a status write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// As asked.
    Ok,
    /// The server refused it for good: a constraint, a type.
    Refused,
    /// The fence or the lock says that another process writes now.
    Fenced,
    /// Not now: the server asked to try again.
    Retry,
    /// The connection was lost before the answer.
    Unknown,
    /// Anything else.
    Failed,
}

/// Why something is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// One word.
    pub reason: &'static str,
}

/// Who waits for a status, or why it waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PriorityLabel {
    /// One word.
    pub priority: &'static str,
}

/// A kind of object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// As in a manifest.
    pub kind: &'static str,
}

/// A table of the Northbound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableLabel {
    /// As in the schema.
    pub table: &'static str,
}

/// A node of OVN.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChassisLabel {
    /// Its name: `external_ids:system-id` of its Open vSwitch.
    pub chassis: String,
}

/// An EIP gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GatewayLabel {
    /// Its name.
    pub gateway: String,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DatabaseLabel {
    /// `OVN_Northbound` or `OVN_Southbound`.
    pub database: &'static str,
}

// === impl Outcome ===

impl Outcome {
    /// All ways to end.
    const ALL: [Self; 6] = [
        Self::Ok,
        Self::Refused,
        Self::Fenced,
        Self::Retry,
        Self::Unknown,
        Self::Failed,
    ];
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        let word = match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Fenced => "fenced",
            Self::Retry => "retry",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers all metrics with `registry`, under `yusur_controller_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            // 50 µs to 26 s: the target is half a millisecond, the worst a restart of a big Northbound.
            seen_to_committed: Histogram::new(exponential_buckets(0.000_05, 2.0, 20)),
            seen_to_live: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            committed_to_live: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            plan: Histogram::new(exponential_buckets(0.000_01, 2.0, 20)),
            transaction: Histogram::new(exponential_buckets(0.000_05, 2.0, 20)),
            transaction_operations: Histogram::new(exponential_buckets(1.0, 2.0, 16)),
            transaction_units: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            transactions: Family::default(),
            queued_units: Gauge::default(),
            held_units: Family::default(),
            repairs: Counter::default(),
            objects: Family::default(),
            source_problems: Family::default(),
            source_events: Family::default(),
            sources_synced: Gauge::default(),
            replica_rows: Family::default(),
            connected: Family::default(),
            resyncs: Family::default(),
            leader: Gauge::default(),
            epoch: Gauge::default(),
            fenced: Counter::default(),
            mass_deletion_blocked: Gauge::default(),
            status_writes: Family::default(),
            status_queue: Family::default(),
            status_in_flight: Gauge::default(),
            status_limit: Family::default(),
            status_refused: Gauge::default(),
            live_lag: Gauge::default(),
            chassis_lag: Family::default(),
            gateway_moves: Family::default(),
        };
        let r = registry.sub_registry_with_prefix("yusur_controller");
        let seconds = || Unit::Seconds;
        let m = &metrics;
        r.register_with_unit(
            "seen_to_committed",
            "Time from a change seen to its transaction committed",
            seconds(),
            m.seen_to_committed.clone(),
        );
        r.register_with_unit(
            "seen_to_live",
            "Time from a change seen to its being installed on every chassis",
            seconds(),
            m.seen_to_live.clone(),
        );
        r.register_with_unit(
            "committed_to_live",
            "Time from a commit to its being installed on every chassis",
            seconds(),
            m.committed_to_live.clone(),
        );
        r.register_with_unit(
            "plan",
            "Time the planner took for one batch of units",
            seconds(),
            m.plan.clone(),
        );
        r.register_with_unit(
            "transaction",
            "Time from a transaction sent to its reply",
            seconds(),
            m.transaction.clone(),
        );
        r.register(
            "transaction_operations",
            "Operations in a transaction",
            m.transaction_operations.clone(),
        );
        r.register(
            "transaction_units",
            "Units a transaction carried",
            m.transaction_units.clone(),
        );
        r.register(
            "transactions",
            "Transactions, by how they ended",
            m.transactions.clone(),
        );
        r.register(
            "queued_units",
            "Units that wait to be planned",
            m.queued_units.clone(),
        );
        r.register(
            "held_units",
            "Units set aside, by why; they are tried again by themselves",
            m.held_units.clone(),
        );
        r.register(
            "repairs",
            "Units planned again because another program changed their rows",
            m.repairs.clone(),
        );
        r.register("objects", "Objects known, by kind", m.objects.clone());
        r.register(
            "source_problems",
            "Objects or files that cannot be used as they are, by why",
            m.source_problems.clone(),
        );
        r.register(
            "source_events",
            "Changes taken from the sources, by kind",
            m.source_events.clone(),
        );
        r.register(
            "sources_synced",
            "1 once every source has answered in full",
            m.sources_synced.clone(),
        );
        r.register(
            "replica_rows",
            "Rows in the replica of the Northbound, by table",
            m.replica_rows.clone(),
        );
        r.register(
            "connected",
            "1 while connected to the database",
            m.connected.clone(),
        );
        r.register(
            "resyncs",
            "Full resynchronisations of the replica",
            m.resyncs.clone(),
        );
        r.register(
            "leader",
            "1 while this process is the one that writes",
            m.leader.clone(),
        );
        r.register(
            "epoch",
            "Epoch under which this process writes",
            m.epoch.clone(),
        );
        r.register(
            "fenced",
            "Transactions refused because another process writes",
            m.fenced.clone(),
        );
        r.register(
            "mass_deletion_blocked",
            "Objects kept because a relist lost suspiciously many; see --allow-mass-deletion",
            m.mass_deletion_blocked.clone(),
        );
        r.register(
            "status_writes",
            "Status writes, by how they ended",
            m.status_writes.clone(),
        );
        r.register(
            "status_queue",
            "Statuses that are not written yet, by what they wait for",
            m.status_queue.clone(),
        );
        r.register(
            "status_in_flight",
            "Status writes on their way",
            m.status_in_flight.clone(),
        );
        r.register(
            "status_limit",
            "Status writes that may be on their way, as far as the API server's answers allow",
            m.status_limit.clone(),
        );
        r.register(
            "status_refused",
            "Objects whose status is refused; tried again when they change, and every few minutes",
            m.status_refused.clone(),
        );
        r.register(
            "live_lag",
            "nb_cfg of the Northbound less what every chassis has reached (hv_cfg)",
            m.live_lag.clone(),
        );
        r.register(
            "chassis_lag",
            "nb_cfg of the Southbound less what this chassis has reached",
            m.chassis_lag.clone(),
        );
        r.register(
            "gateway_moves",
            "How often an EIP gateway was seen on another chassis than before",
            m.gateway_moves.clone(),
        );
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "The version that runs", version);
        registry.register_collector(Box::new(Process));
        // A counter that begins with its first event hides that event from `rate` and `increase`.
        for result in Outcome::ALL {
            let label = ResultLabel { result };
            drop(metrics.transactions.get_or_create(&label));
            drop(metrics.status_writes.get_or_create(&label));
        }
        metrics
    }

    /// Notes how a transaction ended.
    pub fn transaction_ended(&self, result: Outcome) {
        self.transactions
            .get_or_create(&ResultLabel { result })
            .inc();
    }

    /// Sets how many statuses wait for what the word says.
    pub fn status_queued(&self, priority: &'static str, count: usize) {
        self.status_queue
            .get_or_create(&PriorityLabel { priority })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many writes may be on their way: of what somebody waits for, and of the backlog.
    pub fn status_limits(&self, (changed, backlog): (f64, f64)) {
        for (priority, limit) in [("changed", changed), ("backlog", backlog)] {
            let label = PriorityLabel { priority };
            self.status_limit.get_or_create(&label).set(limit);
        }
    }

    /// Notes how a status write ended.
    pub fn status_written(&self, result: Outcome) {
        self.status_writes
            .get_or_create(&ResultLabel { result })
            .inc();
    }
}

/// The registry in Prometheus' text exposition (OpenMetrics 1.0).
///
/// # Errors
/// When a metric cannot be formatted, which none of ours does.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut body = String::with_capacity(16 << 10);
    text::encode(&mut body, registry)?;
    Ok(body)
}

/// The standard `process_*` metrics, read from `/proc` when scraped.
#[derive(Debug)]
struct Process;

// === impl Process ===

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(process) = ProcessFigures::read() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(process.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "User and system CPU time spent",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?)?;
        let started = ConstGauge::new(process.started);
        started.encode(encoder.encode_descriptor(
            "process_start_time",
            "Start of the process since the Unix epoch",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?)?;
        let resident = ConstGauge::new(process.resident_bytes);
        resident.encode(encoder.encode_descriptor(
            "process_resident_memory",
            "Resident memory size",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?)
    }
}

/// This process's figures.
struct ProcessFigures {
    cpu_seconds: f64,
    resident_bytes: u64,
    /// Seconds since 1970.
    started: f64,
}

// === impl ProcessFigures ===

impl ProcessFigures {
    /// proc_pid_stat(5), proc_pid_status(5) and proc_stat(5). `None` where they cannot be read.
    fn read() -> Option<Self> {
        /// USER_HZ is 100 on every architecture Linux still supports.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name may hold blanks and parentheses: fields are counted behind its last one.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let user: f64 = fields.next()?.parse().ok()?;
        let system: f64 = fields.next()?.parse().ok()?;
        let since_boot: f64 = fields.nth(6)?.parse().ok()?;
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        let boot: f64 = boot.trim().parse().ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self {
            cpu_seconds: (user + system) / TICKS_PER_SECOND,
            resident_bytes: kilobytes << 10,
            started: boot + since_boot / TICKS_PER_SECOND,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_holds_units_and_totals() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.transaction_ended(Outcome::Ok);
        metrics.seen_to_committed.observe(0.000_3);
        metrics
            .objects
            .get_or_create(&KindLabel {
                kind: "YusurService",
            })
            .set(3);
        let text = encode(&registry).unwrap();
        assert!(
            text.contains("yusur_controller_transactions_total{result=\"ok\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("yusur_controller_seen_to_committed_seconds_count 1"),
            "{text}"
        );
        assert!(
            text.contains("yusur_controller_objects{kind=\"YusurService\"} 3"),
            "{text}"
        );
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
        assert!(
            text.contains("yusur_controller_build_info{version=\""),
            "{text}"
        );
        assert!(
            text.contains("yusur_controller_transactions_total{result=\"fenced\"} 0"),
            "{text}"
        );
        let started = text
            .lines()
            .find_map(|line| line.strip_prefix("process_start_time_seconds "));
        let started: f64 = started.expect("a start").parse().expect("seconds");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = now.expect("a time after 1970").as_secs_f64() - started;
        assert!((-2.0..86_400.0).contains(&age), "{age} s old");
    }
}
