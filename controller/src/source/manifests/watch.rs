//! The thread that waits for the file system's events, reads the files they name and tells the engine what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{RecursiveMode, Watcher as _};
use serde_json::{Value, json};
use tracing::{debug, info, warn};
use yusur_planner::{Change, ObjectRef};

use super::copies::Copies;
use super::decode::{self, Document};
use super::files::{self, Stamp, Unusable};
use super::ledger::{Entry, Ledger, Problem};
use super::records::Records;
use super::{KINDS, Options, hidden, tell, yaml};
use crate::source::{self, Sender, SourceEvent};

/// What wakes the thread.
#[derive(Debug)]
pub(super) enum Wake {
    /// The file system says something.
    Event(notify::Result<notify::Event>),
    /// The process ends.
    Stop,
}

/// The engine has gone.
#[derive(Debug)]
pub(super) struct Gone;

/// What has to be looked at.
#[derive(Debug, Default)]
struct Dirty {
    /// Paths something happened to.
    paths: BTreeSet<PathBuf>,
    /// The whole directory.
    everything: bool,
}

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
    watched: BTreeSet<PathBuf>,
    ledger: Ledger<ObjectRef>,
    stamps: HashMap<PathBuf, Stamp>,
    /// Problems told, by subject.
    told: BTreeMap<String, source::Problem>,
    /// Directories that could not be read, and why.
    unreadable: BTreeMap<PathBuf, String>,
    foreign: BTreeSet<String>,
    listed: bool,
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
            watched: BTreeSet::new(),
            ledger: Ledger::new(),
            stamps: HashMap::new(),
            told: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            foreign: BTreeSet::new(),
            listed: false,
            unknown: false,
        };
        let root = watcher.options.directory.clone();
        watcher.inotify.watch(&root, RecursiveMode::NonRecursive)?;
        watcher.watched.insert(root);
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
        while !dirty.everything && dirty.paths.is_empty() {
            let first = if self.options.rescan.is_zero() {
                wakes.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                wakes.recv_timeout(self.options.rescan.saturating_sub(looked.elapsed()))
            };
            match first {
                Ok(wake) => self.note(wake, &mut dirty)?,
                Err(RecvTimeoutError::Timeout) => dirty.everything = true,
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        while let Ok(wake) = wakes.try_recv() {
            self.note(wake, &mut dirty)?;
        }
        Some(dirty)
    }

    /// Which paths an event makes worth a look. `None`: stop.
    fn note(&self, wake: Wake, dirty: &mut Dirty) -> Option<()> {
        let event = match wake {
            Wake::Stop => return None,
            Wake::Event(Ok(event)) => event,
            Wake::Event(Err(error)) => {
                warn!(%error, "watching the manifests failed; looking through the whole directory");
                dirty.everything = true;
                return Some(());
            }
        };
        if event.need_rescan() {
            dirty.everything = true;
        }
        let telling = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(CreateKind::Folder)
            | EventKind::Modify(ModifyKind::Name(
                RenameMode::From | RenameMode::To | RenameMode::Any,
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
        let root = &self.options.directory;
        for path in event.paths {
            let volume_swap = path.parent() == Some(root.as_path())
                && path.file_name().is_some_and(|name| name == "..data");
            if volume_swap || path == *root {
                // A ConfigMap's volume swaps all its files by renaming one link.
                dirty.everything = true;
            } else if !hidden(root, &path) {
                dirty.paths.insert(path);
            }
        }
        Some(())
    }

    /// Looks at what is dirty and tells the engine.
    fn process(&mut self, dirty: Dirty) -> Result<(), Gone> {
        let seen = Instant::now();
        let mut news = News::default();
        if dirty.everything {
            self.look(&mut news);
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
        for path in &found.files {
            let known = self.stamps.get(path);
            if known.is_none() || (known.copied() != files::stamp(path) && !files::young(path)) {
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
            .filter(|path| !there.contains(path) && !unknown(path));
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
        match std::fs::symlink_metadata(path) {
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
                self.watched
                    .retain(|directory| !directory.starts_with(path));
                self.unreadable
                    .retain(|directory, _| !directory.starts_with(path));
                let gone = self.ledger.files().filter(|file| file.starts_with(path));
                let gone: Vec<PathBuf> = gone.map(Path::to_path_buf).collect();
                for file in gone {
                    self.remove(&file, news);
                }
            }
        }
    }

    /// The deletion of a file was seen.
    fn remove(&mut self, path: &Path, news: &mut News) {
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
            Err(Unusable::Missing) => return self.remove(path, news),
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
                    object: None,
                    reason: "Invalid",
                    message,
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
        let outcome = self.ledger.read(path, decoded.entries, decoded.problems);
        let set = outcome.set.into_iter();
        news.set
            .extend(set.filter_map(|(object, change)| Some((object, change?))));
        news.missing.extend(outcome.removed);
        news.reread.extend(outcome.reread);
    }

    /// Watches a directory, if it is not watched yet.
    fn watch(&mut self, directory: &Path) {
        if self.watched.contains(directory) {
            return;
        }
        match self.inotify.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(directory.to_path_buf());
            }
            Err(error) => {
                let directory = directory.display();
                warn!(%directory, %error, "cannot be watched; changes in it are found by looking");
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
        for (subject, problem) in &now {
            if self.told.get(subject) != Some(problem) {
                let source::Problem { reason, message } = problem;
                warn!(subject, reason, "{message}; its last good state stays");
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
        let list: Vec<Value> = now
            .iter()
            .map(|(subject, problem)| json!({"subject": subject, "reason": problem.reason, "message": problem.message}))
            .collect();
        self.records.problems(&list);
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
                let subject = match &problem.object {
                    Some(object) => format!("{file}: {object}"),
                    None => file.to_string(),
                };
                now.insert(
                    subject,
                    source::Problem {
                        reason: problem.reason,
                        message: problem.message.clone(),
                    },
                );
            }
        }
        for (path, message) in &self.unreadable {
            let problem = source::Problem {
                reason: "Unreadable",
                message: message.clone(),
            };
            now.insert(path.display().to_string(), problem);
        }
        now
    }
}

/// Where the copies of good manifests are, in the status directory.
const LAST_GOOD: &str = "last-good";

/// Links, symbolic or hard, have their content from the moment they are made.
fn complete_when_made(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}
