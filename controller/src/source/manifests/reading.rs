//! Reading one file as far as that needs nothing but the file: small ones where the change was seen, large ones on a
//! thread of their own, one after the other and the smallest first, so that no other file waits for them.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use yusur_planner::{Change, ObjectRef};

use super::copies::Copies;
use super::decode::{self, Document};
use super::dirty::Wake;
use super::files::{self, Stamp, Unusable};
use super::ledger::{Entry, Mistake, Problem};
use super::records::Records;
use super::yaml;

/// Files of more bytes are large: reading one may take longer than a person notices.
const LARGE: u64 = 256 << 10;

/// What a file was found to hold.
#[derive(Debug)]
pub(super) struct Reading {
    /// Which file.
    pub(super) path: PathBuf,
    /// Its stamp when it was read.
    pub(super) stamp: Option<Stamp>,
    /// What it holds, and its text; or why it cannot be used.
    pub(super) content: Result<(Decoded, Vec<u8>), Unusable>,
    /// If it is broken, and was not read before in this run: what it last held when it was good.
    pub(super) last_good: Option<Decoded>,
}

/// What the documents of one file are.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// How many there are, also of kinds that are not ours.
    pub(super) documents: usize,
    /// The objects.
    pub(super) entries: Vec<Entry<ObjectRef, Option<Box<Change>>>>,
    /// What could not even be named.
    pub(super) problems: Vec<Problem>,
    /// Kinds that are not for us.
    pub(super) foreign: BTreeSet<String>,
}

/// The large files, and the thread that reads them.
#[derive(Debug)]
pub(super) struct Reader {
    records: Records,
    copies: Copies,
    wake: mpsc::Sender<Wake>,
    /// The thread's end, once there is one.
    jobs: Option<mpsc::Sender<Job>>,
    /// By size.
    waiting: BTreeSet<(u64, PathBuf)>,
    /// What is being read.
    busy: Option<PathBuf>,
}

/// A file for the thread.
#[derive(Debug)]
struct Job {
    path: PathBuf,
    was_read: bool,
    fingerprints: HashMap<ObjectRef, u64>,
}

/// Reads a file. `known` tells which objects are in force as they are; `was_read`, whether it was read in full before.
pub(super) fn read(
    path: &Path,
    was_read: bool,
    known: impl Fn(&ObjectRef, u64) -> bool,
    records: &Records,
    copies: &Copies,
) -> Reading {
    let mut reading = Reading {
        path: path.to_owned(),
        stamp: None,
        content: Err(Unusable::Missing),
        last_good: None,
    };
    let content = files::read(path).and_then(|content| {
        reading.stamp = Some(content.stamp);
        let decoded = decode(&content.text, &known, records);
        let decoded = decoded.map_err(|message| Unusable::Unreadable("Syntax", message))?;
        Ok((decoded, content.text))
    });
    if let Err(Unusable::Missing) = content {
        return reading;
    }
    if reading.stamp.is_none() {
        reading.stamp = files::stamp(path);
    }
    let good = content.as_ref().is_ok_and(|(decoded, _)| decoded.is_good());
    if !good && !was_read {
        let text = copies.recall(path);
        let last_good = text.and_then(|text| decode(&text, &known, records).ok());
        reading.last_good = last_good.map(|mut last_good| {
            let bad = |object: &ObjectRef| match &content {
                Ok((decoded, _)) if decoded.documents > 0 => decoded.refuses(object),
                _ => true,
            };
            last_good.problems.clear();
            last_good
                .entries
                .retain(|entry| entry.value.is_ok() && bad(&entry.key));
            last_good
        });
    }
    reading.content = content;
    reading
}

/// Takes a file's documents apart; fails where it is no YAML as far as its end.
fn decode(
    text: &[u8],
    known: impl Fn(&ObjectRef, u64) -> bool,
    records: &Records,
) -> Result<Decoded, String> {
    let mut decoded = Decoded::default();
    yaml::each(text, |value| {
        decoded.documents += 1;
        match decode::document(value, records, &known) {
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
                mistake: Mistake::invalid(message),
                kept: false,
            }),
            Document::Foreign(kind) => {
                decoded.foreign.insert(kind);
            }
        }
    })?;
    Ok(decoded)
}

// === impl Decoded ===

impl Decoded {
    /// Whether it is what a copy may be kept of.
    pub(super) fn is_good(&self) -> bool {
        self.documents > 0
            && self.problems.is_empty()
            && self.entries.iter().all(|entry| entry.value.is_ok())
    }

    /// Whether it holds this object, and the object cannot be used.
    fn refuses(&self, object: &ObjectRef) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.key == *object && entry.value.is_err())
    }
}

// === impl Reader ===

impl Reader {
    /// Nothing to read. What was read arrives at `wake`.
    pub(super) fn new(records: Records, copies: Copies, wake: mpsc::Sender<Wake>) -> Self {
        Self {
            records,
            copies,
            wake,
            jobs: None,
            waiting: BTreeSet::new(),
            busy: None,
        }
    }

    /// Whether this file is large. If so it will be read, and is told as [`Wake::Read`].
    pub(super) fn accepts(&mut self, path: &Path) -> bool {
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.waiting.retain(|(_, waiting)| waiting != path);
        if size <= LARGE {
            return false;
        }
        // What is being read is compared with the file as it is then.
        if self.busy.as_deref() != Some(path) {
            self.waiting.insert((size, path.to_owned()));
        }
        true
    }

    /// Whether all was read.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_none() && self.waiting.is_empty()
    }

    /// Nothing need be read any more.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// That file was read.
    pub(super) fn done(&mut self) {
        self.busy = None;
    }

    /// Goes on with the next file, if none is being read.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn go_on(
        &mut self,
        state: impl FnOnce(&Path) -> (bool, HashMap<ObjectRef, u64>),
    ) -> io::Result<()> {
        if self.busy.is_some() {
            return Ok(());
        }
        let Some((_, path)) = self.waiting.pop_first() else {
            return Ok(());
        };
        let (was_read, fingerprints) = state(&path);
        let job = Job {
            path: path.clone(),
            was_read,
            fingerprints,
        };
        let jobs = match &self.jobs {
            Some(jobs) => jobs,
            None => self.jobs.insert(self.start()?),
        };
        // It ends only with this end of the channel.
        if jobs.send(job).is_ok() {
            self.busy = Some(path);
        }
        Ok(())
    }

    fn start(&self) -> io::Result<mpsc::Sender<Job>> {
        let (jobs, arriving) = mpsc::channel::<Job>();
        let (records, copies, wake) =
            (self.records.clone(), self.copies.clone(), self.wake.clone());
        let thread = thread::Builder::new().name("large-manifests".into());
        thread.spawn(move || {
            for job in arriving {
                let known = |object: &ObjectRef, fingerprint| {
                    job.fingerprints.get(object) == Some(&fingerprint)
                };
                let reading = read(&job.path, job.was_read, known, &records, &copies);
                if wake.send(Wake::Read(Box::new(reading))).is_err() {
                    return;
                }
            }
        })?;
        Ok(jobs)
    }
}
