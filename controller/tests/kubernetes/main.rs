//! The Kubernetes edges before a real API server: watches, the Lease, status and Events, with no more rights than
//! `manifests/rbac` gives.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod election;
mod pace;
mod support;
mod watches;
mod writer;
