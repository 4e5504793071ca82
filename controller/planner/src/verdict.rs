//! Verdicts: what the planner has to say about an object. They become status conditions and Events; they carry no
//! times, which the edge adds.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use yusur_crds::common::condition;
use yusur_crds::{
    EipGatewayStatus, EipStatus, SubnetStatus, VNicStatus, VpcStatus, YusurServiceStatus,
};

use crate::unit::{ObjectRef, Unit};

/// The condition that is true where an object asks for something that this release does not do; the rest of it stands.
pub const NOT_YET_SUPPORTED: &str = "NotYetSupported";

/// The condition that is true where an object asks for more than OVN, Open vSwitch or DNS carry: the message says what was
/// granted; the rest of it stands.
pub const LIMITED: &str = "Limited";

/// The reason while an allocated address is being recorded: every object that asks for one has it for a moment.
pub(crate) const ADDRESS_PENDING: &str = "AddressPending";

/// The status of a condition (Kubernetes API conventions, "Typical status properties").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

impl Truth {
    /// The word a condition's `status` has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One condition, without its times. `observedGeneration` is the verdict's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`: see [`yusur_crds::common::condition`].
    pub kind: &'static str,
    /// `status`.
    pub status: Truth,
    /// `reason`: one CamelCase word, stable.
    pub reason: &'static str,
    /// `message`: a sentence; where something is wrong, how to mend it.
    pub message: Cow<'static, str>,
}

/// An Event's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something that was to be expected.
    Normal,
    /// Something to look at.
    Warning,
}

impl Severity {
    /// The word an Event's `type` has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// An Event to publish about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type.
    pub severity: Severity,
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence.
    pub message: Cow<'static, str>,
}

/// What the planner has to say about the object of a unit, supposing that the unit's operations commit. If they do not,
/// [`Verdict::uncommitted`] says so instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The unit it is about.
    pub unit: Unit,
    /// The object, unless the unit has none or the object is gone: then there is nobody to tell.
    pub object: Option<Subject>,
    /// The conditions, in a fixed order. Those of an object that is not ours (a Pod) are for its Events only: its status
    /// is not ours to write.
    pub conditions: Vec<Condition>,
    /// The other fields of the object's status.
    pub status: Status,
    /// Addresses were allocated and are recorded nowhere yet. The rows are withheld until they are: write the status,
    /// then call `Inventory::recorded` with [`Verdict::record`].
    pub record_first: bool,
}

/// The object a verdict is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Kind and name.
    pub object: ObjectRef,
    /// Its `metadata.uid`.
    pub uid: String,
    /// The generation the verdict is about.
    pub generation: i64,
}

impl Verdict {
    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }

    /// The addresses its status records, if that is waited for.
    pub fn record(&self) -> Vec<IpAddr> {
        let read = |texts: &[String]| -> Vec<IpAddr> {
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        };
        match &self.status {
            _ if !self.record_first => Vec::new(),
            Status::YusurService(status) => {
                [read(&status.cluster_ips), read(&status.eips)].concat()
            }
            Status::Eip(status) => read(&status.addresses),
            _ => Vec::new(),
        }
    }

    /// The verdict where the unit's operations were refused: `Programmed` and `Ready` are false, with the reason.
    #[must_use]
    pub fn uncommitted(mut self, reason: &'static str, message: &str) -> Self {
        for condition in &mut self.conditions {
            if condition.kind == condition::PROGRAMMED || condition.kind == condition::READY {
                condition.status = Truth::False;
                condition.reason = reason;
                condition.message = Cow::Owned(message.to_owned());
            }
        }
        self
    }

    /// The Events that tell of the step from the conditions published before (type, status, reason) to these: one for
    /// each condition whose status or reason changed, except that a condition which is new and as one would wish says
    /// nothing but `Ready`. That an address is being recorded is no Event,
    /// neither when it comes nor when it goes.
    pub fn events<'a>(
        &self,
        before: impl IntoIterator<Item = (&'a str, &'a str, &'a str)> + Clone,
    ) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        let lasting = |reason: &str| reason != ADDRESS_PENDING;
        for now in self.conditions.iter().filter(|now| lasting(now.reason)) {
            let wished = now.status == wish(now.kind);
            let was = before
                .clone()
                .into_iter()
                .find(|(kind, _, reason)| *kind == now.kind && lasting(reason));
            let tell = match was {
                Some((_, status, reason)) => {
                    status != now.status.as_str() || (!wished && reason != now.reason)
                }
                None => !wished || now.kind == condition::READY,
            };
            // Several conditions often fail for one reason: once is enough.
            if tell && !events.iter().any(|event| event.reason == now.reason) {
                let severity = if wished {
                    Severity::Normal
                } else {
                    Severity::Warning
                };
                events.push(Event {
                    severity,
                    reason: now.reason,
                    message: now.message.clone(),
                });
            }
        }
        events
    }
}

/// The status one would wish a condition to have.
fn wish(kind: &str) -> Truth {
    Truth::from(kind != NOT_YET_SUPPORTED && kind != LIMITED)
}

/// An object's status without its conditions, by kind.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Status {
    /// The object has none that is ours to write.
    #[default]
    None,
    /// A Vpc's.
    Vpc(VpcStatus),
    /// A Subnet's.
    Subnet(SubnetStatus),
    /// A VNic's.
    VNic(VNicStatus),
    /// A YusurService's.
    YusurService(YusurServiceStatus),
    /// An EipGateway's.
    EipGateway(EipGatewayStatus),
    /// An Eip's.
    Eip(EipStatus),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(conditions: &[(&'static str, Truth, &'static str)]) -> Verdict {
        let condition = |(kind, status, reason): &(&'static str, Truth, &'static str)| Condition {
            kind,
            status: *status,
            reason,
            message: "words".into(),
        };
        Verdict {
            unit: Unit::Vpc("red".into()),
            object: None,
            conditions: conditions.iter().map(condition).collect(),
            status: Status::None,
            record_first: false,
        }
    }

    fn told(verdict: &Verdict, before: &Verdict) -> Vec<(&'static str, &'static str)> {
        let before = before.conditions.iter();
        let before = before.map(|was| (was.kind, was.status.as_str(), was.reason));
        let events = verdict.events(before).into_iter();
        events
            .map(|event| (event.severity.as_str(), event.reason))
            .collect()
    }

    #[test]
    fn events_tell_of_transitions() {
        let (new, accepted) = (verdict(&[]), ("Accepted", Truth::True, "Accepted"));
        let none = verdict(&[accepted, ("Ready", Truth::False, "NoBackends")]);
        let ready = verdict(&[accepted, ("Ready", Truth::True, "BackendsReady")]);
        assert_eq!(told(&ready, &new), [("Normal", "BackendsReady")]);
        assert_eq!(told(&none, &new), [("Warning", "NoBackends")]);
        assert_eq!(told(&ready, &none), [("Normal", "BackendsReady")]);
        assert_eq!(told(&none, &ready), [("Warning", "NoBackends")]);
        assert_eq!(told(&ready, &ready), []);
    }

    #[test]
    fn what_passes_by_itself_is_no_event() {
        let accepted = ("Accepted", Truth::True, "Accepted");
        let pending = verdict(&[
            accepted,
            ("Programmed", Truth::False, ADDRESS_PENDING),
            ("Ready", Truth::False, ADDRESS_PENDING),
        ]);
        let ready = verdict(&[
            accepted,
            ("Programmed", Truth::True, "Programmed"),
            ("Ready", Truth::True, "BackendsReady"),
        ]);
        assert_eq!(told(&pending, &verdict(&[])), []);
        assert_eq!(told(&ready, &pending), [("Normal", "BackendsReady")]);
        assert_eq!(told(&pending, &ready), []);
    }
}
