//! The real program on a real Kubernetes API server and a real Northbound: what objects become and are told, which of
//! several replicas writes, and what happens when a part of the world goes away and comes back.
//!
//! The program has the rights of `manifests/rbac` and no others.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

#[path = "../common/mod.rs"]
mod common;
mod fairness;
mod gate;
mod kubevirt;
mod losses;
mod objects;
mod outages;
mod replicas;
mod rights;
mod world;
