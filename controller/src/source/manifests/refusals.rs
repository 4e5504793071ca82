//! The condition by which an object's status file says that its manifest is refused.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use yusur_crds::common::condition::ACCEPTED;

/// The reason of the condition, and of the problem that is reported.
pub(super) const INVALID_SPEC: &str = "InvalidSpec";

/// The generation of an object that never was accepted.
pub(super) const NEVER_ACCEPTED: i64 = 0;

/// That an object's manifest is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    message: String,
    generation: i64,
    since: Timestamp,
    /// The condition in whose place it is said.
    covered: Option<Value>,
}

// === impl Refusal ===

impl Refusal {
    /// Refused from now on. `generation`: that of the form in force.
    pub(super) fn new(message: &str, generation: i64) -> Self {
        Self {
            message: message.to_owned(),
            generation,
            since: Timestamp::now(),
            covered: None,
        }
    }

    /// The same, for another reason.
    pub(super) fn now(self, message: &str) -> Self {
        Self {
            message: message.to_owned(),
            ..self
        }
    }

    /// Why.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Says it in a status.
    pub(super) fn cover(&mut self, status: &mut Value) {
        let since = self.since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut refusal = json!({
            "type": ACCEPTED,
            "status": "False",
            "reason": INVALID_SPEC,
            "message": self.message,
            "observedGeneration": self.generation,
            "lastTransitionTime": since,
        });
        let mut conditions = take_conditions(status);
        match conditions
            .iter_mut()
            .find(|condition| condition["type"] == ACCEPTED)
        {
            None => conditions.insert(0, refusal),
            // Said before, perhaps by an earlier run.
            Some(told) if told["reason"] == INVALID_SPEC && told["status"] == "False" => {
                refusal["lastTransitionTime"] = told["lastTransitionTime"].take();
                *told = refusal;
            }
            Some(told) => self.covered = Some(std::mem::replace(told, refusal)),
        }
        status["conditions"] = Value::Array(conditions);
    }

    /// Takes it back.
    pub(super) fn uncover(self, status: &mut Value) {
        let mut conditions = take_conditions(status);
        let at = conditions
            .iter()
            .position(|condition| condition["type"] == ACCEPTED);
        match (at, self.covered) {
            (Some(at), Some(covered)) => conditions[at] = covered,
            (Some(at), None) => drop(conditions.remove(at)),
            (None, _) => {}
        }
        status["conditions"] = Value::Array(conditions);
    }
}

/// Takes the conditions out of a status, which is made one where it is none.
fn take_conditions(status: &mut Value) -> Vec<Value> {
    if !status.is_object() {
        *status = json!({});
    }
    match status["conditions"].take() {
        Value::Array(conditions) => conditions,
        _ => Vec::new(),
    }
}
