//! What a unit wants: its rows, and what to say about its object. One file per unit.
//!
//! [`desired`] cannot fail: what is wrong with the input becomes part of the verdict, the invalid part is withdrawn and
//! the rest stands.

mod apportion;
mod balancers;
mod calls;
mod connection;
mod crossing;
mod dns;
mod eip;
mod eip_gateway;
mod global;
mod inside;
mod join;
mod limits;
mod outside;
mod port;
mod service;
mod service_gateway;
mod subnet;
mod vips;
mod vpc;

use std::borrow::Cow;

use ovsdb_model::{Row, Table, Uuid};
use yusur_crds::common::condition;

use crate::inventory::{Inventory, Problem};
use crate::nb::{self, TableSpec};
use crate::uid::Uid;
use crate::unit::Unit;
use crate::verdict::{Condition, Status, Subject, Truth, Verdict};

/// The rows a unit wants, in no order.
pub type Rows = Vec<DesiredRow>;

/// One row a unit wants.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredRow {
    /// What the planner does with its table.
    pub table: &'static TableSpec,
    /// Its id.
    pub uuid: Uuid,
    /// Its columns of the classes [`nb::Class::Whole`], [`nb::Class::Keys`] and [`nb::Class::Named`].
    pub row: Row,
    /// The rows that are to refer to it, and no others.
    pub referrers: Vec<Referrer>,
    /// A row of another unit that it names in a column of its own: the server refuses it without.
    pub rests_on: Option<Support>,
}

/// A row that another rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// Its table.
    pub table: &'static str,
    /// Its id.
    pub row: Uuid,
    /// The unit that makes it.
    pub maker: Unit,
}

/// A row that is to have another among the members of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Its table.
    pub table: &'static str,
    /// Its id.
    pub row: Uuid,
    /// The column.
    pub column: &'static str,
    /// The unit that makes it, unless it is a row of others, which is there already.
    pub maker: Option<Unit>,
}

impl Referrer {
    /// A row that the same unit makes.
    fn own(unit: &Unit, table: &'static str, row: Uuid, column: &'static str) -> Self {
        Self {
            table,
            row,
            column,
            maker: Some(unit.clone()),
        }
    }
}

impl DesiredRow {
    /// A row made of a table's Rust type. The columns that are not the row's own to say (members, the server's) are left
    /// out.
    pub(crate) fn new<T: Table>(uuid: Uuid, value: &T, referrers: Vec<Referrer>) -> Option<Self> {
        let table = nb::table(T::NAME)?;
        let mut row = value.to_row();
        row.retain(|column| table.says(column));
        Some(Self {
            table,
            uuid,
            row,
            referrers,
            rests_on: None,
        })
    }

    /// The same row, which names another.
    pub(crate) fn resting_on(mut self, support: Support) -> Self {
        self.rests_on = Some(support);
        self
    }
}

/// What the unit wants, and what to say about its object supposing that it gets it.
pub fn desired(unit: &Unit, inventory: &Inventory) -> (Rows, Verdict) {
    match unit {
        Unit::Vpc(name) => vpc::desired(unit, name, inventory),
        Unit::Subnet(name) => subnet::desired(unit, name, inventory),
        Unit::Dns(vpc, bucket) => (dns::desired(unit, vpc, *bucket, inventory), silent(unit)),
        Unit::Pod(_) | Unit::VNic(_) => port::desired(unit, inventory),
        Unit::Service(name) => service::desired(unit, name, inventory),
        Unit::EipGateway(name) => eip_gateway::desired(unit, name, inventory),
        Unit::ServiceGateway(name) => (
            service_gateway::desired(unit, name, inventory),
            silent(unit),
        ),
        Unit::Eip(name) => eip::desired(unit, name, inventory),
        Unit::Calls(vpc) => (calls::desired(unit, vpc, inventory), silent(unit)),
        Unit::Global => (global::desired(inventory), silent(unit)),
        Unit::Other(_) => (Vec::new(), silent(unit)),
    }
}

/// The verdict on a unit without an object: nobody to tell.
fn silent(unit: &Unit) -> Verdict {
    Verdict {
        unit: unit.clone(),
        object: None,
        conditions: Vec::new(),
        status: Status::None,
        record_first: false,
    }
}

fn subject(unit: &Unit, uid: &Uid, generation: i64) -> Option<Subject> {
    Some(Subject {
        object: unit.object()?,
        uid: uid.to_string(),
        generation,
    })
}

fn say(
    kind: &'static str,
    status: Truth,
    reason: &'static str,
    message: impl Into<Cow<'static, str>>,
) -> Condition {
    Condition {
        kind,
        status,
        reason,
        message: message.into(),
    }
}

/// `Accepted`, by whether there is a problem.
fn accepted(problem: Option<&Problem>, fine: impl Into<Cow<'static, str>>) -> Condition {
    match problem {
        None => say(condition::ACCEPTED, Truth::True, "Accepted", fine),
        Some(problem) => say(
            condition::ACCEPTED,
            Truth::False,
            problem.reason,
            problem.message.clone(),
        ),
    }
}

/// `Programmed`, where nothing hinders.
fn programmed() -> Condition {
    say(
        condition::PROGRAMMED,
        Truth::True,
        "Programmed",
        "all rows are in the OVN Northbound",
    )
}

/// A condition that is false for the same reason as another.
fn follows(kind: &'static str, problem: &Problem) -> Condition {
    say(kind, Truth::False, problem.reason, problem.message.clone())
}
