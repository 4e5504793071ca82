//! Decides what is worth writing: a verdict becomes a status only if it says something new, and a condition's
//! `lastTransitionTime` moves only with its `status` (Kubernetes API conventions).
//!
//! It remembers what each object was last told, in a form small enough for a hundred thousand of them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use yusur_crds::{
    EipGatewayStatus, EipStatus, SubnetStatus, VNicStatus, VpcStatus, YusurServiceStatus,
};
use yusur_planner::{Change, Name, Object, ObjectRef, Status, Truth, Uid, Verdict};

use super::{StatusText, StatusWrite};

/// What every object was last told.
#[derive(Debug, Default)]
pub struct Desk {
    published: HashMap<ObjectRef, Published>,
    words: Words,
    hasher: RandomState,
}

/// What one object was last told.
#[derive(Debug)]
struct Published {
    uid: Uid,
    /// Of the whole status.
    hash: u64,
    conditions: Box<[Told]>,
}

/// One condition, without what changes from word to word.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    kind: Name,
    reason: Name,
    status: Truth,
    /// Seconds since 1970.
    since: i64,
}

/// Types and reasons of conditions, each kept once: a few dozen of ours, and what others write into a status, as long as
/// it stands there.
#[derive(Debug, Default)]
struct Words {
    kept: HashSet<Name>,
    /// How many were in use when it was last looked.
    used: usize,
}

/// What comes of a verdict.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// The object knows already.
    Unchanged,
    /// To be written. Boxed: far larger than nothing.
    Write(Box<StatusWrite>),
}

// === impl Desk ===

impl Desk {
    /// Takes note of the status an object came with. What this process itself told the same object counts for more
    /// (the source may lag), unless `standby`: then another process writes.
    pub fn seed(&mut self, change: &Change, standby: bool) {
        macro_rules! note {
            ($($kind:ident)*) => {
                match change {
                    $(Change::$kind(Object { meta, status: Some(status), .. }) => {
                        self.note(change, &meta.uid, &status.conditions, status, standby);
                    })*
                    // Without what others tell in it.
                    Change::EipGateway(Object { meta, status: Some(status), .. }) => {
                        let own = EipGatewayStatus { source_ports: None, ..status.clone() };
                        self.note(change, &meta.uid, &own.conditions, &own, standby);
                    }
                    _ => {}
                }
            };
        }
        note!(Vpc Subnet VNic Eip YusurService);
    }

    fn note(
        &mut self,
        change: &Change,
        uid: &str,
        conditions: &[Condition],
        status: &impl Serialize,
        standby: bool,
    ) {
        let object = change.object();
        let known = self
            .published
            .get(&object)
            .is_some_and(|published| published.uid == *uid);
        if known && !standby {
            return;
        }
        let Ok(text) = StatusText::new(status) else {
            return;
        };
        let hash = self.hasher.hash_one(text.as_str());
        let conditions = self.told(conditions);
        self.published.insert(
            object,
            Published {
                uid: Uid::new(uid),
                hash,
                conditions,
            },
        );
    }

    /// What the conditions say, in little memory.
    fn told(&mut self, conditions: &[Condition]) -> Box<[Told]> {
        let mut told = Vec::with_capacity(conditions.len());
        for condition in conditions {
            told.push(Told {
                kind: self.words.keep(&condition.type_),
                status: match condition.status.as_str() {
                    "True" => Truth::True,
                    "False" => Truth::False,
                    _ => Truth::Unknown,
                },
                reason: self.words.keep(&condition.reason),
                since: condition.last_transition_time.0.as_second(),
            });
        }
        told.into()
    }

    /// The object has gone; its uid, if it was ever told anything.
    pub fn forget(&mut self, object: &ObjectRef) -> Option<String> {
        self.published
            .remove(object)
            .map(|published| published.uid.to_string())
    }

    /// What to write for a verdict.
    ///
    /// # Errors
    /// When the status cannot be expressed as JSON, which all of ours can.
    pub fn judge(
        &mut self,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Decision, serde_json::Error> {
        let Some(subject) = &verdict.object else {
            return Ok(Decision::Unchanged);
        };
        let before = self
            .published
            .get(&subject.object)
            .filter(|published| published.uid == *subject.uid);
        let since = |kind: &str, status: Truth| {
            let was =
                before.and_then(|before| before.conditions.iter().find(|was| was.kind == kind));
            was.filter(|was| was.status == status)
                .map_or(now.as_second(), |was| was.since)
        };
        let conditions: Vec<Condition> = verdict
            .conditions
            .iter()
            .map(|condition| {
                let since = since(condition.kind, condition.status);
                Condition {
                    type_: condition.kind.to_owned(),
                    status: condition.status.as_str().to_owned(),
                    reason: condition.reason.to_owned(),
                    message: condition.message.clone().into_owned(),
                    observed_generation: Some(subject.generation),
                    last_transition_time: Time(Timestamp::from_second(since).unwrap_or(now)),
                }
            })
            .collect();
        let status = whole(&verdict.status, conditions.clone(), subject.generation);
        let status = status.map(|status| StatusText::new(&status)).transpose()?;
        let hash = status
            .as_ref()
            .map_or(0, |status| self.hasher.hash_one(status.as_str()));
        let nothing = status.is_none() && conditions.is_empty();
        if before.map_or(nothing, |before| before.hash == hash) {
            return Ok(Decision::Unchanged);
        }
        let was = before
            .map(|before| &before.conditions[..])
            .unwrap_or_default();
        let events = verdict.events(
            was.iter()
                .map(|was| (was.kind.as_str(), was.status.as_str(), was.reason.as_str())),
        );
        let write = StatusWrite {
            object: subject.object.clone(),
            uid: subject.uid.clone(),
            status,
            events,
            record: verdict.record(),
        };
        let published = Published {
            uid: Uid::new(&subject.uid),
            hash,
            conditions: self.told(&conditions),
        };
        self.published.insert(subject.object.clone(), published);
        Ok(Decision::Write(Box::new(write)))
    }
}

// === impl Words ===

impl Words {
    /// The word as it is kept.
    fn keep(&mut self, word: &str) -> Name {
        if let Some(kept) = self.kept.get(word) {
            return kept.clone();
        }
        if self.kept.len() > 2 * self.used + 64 {
            // Those that only this set holds are of no status any more.
            self.kept.retain(|word| Name::strong_count(word) != Some(1));
            self.used = self.kept.len();
        }
        let word = Name::from(word);
        self.kept.insert(word.clone());
        word
    }
}

/// A status of any kind, as it is written.
#[derive(Serialize)]
#[serde(untagged)]
enum Whole {
    Vpc(VpcStatus),
    Subnet(SubnetStatus),
    VNic(VNicStatus),
    YusurService(YusurServiceStatus),
    EipGateway(EipGatewayStatus),
    Eip(EipStatus),
}

/// The status with its conditions; `None` where the object has none that is ours.
fn whole(status: &Status, conditions: Vec<Condition>, generation: i64) -> Option<Whole> {
    let observed_generation = Some(generation);
    Some(match status.clone() {
        Status::None => return None,
        Status::Vpc(status) => Whole::Vpc(VpcStatus {
            conditions,
            observed_generation,
            ..status
        }),
        Status::Subnet(status) => Whole::Subnet(SubnetStatus {
            conditions,
            observed_generation,
            ..status
        }),
        Status::VNic(status) => Whole::VNic(VNicStatus {
            conditions,
            observed_generation,
            ..status
        }),
        Status::YusurService(status) => Whole::YusurService(YusurServiceStatus {
            conditions,
            observed_generation,
            ..status
        }),
        Status::EipGateway(status) => Whole::EipGateway(EipGatewayStatus {
            conditions,
            observed_generation,
            ..status
        }),
        Status::Eip(status) => Whole::Eip(EipStatus {
            conditions,
            observed_generation,
            ..status
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use yusur_planner::{Condition as Judged, Kind, Meta, Object, ObjectName, Subject, Unit};

    fn verdict(ready: Truth, reason: &'static str) -> Verdict {
        let object = ObjectRef {
            kind: Kind::Vpc,
            name: ObjectName::cluster("red"),
        };
        Verdict {
            unit: Unit::Vpc("red".into()),
            object: Some(Subject {
                object,
                uid: "u".into(),
                generation: 3,
            }),
            conditions: vec![
                Judged {
                    kind: "Accepted",
                    status: Truth::True,
                    reason: "Accepted",
                    message: "it is valid".into(),
                },
                Judged {
                    kind: "Ready",
                    status: ready,
                    reason,
                    message: reason.into(),
                },
            ],
            status: Status::Vpc(yusur_crds::VpcStatus {
                logical_router: Some("r".into()),
                ..Default::default()
            }),
            record_first: false,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn write(decision: Decision) -> StatusWrite {
        match decision {
            Decision::Write(write) => *write,
            Decision::Unchanged => panic!("unchanged"),
        }
    }

    #[test]
    fn nothing_new_is_not_written_and_times_move_with_the_status_only() {
        let mut desk = Desk::default();
        let first = write(
            desk.judge(&verdict(Truth::False, "NoBackends"), at(100))
                .unwrap(),
        );
        let status = first.status.unwrap().to_value();
        assert_eq!(status["observedGeneration"], 3);
        assert_eq!(status["logicalRouter"], "r");
        assert_eq!(
            status["conditions"][1]["lastTransitionTime"],
            "1970-01-01T00:01:40Z"
        );
        assert_eq!(
            desk.judge(&verdict(Truth::False, "NoBackends"), at(200))
                .unwrap(),
            Decision::Unchanged
        );
        let second = write(
            desk.judge(&verdict(Truth::False, "NoneReady"), at(300))
                .unwrap(),
        );
        assert_eq!(
            second.status.unwrap().to_value()["conditions"][1]["lastTransitionTime"],
            "1970-01-01T00:01:40Z"
        );
        let third = write(desk.judge(&verdict(Truth::True, "Ready"), at(400)).unwrap());
        let status = third.status.unwrap().to_value();
        assert_eq!(
            status["conditions"][0]["lastTransitionTime"],
            "1970-01-01T00:01:40Z"
        );
        assert_eq!(
            status["conditions"][1]["lastTransitionTime"],
            "1970-01-01T00:06:40Z"
        );
        assert_eq!(third.events.len(), 1);
    }

    #[test]
    fn a_restart_says_nothing_again() {
        let mut desk = Desk::default();
        let status = write(desk.judge(&verdict(Truth::True, "Ready"), at(100)).unwrap())
            .status
            .unwrap()
            .to_value();
        let object = Object {
            meta: Meta {
                name: "red".into(),
                uid: "u".into(),
                ..Meta::default()
            },
            spec: serde_json::from_value(serde_json::json!({})).unwrap(),
            status: Some(serde_json::from_value(status).unwrap()),
        };
        let mut desk = Desk::default();
        desk.seed(&Change::Vpc(object.clone()), false);
        assert_eq!(
            desk.judge(&verdict(Truth::True, "Ready"), at(900)).unwrap(),
            Decision::Unchanged
        );
        // A namesake made later knows nothing.
        let mut successor = verdict(Truth::True, "Ready");
        successor.object.as_mut().unwrap().uid = "v".into();
        assert!(matches!(
            desk.judge(&successor, at(900)).unwrap(),
            Decision::Write(_)
        ));
        assert_eq!(desk.forget(&Change::Vpc(object).object()), Some("v".into()));
    }

    #[test]
    fn words_that_no_status_has_any_more_are_forgotten() {
        let mut desk = Desk::default();
        let first = verdict(Truth::True, "Ready");
        write(desk.judge(&first, at(100)).unwrap());
        let mut object = Object {
            meta: Meta {
                name: "blue".into(),
                ..Meta::default()
            },
            spec: serde_json::from_value(serde_json::json!({})).unwrap(),
            status: None,
        };
        for n in 0..10_000 {
            let condition = serde_json::json!({"type": "Odd", "status": "True", "reason": format!("Reason{n}"),
                "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"});
            let status = serde_json::json!({ "conditions": [condition] });
            object.status = Some(serde_json::from_value(status).unwrap());
            object.meta.uid = n.to_string();
            desk.seed(&Change::Vpc(object.clone()), false);
        }
        assert!(desk.words.kept.len() < 200, "{}", desk.words.kept.len());
        // Those in use are not.
        assert_eq!(desk.judge(&first, at(200)).unwrap(), Decision::Unchanged);
        assert!(desk.words.kept.contains("BackendsReady") || desk.words.kept.contains("Ready"));
    }
}
