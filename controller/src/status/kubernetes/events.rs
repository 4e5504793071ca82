//! Events about objects, and about the controller itself.

use indexmap::IndexMap;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Error};
use parking_lot::Mutex;
use yusur_planner::{ObjectRef, Severity};

use crate::source::kubernetes::Resource;

/// Of how many Events we remember what they said, to count repetitions instead of writing them anew.
const REMEMBERED: usize = 256;

/// An object and an Event's reason.
type Told = (ObjectRef, &'static str);

/// Publishes Events.
pub(super) struct Publisher {
    client: Client,
    reporter: Reporter,
    /// What Events about the controller itself are about.
    own: ObjectReference,
    /// By object and reason: the message last told, and the recorder that told it. kube's recorder counts an Event of the
    /// same reason as a repetition whatever it says, so each message has one of its own.
    recorders: Mutex<IndexMap<Told, (String, Recorder)>>,
}

// === impl Publisher ===

impl Publisher {
    pub(super) fn new(
        client: Client,
        controller: &str,
        instance: String,
        own: ObjectReference,
    ) -> Self {
        Self {
            client,
            reporter: Reporter {
                controller: controller.into(),
                instance: Some(instance),
            },
            own,
            recorders: Mutex::default(),
        }
    }

    /// Publishes an Event about an object: the one with the uid, or without one whatever has the name.
    pub(super) async fn publish(
        &self,
        object: &ObjectRef,
        uid: &str,
        event: &yusur_planner::Event,
    ) -> Result<(), Error> {
        let resource = Resource::of(object.kind);
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let reference = ObjectReference {
            api_version: Some(resource.api_version()),
            kind: Some(object.kind.as_str().to_owned()),
            namespace: text(&object.name.namespace),
            name: Some(object.name.name.to_string()),
            uid: text(uid),
            ..ObjectReference::default()
        };
        let published = published(event);
        let note = published.note.as_deref().unwrap_or_default();
        let recorder = self.recorder(object, event.reason, note);
        recorder.publish(&published, &reference).await
    }

    /// Publishes an Event about the controller itself.
    pub(super) async fn notice(&self, event: &yusur_planner::Event) -> Result<(), Error> {
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        recorder.publish(&published(event), &self.own).await
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
