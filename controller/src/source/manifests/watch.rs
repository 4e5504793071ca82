//! The thread that waits for the file system's events, reads the files they name and tells the engine what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher as _};
use serde_json::{Value, json};
use tracing::{debug, info, warn};
use yusur_planner::{Change, ObjectRef};

use super::copies::Copies;
use super::decode::{self, Document};
use super::dirty::{Dirty, Wake};
use super::files::{self, Stamp, Unusable};
use super::ledger::{Entry, Ledger, Problem};
use super::records::Records;
use super::{KINDS, Options, tell, yaml};
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

/// What is added to a problem where there is a state to keep.
const KEPT: &str = "; its last good state stays";

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
    options: Options,
    records: Records,
    copies: Copies,
    sender: Sender,
    inotify: notify::RecommendedWatcher,
    /// Directories that cannot be watched.
    unwatchable: BTreeSet<PathBuf>,
    /// Files that have gone, and when that is believed.
    leaving: BTreeMap<PathBuf, Instant>,
    ledger: Ledger<ObjectRef>,
    stamps: HashMap<PathBuf, Stamp>,
    /// Problems told, by subject.
    told: BTreeMap<String, source::Problem>,
    /// Directories that could not be read, and why.
    unreadable: BTreeMap<PathBuf, String>,
    foreign: BTreeSet<String>,
    listed: bool,
    /// Whether the last look through the directory passed over a file that somebody may still be writing.
    unsettled: bool,
    /// Whether the engine was told that part of the directory is unknown.
    unknown: bool,
}

/// What the documents of one file are.
struct Decoded {
    /// How many there are, also of kinds that are not ours.
    documents: usize,
    entries: Vec<Entry<ObjectRef, Option<Box<Change>>>>,
    problems: Vec<Problem>,
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
        let inotify = notify::recommended_watcher(move |event| {
            // The thread has ended: nobody is interested.
            let _ = wake.send(Wake::Event(event));
        })?;
        let copies = Copies::new(&options.directory, records.directory().join(LAST_GOOD));
        let mut watcher = Self {
            options,
            records,
            copies,
            sender,
            inotify,
            unwatchable: BTreeSet::new(),
            leaving: BTreeMap::new(),
            ledger: Ledger::new(),
            stamps: HashMap::new(),
            told: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            foreign: BTreeSet::new(),
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
        while dirty.is_empty() {
            let believed = self.leaving.values().min().copied();
            let first = match look.into_iter().chain(believed).min() {
                None => wakes.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => wakes.recv_timeout(next.saturating_duration_since(Instant::now())),
            };
            match first {
                Ok(wake) => dirty.note(wake, &self.options.directory)?,
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    dirty.everything = look.is_some_and(|look| look <= now);
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
        if dirty.everything {
            self.look(&mut news);
        }
        for volume in dirty.swapped {
            self.swapped(&volume, &mut news);
        }
        for path in dirty.paths {
            self.visit(&path, &mut news);
        }
        // Of an object that one file gave up another may hold a copy.
        while let Some(path) = news.reread.pop_first() {
            self.read(&path, &mut news);
        }
        self.deliver(news, seen)?;
        self.report()?;
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

    /// Looks at one path that something happened to.
    fn visit(&mut self, path: &Path, news: &mut News) {
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
            }
            Ok(_) if files::is_manifest(path) => self.read(path, news),
            Ok(_) => {}
            Err(_) => {
                self.unreadable
                    .retain(|directory, _| !directory.starts_with(path));
                self.vanished(path, news);
            }
        }
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
                self.remove(&file, news);
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

    /// Reads one file. What cannot be used leaves the ledger's objects of it as they were.
    fn read(&mut self, path: &Path, news: &mut News) {
        let content = match files::read(path) {
            Ok(content) => content,
            Err(Unusable::Missing) => return self.vanished(path, news),
            Err(Unusable::Unreadable(reason, message)) => {
                if let Some(stamp) = files::stamp(path) {
                    self.stamps.insert(path.to_path_buf(), stamp);
                }
                self.recall(path, |_| true, news);
                return self.ledger.unreadable(path, reason, message);
            }
        };
        self.stamps.insert(path.to_path_buf(), content.stamp);
        let decoded = match self.decode(path, &content.text) {
            Ok(decoded) => decoded,
            Err(message) => {
                self.recall(path, |_| true, news);
                return self.ledger.unreadable(path, "Syntax", message);
            }
        };
        if decoded.documents == 0 {
            self.recall(path, |_| true, news);
            if self.ledger.held_by(path) > 0 {
                let message = "it is empty now, as a file that somebody began to write; delete it to remove its objects";
                return self.ledger.unreadable(path, "Empty", message.to_owned());
            }
        }
        let bad: BTreeSet<ObjectRef> = decoded
            .entries
            .iter()
            .filter(|entry| entry.value.is_err())
            .map(|entry| entry.key.clone())
            .collect();
        if bad.is_empty() && decoded.problems.is_empty() {
            self.copies.keep(path, &content.text);
        } else {
            self.recall(path, |object| bad.contains(object), news);
        }
        self.enter(path, decoded, news);
    }

    /// A file that has not been read in this run is broken: what its last good copy says of these objects counts.
    fn recall(&mut self, path: &Path, of: impl Fn(&ObjectRef) -> bool, news: &mut News) {
        if self.ledger.was_read(path) {
            return;
        }
        let Some(text) = self.copies.recall(path) else {
            return;
        };
        let Ok(mut decoded) = self.decode(path, &text) else {
            return;
        };
        decoded
            .entries
            .retain(|entry| of(&entry.key) && entry.value.is_ok());
        decoded.problems.clear();
        info!(file = %path.display(), objects = decoded.entries.len(), "broken; its last good objects are used");
        self.enter(path, decoded, news);
    }

    /// Takes a file's documents apart; fails where it is no YAML as far as its end.
    fn decode(&mut self, path: &Path, text: &[u8]) -> Result<Decoded, String> {
        let mut decoded = Decoded {
            documents: 0,
            entries: Vec::new(),
            problems: Vec::new(),
        };
        let (ledger, records, foreign) = (&self.ledger, &self.records, &mut self.foreign);
        yaml::each(text, |value| {
            decoded.documents += 1;
            let known =
                |object: &ObjectRef, fingerprint| ledger.unchanged(path, object, fingerprint);
            match decode::document(value, records, known) {
                Document::Ours {
                    object,
                    fingerprint,
                    change,
                } => decoded.entries.push(Entry {
                    key: object,
                    fingerprint,
                    value: change,
                }),
                Document::Nameless(message) => decoded.problems.push(Problem {
                    part: Some(format!("document {}", decoded.documents)),
                    reason: "Invalid",
                    message,
                    kept: false,
                }),
                Document::Foreign(kind) => {
                    if !foreign.contains(&kind) {
                        info!(kind, file = %path.display(), "objects of this kind are left alone");
                        foreign.insert(kind);
                    }
                }
            }
        })?;
        Ok(decoded)
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

    /// Says what has become wrong or well.
    fn report(&mut self) -> Result<(), Gone> {
        let now = self.problems();
        if now == self.told {
            return Ok(());
        }
        // Written down before it is told: who reads of it elsewhere finds it there.
        let list: Vec<Value> = now
            .iter()
            .map(|(subject, problem)| json!({"subject": subject, "reason": problem.reason, "message": problem.message}))
            .collect();
        self.records.problems(&list);
        for (subject, problem) in &now {
            if self.told.get(subject) != Some(problem) {
                let source::Problem { reason, message } = problem;
                warn!(subject, reason, "{message}");
                self.tell_problem(subject, Some(problem.clone()))?;
            }
        }
        for subject in self
            .told
            .keys()
            .filter(|subject| !now.contains_key(*subject))
        {
            info!(subject, "mended");
            self.tell_problem(subject, None)?;
        }
        self.told = now;
        Ok(())
    }

    fn tell_problem(&self, subject: &str, problem: Option<source::Problem>) -> Result<(), Gone> {
        tell(
            &self.sender,
            SourceEvent::Problem {
                subject: subject.to_owned(),
                object: None,
                problem,
            },
        )
    }

    /// All that is wrong, by subject.
    fn problems(&self) -> BTreeMap<String, source::Problem> {
        let mut now = BTreeMap::new();
        for (path, problems) in self.ledger.problems() {
            let file = path
                .strip_prefix(&self.options.directory)
                .unwrap_or(path)
                .display();
            for problem in problems {
                let subject = match &problem.part {
                    Some(part) => format!("{file}: {part}"),
                    None => file.to_string(),
                };
                let kept = if problem.kept { KEPT } else { "" };
                now.insert(
                    subject,
                    source::Problem {
                        reason: problem.reason,
                        message: format!("{}{kept}", problem.message),
                    },
                );
            }
        }
        for (path, message) in &self.unreadable {
            let problem = source::Problem {
                reason: "Unreadable",
                message: format!("{message}{KEPT}"),
            };
            now.insert(path.display().to_string(), problem);
        }
        now
    }
}
