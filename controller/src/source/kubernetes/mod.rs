//! The Kubernetes API as the source of objects: one watch a kind, each a streaming list where the server can do it.
//!
//! Objects are decoded straight into the planner's compact forms (`source::shape`); managed fields and everything else
//! nobody reads are skipped over and never stored. What cannot be decoded is told as a problem of that one object.

mod client;
mod follow;
mod kinds;
pub mod lease;
mod resource;
mod watched;

use kube::Client;
use tokio::task::JoinSet;
use yusur_planner::Kind;

pub use client::{connect, connect_without_retries};
pub(crate) use resource::Resource;

use super::Sources;

/// The running source. Dropping it stops it.
#[derive(Debug)]
pub struct Kubernetes {
    _watches: JoinSet<()>,
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Starts watching every kind there is. Must be called on a Tokio runtime.
    pub fn start(client: &Client) -> (Self, Sources) {
        let (sender, sources) = Sources::channel(kinds::ALL.to_vec());
        let mut watches = JoinSet::new();
        for kind in kinds::ALL {
            kinds::spawn(kind, &mut watches, client.clone(), sender.clone());
        }
        (Self { _watches: watches }, sources)
    }
}

/// Whether a cluster can do without the kind: it belongs to another project, which may not be installed.
fn optional(kind: Kind) -> bool {
    kind == Kind::VirtualMachineInstance
}
