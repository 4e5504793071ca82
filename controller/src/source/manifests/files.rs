//! The files of a manifest directory: which there are, and what one holds.

use std::fs::{self, Metadata};
use std::io::Read;
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
    /// The directories, the root first.
    pub(super) directories: Vec<PathBuf>,
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
pub(super) fn find(root: &Path, start: &Path) -> Found {
    let mut found = Found::default();
    let mut waiting = vec![start.to_path_buf()];
    while let Some(directory) = waiting.pop() {
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
                found.directories.push(directory);
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
    let metadata = fs::metadata(path).map_err(unreadable)?;
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
