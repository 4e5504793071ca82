//! Releases of OVN and Open vSwitch: the installed one, and the newest in Debian, unpacked beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::run;
use crate::schemas::{Schema, cache_dir};

/// Where Debian's packages put programs; Open vSwitch's daemon is one of several to choose from.
const PROGRAMS: [&str; 3] = ["usr/bin", "usr/sbin", "usr/lib/openvswitch-switch"];

/// A release: its programs and its schemas.
///
/// Nothing of the newest is installed: its programs are started by its own dynamic loader with its own libraries, so
/// they see this machine's files, namespaces and devices as the installed ones do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Where the packages of its OVN are unpacked; `None`: installed.
    ovn: Option<PathBuf>,
    /// The same of its Open vSwitch.
    ovs: Option<PathBuf>,
}

impl Release {
    /// The installed one.
    pub fn installed() -> Self {
        Self {
            ovn: None,
            ovs: None,
        }
    }

    /// The newest in Debian (suite sid), fetched on first use and then kept in the cache.
    ///
    /// # Errors
    /// If nothing is cached and apt cannot fetch it.
    pub fn newest() -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch-ovn");
        let root = run(Command::new(script).arg(cache_dir()?.join("ovn")))
            .context("fetching the newest OVN in Debian")?;
        let root = PathBuf::from(root.trim());
        Ok(Self {
            ovn: Some(root.clone()),
            ovs: Some(root),
        })
    }

    /// The OVN of this one over the Open vSwitch of the other.
    pub fn over(self, other: Self) -> Self {
        Self {
            ovs: other.ovs,
            ..self
        }
    }

    /// The one that the environment's `YUSUR_OVN` asks for: `installed` (also when unset) or `newest`.
    ///
    /// # Errors
    /// If it says anything else, or those of [`Self::newest`].
    pub fn chosen() -> Result<Self> {
        match std::env::var("YUSUR_OVN").as_deref() {
            Err(_) | Ok("" | "installed") => Ok(Self::installed()),
            Ok("newest") => Self::newest(),
            Ok(other) => bail!("YUSUR_OVN is {other:?}; it may be installed or newest"),
        }
    }

    /// A command that starts one of its programs, such as `ovn-northd`.
    ///
    /// # Errors
    /// If an unpacked release lacks it.
    pub fn command(&self, program: &str) -> Result<Command> {
        let ovs = program.starts_with("ovs");
        let Some(root) = (if ovs { &self.ovs } else { &self.ovn }) else {
            return Ok(Command::new(program));
        };
        let Some(path) = PROGRAMS
            .iter()
            .map(|directory| root.join(directory).join(program))
            .find(|path| path.is_file())
        else {
            bail!(
                "{} has no program {program}; remove that directory to have it fetched again",
                root.display()
            );
        };
        let libraries = root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        let loader = loader(&libraries)?;
        let mut command = Command::new(loader);
        command.arg("--library-path").arg(libraries).arg(path);
        Ok(command)
    }

    /// Its schema `ovn-nb`, `ovn-sb` or `vswitch`.
    ///
    /// # Errors
    /// If the package that carries it is missing.
    pub fn schema(&self, name: &str) -> Result<Schema> {
        let (package, directory, root) = if name == "vswitch" {
            ("openvswitch-switch", "usr/share/openvswitch", &self.ovs)
        } else {
            ("ovn-central", "usr/share/ovn", &self.ovn)
        };
        let root = root.as_deref().unwrap_or(Path::new("/"));
        Schema::open(root.join(directory).join(format!("{name}.ovsschema")))
            .with_context(|| format!("the schema {name} comes with the package {package}"))
    }
}

/// The dynamic loader among the libraries: `ld-linux-x86-64.so.2`, or what the architecture calls it.
fn loader(libraries: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(libraries)
        .with_context(|| format!("looking into {}", libraries.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("looking into {}", libraries.display()))?;
        if entry.file_name().to_string_lossy().starts_with("ld-linux-") {
            return Ok(entry.path());
        }
    }
    bail!("{} has no dynamic loader", libraries.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_releases_run() -> Result<()> {
        let mixed = Release::installed().over(Release::newest()?);
        for release in [Release::installed(), Release::newest()?, mixed] {
            for program in [
                "ovn-northd",
                "ovn-controller",
                "ovs-vswitchd",
                "ovsdb-server",
                "ovs-vsctl",
            ] {
                let version = run(release.command(program)?.arg("--version"))?;
                assert!(version.contains(program), "{version}");
            }
            assert_eq!(release.schema("ovn-nb")?.name, "OVN_Northbound");
            assert_eq!(release.schema("vswitch")?.name, "Open_vSwitch");
        }
        Ok(())
    }

    #[test]
    fn what_is_missing_is_told() {
        let empty = Release {
            ovn: Some("/nonexistent".into()),
            ovs: None,
        };
        let error = empty.command("ovn-northd").unwrap_err();
        assert!(error.to_string().contains("ovn-northd"), "{error}");
    }
}
