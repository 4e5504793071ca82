//! The controller's process: started, measured from outside, stopped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use tempfile::TempDir;
use ureq::Agent;
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::process::Process;
use yusur_testbed::scratch;

/// What the kernel's clock ticks count (proc_pid_stat(5)): always 100 a second towards programs on Linux.
const TICK: Duration = Duration::from_millis(10);

/// A running controller.
#[derive(Debug)]
pub(crate) struct Controller {
    process: Process,
    metrics: String,
    started: Instant,
    agent: Agent,
    logs: Option<PathBuf>,
    // Last: the process ends before its log goes.
    _dir: TempDir,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Processor time of all threads.
    pub(crate) cpu: Duration,
    /// Most memory that was ever resident, in bytes.
    pub(crate) peak: u64,
    /// Memory that is resident, in bytes.
    pub(crate) resident: u64,
}

impl Controller {
    /// Starts `program` on the cluster of `kubeconfig` and the Northbound of `server`.
    pub(crate) fn start(
        program: &Path,
        kubeconfig: &Path,
        server: &Standalone,
        logs: Option<PathBuf>,
    ) -> Result<Self> {
        let dir = scratch::directory("bench")?;
        let mut command = Command::new(program);
        command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--nb-address", &server.unix()])
            .args(["--lease-namespace", "yusur-system"])
            // Longer than `frozen` keeps it from renewing.
            .args(["--lease-duration", "120"])
            .args(["--metrics-address", "127.0.0.1:0"]);
        let started = Instant::now();
        let process = Process::spawn(&command, dir.path().join("controller.log"))?;
        Ok(Self {
            process,
            metrics: String::new(),
            started,
            agent: Agent::new_with_defaults(),
            logs,
            _dir: dir,
        })
    }

    /// When the process was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Waits until the controller says that the Northbound is what the objects mean. Looks seldom: looking costs.
    pub(crate) fn wait_converged(&mut self) -> Result<()> {
        while self
            .said("the Northbound is what the objects mean")?
            .is_none()
        {
            anyhow::ensure!(
                self.process.is_running(),
                "the controller ended:\n{}",
                self.process.output()?
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = self.process.output()?;
        let line = log.lines().find(|line| line.contains("serving /metrics"));
        let address = line.and_then(|line| word(line, "address="));
        self.metrics = address
            .context("the log names no address of the metrics")?
            .to_owned();
        Ok(())
    }

    /// When the controller said it, since its start; by the log's own clock.
    pub(crate) fn said(&self, text: &str) -> Result<Option<Duration>> {
        let log = self.process.output()?;
        let Some(line) = log.lines().find(|line| line.contains(text)) else {
            return Ok(None);
        };
        let stamp = line.split_whitespace().next().unwrap_or_default();
        let began = SystemTime::now() - self.started.elapsed();
        let since_midnight = seconds_of_day(stamp).context("a line without a time")?;
        let day = 86_400.0;
        let began = began.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() % day;
        Ok(Some(Duration::from_secs_f64(
            (since_midnight - began).rem_euclid(day),
        )))
    }

    /// A metric's value: the sum over its labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let text = self
            .agent
            .get(format!("http://{}/metrics", self.metrics))
            .call()?
            .body_mut()
            .read_to_string()?;
        let name = format!("yusur_controller_{name}");
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(&name)).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    /// Waits until no status is left to write: none was written for a while.
    pub(crate) fn wait_told(&self) -> Result<()> {
        let (mut written, mut since) = (-1.0, Instant::now());
        loop {
            let now = self.metric("status_writes_total")?;
            if now != written {
                (written, since) = (now, Instant::now());
            } else if since.elapsed() > Duration::from_secs(2) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// Does `work` while the controller stands still, so that what it has to do meets it all at once.
    pub(crate) fn frozen(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.process.stop()?;
        let done = work();
        self.process.cont()?;
        done
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let pid = self.process.pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything; utime and stime are the fields 14 and 15.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u32 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u32>().ok())
            .sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kibibytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            number.map_or(0, |number| number * 1024)
        };
        Ok(Usage {
            cpu: TICK * ticks,
            peak: kibibytes("VmHWM:"),
            resident: kibibytes("VmRSS:"),
        })
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.terminate()?;
        if let Some(logs) = &self.logs {
            std::fs::create_dir_all(logs)?;
            let name = format!("controller-{}.log", self.process.pid());
            std::fs::copy(self.process.log(), logs.join(name))?;
        }
        Ok(())
    }
}

/// What follows `key` in a line of the log, up to the next space.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key)?.1.split_whitespace().next()
}

/// The seconds since midnight of an RFC 3339 time in UTC.
fn seconds_of_day(stamp: &str) -> Option<f64> {
    let time = stamp.split_once('T')?.1.strip_suffix('Z')?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
}
