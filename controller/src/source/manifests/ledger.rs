//! Which file holds which object, and so what a file that was read anew changes. No file is opened here.
//!
//! Rules: an object that cannot be used keeps its last good form for as long as its file names it; a file that cannot
//! be read keeps all its objects; of two files that hold one object the one with the smaller path wins, whatever the
//! order in which they were read, so that a restart agrees with the run before it; a file that is not there, though it
//! may come back, yields an object to one that is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What one file says of one object.
#[derive(Debug)]
pub(super) struct Entry<K, V> {
    /// Which object.
    pub(super) key: K,
    /// A hash of all that was written about it.
    pub(super) fingerprint: u64,
    /// The object, or why it cannot be used.
    pub(super) value: Result<V, Mistake>,
}

/// Why something cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mistake {
    /// One word for the metric.
    pub(super) reason: &'static str,
    /// What to mend.
    pub(super) message: String,
}

/// What follows from a file that was read or has gone.
#[derive(Debug)]
pub(super) struct Outcome<K, V> {
    /// New or changed objects.
    pub(super) set: Vec<(K, V)>,
    /// Objects that no file holds any longer.
    pub(super) removed: Vec<K>,
    /// Files that hold an object whose holder has let go of it: read them again.
    pub(super) reread: BTreeSet<PathBuf>,
    /// Files that are not there, and no longer hold all that they held.
    pub(super) yielded: BTreeSet<Arc<Path>>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    /// The object, or where it could not be named the document, if the problem is of only one.
    pub(super) part: Option<String>,
    /// What is wrong.
    pub(super) mistake: Mistake,
    /// Whether what was there before stays in force.
    pub(super) kept: bool,
}

/// A known file.
#[derive(Debug)]
struct File<K> {
    /// The objects it names; `None` for a fingerprint that must not match (it has to be told again).
    holds: HashMap<K, Option<u64>>,
    /// What is wrong with it.
    problems: Vec<Problem>,
    /// The objects it names that cannot be used as they are.
    refused: HashMap<K, Mistake>,
    /// Whether it was read in full at least once.
    read: bool,
}

/// The whole directory's bookkeeping.
#[derive(Debug)]
pub(super) struct Ledger<K> {
    files: BTreeMap<Arc<Path>, File<K>>,
    /// The file whose word counts.
    holders: HashMap<K, Arc<Path>>,
    /// Further files that name the object.
    shadowed: HashMap<K, BTreeSet<Arc<Path>>>,
}

// === impl Outcome ===

impl<K, V> Outcome<K, V> {
    fn new() -> Self {
        Self {
            set: Vec::new(),
            removed: Vec::new(),
            reread: BTreeSet::new(),
            yielded: BTreeSet::new(),
        }
    }
}

// === impl Mistake ===

impl Mistake {
    /// Of what is not what it should be.
    pub(super) fn invalid(message: String) -> Self {
        Self {
            reason: "Invalid",
            message,
        }
    }

    fn duplicate(message: impl Into<String>) -> Self {
        Self {
            reason: "Duplicate",
            message: message.into(),
        }
    }
}

// === impl File ===

impl<K> File<K> {
    fn new() -> Self {
        Self {
            holds: HashMap::new(),
            problems: Vec::new(),
            refused: HashMap::new(),
            read: false,
        }
    }
}

// === impl Ledger ===

impl<K: Clone + Debug + Display + Eq + Hash> Ledger<K> {
    /// Nothing known.
    pub(super) fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            holders: HashMap::new(),
            shadowed: HashMap::new(),
        }
    }

    /// The files known, readable or not.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(AsRef::as_ref)
    }

    /// Those of them that are `path` or below it.
    pub(super) fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        let from = (Bound::Included(path), Bound::Unbounded);
        let from = self.files.range::<Path, _>(from).map(|(file, _)| &**file);
        from.take_while(move |file| file.starts_with(path))
    }

    /// Whether every known file has been read at least once: only then may what is not there be taken for gone.
    pub(super) fn complete(&self) -> bool {
        self.files.values().all(|file| file.read)
    }

    /// Every file with something wrong.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&Path, &[Problem])> {
        self.files
            .iter()
            .filter(|(_, file)| !file.problems.is_empty())
            .map(|(path, file)| (path.as_ref(), file.problems.as_slice()))
    }

    /// The objects that cannot be used as their files have them, why, and whether an earlier form stays in force.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&K, &Mistake, bool)> {
        let files = self.files.iter();
        files.flat_map(move |(path, file)| {
            let refused = file.refused.iter();
            // Where another file's word counts, this one changes nothing.
            let counts = move |key: &K| self.holders.get(key).is_none_or(|holder| holder == path);
            refused
                .filter(move |(key, _)| counts(key))
                .map(|(key, mistake)| (key, mistake, file.holds.contains_key(key)))
        })
    }

    /// The file is there, and will be read.
    pub(super) fn announce(&mut self, path: &Path) {
        if !self.files.contains_key(path) {
            self.files.insert(path.into(), File::new());
        }
    }

    /// What the file is known to hold, as [`Ledger::unchanged`] compares it.
    pub(super) fn fingerprints(&self, path: &Path) -> HashMap<K, u64> {
        let holds = self
            .files
            .get(path)
            .into_iter()
            .flat_map(|file| &file.holds);
        holds
            .filter_map(|(key, fingerprint)| Some((key.clone(), (*fingerprint)?)))
            .collect()
    }

    /// The file cannot be read or is no YAML; it keeps what it held.
    pub(super) fn unreadable(&mut self, path: &Path, reason: &'static str, message: String) {
        let file = self.files.entry(path.into()).or_insert_with(File::new);
        file.refused.clear();
        file.problems = vec![Problem {
            part: None,
            mistake: Mistake { reason, message },
            kept: !file.holds.is_empty(),
        }];
    }

    /// Whether this file was read in full at least once.
    pub(super) fn was_read(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|file| file.read)
    }

    /// Whether this file was read before with this object as it is now.
    pub(super) fn unchanged(&self, path: &Path, key: &K, fingerprint: u64) -> bool {
        self.files
            .get(path)
            .and_then(|file| file.holds.get(key))
            .is_some_and(|known| *known == Some(fingerprint))
    }

    /// Whether some file names the object.
    pub(super) fn holds(&self, key: &K) -> bool {
        self.holders.contains_key(key)
    }

    /// How many objects the file holds or shadows.
    pub(super) fn held_by(&self, path: &Path) -> usize {
        self.files.get(path).map_or(0, |file| file.holds.len())
    }

    /// The file has gone, and its objects with it.
    pub(super) fn gone<V>(&mut self, path: &Path) -> Outcome<K, V> {
        let mut outcome = Outcome::new();
        if let Some((path, file)) = self.files.remove_entry(path) {
            for key in file.holds.into_keys() {
                self.release(&path, key, &mut outcome);
            }
        }
        outcome
    }

    /// The file was read in full: `entries` is what it says, `problems` what could not even be named. `absent` tells of a
    /// file whether it is not there at the moment.
    pub(super) fn read<V>(
        &mut self,
        path: &Path,
        entries: Vec<Entry<K, V>>,
        mut problems: Vec<Problem>,
        absent: impl Fn(&Path) -> bool,
    ) -> Outcome<K, V> {
        let path: Arc<Path> = match self.files.get_key_value(path) {
            Some((path, _)) => Arc::clone(path),
            None => path.into(),
        };
        let mut outcome = Outcome::new();
        let before = self
            .files
            .get_mut(&path)
            .map(|file| std::mem::take(&mut file.holds))
            .unwrap_or_default();
        let mut holds = HashMap::with_capacity(entries.len());
        let mut refused = HashMap::new();
        for Entry {
            key,
            fingerprint,
            value,
        } in entries
        {
            if holds.contains_key(&key) {
                problems.push(Problem {
                    part: Some(key.to_string()),
                    mistake: Mistake::duplicate(
                        "the file holds this object twice; the first one counts",
                    ),
                    kept: false,
                });
                continue;
            }
            let known = before.get(&key).copied().flatten();
            match value {
                Ok(value) => {
                    if self.claim(&path, &key, &mut problems, &absent, &mut outcome)
                        && known != Some(fingerprint)
                    {
                        outcome.set.push((key.clone(), value));
                    }
                    holds.insert(key, Some(fingerprint));
                }
                Err(mistake) => {
                    refused.insert(key.clone(), mistake.clone());
                    problems.push(Problem {
                        part: Some(key.to_string()),
                        mistake,
                        kept: before.contains_key(&key),
                    });
                    // What was good before stays; what never was is not there.
                    if before.contains_key(&key) {
                        holds.insert(key, known);
                    }
                }
            }
        }
        for key in before.into_keys().filter(|key| !holds.contains_key(key)) {
            self.release(&path, key, &mut outcome);
        }
        problems.sort();
        self.files.insert(
            path,
            File {
                holds,
                problems,
                refused,
                read: true,
            },
        );
        outcome
    }

    /// Whether `path`'s word on `key` counts from now on.
    fn claim<V>(
        &mut self,
        path: &Arc<Path>,
        key: &K,
        problems: &mut Vec<Problem>,
        absent: impl Fn(&Path) -> bool,
        outcome: &mut Outcome<K, V>,
    ) -> bool {
        let holder = self
            .holders
            .entry(key.clone())
            .or_insert_with(|| Arc::clone(path));
        if holder == path {
            return true;
        }
        // Where further files name the object, the one that is to follow is told when the holder is believed to be gone.
        if !self.shadowed.contains_key(key) && absent(holder) {
            let left = std::mem::replace(holder, Arc::clone(path));
            if let Some(file) = self.files.get_mut(&left) {
                file.holds.remove(key);
            }
            outcome.yielded.insert(left);
            return true;
        }
        let wins = *path < *holder;
        let (winner, loser) = if wins {
            let loser = std::mem::replace(holder, Arc::clone(path));
            (Arc::clone(path), loser)
        } else {
            (Arc::clone(holder), Arc::clone(path))
        };
        let others = self.shadowed.entry(key.clone()).or_default();
        others.remove(&winner);
        others.insert(Arc::clone(&loser));
        // Only the loser has something to mend.
        let problem = Problem {
            part: Some(key.to_string()),
            mistake: Mistake::duplicate(format!(
                "{} holds this object too, and counts",
                winner.display()
            )),
            kept: false,
        };
        match self.files.get_mut(&loser).filter(|_| wins) {
            Some(file) => {
                file.problems.push(problem);
                if let Some(fingerprint) = file.holds.get_mut(key) {
                    *fingerprint = None;
                }
            }
            None => problems.push(problem),
        }
        wins
    }

    /// `path` no longer names `key`.
    fn release<V>(&mut self, path: &Arc<Path>, key: K, outcome: &mut Outcome<K, V>) {
        let others = self.shadowed.get_mut(&key);
        if self.holders.get(&key) != Some(path) {
            if let Some(others) = others {
                others.remove(path);
                if others.is_empty() {
                    self.shadowed.remove(&key);
                }
            }
            return;
        }
        let Some(next) = others.and_then(BTreeSet::pop_first) else {
            self.holders.remove(&key);
            self.shadowed.remove(&key);
            outcome.removed.push(key);
            return;
        };
        if self.shadowed.get(&key).is_some_and(BTreeSet::is_empty) {
            self.shadowed.remove(&key);
        }
        if let Some(fingerprint) = self
            .files
            .get_mut(&next)
            .and_then(|file| file.holds.get_mut(&key))
        {
            *fingerprint = None;
        }
        outcome.reread.insert(next.to_path_buf());
        self.holders.insert(key, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Book = Ledger<String>;

    fn good(key: &str, value: u64) -> Entry<String, u64> {
        Entry {
            key: key.into(),
            fingerprint: value,
            value: Ok(value),
        }
    }

    fn bad(key: &str) -> Entry<String, u64> {
        Entry {
            key: key.into(),
            fingerprint: 99,
            value: Err(Mistake::invalid("no port".into())),
        }
    }

    fn read(book: &mut Book, path: &str, entries: Vec<Entry<String, u64>>) -> Outcome<String, u64> {
        book.read(Path::new(path), entries, Vec::new(), |_| false)
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut book = Book::new();
        assert_eq!(
            read(&mut book, "a", vec![good("x", 1), good("y", 1)])
                .set
                .len(),
            2
        );
        let outcome = read(
            &mut book,
            "a",
            vec![good("x", 1), good("y", 2), good("z", 3)],
        );
        assert_eq!(outcome.set, [("y".into(), 2), ("z".into(), 3)]);
        let outcome = read(&mut book, "a", vec![good("z", 3)]);
        assert!(outcome.set.is_empty());
        assert_eq!(
            outcome.removed.into_iter().collect::<BTreeSet<_>>(),
            BTreeSet::from(["x".into(), "y".into()])
        );
    }

    #[test]
    fn a_bad_object_keeps_its_last_good_form() {
        let mut book = Book::new();
        read(&mut book, "a", vec![good("x", 1), good("y", 1)]);
        let outcome = read(&mut book, "a", vec![bad("x"), good("y", 2), bad("new")]);
        assert_eq!(outcome.set, [("y".into(), 2)]);
        assert!(outcome.removed.is_empty());
        assert_eq!(book.problems().next().unwrap().1.len(), 2);
        let refused = book.refused().map(|(key, _, kept)| (key.as_str(), kept));
        assert_eq!(
            refused.collect::<BTreeSet<_>>(),
            BTreeSet::from([("new", false), ("x", true)])
        );
        // Mended to what it was: nothing to tell, and nothing is wrong any more.
        assert!(
            read(&mut book, "a", vec![good("x", 1), good("y", 2)])
                .set
                .is_empty()
        );
        assert_eq!(book.problems().count(), 0);
        // Taken out while bad: it goes.
        read(&mut book, "a", vec![bad("x"), good("y", 2)]);
        assert_eq!(read(&mut book, "a", vec![good("y", 2)]).removed, ["x"]);
    }

    #[test]
    fn an_unreadable_file_keeps_all_and_holds_back_completeness() {
        let mut book = Book::new();
        book.unreadable(Path::new("a"), "Unreadable", "is a socket".into());
        assert!(!book.complete());
        read(&mut book, "a", vec![good("x", 1)]);
        assert!(book.complete());
        book.unreadable(Path::new("a"), "Syntax", "line 3".into());
        assert!(book.complete(), "its last good objects are known");
        assert_eq!(book.held_by(Path::new("a")), 1);
        assert_eq!(book.gone::<u64>(Path::new("a")).removed, ["x"]);
    }

    #[test]
    fn the_smaller_path_wins_in_any_order() {
        for order in [["a", "b"], ["b", "a"]] {
            let mut book = Book::new();
            let mut last = None;
            for path in order {
                let value = if path == "a" { 1 } else { 2 };
                last = read(&mut book, path, vec![good("x", value)])
                    .set
                    .pop()
                    .or(last);
            }
            assert_eq!(last, Some(("x".into(), 1)), "{order:?}");
            let losers: Vec<_> = book
                .problems()
                .map(|(path, problems)| (path.to_owned(), problems.len()))
                .collect();
            assert_eq!(losers, [(PathBuf::from("b"), 1)]);
            // The winner lets go: the other file is read again and its word counts.
            let outcome = book.gone::<u64>(Path::new("a"));
            assert!(outcome.removed.is_empty());
            assert_eq!(outcome.reread, BTreeSet::from([PathBuf::from("b")]));
            assert_eq!(
                read(&mut book, "b", vec![good("x", 2)]).set,
                [("x".into(), 2)]
            );
            assert_eq!(book.problems().count(), 0);
            assert_eq!(book.gone::<u64>(Path::new("b")).removed, ["x"]);
        }
    }

    #[test]
    fn a_shadowed_copy_that_goes_changes_nothing() {
        let mut book = Book::new();
        read(&mut book, "a", vec![good("x", 1)]);
        read(&mut book, "b", vec![good("x", 2)]);
        let outcome = book.gone::<u64>(Path::new("b"));
        assert!(outcome.removed.is_empty() && outcome.reread.is_empty());
        assert_eq!(book.gone::<u64>(Path::new("a")).removed, ["x"]);
    }

    #[test]
    fn an_object_that_moves_between_files_is_never_gone() {
        let mut book = Book::new();
        read(&mut book, "a", vec![good("x", 1)]);
        read(&mut book, "b", vec![good("x", 1)]);
        let outcome = read(&mut book, "a", vec![]);
        assert!(outcome.removed.is_empty());
        assert_eq!(outcome.reread.len(), 1);
    }

    #[test]
    fn a_file_that_is_not_there_yields() {
        for (left, new) in [("a", "b"), ("b", "a")] {
            let mut book = Book::new();
            read(&mut book, left, vec![good("x", 1), good("y", 1)]);
            let entries = vec![good("x", 2)];
            let absent = |path: &Path| path == Path::new(left);
            let outcome = book.read(Path::new(new), entries, Vec::new(), absent);
            assert_eq!(outcome.set, [("x".into(), 2)]);
            assert_eq!(outcome.yielded, BTreeSet::from([Path::new(left).into()]));
            assert_eq!(book.problems().count(), 0);
            // What nobody else names it keeps until it is believed to be gone.
            assert_eq!(book.gone::<u64>(Path::new(left)).removed, ["y"]);
            assert_eq!(book.gone::<u64>(Path::new(new)).removed, ["x"]);
        }
    }

    #[test]
    fn twice_in_one_file_counts_once() {
        let mut book = Book::new();
        let outcome = read(&mut book, "a", vec![good("x", 1), good("x", 2)]);
        assert_eq!(outcome.set, [("x".into(), 1)]);
        assert_eq!(
            book.problems().next().unwrap().1[0].mistake.reason,
            "Duplicate"
        );
    }
}
