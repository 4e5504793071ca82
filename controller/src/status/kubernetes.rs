//! The status writer of the Kubernetes source: `status` whole, but for what others write in it, for the very object it is
//! about, and Events.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indexmap::IndexMap;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Error};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tracing::{debug, warn};
use yusur_planner::{Kind, ObjectRef, Severity};

use super::{Finished, StatusQueue, StatusWrite};
use crate::metrics::{Metrics, Outcome};
use crate::source::kubernetes::Resource;

/// Who we are in managed fields and in Events.
const MANAGER: &str = "yusur-controller";

/// How many writes may be on their way: enough to hide the round trip, few enough to leave the API server to others.
const AT_ONCE: usize = 16;

/// Of how many Events we remember what they said, to count repetitions instead of writing them anew.
const REMEMBERED: usize = 256;

/// The longest wait before a write that failed for the time being is tried again.
const LONGEST: Duration = Duration::from_secs(30);

/// What is ours of an EipGateway's status. How many source ports are left the gateway nodes say (`yusurctl source-ports`).
const OF_GATEWAY: [&str; 5] = [
    "observedGeneration",
    "conditions",
    "gatewayAddresses",
    "activeNode",
    "serviceGateway",
];

/// An object and an Event's reason.
type Told = (ObjectRef, &'static str);

/// What every write needs.
struct Writer {
    client: Client,
    queue: StatusQueue,
    metrics: Metrics,
    reporter: Reporter,
    /// What Events about the controller itself are about.
    own: ObjectReference,
    /// By object and reason: the message last told, and the recorder that told it. kube's recorder counts an Event of the
    /// same reason as a repetition whatever it says, so each message has one of its own.
    recorders: Mutex<IndexMap<Told, (String, Recorder)>>,
    /// Newer writes for objects that have one on its way: two at once might arrive in the wrong order.
    held: Mutex<HashMap<ObjectRef, (StatusWrite, u64)>>,
}

/// Writes what arrives in `queue` until it is closed and empty. `instance` names this process in Events; those about the
/// controller itself are about the object `own`.
pub async fn run(
    client: Client,
    queue: StatusQueue,
    instance: String,
    own: ObjectReference,
    metrics: Metrics,
) {
    let reporter = Reporter {
        controller: MANAGER.into(),
        instance: Some(instance),
    };
    let writer = Writer {
        client,
        queue,
        metrics,
        reporter,
        own,
        recorders: Mutex::default(),
        held: Mutex::default(),
    };
    let mut running = FuturesUnordered::new();
    let mut busy = HashSet::new();
    let mut open = true;
    while open || !running.is_empty() {
        let room = AT_ONCE - running.len();
        tokio::select! {
            batch = writer.queue.take(room), if open && room > 0 => match batch {
                // Nothing is kept here about objects that have gone.
                Some(batch) => {
                    for write in batch.writes {
                        if busy.insert(write.object.clone()) {
                            running.push(writer.write(write, batch.term));
                        } else {
                            writer.hold(write, batch.term);
                        }
                    }
                    for event in &batch.notices {
                        writer.notice(event).await;
                    }
                },
                None => open = false,
            },
            Some(object) = running.next(), if !running.is_empty() => {
                let next = writer.held.lock().remove(&object);
                match next {
                    Some((write, term)) => running.push(writer.write(write, term)),
                    None => {
                        busy.remove(&object);
                    }
                }
            }
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Keeps a write until the one on its way for the same object has ended.
    fn hold(&self, mut write: StatusWrite, term: u64) {
        let mut held = self.held.lock();
        if let Some((earlier, _)) = held
            .remove(&write.object)
            .filter(|(earlier, _)| earlier.uid == write.uid)
        {
            write = write.replace(earlier);
        }
        held.insert(write.object.clone(), (write, term));
    }

    fn superseded(&self, object: &ObjectRef) -> bool {
        self.held.lock().contains_key(object) || self.queue.superseded(object)
    }

    /// Gives the Events of a write that is given up to the newer one. Returns the object.
    fn hand_over(&self, write: StatusWrite) -> ObjectRef {
        let object = write.object.clone();
        let mut held = self.held.lock();
        if let Some((newer, _)) = held.get_mut(&object) {
            if newer.uid == write.uid {
                newer.events.splice(0..0, write.events);
                if newer.status.is_none() {
                    (newer.status, newer.record) = (write.status, write.record);
                }
            }
        } else {
            drop(held);
            // The queue joins it to the one that waits.
            self.queue.push(StatusWrite {
                status: None,
                record: Vec::new(),
                ..write
            });
        }
        object
    }

    /// One write, tried until it is done, refused for good, withdrawn, or a newer one for the object waits. Returns the
    /// object.
    async fn write(&self, write: StatusWrite, term: u64) -> ObjectRef {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(LONGEST)
            .with_jitter()
            .without_max_times()
            .build();
        let end = loop {
            if self.queue.is_withdrawn(term) {
                break Finished::Withdrawn;
            }
            let error = match self.apply(&write).await {
                Ok(()) => break Finished::Written,
                Err(error) => error,
            };
            match verdict(&error) {
                Some(end) => break end,
                None => {
                    self.metrics.status_written(Outcome::Failed);
                    warn!(object = %write.object, %error, "the status cannot be written; trying again");
                }
            }
            tokio::time::sleep(delays.next().unwrap_or(LONGEST)).await;
            if self.superseded(&write.object) {
                return self.hand_over(write);
            }
        };
        match &end {
            Finished::Written => self.metrics.status_written(Outcome::Ok),
            Finished::Gone => {
                debug!(object = %write.object, "no status for an object that has gone")
            }
            Finished::Withdrawn => debug!(object = %write.object, "another process tells it now"),
            Finished::Refused(words) => {
                self.metrics.status_written(Outcome::Refused);
                warn!(object = %write.object, words, "the API server refuses the status");
            }
        }
        if !matches!(end, Finished::Gone | Finished::Withdrawn) {
            self.publish(&write).await;
        }
        let object = write.object.clone();
        self.queue.finish(write, end);
        object
    }

    /// Replaces what is ours of the status, if the object is still the one with the uid. Server-side apply could not ask that:
    /// for a status it leaves `metadata` out of account.
    async fn apply(&self, write: &StatusWrite) -> Result<(), Error> {
        let Some(status) = &write.status else {
            return Ok(());
        };
        let status = status.to_value();
        if write.object.kind == Kind::EipGateway {
            // Refused where there is no status to keep anything of, and where the uid is another.
            match self.patch(write, within(&OF_GATEWAY, &status)).await {
                Err(error) if verdict(&error) == Some(Finished::Gone) => {}
                done => return done,
            }
        }
        let whole = json!({ "op": "add", "path": "/status", "value": status });
        self.patch(write, vec![whole]).await
    }

    /// Carries out these operations on the object's status, if it is the one with the uid.
    async fn patch(&self, write: &StatusWrite, operations: Vec<Value>) -> Result<(), Error> {
        let ObjectRef { kind, name } = &write.object;
        let path = format!(
            "{}/{}/status?fieldManager={MANAGER}",
            Resource::of(*kind).path(&name.namespace),
            name.name
        );
        let same = json!({ "op": "test", "path": "/metadata/uid", "value": write.uid });
        let patch: Vec<Value> = [same].into_iter().chain(operations).collect();
        let request = http::Request::patch(path)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, "application/json-patch+json")
            .body(Value::from(patch).to_string().into_bytes())
            .map_err(Error::HttpError)?;
        self.client.request::<IgnoredAny>(request).await.map(drop)
    }

    async fn publish(&self, write: &StatusWrite) {
        let resource = Resource::of(write.object.kind);
        let name = &write.object.name;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let reference = ObjectReference {
            api_version: Some(resource.api_version()),
            kind: Some(write.object.kind.as_str().to_owned()),
            namespace: text(&name.namespace),
            name: Some(name.name.to_string()),
            uid: text(&write.uid),
            ..ObjectReference::default()
        };
        for event in &write.events {
            let published = published(event);
            let note = published.note.as_deref().unwrap_or_default();
            let recorder = self.recorder(&write.object, event.reason, note);
            // An Event is a courtesy: one that fails is logged, and the condition says the same.
            if let Err(error) = recorder.publish(&published, &reference).await {
                debug!(object = %write.object, %error, "an Event is lost");
            }
        }
    }

    /// An Event about the controller itself. The log has it as well.
    async fn notice(&self, event: &yusur_planner::Event) {
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&published(event), &self.own).await {
            warn!(reason = event.reason, %error, "an Event is lost");
        }
    }

    /// The recorder for this message: that which told it last, or a new one.
    fn recorder(&self, object: &ObjectRef, reason: &'static str, note: &str) -> Recorder {
        let mut recorders = self.recorders.lock();
        let key = (object.clone(), reason);
        let known = recorders
            .shift_remove(&key)
            .filter(|(told, _)| told == note);
        let entry = known.unwrap_or_else(|| {
            let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
            (note.to_owned(), recorder)
        });
        let recorder = entry.1.clone();
        if recorders.len() >= REMEMBERED {
            recorders.shift_remove_index(0);
        }
        recorders.insert(key, entry);
        recorder
    }
}

/// An Event as the API has it.
fn published(event: &yusur_planner::Event) -> Event {
    Event {
        type_: match event.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        },
        reason: event.reason.to_owned(),
        note: Some(shortened(&event.message)),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

/// The operations of a JSON patch (RFC 6902) that make these fields of the status what they are to be, and leave others alone.
fn within(fields: &[&str], status: &Value) -> Vec<Value> {
    let of = |field: &&str| {
        let path = format!("/status/{field}");
        match status.get(*field) {
            Some(value) => vec![json!({ "op": "add", "path": path, "value": value })],
            // What is not there cannot be removed.
            None => vec![
                json!({ "op": "add", "path": path, "value": null }),
                json!({ "op": "remove", "path": path }),
            ],
        }
    };
    fields.iter().flat_map(of).collect()
}

/// How a write has ended for good; `None` where trying again may help.
fn verdict(error: &Error) -> Option<Finished> {
    match error {
        Error::Api(status) if status.code == 404 => Some(Finished::Gone),
        // A schema's refusal names its causes; a test that failed, here the uid's, does not: the name is another
        // object's now.
        Error::Api(status)
            if status.code == 422
                && status
                    .details
                    .as_ref()
                    .is_none_or(|details| details.causes.is_empty()) =>
        {
            Some(Finished::Gone)
        }
        Error::Api(status) if matches!(status.code, 400 | 413 | 415 | 422) => {
            Some(Finished::Refused(status.message.clone()))
        }
        Error::SerdeError(_) | Error::HttpError(_) => Some(Finished::Refused(error.to_string())),
        _ => None,
    }
}

/// An Event's note has at most 1024 bytes.
fn shortened(message: &str) -> String {
    const MOST: usize = 1024;
    if message.len() <= MOST {
        return message.to_owned();
    }
    let mut end = MOST - '…'.len_utf8();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn of_a_gateways_status_all_is_ours_but_one_field() {
        let definitions = yusur_crds::manifest::definitions();
        let gateways = definitions.iter();
        let mut gateways = gateways.filter(|it| it.spec.names.kind == "EipGateway");
        let schema = json!(gateways.next().map(|it| &it.spec.versions[0].schema));
        let fields = schema["openAPIV3Schema"]["properties"]["status"]["properties"].as_object();
        let fields: BTreeSet<&str> = fields
            .into_iter()
            .flatten()
            .map(|it| it.0.as_str())
            .collect();
        let wanted = OF_GATEWAY.into_iter().chain(["sourcePorts"]);
        assert_eq!(fields, wanted.collect());
    }
}
