//! The status files beside the manifests: what an API server would remember of each object (uid, generation, time of
//! creation, what cannot be changed, status), one YAML file an object, `KIND/NAMESPACE/NAME.yaml`. A name too long for a
//! file's is cut ([`file_name`]); the whole of it stands in the file.
//!
//! An object of which the manifest is refused is told so in its status file: see [`Records::refuse`].
//!
//! They are what addresses that were allocated are read back from after a restart. A file is replaced in one step
//! (written aside, then renamed), so a reader or a crash never sees half of one. Losing them loses no address that is
//! in use: the Northbound has it too.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;
use yusur_planner::ObjectRef;

use super::refusals::{self, Refusal};
use super::{KINDS, files};

/// Namespace of the version-5 UUIDs that stand in for an API server's uids.
const UID_NAMESPACE: Uuid = Uuid::from_u128(0x6d1c_5d6e_2a0b_4c6f_9a57_6f1f_7e6b_0c41);

/// What the first lines of a status file say to whoever opens it.
const HEADER: &str = "# Written by yusur-controller. Edit the manifest, not this file.\n";

/// The status directory. Cloning shares it: the source reads, the status writer writes.
#[derive(Debug, Clone)]
pub struct Records {
    directory: Arc<Path>,
    /// What is made here lies below it: the directory of the manifests, where they are in there, which is not ours to make.
    base: Arc<Path>,
    known: Arc<Mutex<Known>>,
    /// Directories that exist, so that each is made once.
    made: Arc<Mutex<HashSet<PathBuf>>>,
}

#[derive(Debug, Default)]
struct Known {
    records: HashMap<ObjectRef, Record>,
    /// Objects of which the manifest is refused, though an earlier form may be in force.
    refused: HashMap<ObjectRef, Refusal>,
}

/// What is remembered of one object.
#[derive(Debug, Clone)]
struct Record {
    uid: String,
    generation: i64,
    created: Timestamp,
    /// Of the spec, over restarts.
    spec: Uuid,
    /// What of it cannot be changed, as [`yusur_crds::validation::Validator::former`] says.
    former: Option<Value>,
}

/// A status file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    metadata: FileMetadata,
    #[serde(default)]
    status: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileMetadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
    uid: String,
    generation: i64,
    creation_timestamp: Timestamp,
    /// By which a change of the spec while nobody was looking is noticed.
    spec_hash: Uuid,
    /// What cannot be changed without making the object anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former: Option<Value>,
}

// === impl Records ===

impl Records {
    /// The records in `directory`, which is made if need be (mode 0700: a status may name what a manifest does not); but
    /// `manifests`, the directory of the manifests, never is.
    ///
    /// # Errors
    /// When it can be neither made nor written to.
    pub fn open(directory: &Path, manifests: &Path) -> io::Result<Self> {
        let base = if directory.starts_with(manifests) {
            manifests
        } else {
            Path::new("")
        };
        files::make_directory(directory, base)?;
        let probe = directory.join(".probe.tmp");
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)?;
        Ok(Self {
            directory: directory.into(),
            base: base.into(),
            known: Arc::default(),
            made: Arc::default(),
        })
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is made here lies below it.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// What of the object that is in force cannot be changed.
    pub(super) fn former(&self, object: &ObjectRef) -> Option<Value> {
        if let Some(record) = self.known.lock().records.get(object) {
            return record.former.clone();
        }
        self.read(object)?.metadata.former
    }

    /// Adds to an accepted object read from a manifest what an API server would have added. What the manifest itself says
    /// of uid, generation and creation wins; its `status` does not: that is ours to say. `spec` is the hash of its spec
    /// as it was written, `former` what cannot be changed from now on.
    pub(super) fn complete(
        &self,
        object: &ObjectRef,
        value: &mut Value,
        spec: Uuid,
        former: Option<Value>,
    ) {
        let (status, record) = self.recall(object, value, spec, former);
        let metadata = &mut value["metadata"];
        if object.kind.namespaced() {
            metadata["namespace"] = Value::from(&*object.name.namespace);
        }
        metadata["uid"] = Value::from(record.uid);
        metadata["generation"] = Value::from(record.generation);
        metadata["creationTimestamp"] = Value::from(record.created.to_string());
        value["status"] = status;
    }

    /// The object's record, made or brought up to date, and its status where the file was read just now.
    fn recall(
        &self,
        object: &ObjectRef,
        value: &Value,
        spec: Uuid,
        former: Option<Value>,
    ) -> (Value, Record) {
        let metadata = &value["metadata"];
        let file = self.read(object);
        let known = &mut self.known.lock().records;
        let (status, before) = match file {
            Some(file) => {
                let FileMetadata {
                    uid,
                    generation,
                    mut creation_timestamp,
                    spec_hash: spec,
                    ..
                } = file.metadata;
                if generation == refusals::NEVER_ACCEPTED {
                    // Its time begins now.
                    creation_timestamp = Timestamp::now();
                }
                // What is known is at least as new as what was written.
                let before = known.get(object).cloned().unwrap_or(Record {
                    uid,
                    generation,
                    created: creation_timestamp,
                    spec,
                    former: None,
                });
                (file.status, Some(before))
            }
            None => (Value::Null, known.get(object).cloned()),
        };
        let given = |key: &str| metadata[key].as_str().filter(|text| !text.is_empty());
        let created = given("creationTimestamp").and_then(|text| text.parse().ok());
        let mut record = match before {
            Some(before) => {
                let generation = before.generation + i64::from(before.spec != spec);
                Record {
                    generation,
                    spec,
                    former,
                    created: created.unwrap_or(before.created),
                    ..before
                }
            }
            None => {
                let now = Timestamp::now();
                Record {
                    uid: new_uid(object, now),
                    generation: 1,
                    created: created.unwrap_or(now),
                    spec,
                    former,
                }
            }
        };
        if let Some(uid) = given("uid") {
            record.uid = uid.to_owned();
        }
        if let Some(generation) = metadata["generation"].as_i64() {
            record.generation = generation;
        }
        known.insert(object.clone(), record.clone());
        (status, record)
    }

    /// Writes the object's status.
    ///
    /// # Errors
    /// When the file cannot be written. Returns whether there was still such an object to write about.
    pub(crate) fn write(
        &self,
        object: &ObjectRef,
        uid: &str,
        mut status: Value,
    ) -> io::Result<bool> {
        // Held while writing, so that an object that goes meanwhile leaves no file behind.
        let known = &mut *self.known.lock();
        let record = known.records.get(object);
        let Some(record) = record.filter(|record| record.uid == uid) else {
            return Ok(false);
        };
        if let Some(refusal) = known.refused.get_mut(object) {
            refusal.cover(&mut status);
        }
        self.replace(&self.path(object), &file(object, record, status))?;
        Ok(true)
    }

    /// The manifests of these objects, and of no others, are refused, each with a message. As an API server's answer would,
    /// that changes nothing about an object that is in force; but there is nobody here to answer, so its condition
    /// `Accepted` says it until the manifest is mended. Of an object that never was accepted there is a file with this
    /// condition alone.
    pub(super) fn refuse(&self, now: &HashMap<ObjectRef, String>) {
        let known = &mut *self.known.lock();
        let mended = known
            .refused
            .keys()
            .filter(|object| !now.contains_key(*object));
        for object in mended.cloned().collect::<Vec<_>>() {
            let refusal = known.refused.remove(&object);
            let path = self.path(&object);
            let told = match (known.records.get(&object), self.read(&object), refusal) {
                (Some(record), Some(mut kept), Some(refusal)) => {
                    refusal.uncover(&mut kept.status);
                    self.replace(&path, &file(&object, record, kept.status))
                }
                // It never was there, and now is not even wrong.
                (None, Some(kept), _) if kept.metadata.generation == refusals::NEVER_ACCEPTED => {
                    fs::remove_file(&path)
                }
                _ => Ok(()),
            };
            if let Err(error) = told {
                warn!(%object, path = %path.display(), %error, "the status file still says that the object is refused");
            }
        }
        for (object, message) in now {
            let said = known.refused.get(object);
            if said.is_some_and(|refusal| refusal.message() == message) {
                continue;
            }
            let kept = self.read(object);
            let record = match (known.records.get(object), &kept) {
                (Some(record), _) => record.clone(),
                (None, Some(kept)) => kept.metadata.record(),
                (None, None) => Record {
                    uid: new_uid(object, Timestamp::now()),
                    generation: refusals::NEVER_ACCEPTED,
                    created: Timestamp::now(),
                    spec: Uuid::nil(),
                    former: None,
                },
            };
            let mut status = kept.map(|kept| kept.status).unwrap_or_default();
            let mut refusal = match known.refused.remove(object) {
                Some(refusal) => refusal.now(message),
                None => Refusal::new(message, record.generation),
            };
            refusal.cover(&mut status);
            known.refused.insert(object.clone(), refusal);
            let path = self.path(object);
            if let Err(error) = self.replace(&path, &file(object, &record, status)) {
                warn!(%object, path = %path.display(), %error, "the status file cannot say that the object is refused");
            }
        }
    }

    /// Forgets an object; with a `uid`, only that one and not a successor of the same name.
    pub(crate) fn forget(&self, object: &ObjectRef, uid: Option<&str>) {
        let known = &mut self.known.lock().records;
        if let (Some(uid), Some(record)) = (uid, known.get(object))
            && record.uid != uid
        {
            return;
        }
        known.remove(object);
        let path = self.path(object);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%object, path = %path.display(), %error, "the status file cannot be removed");
            }
            _ => {}
        }
    }

    /// Removes the files of objects that are not there (deleted while nobody was looking). To be called once
    /// everything has been read in full.
    pub(super) fn sweep(&self) {
        let known = self.known.lock();
        let wanted = known.records.keys().chain(known.refused.keys());
        let wanted: HashSet<PathBuf> = wanted.map(|object| self.path(object)).collect();
        let mut directories: Vec<PathBuf> = KINDS
            .iter()
            .map(|kind| self.directory.join(kind.as_str().to_ascii_lowercase()))
            .collect();
        while let Some(directory) = directories.pop() {
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    directories.push(path);
                } else if !wanted.contains(&path) {
                    // Ours alone live below: what fails here is tried at the next start.
                    let _ = fs::remove_file(path);
                }
            }
        }
    }

    /// Writes what is wrong with the manifests to `problems.yaml`, or removes it where nothing is.
    pub(super) fn problems(&self, problems: &[Value]) {
        let path = self.directory.join("problems.yaml");
        let result = match problems {
            [] => fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
            some => self.replace(&path, &json!({ "problems": some })),
        };
        if let Err(error) = result {
            warn!(path = %path.display(), %error, "the list of problems cannot be written");
        }
    }

    fn path(&self, object: &ObjectRef) -> PathBuf {
        let mut path = self
            .directory
            .join(object.kind.as_str().to_ascii_lowercase());
        if object.kind.namespaced() {
            path.push(&*object.name.namespace);
        }
        path.push(file_name(&object.name.name));
        path
    }

    /// The object's file, if there is one that can be read.
    fn read(&self, object: &ObjectRef) -> Option<File> {
        let path = self.path(object);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(%object, path = %path.display(), %error, "the status file cannot be read; starting without it");
                return None;
            }
        };
        match serde_saphyr::from_slice(&text) {
            Ok(file) => Some(file),
            Err(error) => {
                let error = error.without_snippet().to_string();
                warn!(%object, path = %path.display(), error, "the status file is damaged; starting without it");
                None
            }
        }
    }

    /// In one step: a reader sees the old file or the new one.
    fn replace(&self, path: &Path, content: &impl Serialize) -> io::Result<()> {
        let mut text = String::from(HEADER);
        serde_saphyr::to_fmt_writer(&mut text, content).map_err(io::Error::other)?;
        if let Some(parent) = path.parent() {
            let mut made = self.made.lock();
            if !made.contains(parent) {
                files::make_directory(parent, &self.base)?;
                made.insert(parent.to_owned());
            }
        }
        let aside = path.with_extension("yaml.tmp");
        let written = fs::write(&aside, &text).and_then(|()| fs::rename(&aside, path));
        if written.is_err() {
            // The directory may have been taken away: make it again next time.
            self.made.lock().clear();
        }
        written
    }
}

// === impl FileMetadata ===

impl FileMetadata {
    fn record(&self) -> Record {
        Record {
            uid: self.uid.clone(),
            generation: self.generation,
            created: self.creation_timestamp,
            spec: self.spec_hash,
            former: self.former.clone(),
        }
    }
}

/// A status file's content.
fn file(object: &ObjectRef, record: &Record, status: Value) -> File {
    let namespace = object
        .kind
        .namespaced()
        .then(|| object.name.namespace.to_string());
    File {
        api_version: yusur_crds::API_VERSION.to_owned(),
        kind: object.kind.as_str().to_owned(),
        metadata: FileMetadata {
            namespace,
            name: object.name.name.to_string(),
            uid: record.uid.clone(),
            generation: record.generation,
            creation_timestamp: record.created,
            spec_hash: record.spec,
            former: record.former.clone(),
        },
        status,
    }
}

/// A uid that no other object has.
fn new_uid(object: &ObjectRef, now: Timestamp) -> String {
    let name = format!("{object} {now:.9}");
    Uuid::new_v5(&UID_NAMESPACE, name.as_bytes()).to_string()
}

/// The hash of a spec, over restarts.
pub(super) fn spec_hash(value: &Value) -> Uuid {
    Uuid::new_v5(&UID_NAMESPACE, value["spec"].to_string().as_bytes())
}

/// The file of an object with this name: `NAME.yaml`. Names may be longer than a file's name (255 bytes on Linux, and
/// `.yaml.tmp` has to fit): of one of more than 240 letters the file has the first 200, a `~`, which no name has, and 32
/// hexadecimal digits of its hash.
fn file_name(name: &str) -> String {
    const LONGEST: usize = 240;
    const SHOWN: usize = 200;
    if name.len() <= LONGEST {
        return format!("{name}.yaml");
    }
    let hash = Uuid::new_v5(&UID_NAMESPACE, name.as_bytes());
    // Names are of ASCII letters.
    let shown = name.get(..SHOWN).unwrap_or_default();
    format!("{shown}~{}.yaml", hash.simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use yusur_planner::{Kind, ObjectName};

    fn service() -> ObjectRef {
        ObjectRef {
            kind: Kind::YusurService,
            name: ObjectName::new("shop", "web"),
        }
    }

    fn complete(records: &Records, spec: i64) -> Value {
        let mut value = json!({"metadata": {"name": "web"}, "spec": {"port": spec}});
        let spec = spec_hash(&value);
        records.complete(&service(), &mut value, spec, Some(json!({"spec": spec})));
        value
    }

    fn open(directory: &tempfile::TempDir) -> Records {
        Records::open(directory.path(), directory.path()).unwrap()
    }

    fn condition(directory: &tempfile::TempDir) -> Value {
        let text = fs::read(directory.path().join("yusurservice/shop/web.yaml")).unwrap();
        let mut file: Value = serde_saphyr::from_slice(&text).unwrap();
        file["status"]["conditions"][0].take()
    }

    #[test]
    fn identity_and_status_outlive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let records = open(&directory);
        let first = complete(&records, 1);
        assert_eq!(first["metadata"]["generation"], 1);
        assert_eq!(first["metadata"]["namespace"], "shop");
        assert!(first["status"].is_null());
        let uid = first["metadata"]["uid"].as_str().unwrap().to_owned();
        assert!(
            records
                .write(&service(), &uid, json!({"clusterIP": "10.0.0.1"}))
                .unwrap()
        );
        assert!(!records.write(&service(), "another", json!({})).unwrap());

        let records = open(&directory);
        let again = complete(&records, 1);
        assert_eq!(again["metadata"], first["metadata"]);
        assert_eq!(again["status"]["clusterIP"], "10.0.0.1");
        let changed = complete(&records, 2);
        assert_eq!(changed["metadata"]["generation"], 2);
        assert_eq!(changed["metadata"]["uid"], uid);
        assert_eq!(complete(&records, 2)["metadata"]["generation"], 2);
    }

    #[test]
    fn a_successor_is_another_object() {
        let directory = tempfile::tempdir().unwrap();
        let records = open(&directory);
        let uid = complete(&records, 1)["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_owned();
        records
            .write(&service(), &uid, json!({"clusterIP": "10.0.0.1"}))
            .unwrap();
        records.forget(&service(), None);
        let next = complete(&records, 1);
        assert_ne!(next["metadata"]["uid"], uid);
        assert!(next["status"].is_null());
        // A late word about the old one does not touch the new.
        let next_uid = next["metadata"]["uid"].as_str().unwrap();
        records.write(&service(), next_uid, json!({})).unwrap();
        records.forget(&service(), Some(&uid));
        assert!(directory.path().join("yusurservice/shop/web.yaml").exists());
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let records = open(&directory);
        fs::create_dir_all(directory.path().join("yusurservice/shop")).unwrap();
        fs::write(
            directory.path().join("yusurservice/shop/web.yaml"),
            "kind: [",
        )
        .unwrap();
        assert!(complete(&records, 1)["status"].is_null());
    }

    #[test]
    fn files_of_nobody_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let records = open(&directory);
        let uid = complete(&records, 1)["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_owned();
        records.write(&service(), &uid, json!({})).unwrap();
        let stale = directory.path().join("yusurservice/shop/old.yaml");
        fs::write(&stale, "").unwrap();
        records.sweep();
        assert!(!stale.exists());
        assert!(directory.path().join("yusurservice/shop/web.yaml").exists());
    }

    #[test]
    fn what_the_manifest_says_wins() {
        let directory = tempfile::tempdir().unwrap();
        let records = open(&directory);
        let mut value = json!({"metadata": {"name": "web", "uid": "mine", "generation": 7,
            "creationTimestamp": "2020-01-01T00:00:00Z"}, "spec": {}, "status": {"clusterIP": "6.6.6.6"}});
        records.complete(&service(), &mut value, Uuid::nil(), None);
        assert_eq!(value["metadata"]["uid"], "mine");
        assert_eq!(value["metadata"]["generation"], 7);
        assert_eq!(
            value["metadata"]["creationTimestamp"],
            "2020-01-01T00:00:00Z"
        );
        assert!(value["status"].is_null());
    }

    #[test]
    fn the_longest_names_have_files_of_their_own() {
        let (a, b) = ("a".repeat(253), format!("{}b", "a".repeat(252)));
        for name in [&a, &b, &"c".repeat(240)] {
            assert!(file_name(name).len() + ".tmp".len() <= 255, "{name}");
            assert!(file_name(name).starts_with(&name[..200]));
        }
        assert_ne!(file_name(&a), file_name(&b));
        assert_eq!(file_name("web"), "web.yaml");
    }

    #[test]
    fn nothing_is_written_where_the_manifests_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let manifests = directory.path().join("manifests");
        assert!(Records::open(&manifests.join(".status"), &manifests).is_err());
        assert!(!manifests.exists());
        fs::create_dir(&manifests).unwrap();
        let records = Records::open(&manifests.join(".status"), &manifests).unwrap();
        let uid = complete(&records, 1)["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_owned();
        fs::remove_dir_all(&manifests).unwrap();
        records.problems(&[json!({"subject": "a"})]);
        assert!(records.write(&service(), &uid, json!({})).is_err());
        assert!(!manifests.exists());
        fs::create_dir(&manifests).unwrap();
        assert!(records.write(&service(), &uid, json!({})).unwrap());
        // Elsewhere it is made with all above it.
        assert!(Records::open(&directory.path().join("a/b"), &manifests).is_ok());
    }

    #[test]
    fn a_refusal_stands_in_the_status_until_it_is_mended() {
        let directory = tempfile::tempdir().unwrap();
        let records = open(&directory);
        let uid = complete(&records, 1)["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_owned();
        let good = json!({"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}], "clusterIPs": ["10.0.0.1"]});
        records.write(&service(), &uid, good.clone()).unwrap();
        records.refuse(&HashMap::from([(service(), "no port".to_owned())]));
        let told = condition(&directory);
        assert_eq!(
            (&told["reason"], &told["message"]),
            (&json!("InvalidSpec"), &json!("no port"))
        );
        // What is told of the form in force does not hide it.
        records.write(&service(), &uid, good.clone()).unwrap();
        assert_eq!(condition(&directory), told);
        records.refuse(&HashMap::new());
        assert_eq!(condition(&directory), good["conditions"][0]);
        assert_eq!(
            records.former(&service()).unwrap()["spec"]
                .as_str()
                .unwrap()
                .len(),
            36
        );
    }

    #[test]
    fn an_object_that_never_was_accepted_has_only_the_refusal() {
        let directory = tempfile::tempdir().unwrap();
        let records = open(&directory);
        records.refuse(&HashMap::from([(service(), "no port".to_owned())]));
        assert_eq!(condition(&directory)["status"], "False");
        records.sweep();
        assert_eq!(condition(&directory)["status"], "False");
        // Mended: it begins now.
        let object = complete(&records, 1);
        assert_eq!(object["metadata"]["generation"], 1);
        records.forget(&service(), None);
        // Gone without ever having been good.
        records.refuse(&HashMap::from([(service(), "no port again".to_owned())]));
        assert!(directory.path().join("yusurservice/shop/web.yaml").exists());
        records.refuse(&HashMap::new());
        assert!(!directory.path().join("yusurservice/shop/web.yaml").exists());
    }
}
