//! A story told in manifests, step by step, and what the Northbound and the statuses say after each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use yusur_planner::{
    Change, Config, Inventory, Northbound as _, ObjectName, ObjectRef, Status, Unit, Verdict, run,
};

use super::manifest::{Document, documents};
use super::{Memory, OWNER, schema};

/// The planner, its Northbound, and the objects as an API server would have them: statuses come back.
pub struct Story {
    pub inventory: Inventory,
    pub northbound: Memory,
    objects: BTreeMap<ObjectRef, Change>,
    said: HashMap<Unit, Verdict>,
}

impl Story {
    /// A story that begins with these objects.
    pub fn of(text: &str) -> Self {
        let mut story = Self {
            inventory: Inventory::new(Config::new(OWNER)),
            northbound: Memory::new(schema()),
            objects: BTreeMap::new(),
            said: HashMap::new(),
        };
        story.take(text);
        story.load(true);
        story
    }

    /// What happens next.
    pub fn then(&mut self, text: &str) {
        self.take(text);
        self.go();
    }

    fn take(&mut self, text: &str) {
        for document in documents(text) {
            let Document::Change(change) = document else {
                panic!("an object");
            };
            let mut change = *change;
            match &change {
                Change::Removed(object) => drop(self.objects.remove(object)),
                _ => {
                    self.keep_status(&mut change);
                    self.objects.insert(change.object(), change.clone());
                }
            }
            self.inventory.apply(change);
        }
    }

    /// An edit leaves the status as it is; one of another uid is another object.
    fn keep_status(&self, new: &mut Change) {
        match (self.objects.get(&new.object()), new) {
            (Some(Change::VNic(old)), Change::VNic(new)) if old.meta.uid == new.meta.uid => {
                new.status.clone_from(&old.status);
            }
            (Some(Change::Eip(old)), Change::Eip(new)) if old.meta.uid == new.meta.uid => {
                new.status.clone_from(&old.status);
            }
            (Some(Change::YusurService(old)), Change::YusurService(new))
                if old.meta.uid == new.meta.uid =>
            {
                new.status.clone_from(&old.status);
            }
            _ => {}
        }
    }

    fn load(&mut self, sweep: bool) {
        self.inventory.load(self.northbound.database());
        if sweep {
            self.inventory.sweep(self.northbound.database());
        }
        self.go();
    }

    fn go(&mut self) {
        let verdicts = run(&mut self.inventory, &mut self.northbound, 1000).expect("it settles");
        for verdict in verdicts {
            let object = verdict.object.as_ref().map(|subject| &subject.object);
            let object = object.and_then(|object| self.objects.get_mut(object));
            match (&verdict.status, object) {
                (Status::VNic(status), Some(Change::VNic(object))) => {
                    object.status = Some(status.clone());
                }
                (Status::Eip(status), Some(Change::Eip(object))) => {
                    object.status = Some(status.clone());
                }
                (Status::YusurService(status), Some(Change::YusurService(object))) => {
                    object.status = Some(status.clone());
                }
                _ => {}
            }
            self.said.insert(verdict.unit.clone(), verdict);
        }
        let objects: Vec<Change> = self.objects.values().cloned().collect();
        for object in objects {
            self.inventory.apply(object);
        }
        let verdicts = run(&mut self.inventory, &mut self.northbound, 1000).expect("it settles");
        for verdict in verdicts {
            self.said.insert(verdict.unit.clone(), verdict);
        }
    }

    /// The controller starts again. It is to write nothing.
    pub fn restart(&mut self) {
        let before = self.northbound.transactions;
        self.begin_again(true);
        assert_eq!(
            self.northbound.transactions, before,
            "a restart writes nothing"
        );
    }

    /// The controller starts again; `sweep`: it may delete rows whose object is not there.
    pub fn begin_again(&mut self, sweep: bool) {
        self.inventory = Inventory::new(Config::new(OWNER));
        for change in self.objects.values().rev() {
            self.inventory.apply(change.clone());
        }
        self.load(sweep);
    }

    /// The controller may delete rows whose object is not there.
    pub fn sweep(&mut self) {
        self.inventory.sweep(self.northbound.database());
        self.go();
    }

    /// While the controller is down an object is deleted.
    pub fn lose(&mut self, kind: yusur_planner::Kind, name: ObjectName) {
        let object = ObjectRef { kind, name };
        assert!(self.objects.remove(&object).is_some(), "{object}");
    }

    /// While the controller is down everything is lost that only statuses say, and what stands beside them: uids, and when
    /// an object was made.
    pub fn lose_statuses(&mut self) {
        for (at, change) in self.objects.values_mut().enumerate() {
            let meta = match change {
                Change::VNic(object) => {
                    object.status = None;
                    &mut object.meta
                }
                Change::Eip(object) => {
                    object.status = None;
                    &mut object.meta
                }
                Change::YusurService(object) => {
                    object.status = None;
                    &mut object.meta
                }
                _ => continue,
            };
            meta.uid = format!("u-anew-{at}");
            meta.created = 1_000;
        }
    }

    /// What the rows of a unit hold: addresses of a port (with its MAC address), VIPs, external addresses.
    pub fn rows(&self, unit: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let database = self.northbound.database();
        for (table, column) in [
            ("Logical_Switch_Port", "addresses"),
            ("Load_Balancer", "vips"),
            ("NAT", "external_ip"),
        ] {
            for (_, row) in database.rows(table) {
                if row.map_str("external_ids", "yusur.io/unit") != Some(unit) {
                    continue;
                }
                let Some(datum) = row.get(column) else {
                    continue;
                };
                let texts: Vec<&str> = if column == "vips" {
                    let pairs = datum.pairs().iter();
                    pairs.filter_map(|(vip, _)| vip.as_str()).collect()
                } else {
                    datum
                        .elements()
                        .iter()
                        .filter_map(|atom| atom.as_str())
                        .collect()
                };
                for text in texts {
                    let words = text.split(' ').map(str::to_owned);
                    all.extend(words.filter(|word| word != "router"));
                }
            }
        }
        all
    }

    /// True if the unit's rows hold it.
    pub fn has(&self, unit: &str, what: &str) -> bool {
        let rows = self.rows(unit);
        rows.contains(what) || rows.iter().any(|row| row.starts_with(&format!("{what}:")))
    }

    /// Why a unit's object is accepted, or not.
    pub fn accepted(&self, unit: &str) -> &'static str {
        let verdict = self.said.get(&Unit::parse(unit));
        let conditions = verdict.map(|verdict| &verdict.conditions);
        let mut conditions = conditions.into_iter().flatten();
        let accepted = conditions.find(|condition| condition.kind == "Accepted");
        accepted.map_or("nothing", |condition| condition.reason)
    }

    /// What is said of a unit.
    pub fn verdict(&self, unit: &str) -> &Verdict {
        &self.said[&Unit::parse(unit)]
    }

    /// How many rows of a table have this text in a column.
    pub fn count(&self, table: &str, column: &str, text: &str) -> usize {
        let rows = self.northbound.database().rows(table);
        rows.filter(|(_, row)| row.get_str(column) == Some(text))
            .count()
    }
}
