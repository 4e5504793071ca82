//! The rules, one file for each part of the Northbound, and what is said when one is broken.

mod holders;
mod names;
mod outside;
mod ownership;
mod ports;
mod services;
mod topology;

use std::collections::BTreeMap;
use std::fmt;

use ovsdb_model::Database;

use crate::meaning::{Meaning, Place};
use crate::network::Network;
use crate::objects::Objects;
use crate::rows::{Content, Foreign};
pub use holders::Holders;
use outside::Places;
use ports::Ports;

/// What the judge is told of the controller's setup.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The owner of our rows.
    pub owner: &'a str,
    /// The zone of the names.
    pub zone: &'a str,
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Every row belongs to an object that is there.
    Owned,
    /// Nothing is there twice.
    Once,
    /// Rows of others are as those left them; their columns hold none of ours but where they were adopted.
    Foreign,
    /// Every Vpc has its router and its routes.
    Router,
    /// Every Subnet that stands has its switch, and a pair of ports that joins it to its Vpc's router.
    Switch,
    /// Every Vpc's group is on every switch of it and on no other.
    Group,
    /// Every workload that is to have a port has it, on its Subnet's switch.
    Port,
    /// A port's addresses are its Subnet's, its own, and what was asked for.
    Address,
    /// A service has the addresses it was given or allocated, if no other one has.
    Vip,
    /// Nobody has what another had before and asks for still.
    Kept,
    /// A VIP has exactly its ready backends.
    Backends,
    /// No row of a VPC names an address that is not the VPC's.
    Leak,
    /// A service balances as its spec says.
    Balance,
    /// Names resolve to what is served.
    Name,
    /// Statuses record what stands in the rows.
    Record,
    /// Every EipGateway that stands has its router on its physical network.
    Gateway,
    /// What has to be on a gateway's nodes is on them, in the order that its spec and their failures say.
    Chassis,
    /// A Vpc joins the one gateway that its spec or its services say, and has a way out by it.
    Join,
    /// Eips and services hold the external addresses they asked for, if the gateway has them.
    Eip,
    /// A port of an external address is answered for at one place, and leads to the service that has it.
    Outside,
    /// Backends see the client that they are to see.
    Source,
    /// Neither the outside nor another Vpc reaches what is not meant for it.
    Isolation,
    /// Nothing is left of what nobody asks for any more.
    Left,
}

/// A rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Which.
    pub rule: Rule,
    /// How.
    pub message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.message)
    }
}

/// Everything a rule looks at.
struct Case<'a> {
    terms: Terms<'a>,
    objects: &'a Objects,
    meaning: Meaning<'a>,
    content: Content,
    database: &'a Database,
    foreign: &'a Foreign,
    network: Network,
    places: Places,
}

/// The complaints of one look.
#[derive(Default)]
struct Complaints(Vec<Complaint>);

impl Complaints {
    fn say(&mut self, rule: Rule, message: impl Into<String>) {
        self.0.push(Complaint {
            rule,
            message: message.into(),
        });
    }

    fn unless(&mut self, holds: bool, rule: Rule, message: impl FnOnce() -> String) {
        if !holds {
            self.say(rule, message());
        }
    }
}

/// Everything that is wrong with `database`, given the objects and the rows of others.
pub fn check(
    objects: &Objects,
    database: &Database,
    foreign: &Foreign,
    terms: Terms<'_>,
) -> Vec<Complaint> {
    let content = Content::read(database, foreign);
    let mut case = Case {
        terms,
        objects,
        meaning: Meaning::of(objects, database, foreign),
        network: Network::of(&content),
        places: Places::default(),
        content,
        database,
        foreign,
    };
    let accepted = case.meaning.asks.iter();
    let accepted: Vec<bool> = accepted.map(|ask| outside::accepted(&case, ask)).collect();
    for (ask, accepted) in case.meaning.asks.iter_mut().zip(accepted) {
        if !accepted {
            ask.accepted = false;
            ask.reserved = std::mem::take(&mut ask.holds);
        }
    }
    case.places = Places::of(&case);
    let mut complaints = Complaints::default();
    ownership::check(&case, &mut complaints);
    topology::check(&case, &mut complaints);
    let ports = ports::check(&case, &mut complaints);
    let served = services::check(&case, &ports, &mut complaints);
    names::check(&case, &ports, &served, &mut complaints);
    outside::check(&case, &ports, &mut complaints);
    complaints.0
}

/// Where each Subnet's ports are to be.
pub fn places(
    objects: &Objects,
    database: &Database,
    foreign: &Foreign,
) -> BTreeMap<String, Place> {
    let meaning = Meaning::of(objects, database, foreign);
    let places = meaning.subnets.iter();
    places
        .map(|(name, subnet)| ((*name).to_owned(), subnet.place))
        .collect()
}
