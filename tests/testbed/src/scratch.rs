//! Temporary directories that go even when the test is interrupted.
//!
//! A `TempDir` cleans up when it is dropped, which a SIGINT or SIGTERM prevents. The first directory made here installs
//! a handler for both that ends this process's descendants, removes its directories, and lets the signal do what it
//! does. (The kernel would end the children too, see [`crate::process`], but only after they had written more files.)

use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use tempfile::TempDir;

/// Makes a directory of this process's own; `what` becomes part of its name.
///
/// # Errors
/// If the directory cannot be made or the signals cannot be handled.
pub fn directory(what: &str) -> Result<TempDir> {
    static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();
    HANDLER
        .get_or_init(|| remove_on_signal().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)?;
    tempfile::Builder::new()
        .prefix(&format!("{}{what}-", prefix()))
        .tempdir()
        .context("making a temporary directory")
}

/// What the names of all our directories begin with: the pid keeps two runs apart.
fn prefix() -> String {
    format!("yusur-{}-", std::process::id())
}

fn remove_on_signal() -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("handling signals")?;
    thread::Builder::new()
        .name("scratch".into())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                end_descendants();
                remove_all(&std::env::temp_dir());
                // Ends the process as the signal would have; there is nobody to tell if that fails.
                let _ = emulate_default_handler(signal);
            }
        })
        .context("starting the thread that handles signals")?;
    Ok(())
}

/// How often what does not happen at once is tried again, 10 ms apart.
const ATTEMPTS: usize = 100;

/// Ends the children, and theirs in turn: with its parent gone a process becomes our child (`PR_SET_CHILD_SUBREAPER`),
/// and might otherwise make anew what is being removed. For a second at most.
fn end_descendants() {
    // Only an older kernel than any supported one refuses it.
    let _ = set_child_subreaper(true);
    for _ in 0..ATTEMPTS {
        kill_children();
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(status) if status.pid().is_some() => {}
                Err(Errno::ECHILD) => return,
                Ok(_) | Err(_) => break,
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Removes the directories; again and again while somebody still writes to them, for a second at most.
fn remove_all(temporary: &Path) {
    let prefix = prefix();
    for _ in 0..ATTEMPTS {
        let mut left = false;
        for entry in temporary.read_dir().into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                left |= std::fs::remove_dir_all(entry.path()).is_err();
            }
        }
        if !left {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Kills every child of this process (proc(5), `/proc/PID/task/TID/children`).
fn kill_children() {
    for task in Path::new("/proc/self/task")
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
    {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for pid in children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
        {
            // One that has just ended needs no killing.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::Process;

    /// Runs this test program once more, in a directory for temporary files of its own, and interrupts that run.
    #[test]
    fn an_interrupted_run_leaves_nothing() -> Result<()> {
        if std::env::var_os("TESTBED_INTERRUPTED").is_some() {
            // A child that writes for as long as it can.
            let kept = directory("a")?;
            let script = format!(
                "while :; do mkdir -p {0}/d; : >{0}/d/$((i += 1)); done",
                kept.path().display()
            );
            let _child = Process::spawn(
                Command::new("sh").args(["-c", &script]),
                kept.path().join("log"),
            )?;
            kill(Pid::this(), Signal::SIGINT)?;
            loop {
                thread::park();
            }
        }
        let temporary = tempfile::tempdir()?;
        std::fs::create_dir(temporary.path().join("yusur-0-foreign"))?;
        let output = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "scratch::tests::an_interrupted_run_leaves_nothing",
            ])
            .env("TESTBED_INTERRUPTED", "1")
            .env("TMPDIR", temporary.path())
            .output()?;
        assert!(!output.status.success(), "the signal ends the run");
        let left: Vec<_> = temporary
            .path()
            .read_dir()?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        assert_eq!(left, ["yusur-0-foreign"]);
        Ok(())
    }
}
