//! An OVN lab on one machine: central, chassis and workloads, with real packets between them.
//!
//! Each chassis and each workload is a network namespace; a chassis runs its own ovsdb-server, ovs-vswitchd (userspace
//! datapath: any kernel will do) and ovn-controller, and tunnels to the others over a bridge in one more namespace. The
//! machine's own network is not touched, no name is taken in it, and all of it is gone when the [`Lab`] is dropped or
//! the process ends in whatever way. Any number of labs can run side by side.
//!
//! ```no_run
//! use yusur_testbed::lab::{Lab, Protocol, Server};
//!
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::start(&["node1", "node2"])?;
//! lab.nbctl(&["ls-add", "net", "--", "lsp-add", "net", "a", "--", "lsp-add", "net", "b"])?;
//! lab.nbctl(&["lsp-set-addresses", "a", "0a:00:00:00:00:01 10.0.0.1"])?;
//! lab.nbctl(&["lsp-set-addresses", "b", "0a:00:00:00:00:02 10.0.0.2"])?;
//! let a = lab.attach("node1", "a")?;
//! let b = lab.attach("node2", "b")?;
//! lab.sync()?;
//! let _server = Server::start(b.namespace(), "b", &[(Protocol::Tcp, 80)])?;
//! assert_eq!(a.ask(Protocol::Tcp, "10.0.0.2:80".parse()?)?.who, "b");
//! # Ok(())
//! # }
//! ```

mod chassis;
mod datapath;
mod dns;
mod namespace;
mod outside;
mod traffic;
mod workload;

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;
use tempfile::TempDir;

pub use chassis::Chassis;
pub use datapath::Datapath;
pub use dns::{Record, resolve};
pub use namespace::Namespace;
pub use outside::{Host, Outside};
pub use traffic::{AskError, Connection, Flow, Protocol, Reply, Server, ask, connect, flow};
pub use workload::Workload;

use crate::ovsdb::Standalone;
use crate::process::{PATIENCE, Process, poll, run};
use crate::release::Release;
use crate::scratch;

/// OVN central and its chassis. See the module's words.
#[derive(Debug)]
pub struct Lab {
    datapath: Datapath,
    // In the order in which they are to go: chassis, northd, databases, files.
    chassis: Vec<Chassis>,
    northd: Process,
    nb: Standalone,
    sb: Standalone,
    /// Holds the bridge that joins the chassis; gone with its namespace.
    _underlay: Namespace,
    dir: TempDir,
}

impl Lab {
    /// Starts central and one chassis for each name, and waits until all of them are registered. The release is the
    /// one that [`Release::chosen`] tells.
    ///
    /// # Errors
    /// If not run as root, if a program is missing or does not come up; with its log.
    pub fn start(chassis: &[&str]) -> Result<Self> {
        Self::start_on(&Release::chosen()?, chassis)
    }

    /// The same with the daemons and schemas of this release: ovn-northd, and on every chassis Open vSwitch and
    /// ovn-controller. The Northbound's and the Southbound's servers and all tools are the installed ones.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on(release: &Release, chassis: &[&str]) -> Result<Self> {
        ensure!(
            Uid::effective().is_root(),
            "the OVN lab makes network namespaces and needs root; `make test` and `make demo` see to it, \
             cargo does with CARGO_TARGET_<TRIPLE>_RUNNER=scripts/as-root"
        );
        let datapath = Datapath::chosen()?;
        let dir = scratch::directory("lab")?;
        let nb = Standalone::start(&release.schema("ovn-nb")?)?;
        let sb = Standalone::start(&release.schema("ovn-sb")?)?;
        let northd = Process::spawn(
            release
                .command("ovn-northd")?
                .args(["-vconsole:info", "-vsyslog:off", "-vfile:off"])
                .arg(format!("--ovnnb-db={}", nb.unix()))
                .arg(format!("--ovnsb-db={}", sb.unix()))
                .arg(socket(dir.path(), "northd")),
            dir.path().join("northd.log"),
        )?;
        let underlay = chassis::underlay(dir.path())?;
        let chassis = thread::scope(|scope| {
            let starting: Vec<_> = (1..)
                .zip(chassis)
                .map(|(number, name)| {
                    let dir = dir.path().join(name);
                    let (underlay, sb) = (&underlay, &sb);
                    scope.spawn(move || {
                        Chassis::start(release, datapath, name, number, &dir, underlay, &sb.unix())
                    })
                })
                .collect();
            starting
                .into_iter()
                .map(|chassis| {
                    chassis
                        .join()
                        .unwrap_or_else(|_| bail!("starting a chassis panicked"))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        for (from, to) in chassis
            .iter()
            .flat_map(|from| chassis.iter().map(move |to| (from, to)))
        {
            from.knows(to)?;
        }
        let lab = Self {
            datapath,
            chassis,
            northd,
            nb,
            sb,
            _underlay: underlay,
            dir,
        };
        // The row that --wait counts on; then every chassis must be known, or a sync would not wait for it.
        lab.nbctl(&["init"])?;
        for chassis in &lab.chassis {
            let condition = format!("name={}", chassis.name());
            chassis.controller().wait_until("registration", || {
                let found = lab.sbctl(&["--bare", "find", "Chassis_Private", &condition])?;
                Ok(!found.is_empty())
            })?;
        }
        lab.sync()?;
        Ok(lab)
    }

    /// Starts a lab, hands it to `body`, and where that fails keeps all logs and says where they are.
    ///
    /// # Errors
    /// Those of [`Self::start`] and of `body`, with the warnings of all logs.
    pub fn run(chassis: &[&str], body: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        Self::run_on(&Release::chosen()?, chassis, body)
    }

    /// The same with the daemons of this release; see [`Self::start_on`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_on(
        release: &Release,
        chassis: &[&str],
        body: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let lab = Self::start_on(release, chassis)?;
        // A panic in `body` (a failed assertion) must not lose the logs either.
        let guard = KeepLogs(&lab);
        body(&lab)?;
        std::mem::forget(guard);
        Ok(())
    }

    /// What all chassis forward with: the one that [`Datapath::chosen`] tells.
    pub fn datapath(&self) -> Datapath {
        self.datapath
    }

    /// The Northbound's server.
    pub fn nb(&self) -> &Standalone {
        &self.nb
    }

    /// The Southbound's server.
    pub fn sb(&self) -> &Standalone {
        &self.sb
    }

    /// ovn-northd.
    pub fn northd(&self) -> &Process {
        &self.northd
    }

    /// The directory of the lab's files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All chassis, in the order they were named in.
    pub fn chassis(&self) -> &[Chassis] {
        &self.chassis
    }

    /// The chassis of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, name: &str) -> Result<&Chassis> {
        self.chassis
            .iter()
            .find(|chassis| chassis.name() == name)
            .with_context(|| format!("the lab has no chassis {name}"))
    }

    /// Runs ovn-nbctl and returns what it prints.
    ///
    /// # Errors
    /// If it fails, with its words.
    pub fn nbctl(&self, arguments: &[&str]) -> Result<String> {
        ctl("ovn-nbctl", &self.nb, arguments)
    }

    /// Runs ovn-sbctl and returns what it prints.
    ///
    /// # Errors
    /// If it fails, with its words.
    pub fn sbctl(&self, arguments: &[&str]) -> Result<String> {
        ctl("ovn-sbctl", &self.sb, arguments)
    }

    /// Waits until every chassis forwards by what the Northbound says now.
    ///
    /// # Errors
    /// If a chassis does not get there.
    pub fn sync(&self) -> Result<()> {
        self.nbctl(&["--wait=hv", "sync"]).map(drop)
    }

    /// As [`Self::sync`], but for a chassis that is dead and so never gets there.
    ///
    /// # Errors
    /// If another chassis does not get there.
    pub fn sync_without(&self, dead: &str) -> Result<()> {
        self.nbctl(&["--wait=sb", "sync"])?;
        let number = |text: String| text.trim().parse::<i64>().context("a counter");
        let goal = number(self.nbctl(&["get", "NB_Global", ".", "nb_cfg"])?)?;
        for chassis in self.chassis.iter().filter(|chassis| chassis.name() != dead) {
            let condition = format!("name={}", chassis.name());
            let counter = [
                "--bare",
                "--columns=nb_cfg",
                "find",
                "Chassis_Private",
                &condition,
            ];
            poll(|| Ok(number(self.sbctl(&counter)?)? >= goal))
                .with_context(|| format!("waiting for {}", chassis.name()))?;
        }
        Ok(())
    }

    /// Makes a workload behind the logical switch port `port` on a chassis, as a CNI plugin would: waits for the
    /// port's row, takes addresses, prefixes and gateways from the Northbound, plugs it, and waits until it is up.
    ///
    /// # Errors
    /// If the port does not appear or does not come up.
    pub fn attach(&self, chassis: &str, port: &str) -> Result<Workload> {
        let chassis = self.node(chassis)?;
        self.nbctl(&["wait-until", "Logical_Switch_Port", port])
            .with_context(|| format!("waiting for the logical switch port {port}"))?;
        let workload = Workload::plug(chassis, &workload::Port::read(&self.nb.dump()?, port)?)?;
        self.nbctl(&["wait-until", "Logical_Switch_Port", port, "up=true"])
            .with_context(|| {
                format!(
                    "waiting for the port {port} to come up on {}; the log of its ovn-controller ends:\n{}",
                    chassis.name(),
                    chassis.log_tail()
                )
            })?;
        Ok(workload)
    }

    /// What the logs of all programs hold of warnings and errors, a heading for each.
    pub fn warnings(&self) -> String {
        let central = [
            ("northd", self.northd.output()),
            ("NB ovsdb-server", self.nb.log()),
            ("SB ovsdb-server", self.sb.log()),
        ]
        .map(|(name, log)| (name.to_owned(), log.unwrap_or_default()));
        let mut text = String::new();
        for (name, log) in central
            .into_iter()
            .chain(self.chassis.iter().flat_map(Chassis::logs))
        {
            let warnings: Vec<_> = log
                .lines()
                .filter(|line| {
                    ["|WARN|", "|ERR|", "|EMER|"]
                        .iter()
                        .any(|level| line.contains(level))
                })
                .collect();
            if !warnings.is_empty() {
                text.push_str(&format!("--- {name}\n{}\n", warnings.join("\n")));
            }
        }
        text
    }

    /// Copies everything into a directory that stays, and returns it.
    fn keep(&self) -> Result<std::path::PathBuf> {
        let kept = tempfile::Builder::new()
            .prefix("yusur-failed-")
            .tempdir()?
            .keep();
        run(Command::new("cp").arg("-r").arg(self.dir.path()).arg(&kept))?;
        for (name, server) in [("nb", &self.nb), ("sb", &self.sb)] {
            std::fs::write(kept.join(format!("{name}.log")), server.log()?)?;
            std::fs::write(
                kept.join(format!("{name}.dump")),
                format!("{:#?}", server.dump()?),
            )?;
        }
        Ok(kept)
    }
}

/// Shows and keeps a lab's logs when dropped.
struct KeepLogs<'a>(&'a Lab);

impl Drop for KeepLogs<'_> {
    fn drop(&mut self) {
        eprintln!("The lab's warnings:\n{}", self.0.warnings());
        match self.0.keep() {
            Ok(path) => eprintln!(
                "The lab's files and databases are kept in {}",
                path.display()
            ),
            Err(error) => eprintln!("The lab's files could not be kept: {error:#}"),
        }
    }
}

/// The control socket option of one of OVN's and OVS's daemons.
fn socket(dir: &Path, name: &str) -> String {
    format!("--unixctl={}/{name}.ctl", dir.display())
}

fn ctl(program: &str, server: &Standalone, arguments: &[&str]) -> Result<String> {
    run(Command::new(program)
        .arg(format!("--db={}", server.deref().unix()))
        .arg(format!("--timeout={}", PATIENCE.as_secs()))
        .arg("--no-leader-only")
        .args(arguments))
}

#[cfg(test)]
mod tests;
