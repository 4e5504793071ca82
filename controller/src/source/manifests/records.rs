//! The status files beside the manifests: what an API server would remember of each object (uid, generation, time of
//! creation, status), one YAML file an object, `KIND/NAMESPACE/NAME.yaml`.
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

use super::KINDS;

/// Namespace of the version-5 UUIDs that stand in for an API server's uids.
const UID_NAMESPACE: Uuid = Uuid::from_u128(0x6d1c_5d6e_2a0b_4c6f_9a57_6f1f_7e6b_0c41);

/// What the first lines of a status file say to whoever opens it.
const HEADER: &str = "# Written by yusur-controller. Edit the manifest, not this file.\n";

/// The status directory. Cloning shares it: the source reads, the status writer writes.
#[derive(Debug, Clone)]
pub struct Records {
    directory: Arc<Path>,
    known: Arc<Mutex<HashMap<ObjectRef, Record>>>,
    /// Directories that exist, so that each is made once.
    made: Arc<Mutex<HashSet<PathBuf>>>,
}

/// What is remembered of one object.
#[derive(Debug, Clone)]
struct Record {
    uid: String,
    generation: i64,
    created: Timestamp,
    /// Of the spec, over restarts.
    spec: Uuid,
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
}

// === impl Records ===

impl Records {
    /// The records in `directory`, which is made if need be (mode 0700: a status may name what a manifest does not).
    ///
    /// # Errors
    /// When it can be neither made nor written to.
    pub fn open(directory: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let probe = directory.join(".probe.tmp");
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)?;
        Ok(Self {
            directory: directory.into(),
            known: Arc::default(),
            made: Arc::default(),
        })
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds to an object read from a manifest what an API server would have added. What the manifest itself says of
    /// uid, generation and creation wins; its `status` does not: that is ours to say.
    pub(super) fn complete(&self, object: &ObjectRef, value: &mut Value) {
        let (status, record) = self.recall(object, value);
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
    fn recall(&self, object: &ObjectRef, value: &Value) -> (Value, Record) {
        let metadata = &value["metadata"];
        let spec = Uuid::new_v5(&UID_NAMESPACE, value["spec"].to_string().as_bytes());
        let file = self.read(object);
        let mut known = self.known.lock();
        let (status, before) = match file {
            Some(file) => {
                let FileMetadata {
                    uid,
                    generation,
                    creation_timestamp: created,
                    spec_hash: spec,
                    ..
                } = file.metadata;
                // What is known is at least as new as what was written.
                let before = known.get(object).cloned().unwrap_or(Record {
                    uid,
                    generation,
                    created,
                    spec,
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
                    created: created.unwrap_or(before.created),
                    ..before
                }
            }
            None => {
                let now = Timestamp::now();
                let name = format!("{object} {now:.9}");
                let uid = Uuid::new_v5(&UID_NAMESPACE, name.as_bytes()).to_string();
                Record {
                    uid,
                    generation: 1,
                    created: created.unwrap_or(now),
                    spec,
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
    pub(crate) fn write(&self, object: &ObjectRef, uid: &str, status: Value) -> io::Result<bool> {
        // Held while writing, so that an object that goes meanwhile leaves no file behind.
        let known = self.known.lock();
        let Some(record) = known.get(object).filter(|record| record.uid == uid) else {
            return Ok(false);
        };
        let namespace = object
            .kind
            .namespaced()
            .then(|| object.name.namespace.to_string());
        let file = File {
            api_version: yusur_crds::API_VERSION.to_owned(),
            kind: object.kind.as_str().to_owned(),
            metadata: FileMetadata {
                namespace,
                name: object.name.name.to_string(),
                uid: record.uid.clone(),
                generation: record.generation,
                creation_timestamp: record.created,
                spec_hash: record.spec,
            },
            status,
        };
        self.replace(&self.path(object), &file)?;
        Ok(true)
    }

    /// Forgets an object; with a `uid`, only that one and not a successor of the same name.
    pub(crate) fn forget(&self, object: &ObjectRef, uid: Option<&str>) {
        let mut known = self.known.lock();
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
        let wanted: HashSet<PathBuf> = known.keys().map(|object| self.path(object)).collect();
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
        path.push(format!("{}.yaml", object.name.name));
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
                fs::create_dir_all(parent)?;
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
        records.complete(&service(), &mut value);
        value
    }

    #[test]
    fn identity_and_status_outlive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path()).unwrap();
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

        let records = Records::open(directory.path()).unwrap();
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
        let records = Records::open(directory.path()).unwrap();
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
        let records = Records::open(directory.path()).unwrap();
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
        let records = Records::open(directory.path()).unwrap();
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
        let records = Records::open(directory.path()).unwrap();
        let mut value = json!({"metadata": {"name": "web", "uid": "mine", "generation": 7,
            "creationTimestamp": "2020-01-01T00:00:00Z"}, "spec": {}, "status": {"clusterIP": "6.6.6.6"}});
        records.complete(&service(), &mut value);
        assert_eq!(value["metadata"]["uid"], "mine");
        assert_eq!(value["metadata"]["generation"], 7);
        assert_eq!(
            value["metadata"]["creationTimestamp"],
            "2020-01-01T00:00:00Z"
        );
        assert!(value["status"].is_null());
    }
}
