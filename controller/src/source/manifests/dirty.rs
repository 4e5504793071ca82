//! Which paths the file system's events make worth a look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use tracing::warn;

use super::hidden;
use super::reading::Reading;

/// What wakes the thread.
#[derive(Debug)]
pub(super) enum Wake {
    /// The file system says something.
    Event(notify::Result<notify::Event>),
    /// A large file was read.
    Read(Box<Reading>),
    /// The process ends.
    Stop,
}

/// What has to be looked at.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Paths something happened to.
    pub(super) paths: BTreeSet<PathBuf>,
    /// Directories whose links lead elsewhere now: a ConfigMap's volume swaps all its files by renaming one link.
    pub(super) swapped: BTreeSet<PathBuf>,
    /// The whole directory.
    pub(super) everything: bool,
    /// What large files hold.
    pub(super) read: Vec<Reading>,
    /// What was to be read first takes too long to be waited for.
    pub(super) overdue: bool,
}

/// The link that a ConfigMap's volume renames.
const VOLUME: &str = "..data";

// === impl Dirty ===

impl Dirty {
    /// Whether there is nothing to look at.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            paths,
            swapped,
            everything,
            read,
            overdue,
        } = self;
        !everything && !overdue && paths.is_empty() && swapped.is_empty() && read.is_empty()
    }

    /// Takes in which paths below `root`, the manifest directory, an event makes worth a look. `None`: stop.
    pub(super) fn note(&mut self, wake: Wake, root: &Path) -> Option<()> {
        let event = match wake {
            Wake::Stop => return None,
            Wake::Read(reading) => {
                self.read.push(*reading);
                return Some(());
            }
            Wake::Event(Ok(event)) => event,
            Wake::Event(Err(error)) => {
                warn!(%error, "watching the manifests failed; looking through the whole directory");
                self.everything = true;
                return Some(());
            }
        };
        if event.need_rescan() {
            self.everything = true;
        }
        let telling = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(CreateKind::Folder)
            | EventKind::Modify(ModifyKind::Name(
                RenameMode::From | RenameMode::To | RenameMode::Both | RenameMode::Any,
            ))
            | EventKind::Modify(ModifyKind::Metadata(_))
            | EventKind::Remove(_) => true,
            // A regular file just made is still being written; a link is complete.
            EventKind::Create(_) => event.paths.iter().any(|path| complete_when_made(path)),
            _ => false,
        };
        if !telling {
            return Some(());
        }
        for path in event.paths {
            if path == root {
                self.everything = true;
            } else if let Some(volume) = volume(&path).filter(|volume| !hidden(root, volume)) {
                self.swapped.insert(volume.to_path_buf());
            } else if !hidden(root, &path) {
                self.paths.insert(path);
            }
        }
        Some(())
    }
}

/// The volume that has been swapped, if that is what the path tells.
fn volume(path: &Path) -> Option<&Path> {
    let named = path.file_name().is_some_and(|name| name == VOLUME);
    path.parent().filter(|_| named)
}

/// Links, symbolic or hard, have their content from the moment they are made.
fn complete_when_made(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}
