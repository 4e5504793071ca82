//! The planner: API objects in, OVN Northbound rows out. Pure: no clock, no randomness, no input or output, so that the
//! controller, `yusurctl plan` and the tests share one.
//!
//! Data goes one way. An edge feeds it like this (one thread, no waiting inside):
//!
//! ```text
//! for (table, index) in nb::indexes(owner) { database.declare_index(table, index) }   // once, on the replica
//!
//! Inventory::new(Config::new(owner))
//! inventory.apply(change)                   // objects, in any order; before and after loading
//! // once every source has answered in full and the replica is there; and again after the replica was resynchronised:
//! inventory.load(&database)                 // everything known becomes dirty, adopted routers and switches are found
//! let census = inventory.census(&database)  // services the Northbound has, services that are gone
//! if !mass_deletion(census.services, census.gone) || allowed { inventory.sweep(&database) }   // orphans become dirty
//!
//! // then, whenever something changed and no transaction is in flight (while one is: see Plan::stands_beside):
//! inventory.observe(&batch, &database)      // rows that changed in the Northbound, ours or not
//! let units = inventory.take_dirty(&database, max)
//! let plan = plan(&units, &inventory, &database)
//! inventory.planned(&plan)
//! transact(operations(&plan.groups))        // or run by run of groups, bounded by Group::size
//!   committed -> observe what came meanwhile, inventory.committed(&plan.groups, raised, &database), publish Group::verdicts
//!   failed    -> publish Verdict::uncommitted, inventory.lost(&group), inventory.put_back(&group.units) after a backoff
//! publish plan.verdicts                     // nothing to write for these; plan.held wait for ovn-northd:
//! while inventory.needs_raise() -> raise NB_Global.nb_cfg, at a bounded pace
//!   where verdict.record_first: write the status, then inventory.recorded(&verdict.unit, &verdict.record())
//! ```
//!
//! [`desired()`] says what rows a unit wants and what to say about its object; [`plan()`] compares with the replica.

mod desired;
mod family;
mod input;
mod inventory;
mod name;
pub mod nb;
mod northd;
mod plan;
mod ranges;
mod round;
mod run;
mod uid;
mod unit;
mod verdict;

pub use desired::{DesiredRow, Referrer, Rows, Support, desired};
pub use family::Family;
pub use input::{
    Change, Config, Meta, NamedPort, Node, Object, Pod, SUBNET_ANNOTATION, VirtualMachineInstance,
};
pub use inventory::{Addresses, Census, Inventory, Problem, mass_deletion};
pub use name::{Name, ObjectName};
pub use plan::{Group, Held, Plan, operations, plan};
pub use ranges::Ranges;
pub use round::{Bounds, Part, Refused, Round};
pub use run::{Northbound, Unsettled, run};
pub use uid::Uid;
pub use unit::{Kind, ObjectRef, Unit};
pub use verdict::{
    Condition, Event, LIMITED, NOT_YET_SUPPORTED, Severity, Status, Subject, Truth, Verdict,
};
