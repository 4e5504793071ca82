//! Network namespaces without a name: a process holds each of them, and the kernel removes it, with all devices in it,
//! when that process and those started in it are gone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::process::{Process, run};

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// Where batches of commands for ip(8) are put.
    dir: PathBuf,
    handle: File,
    holder: Process,
}

impl Namespace {
    /// Makes a namespace with `lo` up; `name` is for messages, `dir` for the files it needs.
    ///
    /// # Errors
    /// If the kernel refuses, for want of root as a rule.
    pub fn new(name: &str, dir: &Path) -> Result<Self> {
        let dir = dir.join(format!("ns-{name}"));
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let holder = Process::spawn(
            Command::new("unshare").args(["--net", "--", "sleep", "infinity"]),
            dir.join("holder.log"),
        )?;
        let pid = holder.pid();
        holder.wait_until("its network namespace", || {
            // The program is what it will be once it is `sleep`; before, it may still be in the old namespace.
            Ok(std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name == "sleep\n"))
        })?;
        let path = format!("/proc/{pid}/ns/net");
        let handle = File::open(&path).with_context(|| format!("opening {path}"))?;
        let namespace = Self {
            name: name.to_owned(),
            dir,
            handle,
            holder,
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A process that lives in the namespace: what ip(8) and nsenter(1) take for one.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        self.inside(&Command::new(program))
    }

    /// The same program with the same arguments, to run inside.
    pub fn inside(&self, outside: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid()))
            .arg("--")
            .arg(outside.get_program())
            .args(outside.get_args());
        command
    }

    /// Runs a program inside, to its end, and returns what it prints.
    ///
    /// # Errors
    /// If it fails, with its words.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments))
            .with_context(|| format!("in the network namespace of {}", self.name))
    }

    /// Carries out lines of ip(8) inside, all in one process.
    ///
    /// # Errors
    /// If one of them fails, with its number and ip's words.
    pub fn ip(&self, batch: &str) -> Result<()> {
        static BATCHES: AtomicU32 = AtomicU32::new(0);
        let file = self
            .dir
            .join(format!("ip-{}", BATCHES.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&file, batch).with_context(|| format!("writing {}", file.display()))?;
        run(self.command("ip").arg("-batch").arg(&file))
            .with_context(|| format!("in the network namespace of {}:\n{batch}", self.name))?;
        Ok(())
    }

    /// Calls `body` in a thread inside the namespace. Sockets made there stay there, wherever they are used.
    ///
    /// # Errors
    /// If the thread cannot be started or cannot enter; a panic of `body` becomes an error.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            thread::Builder::new()
                .name(self.name.clone())
                .spawn_scoped(scope, || {
                    setns(&self.handle, CloneFlags::CLONE_NEWNET)
                        .with_context(|| format!("entering the network namespace of {}", self.name))
                        .map(|()| body())
                })
                .context("starting a thread")?
                .join()
                .unwrap_or_else(|_| {
                    Err(anyhow!(
                        "panicked in the network namespace of {}",
                        self.name
                    ))
                })
        })
    }
}
