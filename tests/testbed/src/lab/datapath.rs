//! What Open vSwitch forwards packets with on the lab's chassis.

use anyhow::{Result, bail};

/// A datapath of Open vSwitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datapath {
    /// In ovs-vswitchd itself, on any kernel. It drops a packet that passes through more than eight tables of OVN's
    /// load balancers and NAT, each a recirculation, and tracks no SCTP.
    Userspace,
    /// The kernel's `openvswitch`, which has neither limit. It must be built in or loaded; the testbed's guest has it.
    Kernel,
}

impl Datapath {
    /// The one that the environment's `YUSUR_DATAPATH` asks for: `userspace` (also when unset) or `kernel`.
    ///
    /// # Errors
    /// If it says anything else.
    pub fn chosen() -> Result<Self> {
        match std::env::var("YUSUR_DATAPATH").as_deref() {
            Err(_) | Ok("" | "userspace") => Ok(Self::Userspace),
            Ok("kernel") => Ok(Self::Kernel),
            Ok(other) => bail!("YUSUR_DATAPATH is {other:?}; it may be userspace or kernel"),
        }
    }

    /// Its `datapath_type` in the Bridge table (ovs-vswitchd.conf.db(5)).
    pub(super) fn bridge_type(self) -> &'static str {
        match self {
            Self::Userspace => "netdev",
            Self::Kernel => "system",
        }
    }
}
