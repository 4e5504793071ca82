//! Child processes that cannot outlive the test: killed by pid on drop, by the kernel when the test itself dies.
//!
//! The parent-death signal is set by `setpriv --pdeathsig` (util-linux), which then execs the program, so that the pid
//! is the program's own. The kernel sends that signal when the *thread* that forked dies (prctl(2),
//! `PR_SET_PDEATHSIG`); test threads and blocking-pool threads come and go, so every child is forked by one thread that
//! lives as long as this process.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long [`Process::wait_until`] and its kin wait before they call a start-up failed. Never a measure of speed: a
/// loaded machine takes as long as it takes, and this only bounds a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running child process, its output in a file; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `command` with standard output and error appended to the file `log`.
    ///
    /// The program, arguments, environment and working directory are taken from `command`; its standard streams are
    /// replaced, standard input by `/dev/null`.
    ///
    /// # Errors
    /// If the log cannot be opened or `setpriv` cannot be started. A program that does not exist shows as an early exit
    /// with `setpriv`'s complaint in the log.
    pub fn spawn(command: &Command, log: impl AsRef<Path>) -> Result<Self> {
        let log = log.as_ref().to_path_buf();
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_else(|| command.get_program())
            .to_string_lossy()
            .into_owned();
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening the log {} of {name}", log.display()))?;
        let child = fork(guarded(command, out)?)
            .with_context(|| format!("starting {name} under setpriv (is util-linux installed?)"))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a pid beyond i32")?);
        Ok(Self {
            name,
            pid,
            log,
            child: Mutex::new(child),
        })
    }

    /// The program's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// The file that holds the program's standard output and error.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All that the program has printed so far.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn output(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log)
            .with_context(|| format!("reading the log {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The exit status, if the program has ended.
    ///
    /// # Errors
    /// If the kernel refuses the question.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child
            .try_wait()
            .with_context(|| format!("asking after {}", self.name))
    }

    /// Whether the program has not ended yet (a stopped program counts as running).
    pub fn is_running(&self) -> bool {
        matches!(self.try_wait(), Ok(None))
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// If it is still there after [`PATIENCE`].
    pub fn wait(&self) -> Result<ExitStatus> {
        let mut status = None;
        poll(|| {
            status = self.try_wait()?;
            Ok(status.is_some())
        })
        .with_context(|| format!("waiting for {} to end", self.name))?;
        status.ok_or_else(|| anyhow!("{} ended without a status", self.name))
    }

    /// Waits until `ready` says true, failing as soon as the program has ended or `ready` fails.
    ///
    /// # Errors
    /// With the end of the program's log, if it ended or was not ready within [`PATIENCE`].
    pub fn wait_until(&self, what: &str, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
        poll(|| {
            if ready()? {
                return Ok(true);
            }
            match self.try_wait()? {
                Some(status) => bail!("{} ended with {status}", self.name),
                None => Ok(false),
            }
        })
        .with_context(|| {
            format!(
                "waiting for {what} of {}; its log ends:\n{}",
                self.name,
                self.tail()
            )
        })
    }

    /// Waits until the log contains `text`.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_for_output(&self, text: &str) -> Result<()> {
        self.wait_until(&format!("the output {text:?}"), || {
            Ok(self.output()?.contains(text))
        })
    }

    /// Sends a signal to the program; nothing happens if it has ended.
    ///
    /// # Errors
    /// If the kernel refuses to deliver it.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Holding the lock while asking first keeps the pid ours: it is not reaped, so not given to another process.
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        kill(self.pid, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Freezes the program (SIGSTOP): it keeps its sockets, answers nothing.
    ///
    /// # Errors
    /// As [`Self::signal`].
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen program run on (SIGCONT).
    ///
    /// # Errors
    /// As [`Self::signal`].
    pub fn cont(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Ends the program at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child
            .kill()
            .with_context(|| format!("killing {}", self.name))?;
        child
            .wait()
            .with_context(|| format!("waiting for {} to be gone", self.name))?;
        Ok(())
    }

    /// Asks the program to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn terminate(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// The end of the log, for error messages.
    fn tail(&self) -> String {
        let text = self.output().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to report to: either it is gone, or it was gone before.
        let _ = self.kill();
    }
}

/// Runs a short-lived program to its end and returns its standard output.
///
/// # Errors
/// If it cannot be started or ends with a failure; the message carries its command line and standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{line}`"))?;
    if !output.status.success() {
        let how = match output.status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => output.status.to_string(),
        };
        bail!(
            "`{line}` failed ({how}): {}{}",
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks `done` every few milliseconds until it says true.
///
/// For conditions of other programs that offer no event to wait for.
///
/// # Errors
/// If `done` fails, or after [`PATIENCE`].
pub fn poll(mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if done()? {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("not within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// `command` behind `setpriv`, in a process group of its own so that a terminal's Ctrl-C reaches the test alone and its
/// guards decide the order of things.
fn guarded(command: &Command, out: File) -> Result<Command> {
    let mut guarded = Command::new("setpriv");
    guarded
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(out.try_clone().context("duplicating the log's handle")?)
        .stdout(out);
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(key, value),
            None => guarded.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        guarded.current_dir(directory);
    }
    Ok(guarded)
}

type Job = (Command, Sender<std::io::Result<Child>>);

/// Forks in the one thread that lives as long as this process.
fn fork(command: Command) -> Result<Child> {
    static FORKER: OnceLock<Sender<Job>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A caller that went away drops the child's handle; the parent-death signal still ends it.
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, answer) = channel();
    forker
        .send((command, reply))
        .map_err(|_| anyhow!("the forking thread is gone"))?;
    Ok(answer.recv().context("the forking thread is gone")??)
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// The state letter of /proc/PID/stat, `None` once the process is gone.
    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    }

    #[test]
    fn output_goes_to_the_log_and_drop_kills() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let process = Process::spawn(
            &shell("echo hello; echo oops >&2; exec sleep 1000"),
            dir.path().join("log"),
        )?;
        process.wait_for_output("hello\noops\n")?;
        let pid = process.pid();
        assert!(process.is_running());
        drop(process);
        assert_eq!(state(pid), None);
        Ok(())
    }

    #[test]
    fn stop_and_cont_freeze_and_thaw() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let process = Process::spawn(&shell("exec sleep 1000"), dir.path().join("log"))?;
        process.stop()?;
        poll(|| Ok(state(process.pid()) == Some('T')))?;
        assert!(process.is_running());
        process.cont()?;
        poll(|| Ok(state(process.pid()) == Some('S')))?;
        assert_eq!(process.terminate()?.signal(), Some(15));
        Ok(())
    }

    #[test]
    fn a_failing_program_is_named_with_its_words() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let process = Process::spawn(
            &shell("echo no such thing >&2; exit 3"),
            dir.path().join("log"),
        )?;
        let error = process.wait_for_output("ready").unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("no such thing") && text.contains("exit status: 3"),
            "{text}"
        );
        let error = run(&mut shell("echo bad luck >&2; exit 4")).unwrap_err();
        assert!(error.to_string().contains("bad luck"), "{error}");
        Ok(())
    }

    /// The child outlives the thread that asked for it (a test's or a pool's), and dies with the process.
    #[test]
    fn children_die_with_the_process_not_with_the_thread() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let process = thread::spawn(move || Process::spawn(&shell("exec sleep 1000"), log))
            .join()
            .expect("the thread ran")?;
        thread::sleep(Duration::from_millis(50));
        assert!(process.is_running());

        // This test program once more, in a run that spawns a child and is killed.
        if std::env::var_os("TESTBED_CHILD").is_some() {
            println!("pid={}", process.pid());
            kill(Pid::this(), Signal::SIGKILL)?;
        }
        let output = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "process::tests::children_die_with_the_process_not_with_the_thread",
                "--nocapture",
            ])
            .env("TESTBED_CHILD", "1")
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let pid: u32 = text
            .split("pid=")
            .nth(1)
            .and_then(|rest| rest.lines().next())
            .with_context(|| format!("no pid in {text}"))?
            .trim()
            .parse()?;
        poll(|| Ok(state(pid).is_none_or(|state| state == 'Z')))
    }
}
