//! With packets: workloads of a VPC reach its services, clients outside reach external addresses, and nothing else does.
//!
//! Every test starts an OVN lab and the real controller on a directory of manifests, and asks who answers. Missing is
//! SCTP: the userspace datapath that any kernel can run has no connection tracking for it. The rows it becomes are
//! compared in the planner's golden tests. What else that datapath cannot do is in the module `kernel`.

mod affinity;
mod balance;
mod changes;
mod crossing;
mod dns;
mod eip;
mod failover;
mod isolation;
mod kernel;
mod kinds;
mod play;
mod refusal;
mod source_ports;
mod world;
