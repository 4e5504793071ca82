//! A judge of the Northbound: reads the objects and the rows and says what is wrong, by the rules of the API's
//! documentation (`docs/kinds`, `docs/architecture.md`) and of ovn-nb(5).
//!
//! It is written apart from the planner, which it does not know (see this crate's dependencies), so that a misreading
//! of a rule is not its own excuse. It is slow and simple where the planner is quick: everything is computed anew from
//! everything. It does not say what the rows must be, byte for byte, but what must be true of them:
//!
//! - every row is somebody's: of an object that is there, or of a stranger, and then as the stranger left it;
//! - nothing is there twice: no switch of a Subnet, port of a Pod, load balancer of a service, name or address;
//! - every VIP has exactly its ready backends, on every switch of its VPC and on no other;
//! - no row of one VPC names another's address;
//! - names resolve to what is served, and statuses record what was allocated;
//! - nobody has what another had before and asks for still ([`Holders`]).
//!
//! Where documents leave a choice (which free address, which Subnet for a Pod that was placed before its namespace's
//! default changed) every choice that fits is accepted.

mod fields;
mod meaning;
mod network;
mod objects;
mod rows;
mod rules;

pub use fields::{Fields, Met};
pub use meaning::Place;
pub use objects::{Key, Meta, Node, Objects, Pod, Vmi};
pub use rows::{Foreign, Tables};
pub use rules::{Complaint, Holders, Rule, Terms, check, places};
