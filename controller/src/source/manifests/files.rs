//! The files of a manifest directory: which there are, and what one holds.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{hidden, yaml};

/// By which a change is noticed without an event: inode, size and the times of content and inode in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64, u64, i128, i128);

/// What a look through the directory found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Manifest files, in order of their paths.
    pub(super) files: Vec<PathBuf>,
    /// Directories that could not be read, and why: what was in them is unknown.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It is not there.
    Missing,
    /// It cannot be read: one word, and the sentence.
    Unreadable(&'static str, String),
}

/// Everything below `start` that is not hidden. Links to files count as files; links to directories are not followed.
///
/// `before` is called with each directory before it is read: whoever watches it from then on sees every file that comes,
/// here or by an event, and perhaps twice. Watched only afterwards, what comes in between would be seen by nobody.
pub(super) fn find(root: &Path, start: &Path, mut before: impl FnMut(&Path)) -> Found {
    let mut found = Found::default();
    let mut waiting = vec![start.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        before(&directory);
        match fs::read_dir(&directory) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let path = entry.path();
                    if hidden(root, &path) {
                        continue;
                    }
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        waiting.push(path);
                    } else if is_manifest(&path) {
                        found.files.push(path);
                    }
                }
            }
            Err(error) => found.unreadable.push((directory, error.to_string())),
        }
    }
    found.files.sort();
    found
}

/// By its name.
pub(super) fn is_manifest(path: &Path) -> bool {
    matches!(
        path.extension().and_then(|extension| extension.to_str()),
        Some("yaml" | "yml" | "json")
    )
}

/// Whether there is nothing of this name, which is more than that it cannot be looked at.
pub(super) fn is_gone(path: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let looked = path.symlink_metadata();
    looked.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

/// The file's stamp; links are followed.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

/// Whether the file was written to so recently that somebody may still be writing.
pub(super) fn young(path: &Path) -> bool {
    const SETTLED: Duration = Duration::from_secs(2);
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|age| age < SETTLED)
    })
}

/// What one file holds.
#[derive(Debug)]
pub(super) struct Content {
    /// Its stamp when it was opened.
    pub(super) stamp: Stamp,
    /// Its text.
    pub(super) text: Vec<u8>,
}

/// Reads one file.
pub(super) fn read(path: &Path) -> Result<Content, Unusable> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Unusable::Missing,
        _ => Unusable::Unreadable("Unreadable", error.to_string()),
    };
    // Opening a pipe would wait for a writer.
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_symlink() => {
            let message = "it is a link, and what it leads to is not there".to_owned();
            return Err(Unusable::Unreadable("Unreadable", message));
        }
        metadata => metadata.map_err(unreadable)?,
    };
    if !metadata.is_file() {
        return Err(Unusable::Unreadable(
            "Unreadable",
            "it is no regular file".into(),
        ));
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mut text = Vec::new();
    // One byte more than allowed tells that there is more.
    file.take(yaml::MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > yaml::MAX_FILE {
        return Err(Unusable::Unreadable(
            "Unreadable",
            format!("it is larger than {} MiB", yaml::MAX_FILE >> 20),
        ));
    }
    Ok(Content {
        stamp: Stamp::of(&metadata),
        text,
    })
}

// === impl Stamp ===

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let time = |seconds: i64, nanoseconds: i64| {
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
        };
        Self(
            metadata.ino(),
            metadata.size(),
            time(metadata.mtime(), metadata.mtime_nsec()),
            time(metadata.ctime(), metadata.ctime_nsec()),
        )
    }
}

/// Makes a directory of ours with those above it that are missing, as far as `base`, which is not made: where the manifests
/// are not there, nothing is written in their place. For the owner alone (mode 0700).
pub(super) fn make_directory(path: &Path, base: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let make = || match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    let above = path
        .parent()
        .filter(|above| *above != base && above.starts_with(base));
    match (make(), above) {
        (Err(error), Some(above)) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(above, base)?;
            make()
        }
        (made, _) => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_between_watching_a_directory_and_reading_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::create_dir(root.path().join(".hidden")).unwrap();
        let mut told = Vec::new();
        let found = find(root.path(), root.path(), |directory| {
            // From here on it is watched; this would be an event, or is found.
            fs::write(directory.join("late.yaml"), "").unwrap();
            told.push(directory.to_owned());
        });
        let wanted = ["", "a", "a/b"].map(|name| root.path().join(name));
        assert_eq!(told, wanted);
        let mut files = wanted.map(|directory| directory.join("late.yaml"));
        files.sort();
        assert_eq!(found.files, files);
    }
}
