//! ovn-northd without chassis: a real one over a Southbound of its own ([`Northd`]), to be stopped and continued; or a stand-in for
//! tests to which it does not matter what northd makes of the Northbound ([`stand_in`]).

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;

use crate::ovsdb::{Server, Standalone};
use crate::process::{Process, run};
use crate::release::Release;
use crate::scratch;

/// An `NB_Global.sb_cfg` that acknowledges whatever happens in a test: nothing can be raised beyond it.
pub const EVERYTHING: i64 = i64::MAX;

/// Makes the row that ovn-northd makes in the Northbound, as if it acknowledged everything the moment it happens. A fake: nobody
/// reads that Northbound, so nobody can fail over what is written there.
///
/// # Errors
/// When the server refuses, as it does where the row is there.
pub fn stand_in(northbound: &Server) -> Result<()> {
    let row = json!({"op": "insert", "table": "NB_Global", "row": {"sb_cfg": EVERYTHING}});
    northbound.transact(&[row]).map(drop)
}

/// A real ovn-northd with a Southbound of its own.
#[derive(Debug)]
pub struct Northd {
    process: Process,
    southbound: Standalone,
    dir: TempDir,
}

impl Northd {
    /// Starts the ovn-northd of this release on a Northbound (an OVSDB remote).
    ///
    /// # Errors
    /// If a program is missing or does not come up; with its log.
    pub fn start(release: &Release, northbound: &str) -> Result<Self> {
        let dir = scratch::directory("northd")?;
        let southbound = Standalone::start(&release.schema("ovn-sb")?)?;
        let process = Process::spawn(
            release
                .command("ovn-northd")?
                .args(["-vconsole:info", "-vsyslog:off", "-vfile:off"])
                .arg(format!("--ovnnb-db={northbound}"))
                .arg(format!("--ovnsb-db={}", southbound.unix()))
                .arg(format!("--unixctl={}/ctl", dir.path().display())),
            dir.path().join("log"),
        )?;
        let northd = Self {
            process,
            southbound,
            dir,
        };
        northd
            .process
            .wait_until("ovn-northd", || Ok(northd.control().exists()))?;
        Ok(northd)
    }

    fn control(&self) -> std::path::PathBuf {
        self.dir.path().join("ctl")
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its Southbound.
    pub fn southbound(&self) -> &Server {
        &self.southbound
    }

    /// Has it compute the whole Southbound anew, whatever it believes to know.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn recompute(&self) -> Result<()> {
        run(Command::new("ovn-appctl")
            .arg("-t")
            .arg(self.control())
            .arg("inc-engine/recompute"))
        .context("ovn-northd does not recompute")
        .map(drop)
    }
}
