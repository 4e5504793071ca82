//! The real `yusur-controller` on a directory of manifests, and what a test or a demo does with it: save a file, take
//! one away, read the status of an object.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Lab, Workload};
use crate::ovsdb::Standalone;
use crate::process::Process;
use crate::scratch;

/// The directory, under that of the manifests, that the controller writes status files to.
const STATUS: &str = ".status";

/// A running controller with a directory of its own; it ends when dropped.
#[derive(Debug)]
pub struct Controller {
    program: PathBuf,
    nb: String,
    sb: String,
    process: Process,
    dir: TempDir,
}

impl Controller {
    /// Starts `program` on an empty directory.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Path, nb: &Standalone, sb: &Standalone) -> Result<Self> {
        let dir = scratch::directory("controller")?;
        std::fs::create_dir(dir.path().join("manifests"))?;
        let (nb, sb) = (nb.unix(), sb.unix());
        let process = launch(program, dir.path(), &nb, &sb)?;
        Ok(Self {
            program: program.to_path_buf(),
            nb,
            sb,
            process,
            dir,
        })
    }

    /// Kills the controller and starts it again on the same directory.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = launch(&self.program, self.dir.path(), &self.nb, &self.sb)?;
        Ok(())
    }

    /// The process: its log, its pid.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The directory of the manifests.
    pub fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    /// Saves a manifest, in one step, as an editor or a deployment tool does.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, file: &str, text: &str) -> Result<()> {
        // Aside, but in the same file system: outside the directory that is watched.
        let aside = self.dir.path().join(format!("{file}.aside"));
        std::fs::write(&aside, text).with_context(|| format!("writing {}", aside.display()))?;
        let path = self.manifests().join(file);
        std::fs::rename(&aside, &path).with_context(|| format!("renaming to {}", path.display()))
    }

    /// Deletes a manifest.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn delete(&self, file: &str) -> Result<()> {
        let path = self.manifests().join(file);
        std::fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))
    }

    /// The status of an object (`yusurservice/shop/web`, `vpc/blue`), as last written; null before that.
    ///
    /// # Errors
    /// If the status file cannot be read.
    pub fn status(&self, object: &str) -> Result<Value> {
        let path = self.manifests().join(STATUS).join(format!("{object}.yaml"));
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let mut file: Value = serde_saphyr::from_str(&text)
                    .with_context(|| format!("reading {}", path.display()))?;
                Ok(file["status"].take())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Waits until the status of an object is as `wanted`, and returns it.
    ///
    /// # Errors
    /// With the status and the end of the controller's log, if it does not become so.
    pub fn wait_for(&self, object: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut status = Value::Null;
        self.process
            .wait_until(&format!("the status of {object}"), || {
                status = self.status(object)?;
                Ok(wanted(&status))
            })
            .with_context(|| format!("the status of {object} is {status:#}"))?;
        Ok(status)
    }

    /// Waits until a condition of an object is true, for the `generation` its manifest gives, and returns the status.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_for_condition(&self, object: &str, generation: i64, kind: &str) -> Result<Value> {
        self.wait_for(object, |status| {
            status["observedGeneration"] == generation && condition(status, kind) == Some("True")
        })
    }

    /// Waits for the logical switch port of a unit (`pod/shop/web-0`, `vnic/shop/vm1`) and plugs a workload into it.
    ///
    /// # Errors
    /// If the port does not appear or does not come up.
    pub fn attach(&self, lab: &Lab, chassis: &str, unit: &str) -> Result<Workload> {
        let condition = format!("external_ids:\"yusur.io/unit\"=\"{unit}\"");
        let mut port = String::new();
        self.process
            .wait_until(&format!("the port of {unit}"), || {
                port = lab.nbctl(&[
                    "--bare",
                    "--columns=name",
                    "find",
                    "Logical_Switch_Port",
                    &condition,
                ])?;
                Ok(!port.trim().is_empty())
            })?;
        lab.attach(chassis, port.trim())
    }
}

/// The status word of one of an object's conditions.
pub fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a str> {
    status["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)?["status"]
        .as_str()
}

fn launch(program: &Path, dir: &Path, nb: &str, sb: &str) -> Result<Process> {
    Process::spawn(
        Command::new(program)
            .arg("--manifests")
            .arg(dir.join("manifests"))
            .args(["--nb-address", nb, "--sb-address", sb])
            // Any free port: several controllers may run at once.
            .args(["--metrics-address", "127.0.0.1:0"]),
        dir.join("controller.log"),
    )
}
