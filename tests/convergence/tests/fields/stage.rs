//! A planner that runs, driven as the controller drives it, and one that starts on the same objects, to compare it with.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use northbound_model::Northbound;
use ovsdb_model::{Operation, Row, Schema, Uuid};
use yusur_planner::{
    Change, Config, Inventory, ObjectRef, Status, Unit, Verdict, nb, operations, plan,
};
use yusur_testbed::schemas;

const OWNER: &str = "demo";

/// A router and a switch that are there for adoption.
pub const THEIR_ROUTER: Uuid = Uuid::from_u128(0xf001);
const THEIR_SWITCH: Uuid = Uuid::from_u128(0xf002);

fn schema() -> Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    let read = || {
        let file = schemas::installed("ovn-nb").expect("the schema of OVN");
        let text = file.text().expect("the schema's text");
        Arc::new(serde_json::from_str(&text).expect("a schema"))
    };
    Arc::clone(SCHEMA.get_or_init(read))
}

pub struct Stage {
    inventory: Inventory,
    northbound: Northbound,
    objects: BTreeMap<ObjectRef, Change>,
    serving: BTreeMap<String, String>,
    /// What was said last about each unit that has an object.
    said: BTreeMap<Unit, Verdict>,
}

impl Stage {
    /// A planner that has come to rest with these objects, which arrived one by one.
    pub fn new(objects: &[Change], serving: &BTreeMap<String, String>) -> Self {
        let mut northbound = Northbound::new(schema());
        for (table, index) in nb::indexes(OWNER) {
            northbound.content_mut().declare_index(table, index);
        }
        let named = |table: &str, uuid, name: &str| {
            Operation::insert(table, uuid, Row::new().with("name", name))
        };
        let reply = northbound.transact(&[
            named("Logical_Router", THEIR_ROUTER, "their-router"),
            named("Logical_Switch", THEIR_SWITCH, "their-switch"),
        ]);
        assert_eq!(reply.failure(), None);
        let mut inventory = Inventory::new(Config::new(OWNER));
        inventory.serving(serving);
        inventory.load(northbound.content());
        inventory.sweep(northbound.content());
        let mut stage = Self {
            inventory,
            northbound,
            objects: BTreeMap::new(),
            serving: serving.clone(),
            said: BTreeMap::new(),
        };
        for object in objects {
            stage.tell(object);
        }
        stage
            .turn(objects.last().expect("objects"))
            .unwrap_or_else(|error| panic!("before any edit {error}"));
        stage
    }

    /// The object is so now; a status that was written stays.
    fn tell(&mut self, change: &Change) {
        let object = change.object();
        let told = match (change, self.objects.get(&object)) {
            (Change::Removed(_), _) => {
                self.objects.remove(&object);
                self.inventory.apply(change.clone());
                return;
            }
            (change, Some(there)) => with_status_of(change.clone(), there),
            (change, None) => change.clone(),
        };
        self.objects.insert(object, told.clone());
        self.inventory.apply(told);
    }

    /// The object is so now: all that follows is written, and is what a start makes of it.
    pub fn turn(&mut self, change: &Change) -> Result<(), String> {
        self.tell(change);
        self.settle()?;
        self.compare()
    }

    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..200 {
            let units = self
                .inventory
                .take_dirty(self.northbound.content(), usize::MAX);
            if units.is_empty() {
                return Ok(());
            }
            let plan = plan(&units, &self.inventory, self.northbound.content());
            self.inventory.planned(&plan);
            if !plan.groups.is_empty() {
                let reply = self.northbound.transact(&operations(&plan.groups));
                if let Some(failure) = reply.failure() {
                    return Err(format!("a transaction is refused: {failure}"));
                }
                self.inventory
                    .observe(&reply.batch, self.northbound.content());
                self.inventory
                    .committed(&plan.groups, None, self.northbound.content());
            }
            let of_groups = plan.groups.into_iter().flat_map(|group| group.verdicts);
            for verdict in of_groups.chain(plan.verdicts) {
                self.publish(verdict);
            }
        }
        Err("it does not come to rest".to_owned())
    }

    /// The status is written, and the source tells of that.
    fn publish(&mut self, verdict: Verdict) {
        let Some(subject) = &verdict.object else {
            self.said.remove(&verdict.unit);
            return;
        };
        if let Some(there) = self.objects.get(&subject.object)
            && let Some(written) = with_status(there, &verdict.status)
            && written != *there
        {
            self.objects.insert(subject.object.clone(), written.clone());
            self.inventory.recorded(&verdict.unit, &verdict.record());
            self.inventory.apply(written);
        }
        self.said.insert(verdict.unit.clone(), verdict);
    }

    /// A Pod that goes where its namespace's Pods go stays with a Subnet that cannot serve it for the time being. Its port, the
    /// record of this, is gone meanwhile: a start puts it in another Subnet.
    fn some_pod_waits(&self) -> bool {
        self.said.iter().any(|(unit, verdict)| {
            let pod = unit.object().and_then(|object| self.objects.get(&object));
            let follows = matches!(pod, Some(Change::Pod(pod)) if pod.subnet.is_none());
            let accepted = verdict.condition("Accepted");
            let waits = ["SubnetNotAccepted", "VpcNotFound"];
            follows && accepted.is_some_and(|it| waits.contains(&it.reason))
        })
    }

    fn compare(&self) -> Result<(), String> {
        if self.some_pod_waits() {
            return Ok(());
        }
        let content = self.northbound.content();
        let mut fresh = Inventory::new(Config::new(OWNER));
        for change in self.objects.values() {
            fresh.apply(change.clone());
        }
        fresh.serving(&self.serving);
        fresh.load(content);
        fresh.sweep(content);
        let units = fresh.take_dirty(content, usize::MAX);
        let plan = plan(&units, &fresh, content);
        let writes = operations(&plan.groups);
        if let Some(first) = writes.first() {
            let first = serde_json::to_string(first).unwrap_or_default();
            let units: Vec<&Unit> = plan.groups.iter().flat_map(|group| &group.units).collect();
            return Err(format!(
                "a start would write {} rows of {units:?}, first {first}",
                writes.len()
            ));
        }
        for verdict in plan.verdicts.iter().filter(|it| it.object.is_some()) {
            let said = self.said.get(&verdict.unit);
            let same = said.is_some_and(|said| without_lost(said) == without_lost(verdict));
            if !same {
                return Err(format!(
                    "of {} is said\n    {}\n  and by a start\n    {}",
                    verdict.unit,
                    said.map_or_else(|| "nothing".to_owned(), words),
                    words(verdict)
                ));
            }
        }
        Ok(())
    }
}

/// What is compared of a verdict. A planner that runs knows of which gateway an external address is; one that starts while that
/// gateway is not there does not, and tells nothing of the address until it is.
fn without_lost(verdict: &Verdict) -> Verdict {
    let mut verdict = verdict.clone();
    let gone = ["NoDefaultGateway", "GatewayNotFound"];
    let lost = verdict
        .condition("Accepted")
        .is_some_and(|it| gone.contains(&it.reason));
    if let (true, Status::YusurService(status)) = (lost, &mut verdict.status) {
        status.eips.clear();
    }
    verdict
}

fn words(verdict: &Verdict) -> String {
    let conditions = verdict.conditions.iter();
    let conditions: Vec<String> = conditions
        .map(|it| format!("{}={} {}: {}", it.kind, it.status, it.reason, it.message))
        .collect();
    format!("{} {:?}", conditions.join("; "), verdict.status)
}

/// The object with the status that another state of it has. A namesake that was made anew has none.
fn with_status_of(mut change: Change, there: &Change) -> Change {
    macro_rules! keep {
        ($($kind:ident),*) => {
            match (&mut change, there) {
                $((Change::$kind(new), Change::$kind(old)) if new.meta.uid == old.meta.uid => {
                    new.status = old.status.clone();
                })*
                _ => {}
            }
        };
    }
    keep!(Vpc, Subnet, VNic, EipGateway, Eip, YusurService);
    change
}

/// The object with this status; nothing if it has none that is ours, or has it already.
fn with_status(there: &Change, status: &Status) -> Option<Change> {
    macro_rules! write {
        ($($kind:ident),*) => {
            match (there, status) {
                $((Change::$kind(object), Status::$kind(status)) => {
                    let mut object = object.clone();
                    object.status = Some(status.clone());
                    Some(Change::$kind(object))
                })*
                _ => None,
            }
        };
    }
    write!(Vpc, Subnet, VNic, EipGateway, Eip, YusurService)
}
