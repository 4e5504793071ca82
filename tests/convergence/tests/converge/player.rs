//! One case as it is played: the objects, the Northbound, and between them the planner, driven as the controller's
//! engine drives it. One transaction is in flight at a time, events come in whenever they like, what is refused is
//! halved, what was allocated is recorded before it is used. There is no time: what the engine waits for happens when
//! the case says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use ovsdb_model::{Batch, Database, Operation, Row, Uuid};
use yusur_convergence::{
    Complaint, Foreign, Holders, Objects, Place, Tables, Terms, check, places,
};
use yusur_planner::{
    Bounds, Config, Group, Inventory, Kind, ObjectRef, Plan, Refused, Round, Status, Unit, Verdict,
    operations, plan,
};

use crate::dice::Dice;
use crate::northbound::{Northbound, OWNER};
use crate::northd::{Northd, Real};
use crate::{damage, feed, generate, recorded, strangers};

/// All rows, as they were.
type Backup = BTreeMap<(&'static str, Uuid), Row>;

/// A transaction on its way.
struct Flight {
    operations: Vec<Operation>,
    /// The server has carried it out already, the answer is not here yet.
    done: Option<Result<(), String>>,
}

/// How an answer comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Comes,
    /// It is lost; whether the transaction took effect is unknown.
    Lost,
    /// The server wants it again later, or somebody else is the writer now.
    Retry,
}

pub struct Player<N> {
    pub objects: Objects,
    foreign: Foreign,
    pub northbound: N,
    inventory: Inventory,
    round: Option<Round<Group>>,
    /// Planned while something was in flight, to be sent next.
    ahead: Option<Plan>,
    flight: Option<Flight>,
    held: BTreeSet<Unit>,
    /// Verdicts that are not written yet.
    desk: VecDeque<Verdict>,
    incarnations: u32,
    /// Somebody took the labels off a row, and the planner has not seen to it.
    unlabelled: bool,
    /// News on its way to the planner.
    unheard: Vec<Batch>,
    /// What ovn-northd has not seen, where one is played.
    northd: Option<Northd>,
    saved: Option<(Backup, Foreign)>,
    /// Who held what when all was at rest.
    holders: Holders,
    /// Nothing has happened since that loses records: no row was lost, and there was no restart while something refused what
    /// was held.
    on_record: bool,
    /// What others rest on has changed since.
    moved: bool,
    pub story: Vec<String>,
}

impl<N: Northbound> Player<N> {
    /// An empty Northbound, with one who reads it or without.
    pub fn new(mut northbound: N, northd: Option<Northd>) -> Self {
        let mut foreign = Foreign::new();
        // Nobody but northd and we are there where it is real: what strangers do, it might fail over.
        if !matches!(northd, Some(Northd::Real(_))) {
            strangers::move_in(&mut northbound, &mut foreign);
        }
        northbound.news();
        let mut inventory = Inventory::new(config(northd.as_ref(), 0));
        inventory.load(&northbound.replica());
        inventory.sweep(&northbound.replica());
        Self {
            northd,
            objects: Objects::default(),
            foreign,
            northbound,
            inventory,
            round: None,
            ahead: None,
            flight: None,
            held: BTreeSet::new(),
            desk: VecDeque::new(),
            incarnations: 0,
            unlabelled: false,
            unheard: Vec::new(),
            saved: None,
            holders: Holders::default(),
            on_record: true,
            moved: false,
            story: Vec::new(),
        }
    }

    fn tell(&mut self, what: impl Into<String>) {
        self.story.push(what.into());
    }

    /// One thing happens.
    ///
    /// # Errors
    /// What is wrong, where the case looks.
    pub fn happen(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut dice = Dice::new(bytes);
        // What decides about northd is none of the dice: the same histories are played with it and without.
        let [.., northd] = bytes else { return Ok(()) };
        if northd % 3 == 0 {
            self.raise();
        }
        match &self.northd {
            Some(Northd::Real(real)) => real.stop(northd % 5 != 0),
            Some(_) if northd % 5 == 0 => self.northd_runs()?,
            _ => {}
        }
        match dice.below(33) {
            18..=22 if self.real().is_some() => self.harm(&mut dice)?,
            0..=12 => self.set(&mut dice),
            13..=15 => self.remove(&mut dice),
            16 | 17 => self.damage(&mut dice),
            18 => {
                let done = strangers::act(&mut dice, &mut self.northbound, &mut self.foreign);
                self.tell(format!("a stranger: {done}"));
            }
            19 => {
                if let Some(done) = strangers::impostor(&mut dice, &mut self.northbound) {
                    self.tell(format!("an impostor: {done}"));
                }
            }
            20 => {
                let done = strangers::obstruct(&mut dice, &mut self.northbound, &mut self.foreign);
                if let Some(name) = done {
                    self.tell(format!("a stranger takes the name {name}"));
                }
            }
            21 => {
                if strangers::clear_the_way(&mut self.northbound, &mut self.foreign) {
                    self.tell("the strangers give all names back");
                }
            }
            22 => self.wipe_or_restore(&mut dice)?,
            23 => self.restart(&mut dice)?,
            24 => self.relist(&mut dice),
            25 => self.report(&mut dice),
            26 => self.hear(),
            27 => self.write_some(&mut dice),
            28 => self.release(),
            31 => self.look(&mut dice),
            29 => {
                self.depart(&mut dice)?;
            }
            30 => {
                if self.flight.is_some() {
                    let answer = dice.pick(&[
                        Answer::Comes,
                        Answer::Comes,
                        Answer::Comes,
                        Answer::Lost,
                        Answer::Retry,
                    ]);
                    self.land(answer, &mut dice)?;
                } else {
                    self.depart(&mut dice)?;
                }
            }
            _ => self.conclude()?,
        }
        Ok(())
    }

    fn real(&self) -> Option<Rc<Real>> {
        match &self.northd {
            Some(Northd::Real(real)) => Some(Rc::clone(real)),
            _ => None,
        }
    }

    // === What happens to objects ===

    /// These objects, and no others, are there.
    pub fn begin(&mut self, objects: Objects) {
        self.objects = objects;
        for object in feed::all(&self.objects) {
            self.fed(&object);
        }
    }

    fn set(&mut self, dice: &mut Dice<'_>) {
        let object = generate::object(dice);
        self.incarnations += 1;
        let uid = format!("uid-{}", self.incarnations);
        generate::set(dice, &mut self.objects, &object, || uid);
        self.fed(&object);
    }

    fn remove(&mut self, dice: &mut Dice<'_>) {
        let object = generate::object(dice);
        generate::remove(&mut self.objects, &object);
        // A namesake may follow so fast that nobody sees the gap.
        if dice.chance(4) {
            self.incarnations += 1;
            let uid = format!("uid-{}", self.incarnations);
            generate::set(dice, &mut self.objects, &object, || uid);
        }
        self.fed(&object);
    }

    /// The planner is told of the object as it is.
    fn fed(&mut self, object: &ObjectRef) {
        let change = feed::change(&self.objects, object);
        self.moved |= !matches!(
            object.kind,
            Kind::Pod | Kind::VNic | Kind::YusurService | Kind::Eip
        );
        self.tell(format!("{object}: {}", feed::describe(&change)));
        if let Some(unit) = object.unit()
            && self.held.remove(&unit)
        {
            self.inventory.put_back([&unit]);
        }
        self.inventory.apply(change);
    }

    /// Everything is told once more, from somewhere in the middle on.
    fn relist(&mut self, dice: &mut Dice<'_>) {
        self.tell("everything is listed anew");
        for object in self.in_some_order(dice) {
            self.inventory.apply(feed::change(&self.objects, &object));
        }
    }

    fn in_some_order(&self, dice: &mut Dice<'_>) -> Vec<ObjectRef> {
        let mut all = feed::all(&self.objects);
        let (turn, backwards) = (dice.byte(), dice.chance(8));
        if !all.is_empty() {
            let middle = usize::from(turn) % all.len();
            all.rotate_left(middle);
        }
        if backwards {
            all.reverse();
        }
        all
    }

    /// The nodes report the addresses their Pods have.
    fn report(&mut self, dice: &mut Dice<'_>) {
        let one = dice.below(10);
        let mut told = Vec::new();
        for (at, ((namespace, name), pod)) in self.objects.pods.iter_mut().enumerate() {
            if one != 0 && at != one - 1 {
                continue;
            }
            let unit = format!("pod/{namespace}/{name}");
            let replica = self.northbound.replica();
            let row = replica.rows("Logical_Switch_Port").find(|(_, row)| {
                row.map_str("external_ids", "yusur.io/unit") == Some(&unit)
                    && row.map_str("external_ids", "yusur.io/uid") == Some(&pod.meta.uid)
            });
            let Some((_, row)) = row else { continue };
            let addresses = row
                .get("addresses")
                .into_iter()
                .flat_map(strangers::elements);
            let addresses: Vec<String> = addresses
                .filter_map(|atom| atom.as_str().map(str::to_owned))
                .collect();
            let words = addresses.iter().flat_map(|text| text.split(' '));
            pod.addresses = words.filter_map(|word| word.parse().ok()).collect();
            told.push(ObjectRef {
                kind: Kind::Pod,
                name: yusur_planner::ObjectName::new(namespace.as_str(), name.as_str()),
            });
        }
        for object in told {
            self.fed(&object);
        }
    }

    /// A gateway is seen on another chassis, or on none.
    fn look(&mut self, dice: &mut Dice<'_>) {
        let gateway = dice.pick(&["g1", "g2"]);
        let chassis = dice.pick(&[Some("n0"), Some("n1"), Some("chassis-n1"), Some("n2"), None]);
        let serving = self.objects.serving.get_or_insert_default();
        match chassis {
            Some(chassis) => serving.insert(gateway.to_owned(), chassis.to_owned()),
            None => serving.remove(gateway),
        };
        self.inventory.serving(serving);
        self.objects.order_disturbed = true;
        self.tell(format!("EipGateway {gateway} is seen on {chassis:?}"));
    }

    // === What happens to the Northbound ===

    /// Load balancers are deleted by hand, or everything is, when northd knows of all that is there: what else they who do
    /// so might harm is not ours to keep from harm.
    fn harm(&mut self, dice: &mut Dice<'_>) -> Result<(), String> {
        self.acquaint()?;
        self.on_record = false;
        if dice.chance(2) {
            self.tell("the Northbound is wiped");
            self.wipe();
            return Ok(());
        }
        if let Some(real) = self.real() {
            real.stop(true);
        }
        self.tell("all load balancers are deleted");
        self.northbound
            .transact(&[Operation::Delete {
                table: "Load_Balancer".into(),
                condition: Vec::new(),
            }])
            .unwrap_or_else(|error| panic!("{error}: deleting load balancers"));
        Ok(())
    }

    fn damage(&mut self, dice: &mut Dice<'_>) {
        if self.real().is_some() {
            return;
        }
        self.gather();
        if let Some(done) = damage::damage(dice, &mut self.northbound, &self.foreign) {
            self.on_record = false;
            self.unlabelled |= done.unlabelled;
            self.objects.order_disturbed |= done.disorder;
            self.tell(format!("damage: {}", done.story));
        }
    }

    fn wipe_or_restore(&mut self, dice: &mut Dice<'_>) -> Result<(), String> {
        self.on_record = false;
        match dice.below(3) {
            0 => {
                if self.unlabelled {
                    // As before a restart: in the copy they would be nobody's.
                    self.settle()?;
                }
                self.saved = Some((self.rows(), self.foreign.clone()));
                self.tell("a copy of the Northbound is kept");
            }
            1 => {
                self.wipe();
                self.foreign.clear();
                self.tell("the Northbound is wiped");
                self.resynchronised(dice);
            }
            _ => {
                let Some((rows, foreign)) = self.saved.clone() else {
                    return Ok(());
                };
                self.wipe();
                let inserts: Vec<Operation> = rows
                    .into_iter()
                    .map(|((table, uuid), row)| Operation::insert(table, uuid, row))
                    .collect();
                self.northbound
                    .transact(&inserts)
                    .unwrap_or_else(|error| panic!("{error}: restoring"));
                self.foreign = foreign;
                self.unlabelled = true;
                self.objects.order_disturbed = true;
                self.tell("the Northbound is put back to the copy");
                self.resynchronised(dice);
            }
        }
        Ok(())
    }

    fn rows(&self) -> Backup {
        let replica = self.northbound.replica();
        let rows = Tables::ALL.iter().flat_map(|table| {
            let rows = replica.rows(table);
            rows.map(|(uuid, row)| ((*table, uuid), Row::clone(&row)))
        });
        rows.collect()
    }

    fn wipe(&mut self) {
        let deletes: Vec<Operation> = Tables::ALL
            .iter()
            .map(|table| Operation::Delete {
                table: (*table).into(),
                condition: Vec::new(),
            })
            .collect();
        self.northbound
            .transact(&deletes)
            .unwrap_or_else(|error| panic!("{error}: wiping"));
    }

    /// The session was lost with the old content: a transaction in flight with it. Or all came as news.
    fn resynchronised(&mut self, dice: &mut Dice<'_>) {
        if dice.chance(8) {
            self.flight = None;
            self.abandon();
            self.hear();
            self.load();
        }
    }

    fn load(&mut self) {
        self.ahead = None;
        self.inventory.load(&self.northbound.replica());
        self.inventory.sweep(&self.northbound.replica());
    }

    // === What the engine does ===

    fn hear(&mut self) {
        self.gather();
        for batch in std::mem::take(&mut self.unheard) {
            self.inventory.observe(&batch, &self.northbound.replica());
        }
    }

    /// Takes the news from the Northbound, for later. A stream joins what its reader is too slow for; not across a
    /// planning, though, nor so that nobody sees whose a row was before its labels were taken off: what is gathered apart
    /// stays apart.
    fn gather(&mut self) {
        let news = self.northbound.news();
        if let Some(northd) = &mut self.northd {
            for batch in &news {
                northd.see(batch);
            }
        }
        if news.len() > 3 {
            let changes = news.into_iter().flat_map(|batch| batch.changes);
            self.unheard.push(Batch::join(changes.collect::<Vec<_>>()));
        } else {
            self.unheard.extend(news);
        }
    }

    /// Raises `nb_cfg`, if something waits for that.
    fn raise(&mut self) {
        if self.northd.is_some() && self.flight.is_none() && self.inventory.needs_raise() {
            self.tell("nb_cfg is raised");
            Northd::raise(&mut self.northbound, self.inventory.raise_by());
        }
    }

    /// ovn-northd reads the Northbound, and acknowledges what it has read.
    fn northd_runs(&mut self) -> Result<(), String> {
        let Some(northd) = &self.northd else {
            return Ok(());
        };
        if !matches!(northd, Northd::Real(_)) {
            strangers::bring_global(&mut self.northbound, &mut self.foreign);
        }
        self.gather();
        self.tell("ovn-northd runs");
        if let Some(northd) = &mut self.northd {
            northd.runs(&mut self.northbound)?;
        }
        self.gather();
        Ok(())
    }

    fn release(&mut self) {
        for unit in std::mem::take(&mut self.held) {
            self.inventory.put_back([&unit]);
        }
    }

    /// Plans and sends, if nothing is in flight. Whether something is on its way then.
    fn depart(&mut self, dice: &mut Dice<'_>) -> Result<bool, String> {
        let most = dice.pick(&[1000, 1, 3, 1000]);
        let bounds = Bounds {
            operations: dice.pick(&[4000, 1, 5, 4000]),
        };
        if self.flight.is_some() {
            if dice.chance(3) {
                self.look_ahead(most)?;
            }
            return Ok(true);
        }
        loop {
            if let Some(round) = &mut self.round {
                let (groups, left_out) = round.next_run();
                let list = operations(groups.iter().copied());
                let empty = groups.is_empty();
                for group in left_out {
                    self.set_aside(group);
                }
                if !empty {
                    let done = dice.chance(8).then(|| self.northbound.transact(&list));
                    let story = format!("sent, carried out: {done:?}: {}", said(&list));
                    self.flight = Some(Flight {
                        operations: list,
                        done,
                    });
                    self.tell(story);
                    return Ok(true);
                }
                self.round = None;
            }
            let plan = match self.ahead.take() {
                Some(plan) => Some(plan),
                None => self.compare(most)?,
            };
            let Some(plan) = plan else {
                return Ok(false);
            };
            self.inventory.planned(&plan);
            self.desk.extend(plan.verdicts);
            if !plan.groups.is_empty() {
                self.round = Some(Round::new(plan.groups, bounds));
            }
        }
    }

    fn compare(&mut self, most: usize) -> Result<Option<Plan>, String> {
        if self.northd.is_some() {
            // As the engine does: what is planned must not insert again what it has not heard is gone.
            self.hear();
        } else {
            self.gather();
        }
        let replica = self.northbound.replica();
        let mut units = self.inventory.take_dirty(&replica, most);
        if units.is_empty() {
            return Ok(None);
        }
        units.retain(|unit| !self.held.contains(unit));
        let plan = plan(&units, &self.inventory, &replica);
        let list = operations(&plan.groups);
        recorded::first(&self.objects, &replica, &list)?;
        if let Some(northd) = &self.northd {
            northd.judge(&list)?;
        }
        Ok(Some(plan))
    }

    /// Plans while something is in flight, as the engine does.
    fn look_ahead(&mut self, most: usize) -> Result<(), String> {
        if self.ahead.is_some() {
            return Ok(());
        }
        let Some(plan) = self.compare(most)? else {
            return Ok(());
        };
        if plan.stands_beside(self.round.iter().flat_map(Round::groups)) {
            self.tell("planned ahead");
            self.ahead = Some(plan);
        } else {
            self.inventory.put_back(plan.units());
        }
        Ok(())
    }

    /// What is in flight comes to its end.
    fn land(&mut self, answer: Answer, dice: &mut Dice<'_>) -> Result<(), String> {
        let Some(mut flight) = self.flight.take() else {
            return Ok(());
        };
        let carried_out = answer == Answer::Comes || (answer == Answer::Lost && dice.chance(8));
        if flight.done.is_none() && carried_out {
            flight.done = Some(self.northbound.transact(&flight.operations));
        }
        match (answer, flight.done) {
            (Answer::Comes | Answer::Retry, Some(Ok(()))) => {
                self.tell("committed");
                self.hear();
                let round = self.round.as_mut().ok_or("nothing was sent")?;
                let groups = round.committed();
                self.inventory
                    .committed(&groups, None, &self.northbound.replica());
                if round.is_done() {
                    self.round = None;
                }
                self.desk
                    .extend(groups.into_iter().flat_map(|group| group.verdicts));
            }
            (Answer::Comes | Answer::Retry, Some(Err(error))) => {
                self.tell(format!("refused: {error}"));
                let round = self.round.as_mut().ok_or("nothing was sent")?;
                if let Refused::Group(group) = round.refused() {
                    self.set_aside(group);
                }
            }
            (Answer::Lost, _) => {
                self.tell("the answer is lost");
                self.abandon();
                self.hear();
                self.load();
            }
            (Answer::Comes | Answer::Retry, None) => {
                self.tell("to be done again");
                self.abandon();
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, group: Group) {
        self.inventory.lost(&group);
        self.held.extend(group.units.iter().cloned());
        let verdicts = group.verdicts.into_iter();
        self.desk
            .extend(verdicts.map(|verdict| verdict.uncommitted("Refused", "refused")));
    }

    fn abandon(&mut self) {
        if let Some(plan) = self.ahead.take() {
            self.inventory.put_back(plan.units());
        }
        if let Some(round) = self.round.take() {
            for group in round.abandon() {
                self.inventory.lost(&group);
                self.inventory.put_back(&group.units);
            }
        }
    }

    fn write_some(&mut self, dice: &mut Dice<'_>) {
        let count = 1 + dice.below(self.desk.len());
        for _ in 0..count.min(self.desk.len()) {
            self.write_one(dice.chance(8));
        }
    }

    /// The oldest verdict becomes a status; the source may tell of that before the writer does.
    fn write_one(&mut self, source_first: bool) {
        let Some(verdict) = self.desk.pop_front() else {
            return;
        };
        let Some(subject) = &verdict.object else {
            return;
        };
        let object = &subject.object;
        let key = (
            object.name.namespace.to_string(),
            object.name.name.to_string(),
        );
        match &verdict.status {
            Status::YusurService(status) => match self.objects.services.get_mut(&key) {
                Some((meta, _, old)) if meta.uid == subject.uid => *old = Some(status.clone()),
                _ => return,
            },
            Status::Eip(status) => match self.objects.eips.get_mut(&key) {
                Some((meta, _, old)) if meta.uid == subject.uid => *old = Some(status.clone()),
                _ => return,
            },
            Status::EipGateway(status) => match self.objects.gateways.get_mut(&key.1) {
                Some((meta, _, old)) if meta.uid == subject.uid => *old = Some(status.clone()),
                _ => return,
            },
            Status::VNic(status) => match self.objects.vnics.get_mut(&key) {
                Some((meta, _, old)) if meta.uid == subject.uid => *old = Some(status.clone()),
                _ => return,
            },
            _ => return,
        }
        let object = object.clone();
        if source_first {
            self.inventory.apply(feed::change(&self.objects, &object));
        }
        self.inventory.recorded(&verdict.unit, &verdict.record());
        if !source_first {
            self.inventory.apply(feed::change(&self.objects, &object));
        }
    }

    /// The process ends, with whatever was in flight, and another begins with nothing but the objects and the rows.
    fn restart(&mut self, dice: &mut Dice<'_>) -> Result<(), String> {
        if self.unlabelled {
            // Rows without labels are nobody's once their object is gone: the planner must have had its chance.
            self.settle()?;
        }
        if let Some(flight) = self.flight.take()
            && flight.done.is_none()
            && dice.chance(8)
        {
            let done = self.northbound.transact(&flight.operations);
            self.tell(format!("carried out after all: {done:?}"));
        }
        self.round = None;
        self.ahead = None;
        self.held.clear();
        self.desk.clear();
        self.gather();
        self.unheard.clear();
        self.on_record &= !self.moved;
        let order = self.in_some_order(dice);
        self.incarnations += 1;
        self.tell("the controller starts again");
        self.inventory = self.fresh(&order);
        Ok(())
    }

    /// The planner learns that ovn-northd has seen everything.
    fn acquaint(&mut self) -> Result<(), String> {
        if self.northd.is_none() {
            return Ok(());
        }
        self.raise();
        self.northd_runs()?;
        self.hear();
        Ok(())
    }

    fn fresh(&self, order: &[ObjectRef]) -> Inventory {
        let mut inventory = Inventory::new(config(self.northd.as_ref(), self.incarnations));
        for object in order {
            inventory.apply(feed::change(&self.objects, object));
        }
        if let Some(serving) = &self.objects.serving {
            inventory.serving(serving);
        }
        inventory.load(&self.northbound.replica());
        inventory.sweep(&self.northbound.replica());
        inventory
    }

    // === The end ===

    /// Time passes until nothing is left to do.
    fn settle(&mut self) -> Result<(), String> {
        strangers::clear_the_way(&mut self.northbound, &mut self.foreign);
        let mut plain = Dice::new(&[]);
        self.acquaint()?;
        for _ in 0..400 {
            self.hear();
            while !self.desk.is_empty() {
                self.write_one(false);
            }
            if self.flight.is_some() || self.depart(&mut plain)? {
                self.land(Answer::Comes, &mut plain)?;
                continue;
            }
            if !self.held.is_empty() {
                self.release();
                continue;
            }
            if self.inventory.awaiting_count() > 0 {
                self.raise();
                self.northd_runs()?;
                continue;
            }
            if self.desk.is_empty() {
                self.unlabelled = false;
                return Ok(());
            }
        }
        Err(format!(
            "it does not come to rest; {} units dirty, set aside {:?}",
            self.inventory.dirty(),
            self.held
        ))
    }

    /// Lets everything come to rest, and looks.
    ///
    /// # Errors
    /// What is wrong.
    pub fn conclude(&mut self) -> Result<(), String> {
        self.tell("everything comes to rest");
        self.settle()?;
        if let Some(real) = self.real() {
            real.is_right(&mut self.northbound)?;
        }
        let mut complaints = self.complaints();
        let holders = Holders::of(&self.objects, &self.northbound.replica(), &self.foreign);
        if self.on_record {
            complaints.extend(self.holders.lost(&self.objects, &holders));
        }
        self.holders = holders;
        (self.on_record, self.moved) = (true, false);
        if !complaints.is_empty() {
            let list: Vec<String> = complaints.iter().map(ToString::to_string).collect();
            let scene = self.scene(&self.northbound.replica());
            return Err(format!("{}\n{scene}", list.join("\n")));
        }
        self.load();
        self.acquaint()?;
        let left = self.left(|player| &mut player.inventory);
        if !left.is_empty() {
            return Err(format!(
                "looking at everything again it would write {}",
                said(&left)
            ));
        }
        let order = feed::all(&self.objects);
        self.inventory = self.fresh(&order);
        self.acquaint()?;
        // A Pod stays with a Subnet that cannot serve it for the time being. Its port, the record of this, is gone
        // meanwhile: one that just started puts it in another Subnet, if there is one for it.
        // So does the service gateway of a gateway that is on none of its nodes: where it was last is on record nowhere. Nothing
        // comes of it: the ports of Vpcs on the join are where the gateway is, so nobody reaches the service gateway either,
        // and it follows as soon as the gateway is seen.
        if self.some_pod_waits() || self.some_gateway_is_nowhere() {
            return self.settle();
        }
        let left = self.left(|player| &mut player.inventory);
        if !left.is_empty() {
            return Err(format!("after a restart it would write {}", said(&left)));
        }
        Ok(())
    }

    /// What the judge says of things as they are.
    pub fn complaints(&self) -> Vec<Complaint> {
        if self.real().is_some() {
            // What northd keeps in the Northbound is nobody's that the judge knows.
            return Vec::new();
        }
        let terms = Terms {
            owner: OWNER,
            zone: "cluster.local",
        };
        check(
            &self.objects,
            &self.northbound.replica(),
            &self.foreign,
            terms,
        )
    }

    /// Whether some Pod that goes where its namespace's Pods go has no port, and some Subnet waits for something.
    fn some_pod_waits(&self) -> bool {
        let replica = self.northbound.replica();
        let portless = self.objects.pods.iter().any(|((namespace, name), pod)| {
            let unit = format!("pod/{namespace}/{name}");
            let mut ports = replica.rows("Logical_Switch_Port");
            let there = ports.any(|(_, row)| {
                let label = |key| row.map_str("external_ids", key);
                label("yusur.io/unit") == Some(&unit) && label("yusur.io/owner") == Some(OWNER)
            });
            pod.subnet.is_none() && !there
        });
        let places = places(&self.objects, &replica, &self.foreign);
        portless && places.values().any(|place| *place == Place::Waiting)
    }

    /// Whether somebody has looked where gateways are, and some gateway is on none of its nodes.
    fn some_gateway_is_nowhere(&self) -> bool {
        let nodes = &self.objects.nodes;
        let chassis = |node: &String| {
            let named = nodes.get(node).and_then(|node| node.chassis.clone());
            named.unwrap_or_else(|| node.clone())
        };
        self.objects.serving.as_ref().is_some_and(|serving| {
            let mut gateways = self.objects.gateways.iter();
            gateways.any(|(name, (_, spec, _))| {
                let mut nodes = spec.nodes.iter().map(chassis);
                !nodes.any(|chassis| serving.get(name) == Some(&chassis))
            })
        })
    }

    /// What an inventory would write.
    fn left(&mut self, which: impl Fn(&mut Self) -> &mut Inventory) -> Vec<Operation> {
        let mut inventory = std::mem::replace(which(self), Inventory::new(Config::new(OWNER)));
        let replica = self.northbound.replica();
        let units = inventory.take_dirty(&replica, usize::MAX);
        let plan = plan(&units, &inventory, &replica);
        let list = operations(&plan.groups);
        drop(replica);
        self.desk.extend(plan.verdicts);
        *which(self) = inventory;
        list
    }

    fn scene(&self, replica: &Database) -> String {
        let mut text = String::new();
        for object in feed::all(&self.objects) {
            let change = feed::change(&self.objects, &object);
            text.push_str(&format!("{object}: {}\n", feed::describe(&change)));
        }
        for table in Tables::ALL {
            for (uuid, row) in replica.rows(table) {
                text.push_str(&format!("{table} {uuid} {row:?}\n"));
            }
        }
        text
    }
}

/// How the planner is set up, in its so-manieth process.
fn config(northd: Option<&Northd>, process: u32) -> Config {
    let northd = northd.filter(|northd| northd.is_known());
    Config {
        northd: northd.map(|_| Uuid::from_u128(u128::from(process))),
        ..Config::new(OWNER)
    }
}

/// Operations, one a line.
fn said(operations: &[Operation]) -> String {
    let lines = operations.iter().map(|operation| {
        let json = serde_json::to_string(operation);
        format!("\n    {}", json.unwrap_or_else(|error| error.to_string()))
    });
    lines.collect()
}
