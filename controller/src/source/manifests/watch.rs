//! The thread that waits for the file system's events, reads the files they name and tells the engine what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher as _};
use tracing::{debug, error, info, warn};
use yusur_planner::{Change, ObjectRef};

use super::copies::Copies;
use super::dirty::{Dirty, Wake};
use super::files::{self, Stamp, Unusable};
use super::ledger::Ledger;
use super::reading::{self, Decoded, Reader, Reading};
use super::records::Records;
use super::{KINDS, Options, tell};
use crate::source::{self, Sender, SourceEvent};

/// The engine has gone.
#[derive(Debug)]
pub(super) struct Gone;

/// How long a file that has gone may take to come back: editors and git take the old one away before the new one is there,
/// and an object that were removed and made again would lose its address and its connections.
const ABSENCE: Duration = Duration::from_millis(500);

/// When to look again where the manifest directory is not there (being replaced, or not mounted), or something in it may
/// still be written.
const SOON: Duration = Duration::from_secs(1);

/// How long a start waits for large files before it goes on without them: their part of the objects counts as unknown then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the copies of good manifests are, in the status directory.
const LAST_GOOD: &str = "last-good";

/// What came of looking.
#[derive(Debug, Default)]
struct News {
    set: Vec<(ObjectRef, Box<Change>)>,
    /// No file holds them any longer; the deletion of the file was seen.
    removed: Vec<ObjectRef>,
    /// The same, but found by reading a file or the directory anew.
    missing: Vec<ObjectRef>,
    reread: BTreeSet<PathBuf>,
}

/// The source's state; lives on its own thread.
pub(super) struct Watcher {
    pub(super) options: Options,
    pub(super) records: Records,
    copies: Copies,
    reader: Reader,
    pub(super) sender: Sender,
    inotify: notify::RecommendedWatcher,
    /// Directories that cannot be watched.
    unwatchable: BTreeSet<PathBuf>,
    /// Files that have gone, and when that is believed.
    leaving: BTreeMap<PathBuf, Instant>,
    pub(super) ledger: Ledger<ObjectRef>,
    stamps: HashMap<PathBuf, Stamp>,
    /// Problems told, by subject.
    pub(super) told: BTreeMap<String, source::Problem>,
    /// Objects whose status says that they are refused.
    pub(super) refused: HashMap<ObjectRef, String>,
    /// Directories that could not be read, and why.
    pub(super) unreadable: BTreeMap<PathBuf, String>,
    foreign: BTreeSet<String>,
    started: Instant,
    listed: bool,
    /// Whether the last look through the directory passed over a file that somebody may still be writing.
    unsettled: bool,
    /// Whether the engine was told that part of the directory is unknown.
    unknown: bool,
}

// === impl Watcher ===

impl Watcher {
    /// A watcher whose events go to `wake`.
    pub(super) fn new(
        options: Options,
        records: Records,
        sender: Sender,
        wake: mpsc::Sender<Wake>,
    ) -> notify::Result<Self> {
        let events = wake.clone();
        let inotify = notify::recommended_watcher(move |event| {
            // The thread has ended: nobody is interested.
            let _ = events.send(Wake::Event(event));
        })?;
        let kept = records.directory().join(LAST_GOOD);
        let copies = Copies::new(&options.directory, kept, records.base());
        let reader = Reader::new(records.clone(), copies.clone(), wake);
        let mut watcher = Self {
            options,
            records,
            copies,
            reader,
            sender,
            inotify,
            unwatchable: BTreeSet::new(),
            leaving: BTreeMap::new(),
            ledger: Ledger::new(),
            stamps: HashMap::new(),
            told: BTreeMap::new(),
            refused: HashMap::new(),
            unreadable: BTreeMap::new(),
            foreign: BTreeSet::new(),
            started: Instant::now(),
            listed: false,
            unsettled: false,
            unknown: false,
        };
        let root = watcher.options.directory.clone();
        watcher.inotify.watch(&root, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self, wakes: &mpsc::Receiver<Wake>) -> Result<(), Gone> {
        for kind in KINDS {
            tell(&self.sender, SourceEvent::ListBegun(kind))?;
        }
        self.process(Dirty {
            everything: true,
            ..Dirty::default()
        })?;
        let mut looked = Instant::now();
        while let Some(dirty) = self.wait(wakes, looked) {
            if dirty.everything {
                looked = Instant::now();
            }
            self.process(dirty)?;
        }
        Ok(())
    }

    /// Waits for events and gathers all that have arrived. `None`: stop.
    fn wait(&self, wakes: &mpsc::Receiver<Wake>, looked: Instant) -> Option<Dirty> {
        let mut dirty = Dirty::default();
        let soon = self.unsettled || self.unreadable.contains_key(&self.options.directory);
        let interval = if soon {
            Some(SOON)
        } else {
            Some(self.options.rescan).filter(|rescan| !rescan.is_zero())
        };
        let look = interval.map(|interval| looked + interval);
        let overdue = (!self.listed).then(|| self.started + PATIENCE);
        while dirty.is_empty() {
            let believed = self.leaving.values().min().copied();
            let first = match look.into_iter().chain(believed).chain(overdue).min() {
                None => wakes.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => wakes.recv_timeout(next.saturating_duration_since(Instant::now())),
            };
            match first {
                Ok(wake) => dirty.note(wake, &self.options.directory)?,
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    dirty.everything = look.is_some_and(|look| look <= now);
                    dirty.overdue = overdue.is_some_and(|overdue| overdue <= now);
                    let due = self.leaving.iter().filter(|(_, due)| **due <= now);
                    dirty.paths.extend(due.map(|(path, _)| path.clone()));
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        while let Ok(wake) = wakes.try_recv() {
            dirty.note(wake, &self.options.directory)?;
        }
        Some(dirty)
    }

    /// Looks at what is dirty and tells the engine.
    fn process(&mut self, dirty: Dirty) -> Result<(), Gone> {
        let seen = Instant::now();
        let mut news = News::default();
        if !dirty.read.is_empty() {
            self.reader.done();
        }
        if let Err(error) = std::fs::read_dir(&self.options.directory) {
            self.absent(&error);
        } else {
            self.examine(dirty, &mut news);
        }
        self.deliver(news, seen)?;
        self.report()?;
        let (ledger, reader) = (&self.ledger, &mut self.reader);
        let going_on = reader.go_on(|path| (ledger.was_read(path), ledger.fingerprints(path)));
        if let Err(error) = going_on {
            error!(%error, "large manifests cannot be read: there can be no thread for it");
        }
        if !self.listed && !self.reader.is_idle() && self.started.elapsed() < PATIENCE {
            return Ok(());
        }
        let unknown = !self.ledger.complete() || !self.unreadable.is_empty();
        if self.unknown != unknown {
            self.unknown = unknown;
            tell(&self.sender, SourceEvent::Unknown(unknown))?;
            if !unknown {
                self.sweep();
            }
        }
        if !self.listed {
            self.listed = true;
            if !unknown {
                self.sweep();
            }
            for kind in KINDS {
                tell(&self.sender, SourceEvent::ListEnded(kind))?;
            }
        }
        Ok(())
    }

    /// The manifest directory itself is not there: moved away, not mounted, being replaced. That says nothing about what was
    /// in it, whatever events there were: all stays, and is looked for again.
    fn absent(&mut self, error: &std::io::Error) {
        self.leaving.clear();
        self.reader.forget();
        let root = self.options.directory.clone();
        self.unreadable.insert(root, error.to_string());
    }

    fn examine(&mut self, dirty: Dirty, news: &mut News) {
        for reading in dirty.read {
            if reading.stamp.is_some() && reading.stamp == files::stamp(&reading.path) {
                self.take(reading, news);
            } else {
                // It has changed meanwhile.
                self.read(&reading.path, news);
            }
        }
        if dirty.everything {
            self.look(news);
        }
        for volume in dirty.swapped {
            self.swapped(&volume, news);
        }
        let mut searched: Option<PathBuf> = None;
        for path in dirty.paths {
            // All that is in a directory was found with it: of three hundred nested ones, just made, each is searched once.
            let found = searched
                .as_ref()
                .is_some_and(|above| path.starts_with(above));
            if found && path.symlink_metadata().is_ok() {
                self.leaving.remove(&path);
            } else if self.visit(&path, news) {
                searched = Some(path);
            }
        }
        // Of an object that one file gave up another may hold a copy.
        while let Some(path) = news.reread.pop_first() {
            self.read(&path, news);
        }
    }

    /// Removes what is remembered of objects and files that have gone while nobody was looking.
    fn sweep(&self) {
        self.records.sweep();
        self.copies.sweep();
    }

    /// Looks through the whole directory for what no event told of.
    fn look(&mut self, news: &mut News) {
        let root = self.options.directory.clone();
        let found = files::find(&root, &root, |directory| self.watch(directory));
        self.unreadable = found.unreadable.into_iter().collect();
        self.unsettled = false;
        for path in &found.files {
            let known = self.stamps.get(path).copied();
            if known.is_some() && known == files::stamp(path) {
                continue;
            }
            if known.is_some() && files::young(path) {
                self.unsettled = true;
            } else {
                self.read(path, news);
            }
        }
        let there: BTreeSet<&Path> = found.files.iter().map(PathBuf::as_path).collect();
        let unknown = |path: &Path| {
            self.unreadable
                .keys()
                .any(|directory| path.starts_with(directory))
        };
        let gone = self
            .ledger
            .files()
            .filter(|path| !there.contains(path) && !unknown(path))
            .filter(|path| !self.leaving.contains_key(*path));
        let gone: Vec<PathBuf> = gone.map(Path::to_path_buf).collect();
        for path in gone {
            self.stamps.remove(&path);
            let outcome = self.ledger.gone::<()>(&path);
            news.missing.extend(outcome.removed);
            news.reread.extend(outcome.reread);
        }
    }

    /// Looks at one path that something happened to. Returns whether it is a directory, with all in it.
    fn visit(&mut self, path: &Path, news: &mut News) -> bool {
        let there = std::fs::symlink_metadata(path);
        if there.is_ok() {
            self.leaving.remove(path);
        }
        match there {
            Ok(metadata) if metadata.is_dir() => {
                let root = self.options.directory.clone();
                let found = files::find(&root, path, |directory| self.watch(directory));
                self.unreadable
                    .retain(|directory, _| !directory.starts_with(path));
                self.unreadable.extend(found.unreadable);
                for file in found.files {
                    self.read(&file, news);
                }
                return true;
            }
            Ok(_) if files::is_manifest(path) => self.read(path, news),
            Ok(_) => {}
            Err(_) => {
                self.unreadable
                    .retain(|directory, _| !directory.starts_with(path));
                self.vanished(path, news);
            }
        }
        false
    }

    /// The links of a volume lead elsewhere. What they lead to is complete.
    fn swapped(&mut self, volume: &Path, news: &mut News) {
        let root = self.options.directory.clone();
        let found = files::find(&root, volume, |_| {});
        for file in found.files.iter().filter(|file| file.is_symlink()) {
            self.read(file, news);
        }
    }

    /// A file, or a directory with all its files, is not there. That is believed after a while; what of its content is
    /// seen elsewhere meanwhile is no longer its own.
    fn vanished(&mut self, path: &Path, news: &mut News) {
        let now = Instant::now();
        let gone: Vec<PathBuf> = self.ledger.below(path).map(Path::to_path_buf).collect();
        for file in gone {
            if !files::is_gone(&file) {
                self.leaving.remove(&file);
                continue;
            }
            let due = self.leaving.get(&file).copied();
            if due.is_some_and(|due| due <= now) {
                // It may have gone with the directory of all manifests, which is no deletion.
                if self.options.directory.is_dir() {
                    self.remove(&file, news);
                }
            } else if due.is_none() {
                self.leaving.insert(file, now + ABSENCE);
            }
        }
    }

    /// The deletion of a file was seen.
    fn remove(&mut self, path: &Path, news: &mut News) {
        self.leaving.remove(path);
        self.stamps.remove(path);
        self.copies.forget(path);
        let outcome = self.ledger.gone::<()>(path);
        news.removed.extend(outcome.removed);
        news.reread.extend(outcome.reread);
    }

    /// Reads one file, at once or, if it is large, soon.
    fn read(&mut self, path: &Path, news: &mut News) {
        if self.reader.accepts(path) {
            return self.ledger.announce(path);
        }
        let ledger = &self.ledger;
        let known = |object: &ObjectRef, hash| ledger.unchanged(path, object, hash);
        let was_read = ledger.was_read(path);
        let reading = reading::read(path, was_read, known, &self.records, &self.copies);
        self.take(reading, news);
    }

    /// Takes in what a file holds. What cannot be used leaves the ledger's objects of it as they were.
    fn take(&mut self, reading: Reading, news: &mut News) {
        let Reading {
            path,
            stamp,
            content,
            last_good,
        } = reading;
        if let Some(stamp) = stamp {
            self.stamps.insert(path.clone(), stamp);
        }
        // Unless somebody has told meanwhile what is in the file.
        if let Some(last_good) = last_good.filter(|_| !self.ledger.was_read(&path)) {
            let (file, objects) = (path.display(), last_good.entries.len());
            info!(%file, objects, "broken; its last good objects are used");
            self.enter(&path, last_good, news);
        }
        let (decoded, text) = match content {
            Ok(content) => content,
            Err(Unusable::Missing) => return self.vanished(&path, news),
            Err(Unusable::Unreadable(reason, message)) => {
                return self.ledger.unreadable(&path, reason, message);
            }
        };
        for kind in &decoded.foreign {
            if self.foreign.insert(kind.clone()) {
                info!(kind, file = %path.display(), "objects of this kind are left alone");
            }
        }
        if decoded.documents == 0 && self.ledger.held_by(&path) > 0 {
            let message = "it is empty now, as a file that somebody began to write; delete it to remove its objects";
            return self.ledger.unreadable(&path, "Empty", message.to_owned());
        }
        if decoded.is_good() {
            self.copies.keep(&path, &text);
        }
        self.enter(&path, decoded, news);
    }

    fn enter(&mut self, path: &Path, decoded: Decoded, news: &mut News) {
        // That a file has gone may still have to be heard of.
        let absent = files::is_gone;
        let outcome = self
            .ledger
            .read(path, decoded.entries, decoded.problems, absent);
        for file in outcome.yielded {
            // Should it come back as it was, it is read again all the same.
            self.stamps.remove(&*file);
        }
        let set = outcome.set.into_iter();
        news.set
            .extend(set.filter_map(|(object, change)| Some((object, change?))));
        news.missing.extend(outcome.removed);
        news.reread.extend(outcome.reread);
    }

    /// Watches a directory. One that is watched already is so once more: another may have taken its place.
    fn watch(&mut self, directory: &Path) {
        match self.inotify.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.unwatchable.remove(directory);
            }
            // Whoever reads it will say so.
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
            Err(error) => {
                if self.unwatchable.insert(directory.to_path_buf()) {
                    let directory = directory.display();
                    warn!(%directory, %error, "cannot be watched; changes in it are found by looking");
                }
            }
        }
    }

    /// Tells the engine. Removals go first: of two objects that swap an address the old holder lets go before.
    fn deliver(&mut self, news: News, seen: Instant) -> Result<(), Gone> {
        let ledger = &self.ledger;
        // What one file lost another may have gained in the same moment.
        for object in news
            .removed
            .into_iter()
            .filter(|object| !ledger.holds(object))
        {
            debug!(%object, "removed");
            self.records.forget(&object, None);
            tell(
                &self.sender,
                SourceEvent::Changed {
                    change: Change::Removed(object),
                    seen,
                },
            )?;
        }
        let missing: Vec<_> = news
            .missing
            .into_iter()
            .filter(|object| !ledger.holds(object))
            .collect();
        if !missing.is_empty() {
            debug!(objects = missing.len(), "missing");
            tell(&self.sender, SourceEvent::Lost(missing))?;
        }
        for (object, change) in news.set {
            debug!(%object, "set");
            tell(
                &self.sender,
                SourceEvent::Changed {
                    change: *change,
                    seen,
                },
            )?;
        }
        Ok(())
    }
}
