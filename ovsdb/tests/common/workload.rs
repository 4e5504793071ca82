//! A stream of transactions with books kept: what must have taken effect, and what may have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ovsdb::model::{Clause, Datum, Mutation, Mutator, OpResult, Operation, Row, Uuid};
use ovsdb::{Client, Event, TransactError};
use tokio::sync::RwLock;

use super::dice::Dice;
use super::{LoadBalancer, soon};

/// What a key of the books may be in the database: one value after a transaction that was answered, that or what it
/// was before after one that was not.
type Possible<T> = BTreeSet<Option<T>>;

/// How transactions ended.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) unknown: AtomicU64,
    /// Refused although nothing spoke against them when they were made: the cluster took them twice, or an earlier one
    /// of unknown outcome has come through since.
    pub(crate) overtaken: AtomicU64,
    pub(crate) not_sent: AtomicU64,
}

/// One hand that writes; its keys are its own.
pub(crate) struct Worker {
    client: Client,
    gate: Arc<RwLock<()>>,
    tally: Arc<Tally>,
    dice: Dice,
    number: u64,
    made: u64,
    /// Load balancers: their `rev`.
    balancers: BTreeMap<Uuid, Possible<String>>,
    /// Ports of our switch.
    ports: BTreeMap<Uuid, Possible<()>>,
    /// Increments of the counter, by the key that each leaves behind.
    increments: BTreeMap<String, Possible<()>>,
}

/// The parents; made before the work begins.
pub(crate) fn switch(worker: u64) -> Uuid {
    Uuid::from_u128(0x51_0000_0000_4000_8000_0000_0000_0000 + u128::from(worker))
}

pub(crate) fn global() -> Uuid {
    Uuid::from_u128(0x60_0000_0000_4000_8000_0000_0000_0000)
}

/// Makes the rows that the workers need.
pub(crate) async fn prepare(client: &Client, workers: u64) {
    let mut operations = vec![Operation::insert("NB_Global", global(), Row::new())];
    for worker in 0..workers {
        let row = [("name", format!("switch{worker}"))].into_iter().collect();
        operations.push(Operation::insert("Logical_Switch", switch(worker), row));
    }
    let outcome = soon(client.transact(operations)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

impl Worker {
    pub(crate) fn new(
        client: Client,
        gate: Arc<RwLock<()>>,
        tally: Arc<Tally>,
        dice: Dice,
        number: u64,
    ) -> Self {
        Self {
            client,
            gate,
            tally,
            dice,
            number,
            made: 0,
            balancers: BTreeMap::new(),
            ports: BTreeMap::new(),
            increments: BTreeMap::new(),
        }
    }

    /// Works until told to stop, and returns with its books.
    pub(crate) async fn run(mut self, mut stop: tokio::sync::watch::Receiver<bool>) -> Self {
        while !*stop.borrow_and_update() {
            let gate = self.gate.clone();
            let _open = gate.read().await;
            soon(self.client.synced()).await;
            match self.dice.below(10) {
                0..=2 => self.insert_balancer().await,
                3 => self.delete_balancer().await,
                4..=5 => self.replace_in_map().await,
                6..=7 => self.add_port().await,
                8 => self.remove_port().await,
                _ => self.increment().await,
            }
        }
        self
    }

    fn key(&mut self, kind: u128) -> Uuid {
        self.made += 1;
        Uuid::from_u128(
            (kind << 96)
                + 0x4000_8000_0000_0000_0000
                + (u128::from(self.number) << 48)
                + u128::from(self.made),
        )
    }

    fn pick<T>(dice: &mut Dice, keys: &BTreeMap<Uuid, T>) -> Option<Uuid> {
        let place = dice.below(keys.len().max(1) as u64) as usize;
        keys.keys().nth(place).copied()
    }

    /// Sends; `true`: it took effect, once. `false`: it may have.
    async fn send(&self, operations: Vec<Operation>) -> Option<bool> {
        self.tally.sent.fetch_add(1, Ordering::Relaxed);
        let outcome = soon(self.client.transact(operations)).await;
        let (counter, effect) = match outcome {
            Ok(results) => {
                assert!(
                    results
                        .iter()
                        .all(|result| !matches!(result, OpResult::Failed(_) | OpResult::LeftOut))
                );
                (&self.tally.answered, Some(true))
            }
            Err(TransactError::Retry(ovsdb::RetryReason::NotConnected(_))) => {
                (&self.tally.not_sent, None)
            }
            Err(TransactError::OutcomeUnknown(_)) => (&self.tally.unknown, Some(false)),
            Err(TransactError::Retry(_)) => (&self.tally.overtaken, Some(false)),
            Err(TransactError::Constraint(error)) if error.error.error == "duplicate uuid" => {
                (&self.tally.overtaken, Some(false))
            }
            Err(other) => {
                // Nothing here breaks a rule by itself.
                assert_eq!(other.to_string(), "");
                return None;
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        effect
    }

    async fn insert_balancer(&mut self) {
        let uuid = self.key(1);
        let row = LoadBalancer::named(&uuid.to_string()).to_row_with_rev("0");
        let effect = self
            .send(vec![Operation::insert("Load_Balancer", uuid, row)])
            .await;
        note(
            self.balancers
                .entry(uuid)
                .or_insert_with(|| BTreeSet::from([None])),
            Some("0".to_owned()),
            effect,
        );
    }

    async fn delete_balancer(&mut self) {
        let Some(uuid) = Self::pick(&mut self.dice, &self.balancers) else {
            return;
        };
        let effect = self
            .send(vec![Operation::delete("Load_Balancer", uuid)])
            .await;
        if let Some(possible) = self.balancers.get_mut(&uuid) {
            note(possible, None, effect);
        }
    }

    async fn replace_in_map(&mut self) {
        let Some(uuid) = Self::pick(&mut self.dice, &self.balancers) else {
            return;
        };
        self.made += 1;
        let rev = self.made.to_string();
        let mutations = Mutation::set_keys("external_ids", [("rev", rev.clone())]);
        let effect = self
            .send(vec![Operation::mutate("Load_Balancer", uuid, mutations)])
            .await;
        if let Some(possible) = self.balancers.get_mut(&uuid) {
            // Of a row that is gone nothing is replaced.
            let absent = possible.contains(&None);
            let present = possible.iter().any(Option::is_some);
            if present {
                note(possible, Some(rev), effect);
                if absent {
                    possible.insert(None);
                }
            }
        }
    }

    async fn add_port(&mut self) {
        let uuid = self.key(2);
        let row = [("name", uuid.to_string())].into_iter().collect();
        let join = Mutation::insert("ports", Datum::set([uuid]));
        let effect = self
            .send(vec![
                Operation::insert("Logical_Switch_Port", uuid, row),
                Operation::mutate("Logical_Switch", switch(self.number), [join]),
            ])
            .await;
        note(
            self.ports
                .entry(uuid)
                .or_insert_with(|| BTreeSet::from([None])),
            Some(()),
            effect,
        );
    }

    async fn remove_port(&mut self) {
        let Some(uuid) = Self::pick(&mut self.dice, &self.ports) else {
            return;
        };
        let leave = Mutation::delete("ports", Datum::set([uuid]));
        let effect = self
            .send(vec![Operation::mutate(
                "Logical_Switch",
                switch(self.number),
                [leave],
            )])
            .await;
        if let Some(possible) = self.ports.get_mut(&uuid) {
            note(possible, None, effect);
        }
    }

    /// Not idempotent: guarded by a `wait`, since a cluster may take a transaction twice (ovsdb(7)).
    async fn increment(&mut self) {
        self.made += 1;
        let key = format!("{}-{}", self.number, self.made);
        let now = self
            .client
            .read()
            .row("NB_Global", global())
            .and_then(|row| row.get_integer("nb_cfg"));
        let Some(now) = now else { return };
        let guard = Operation::require(
            "NB_Global",
            vec![Clause::uuid(global()), Clause::equal("nb_cfg", now)],
        );
        let count = Mutation::new("nb_cfg", Mutator::Add, 1);
        let trace = Mutation::insert("external_ids", Datum::map([(key.clone(), "1")]));
        let effect = self
            .send(vec![
                guard,
                Operation::mutate("NB_Global", global(), [count, trace]),
            ])
            .await;
        note(
            self.increments
                .entry(key)
                .or_insert_with(|| BTreeSet::from([None])),
            Some(()),
            effect,
        );
    }

    /// Holds the books against the replica: what was answered is there, what was not is there once or not at all.
    pub(crate) fn audit(&self) {
        let read = self.client.read();
        for (uuid, possible) in &self.balancers {
            let row = read.row("Load_Balancer", *uuid);
            let found = row.map(|row| {
                row.map_str("external_ids", "rev")
                    .unwrap_or("none")
                    .to_owned()
            });
            assert!(
                possible.contains(&found),
                "balancer {uuid} is {found:?}, not of {possible:?}"
            );
        }
        let ports = read
            .row("Logical_Switch", switch(self.number))
            .and_then(|row| row.get("ports").cloned());
        let ports: BTreeSet<Uuid> = ports.iter().flat_map(|ports| ports.uuids()).collect();
        for (uuid, possible) in &self.ports {
            let found = ports.contains(uuid).then_some(());
            assert!(
                possible.contains(&found),
                "port {uuid} is {found:?}, not of {possible:?}"
            );
            assert_eq!(
                read.row("Logical_Switch_Port", *uuid).is_some(),
                found.is_some(),
                "port {uuid}"
            );
        }
        for (key, possible) in &self.increments {
            let row = read.row("NB_Global", global());
            let found = row
                .filter(|row| row.map_str("external_ids", key).is_some())
                .map(|_| ());
            assert!(
                possible.contains(&found),
                "increment {key} is {found:?}, not of {possible:?}"
            );
        }
    }
}

fn note<T: Ord>(possible: &mut Possible<T>, value: Option<T>, effect: Option<bool>) {
    match effect {
        // Answered: no doubt is left.
        Some(true) => *possible = BTreeSet::from([value]),
        Some(false) => {
            possible.insert(value);
        }
        None => {}
    }
}

impl LoadBalancer {
    fn to_row_with_rev(&self, rev: &str) -> Row {
        use ovsdb::model::Table as _;
        self.to_row()
            .with("external_ids", Datum::map([("rev", rev)]))
    }
}

/// Each increment left its trace, and was counted once.
pub(crate) fn audit_counter(client: &Client) {
    let read = client.read();
    let row = read.row("NB_Global", global());
    let counted = row.as_ref().and_then(|row| row.get_integer("nb_cfg"));
    let traces = row.as_ref().and_then(|row| row.get("external_ids"));
    let traces = traces.map(Datum::len);
    assert_eq!(counted, traces.map(|traces| traces as i64));
}

/// A copy of the replica made of what a stream tells, and nothing else.
pub(crate) struct Shadow {
    rows: BTreeMap<(String, Uuid), Arc<Row>>,
    stream: ovsdb::Changes,
}

impl Shadow {
    pub(crate) fn of(client: &Client) -> Self {
        Self {
            rows: BTreeMap::new(),
            stream: client.changes(),
        }
    }

    /// Takes what the stream has; each change must begin where the last one ended.
    pub(crate) fn catch_up(&mut self) {
        while let Some(event) = self.stream.try_next() {
            let Event::Batch(batch) = event else { continue };
            for change in &batch.changes {
                let key = (change.table.to_string(), change.uuid);
                let before = match &change.new {
                    Some(new) => self.rows.insert(key, new.clone()),
                    None => self.rows.remove(&key),
                };
                assert_eq!(
                    before, change.old,
                    "row {} of table {}",
                    change.uuid, change.table
                );
                assert_ne!(change.old, change.new);
            }
        }
    }

    pub(crate) fn assert_equals(&mut self, client: &Client) {
        let read = client.read();
        self.catch_up();
        let rows = read.tables().flat_map(|table| {
            read.rows(table)
                .map(|(uuid, row)| ((table.to_string(), uuid), row.clone()))
        });
        let replica: BTreeMap<_, _> = rows.collect();
        assert!(
            self.rows == replica,
            "the stream and the replica have parted"
        );
    }
}
