//! The controller's edges: where objects come from, where their status goes, who may write, and what is measured. What
//! an object means is the planner's to say (`yusur_planner`); what reaches the Northbound is the engine's.
//!
//! Data goes one way: [`source`] → [`engine`] (inventory, plan, transaction) → [`status`].

pub mod cli;
pub mod engine;
pub mod http;
pub mod leadership;
pub mod metrics;
pub mod run;
pub mod source;
pub mod southbound;
pub mod status;
pub mod telemetry;
