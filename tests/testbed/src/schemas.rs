//! Database schemas: the installed OVN's, and the newest in Debian.
//!
//! Schema files are not part of this repository: packages carry them (see [`Release`]).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::release::Release;

/// A schema file and what its head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Where the file is.
    pub path: PathBuf,
    /// The database's name, as `OVN_Northbound`.
    pub name: String,
    /// The schema's version, as `7.0.0`.
    pub version: String,
}

impl Schema {
    /// Reads the head of a schema file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a schema.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the schema {}", path.display()))?;
        let json: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        let member = |name: &str| {
            json.get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| anyhow!("{} has no member {name:?}", path.display()))
        };
        Ok(Self {
            name: member("name")?,
            version: member("version")?,
            path: path.to_path_buf(),
        })
    }

    /// The file's text.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn text(&self) -> Result<String> {
        std::fs::read_to_string(&self.path)
            .with_context(|| format!("reading the schema {}", self.path.display()))
    }
}

/// The schema of the installed OVN or Open vSwitch: `ovn-nb`, `ovn-sb` or `vswitch`.
///
/// # Errors
/// If the package that carries it is not installed.
pub fn installed(name: &str) -> Result<Schema> {
    Release::installed().schema(name)
}

/// The cache for what takes long to fetch or build: `$YUSUR_CACHE`, else `~/.cache/yusur`. Missing content is rebuilt.
///
/// # Errors
/// If neither variable is set.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("YUSUR_CACHE").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::var_os("HOME").context("neither YUSUR_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/yusur"))
}

/// The same of the newest OVN in Debian, fetched on first use.
///
/// # Errors
/// If nothing is cached and apt cannot fetch it.
pub fn newest(name: &str) -> Result<Schema> {
    Release::newest()?.schema(name)
}
