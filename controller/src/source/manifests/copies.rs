//! A copy of every manifest as it last was good, beside the status files: so that a file which is broken when the
//! controller starts keeps its last good objects as well, and not only one that breaks while it runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::files;

/// The directory of the copies, which has the manifest directory's shape.
#[derive(Debug, Clone)]
pub(super) struct Copies {
    root: PathBuf,
    directory: PathBuf,
    /// What is made here lies below it.
    base: PathBuf,
}

impl Copies {
    /// Copies of the files below `root`, in `directory`, which is made if need be, but nothing that is not below `base`.
    pub(super) fn new(root: &Path, directory: PathBuf, base: &Path) -> Self {
        Self {
            root: root.to_owned(),
            directory,
            base: base.to_owned(),
        }
    }

    /// The file is good: this is what it holds.
    pub(super) fn keep(&self, path: &Path, text: &[u8]) {
        let copy = self.place(path);
        if fs::read(&copy).is_ok_and(|kept| kept == text) {
            return;
        }
        let aside = self.directory.join(".tmp");
        let parent = copy.parent().unwrap_or(&self.directory);
        let written = files::make_directory(parent, &self.base)
            .and_then(|()| fs::write(&aside, text))
            .and_then(|()| fs::rename(&aside, &copy));
        if let Err(error) = written {
            let copy = copy.display();
            warn!(%copy, %error, "no copy of a good manifest can be kept: if it breaks while the controller is down, its objects are unknown");
        }
    }

    /// What the file last held when it was good.
    pub(super) fn recall(&self, path: &Path) -> Option<Vec<u8>> {
        fs::read(self.place(path)).ok()
    }

    /// The file is gone.
    pub(super) fn forget(&self, path: &Path) {
        // A copy that stays does no harm: it counts only while its file is there.
        let _ = fs::remove_file(self.place(path));
    }

    /// Removes the copies of files that are not there any more.
    pub(super) fn sweep(&self) {
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            let entries: io::Result<Vec<_>> =
                fs::read_dir(&directory).and_then(|entries| entries.collect());
            for path in entries.into_iter().flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    directories.push(path);
                } else if let Ok(relative) = path.strip_prefix(&self.directory)
                    && fs::symlink_metadata(self.root.join(relative)).is_err()
                {
                    // As in `forget`.
                    let _ = fs::remove_file(&path);
                }
            }
        }
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.directory
            .join(path.strip_prefix(&self.root).unwrap_or(path))
    }
}
