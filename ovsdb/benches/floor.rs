//! How far the client is from the floor: the same bytes over a bare socket, to and from the same server, in the same
//! run.
//!
//! `cargo bench -p ovsdb`. Three comparisons: 10,000 inserts in batches of 100, the first synchronisation of a
//! Northbound with 100,000 load balancers (and what a row takes in memory), and the time from another's one-row update
//! to its sight in the replica. Runs alternate, so that a busy machine slows both alike; times are the fastest of their
//! kind, since what else a machine does only ever adds to them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ovsdb::framer::{FrameLimits, Framer};
use ovsdb::model::{Operation, Uuid};
use ovsdb::{Builder, Client, Remote, TransactError};
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::schemas::installed;

#[derive(Debug, Clone, ovsdb::model::Table)]
#[ovsdb(table = "Load_Balancer")]
struct LoadBalancer {
    name: String,
    vips: std::collections::BTreeMap<String, String>,
    protocol: Option<String>,
    external_ids: std::collections::BTreeMap<String, String>,
}

const BATCHES: u128 = 100;
const BATCH: u128 = 100;
const ROWS: u128 = 100_000;
const UPDATES: usize = 2_000;
const MONITOR: &str =
    r#"{"Load_Balancer":[{"columns":["external_ids","name","protocol","vips"]}]}"#;

fn main() -> anyhow::Result<()> {
    // `cargo bench` passes `--bench`; `cargo test --benches` does not, and wants to know only that this starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    println!(
        "{:44} {:>12} {:>12} {:>8}  wanted",
        "", "floor", "client", ""
    );
    // `cargo bench -p ovsdb -- sync` runs that part alone.
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| part == name);
    runtime.block_on(async {
        if wanted("inserts") {
            inserts().await?;
        }
        if wanted("sync") {
            first_sync().await?;
        }
        if wanted("latency") {
            latency().await?;
        }
        Ok(())
    })
}

fn row(number: u128) -> Operation {
    let load_balancer = LoadBalancer {
        name: format!("lb-{number}"),
        vips: [(
            format!(
                "10.{}.{}.{}:80",
                number >> 16,
                (number >> 8) & 255,
                number & 255
            ),
            "192.168.0.1:8080,192.168.0.2:8080".to_owned(),
        )]
        .into(),
        protocol: Some("tcp".to_owned()),
        external_ids: [
            ("owner".to_owned(), "bench".to_owned()),
            (
                "unit".to_owned(),
                format!("service/namespace/name-{number}"),
            ),
        ]
        .into(),
    };
    Operation::insert_value(uuid(number), &load_balancer)
}

/// Spread like random ones: ovsdb-server hashes a row by the first 32 bits of its UUID alone.
fn uuid(number: u128) -> Uuid {
    let spread = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Uuid::from_u128((u128::from(spread) << 64) + 0x8000_0000_0000_0000 + number)
}

/// A bare socket: bytes out, whole messages in.
struct Bare {
    socket: UnixStream,
    framer: Framer,
    space: Vec<u8>,
}

impl Bare {
    fn connect(path: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            socket: UnixStream::connect(path)?,
            framer: Framer::new(FrameLimits::default()),
            space: vec![0; 256 << 10],
        })
    }

    fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.socket.write_all(bytes)?)
    }

    /// The next message, as it came.
    fn receive(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Some(message) = self.framer.next_message()? {
                return Ok(message);
            }
            let read = self.socket.read(&mut self.space)?;
            anyhow::ensure!(read > 0, "the server closed the connection");
            self.framer.push(&self.space[..read]);
        }
    }

    fn until_reply(&mut self) -> anyhow::Result<usize> {
        let mut bytes = 0;
        loop {
            let message = self.receive()?;
            bytes += message.len();
            // Notifications have a null id.
            if !message
                .windows(9)
                .take(200)
                .any(|part| part == b"\"id\":null")
            {
                return Ok(bytes);
            }
        }
    }

    fn monitor(&mut self) -> anyhow::Result<usize> {
        let zero = Uuid::nil();
        self.send(format!(r#"{{"id":0,"method":"monitor_cond_since","params":["OVN_Northbound","m",{MONITOR},"{zero}"]}}"#).as_bytes())?;
        self.until_reply()
    }
}

fn request(id: u128, operations: &[Operation]) -> anyhow::Result<Vec<u8>> {
    let operations = serde_json::to_string(operations)?;
    Ok(format!(
        r#"{{"id":{id},"method":"transact","params":["OVN_Northbound",{}}}"#,
        &operations[1..]
    )
    .into_bytes())
}

/// A client with a replica of the load balancers, synchronised.
async fn client(server: &Standalone) -> anyhow::Result<Client> {
    start(
        server,
        Client::builder("OVN_Northbound").table::<LoadBalancer>(),
    )
    .await
}

async fn start(server: &Standalone, builder: Builder) -> anyhow::Result<Client> {
    let client = builder
        .remotes(Remote::parse_list(&server.unix())?)
        .start()?;
    client.synced().await;
    Ok(client)
}

/// The same requests one after another, each once the reply to the one before is there, in four ways: the bare socket
/// and the client, without a monitor and with one. A monitor makes the server send every row back before its reply,
/// which costs it about as much again as the insert: that is the server's work, so each client is held against the
/// socket that has written the same bytes, the request for the monitor included.
async fn inserts() -> anyhow::Result<()> {
    let schema = installed("ovn-nb")?;
    let batches: Vec<Vec<Operation>> = (0..BATCHES)
        .map(|batch| {
            (0..BATCH)
                .map(|number| row(batch * BATCH + number))
                .collect()
        })
        .collect();
    let requests: Vec<Vec<u8>> = (1..)
        .zip(&batches)
        .map(|(id, batch)| request(id, batch))
        .collect::<Result<_, _>>()?;
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..15 {
        for (monitored, runs) in [false, true].into_iter().zip(&mut runs) {
            let server = Standalone::start(&schema)?;
            let mut bare = Bare::connect(&server.unix_path())?;
            if monitored {
                bare.monitor()?;
            }
            let began = Watch::start()?;
            for request in &requests {
                bare.send(request)?;
                bare.until_reply()?;
            }
            let floor = began.stop()?;
            drop(bare);
            drop(server);

            let server = Standalone::start(&schema)?;
            let client = if monitored {
                client(&server).await?
            } else {
                start(&server, Client::builder("OVN_Northbound")).await?
            };
            let work = batches.clone();
            let writer = client.clone();
            let began = Watch::start()?;
            // A task among the client's own, as it is in a program.
            let written = tokio::spawn(async move {
                for batch in work {
                    writer.transact(batch).await?;
                }
                Ok::<(), TransactError>(())
            });
            written.await??;
            runs.push((floor, began.stop()?));
            let rows = if monitored { BATCHES * BATCH } else { 0 };
            let held = client.read().len("Load_Balancer") as u128;
            anyhow::ensure!(held == rows, "{held} rows in the replica, not {rows}");
        }
    }
    for (name, runs) in ["no replica", "a replica"].into_iter().zip(&runs) {
        let times: Vec<_> = runs.iter().map(|run| (run.0.0, run.1.0)).collect();
        line(
            &format!("10,000 inserts, batches of 100, {name}"),
            &times,
            "1.3",
        );
        // What a busy machine does not change much: ticks are 10 ms.
        let processor = |ticks: u64| format!("{:.1} ms", ticks as f64 * 10.0 / runs.len() as f64);
        println!(
            "{:44} {:>12} {:>12}",
            "  processor time of this process",
            processor(runs.iter().map(|run| run.0.1).sum()),
            processor(runs.iter().map(|run| run.1.1).sum())
        );
    }
    Ok(())
}

/// Measures time, and the processor time of this process.
struct Watch(u64, Instant);

impl Watch {
    fn start() -> anyhow::Result<Self> {
        Ok(Self(cpu_ticks()?, Instant::now()))
    }

    /// The time, and the processor time in ticks.
    fn stop(self) -> anyhow::Result<(Duration, u64)> {
        let elapsed = self.1.elapsed();
        Ok((elapsed, cpu_ticks()? - self.0))
    }
}

async fn first_sync() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let mut bare = Bare::connect(&server.unix_path())?;
    for (id, start) in (1..).zip((0..ROWS).step_by(1000)) {
        let operations: Vec<_> = (start..start + 1000).map(row).collect();
        bare.send(&request(id, &operations)?)?;
        bare.until_reply()?;
    }
    let mut times = Vec::new();
    let mut bytes = 0;
    let mut held = (0, 0);
    for _ in 0..5 {
        let mut bare = Bare::connect(&server.unix_path())?;
        let began = Instant::now();
        bytes = bare.monitor()?;
        let floor = began.elapsed();
        drop(bare);
        let before = resident()?;
        let began = Instant::now();
        let client = client(&server).await?;
        times.push((floor, began.elapsed()));
        let read = client.read();
        anyhow::ensure!(
            read.len("Load_Balancer") as u128 == ROWS,
            "rows are missing"
        );
        let grown = resident()?.saturating_sub(before);
        if held.0 == 0 {
            held = (read.memory("Load_Balancer"), grown);
        }
    }
    line(
        &format!("first sync, 100,000 rows, {:.1} MB", bytes as f64 / 1e6),
        &times,
        "1.5",
    );
    println!(
        "{:44} {:>12} {:>10} B {:>8}  1500 B",
        "memory a row (counted)",
        "",
        held.0 as u128 / ROWS,
        ""
    );
    println!(
        "{:44} {:>12} {:>10} B",
        "memory a row (growth of the process)",
        "",
        held.1 as u128 / ROWS
    );
    Ok(())
}

/// Processor time of this process, of all its threads, in ticks (proc_pid_stat(5), utime and stime).
fn cpu_ticks() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may hold anything.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()?)
}

/// Bytes of this process that are in memory.
fn resident() -> anyhow::Result<usize> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = text.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
}

async fn latency() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let mut writer = Bare::connect(&server.unix_path())?;
    let operations: Vec<_> = (0..1000).map(row).collect();
    writer.send(&request(1, &operations)?)?;
    writer.until_reply()?;
    let client = client(&server).await?;
    let mut bare = Bare::connect(&server.unix_path())?;
    bare.monitor()?;
    let mut changes = client.changes_from_now();
    let (mut floor, mut seen) = (Vec::new(), Vec::new());
    for number in 0..2 * UPDATES {
        let change = Operation::update(
            "Load_Balancer",
            uuid(number as u128 % 1000),
            [("name", format!("changed-{number}"))]
                .into_iter()
                .collect(),
        );
        let request = request(2 + number as u128, &[change])?;
        let began = Instant::now();
        writer.send(&request)?;
        // Both are told every time; who is timed takes turns, and goes first.
        if number % 2 == 0 {
            bare.receive()?;
            floor.push(began.elapsed());
            changes.next_batch().await;
        } else {
            changes.next_batch().await;
            seen.push(began.elapsed());
            bare.receive()?;
        }
        writer.until_reply()?;
    }
    floor.sort();
    seen.sort();
    for (name, place, wanted) in [
        ("p50", UPDATES / 2, ""),
        ("p99", UPDATES * 99 / 100, "1 ms above"),
    ] {
        println!(
            "{:44} {:>12} {:>12} {:>8}  {wanted}",
            format!("one-row update to change seen, {name}"),
            show(floor[place]),
            show(seen[place]),
            format!(
                "{:+.3} ms",
                (seen[place].as_secs_f64() - floor[place].as_secs_f64()) * 1e3
            )
        );
    }
    Ok(())
}

fn line(name: &str, times: &[(Duration, Duration)], wanted: &str) {
    let floor = times.iter().map(|time| time.0).min().unwrap_or_default();
    let client = times.iter().map(|time| time.1).min().unwrap_or_default();
    let ratio = client.as_secs_f64() / floor.as_secs_f64();
    println!(
        "{name:44} {:>12} {:>12} {:>8}  {wanted}",
        show(floor),
        show(client),
        format!("{ratio:.2}x")
    );
}

fn show(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}
