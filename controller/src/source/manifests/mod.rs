//! A directory of manifests as the source of objects: the same YAML as `kubectl apply` takes, watched.
//!
//! A file counts once whoever writes it has closed it or moved it into place, so a file that is being written is not
//! read. What cannot be read, or only in part, keeps its last good objects and is reported; what is missing without
//! its deletion having been seen is told as lost, for the engine to judge.

mod copies;
mod decode;
mod dirty;
mod files;
mod ledger;
mod reading;
pub(crate) mod records;
mod refusals;
mod report;
mod watch;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tracing::debug;
use yusur_planner::Kind;

pub use self::records::Records;
use super::{Sender, SourceEvent, Sources};

/// The name of the status directory inside the manifest directory.
pub const STATUS_DIRECTORY: &str = ".status";

/// Every kind a directory can hold.
const KINDS: [Kind; 11] = [
    Kind::Namespace,
    Kind::Node,
    Kind::Vpc,
    Kind::Subnet,
    Kind::EipGateway,
    Kind::Eip,
    Kind::VNic,
    Kind::Pod,
    Kind::VirtualMachineInstance,
    Kind::NetworkProbe,
    Kind::YusurService,
];

/// What a manifest source is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory, searched with all below it; names that begin with a dot are left out.
    pub directory: PathBuf,
    /// How often to look for changes that no event told of; zero for never.
    pub rescan: Duration,
}

/// Fails, in words, where there is no such directory. To be asked before anything is made in it: a mistyped name must not
/// become an empty directory, which would mean that there are no objects.
///
/// # Errors
/// When it is not there, or cannot be read.
pub fn exists(directory: &Path) -> anyhow::Result<()> {
    let listing = std::fs::read_dir(directory).with_context(|| {
        format!(
            "--manifests {}: no directory that can be read",
            directory.display()
        )
    });
    listing.map(drop)
}

/// The running source. Dropping it stops it.
#[derive(Debug)]
pub struct Manifests {
    wake: mpsc::Sender<dirty::Wake>,
}

// === impl Manifests ===

impl Manifests {
    /// Starts watching. What is in the directory already is told first.
    ///
    /// # Errors
    /// When the directory cannot be watched.
    pub fn start(options: Options, records: Records) -> anyhow::Result<(Self, Sources)> {
        let (sender, sources) = Sources::channel(KINDS.to_vec());
        let (wake, wakes) = mpsc::channel();
        let watcher = watch::Watcher::new(options, records, sender, wake.clone()).context(
            "the manifest directory cannot be watched (is fs.inotify.max_user_watches exhausted?)",
        )?;
        thread::Builder::new()
            .name("manifests".into())
            .spawn(move || {
                if watcher.run(&wakes).is_err() {
                    debug!("the engine has stopped, and so does the manifest source");
                }
            })?;
        Ok((Self { wake }, sources))
    }
}

impl Drop for Manifests {
    fn drop(&mut self) {
        // If it cannot be told, it has ended already. It is not waited for: it may itself wait for the engine, whose
        // end of the channel ends it.
        let _ = self.wake.send(dirty::Wake::Stop);
    }
}

/// Whether anything on the way from `root` to `path` is hidden.
fn hidden(root: &Path, path: &Path) -> bool {
    path.strip_prefix(root)
        .unwrap_or(path)
        .components()
        .any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// An event for the engine; fails where the engine has gone.
fn tell(sender: &Sender, event: SourceEvent) -> Result<(), watch::Gone> {
    sender.blocking_send(event).map_err(|_| watch::Gone)
}
