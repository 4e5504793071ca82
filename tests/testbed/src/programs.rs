//! The project's own programs, for tests that run them as their users do.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Deserializer, Value};

/// Builds a program of this workspace, if it is not up to date, and returns where it is. In a test's own profile: the
/// same artefacts as `cargo test` and `cargo build` use. Where nothing can be built (in the testbed's guest), the
/// environment's `YUSUR_PROGRAMS` names the directory of programs that are.
///
/// # Errors
/// If cargo cannot build it; with its words.
pub fn build(program: &str) -> Result<PathBuf> {
    if let Some(built) = std::env::var_os("YUSUR_PROGRAMS").filter(|built| !built.is_empty()) {
        return Ok(PathBuf::from(built).join(program));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args([
            "build",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ])
        // Not of its package alone: its dependencies would be built once more, with the features that only it asks for.
        .args(["--workspace", "--bin", program]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // A test's own variables of cargo's would count as a change of the build scripts' environment.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting cargo to build {program}"))?;
    // Its standard output is for programs, and long.
    ensure!(
        output.status.success(),
        "cargo cannot build {program}:\n{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Deserializer::from_slice(&output.stdout)
        .into_iter::<Value>()
        .filter_map(Result::ok)
        .filter(|message| message["target"]["name"] == program)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo does not say where it put {program}"))
}
