//! The OVN Northbound tables the planner writes, as Rust types; whose each column is; the ids of rows.
//!
//! The meaning of the columns is in ovn-nb(5).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ovsdb_model::{Atom, Database, Datum, Index, Row, SmolStr, Table, Uuid};

use crate::name::Name;
use crate::unit::Unit;

/// The key of `external_ids` that says whose a row is.
pub const OWNER: &str = "yusur.io/owner";
/// The key of `external_ids` that says which unit a row belongs to.
pub const UNIT: &str = "yusur.io/unit";
/// The key of a port's `external_ids` that says which object's it is, by uid: a Pod may be followed by a namesake.
pub const UID: &str = "yusur.io/uid";
/// The key of a port's `external_ids` that says which Subnet its addresses are of.
pub const SUBNET: &str = "yusur.io/subnet";
/// The key of an HA_Chassis_Group's `external_ids` that says for which nodes, in the order of the spec, its priorities
/// were set.
pub const NODES: &str = "yusur.io/nodes";
/// The key of an HA_Chassis_Group's `external_ids` that names the nodes that failed, while that counts.
pub const FAILED: &str = "yusur.io/failed";
/// The key of `external_ids` that says which row this is, by the UUID that is its own, where it stands under another (see
/// [`Renewal::Fresh`]).
pub const ROW: &str = "yusur.io/row";
/// What all our keys of `external_ids` begin with. Keys that do not are left alone.
pub const PREFIX: &str = "yusur.io/";

/// Text of columns: short texts (addresses, keys) need no allocation.
pub type Text = SmolStr;
/// A map column.
pub type Map = BTreeMap<Text, Text>;

/// The router of a VPC, an EIP gateway or a service gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Table)]
#[ovsdb(table = "Logical_Router")]
pub struct LogicalRouter {
    /// Name; unique by our own care.
    pub name: Text,
    /// Ports, children of the router.
    pub ports: BTreeSet<Uuid>,
    /// Routes, children of the router.
    pub static_routes: BTreeSet<Uuid>,
    /// Address translations, children of the router.
    pub nat: BTreeSet<Uuid>,
    /// The groups whose load balancers its traffic meets.
    pub load_balancer_group: BTreeSet<Uuid>,
    /// Load balancers that only this router carries.
    pub load_balancer: BTreeSet<Uuid>,
    /// Options; which of them are ours is said in `external_ids`.
    pub options: Map,
    /// Labels.
    pub external_ids: Map,
}

/// A router's port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Table)]
#[ovsdb(table = "Logical_Router_Port")]
pub struct LogicalRouterPort {
    /// Name, unique in the database.
    pub name: Text,
    /// MAC address.
    pub mac: Text,
    /// Addresses with prefix lengths.
    pub networks: BTreeSet<Text>,
    /// The chassis one of which has the port: what makes it a distributed gateway port.
    pub ha_chassis_group: Option<Uuid>,
    /// False takes it down.
    pub enabled: Option<bool>,
    /// Labels.
    pub external_ids: Map,
}

/// A router's static route.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "Logical_Router_Static_Route")]
pub struct StaticRoute {
    /// The routing table it is in; the empty name is the main one.
    pub route_table: Text,
    /// Destination network.
    pub ip_prefix: Text,
    /// Whether the prefix is of sources or destinations; destinations where there is none.
    pub policy: Option<Text>,
    /// Address of the next hop, or `discard`.
    pub nexthop: Text,
    /// The port it leaves by; found from the next hop where there is none.
    pub output_port: Option<Text>,
    /// Labels.
    pub external_ids: Map,
}

impl StaticRoute {
    /// A route to a destination, in the main table.
    pub fn new(ip_prefix: Text, nexthop: Text, external_ids: Map) -> Self {
        Self {
            route_table: Text::default(),
            ip_prefix,
            policy: None,
            nexthop,
            output_port: None,
            external_ids,
        }
    }
}

/// A Subnet's switch, or one of an EIP gateway's two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Table)]
#[ovsdb(table = "Logical_Switch")]
pub struct LogicalSwitch {
    /// Name; unique by our own care.
    pub name: Text,
    /// Ports, children of the switch.
    pub ports: BTreeSet<Uuid>,
    /// The groups whose load balancers its ports' traffic meets.
    pub load_balancer_group: BTreeSet<Uuid>,
    /// The DNS rows its ports' queries are answered from.
    pub dns_records: BTreeSet<Uuid>,
    /// What may pass, children of the switch.
    pub acls: BTreeSet<Uuid>,
    /// Labels.
    pub external_ids: Map,
}

/// A switch's port: of a Pod, a VNic, towards a router or a physical network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Table)]
#[ovsdb(table = "Logical_Switch_Port")]
pub struct LogicalSwitchPort {
    /// Name, unique in the database: the `iface-id` of the interface that is this port.
    pub name: Text,
    /// Empty for a VIF, `router` for the peer of a router's port, `localnet` for a physical network.
    #[ovsdb(column = "type")]
    pub kind: Text,
    /// Type-specific options.
    pub options: Map,
    /// `MAC ADDRESS…`, or `router`.
    pub addresses: BTreeSet<Text>,
    /// The addresses it may send from; any if empty.
    pub port_security: BTreeSet<Text>,
    /// VLAN of a localnet port.
    pub tag: Option<i64>,
    /// False takes it down.
    pub enabled: Option<bool>,
    /// Written by OVN: the port is bound to a chassis and its flows are installed.
    pub up: Option<bool>,
    /// Labels.
    pub external_ids: Map,
}

impl LogicalSwitchPort {
    /// The switch's end of a link to this port of a router.
    pub fn to_router(name: Text, router_port: Text, external_ids: Map) -> Self {
        Self {
            name,
            kind: Text::new_static("router"),
            options: Map::from([(Text::new_static("router-port"), router_port)]),
            addresses: BTreeSet::from([Text::new_static("router")]),
            external_ids,
            ..Self::default()
        }
    }
}

/// A service's load balancer: its VIPs of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "Load_Balancer")]
pub struct LoadBalancer {
    /// Name, for people.
    pub name: Text,
    /// `address:port` to `address:port,…`.
    pub vips: Map,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Option<Text>,
    /// Fields the backend is chosen by; the 5-tuple if empty.
    pub selection_fields: BTreeSet<Text>,
    /// Options.
    pub options: Map,
    /// OVN's own health checks: none, for they remove backends without a mapping.
    pub health_check: BTreeSet<Uuid>,
    /// The ports of backends, for OVN's own health checks.
    pub ip_port_mappings: Map,
    /// Labels.
    pub external_ids: Map,
}

/// A translation of addresses on a router.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "NAT")]
pub struct Nat {
    /// `snat`, `dnat` or `dnat_and_snat`.
    #[ovsdb(column = "type")]
    pub kind: Text,
    /// Address outside.
    pub external_ip: Text,
    /// Address, or network, inside.
    pub logical_ip: Text,
    /// Options.
    pub options: Map,
    /// Labels.
    pub external_ids: Map,
}

/// A rule about what may pass a switch.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "ACL")]
pub struct Acl {
    /// `from-lport` or `to-lport`.
    pub direction: Text,
    /// 0 to 32767; the highest that matches counts.
    pub priority: i64,
    /// Which packets (an OVN expression).
    #[ovsdb(column = "match")]
    pub expression: Text,
    /// What becomes of them.
    pub action: Text,
    /// Labels.
    pub external_ids: Map,
}

/// Addresses that rules name as one.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "Address_Set")]
pub struct AddressSet {
    /// Name, unique in the database; `$name` in expressions, so without hyphens (OVN would discard the rule).
    pub name: Text,
    /// The addresses, of one family (of a mixture OVN discards the rule).
    pub addresses: BTreeSet<Text>,
    /// Labels.
    pub external_ids: Map,
}

/// The chassis among which a gateway port moves.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "HA_Chassis_Group")]
pub struct HaChassisGroup {
    /// Name, unique in the database.
    pub name: Text,
    /// Its chassis, children of the group.
    pub ha_chassis: BTreeSet<Uuid>,
    /// Labels.
    pub external_ids: Map,
}

/// A chassis of a group, with its rank.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "HA_Chassis")]
pub struct HaChassis {
    /// The chassis' name.
    pub chassis_name: Text,
    /// 0 to 32767; of those that live the highest serves.
    pub priority: i64,
    /// Labels.
    pub external_ids: Map,
}

/// The one row for what is said about all of OVN.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "NB_Global")]
pub struct NbGlobal {
    /// Options.
    pub options: Map,
    /// Labels, and which of `options` are ours.
    pub external_ids: Map,
}

/// All load balancers of a VPC. It has no `external_ids`: its name says whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "Load_Balancer_Group")]
pub struct LoadBalancerGroup {
    /// Name, unique in the database.
    pub name: Text,
    /// The load balancers.
    pub load_balancer: BTreeSet<Uuid>,
}

/// Names that OVN answers DNS queries for.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[ovsdb(table = "DNS")]
pub struct Dns {
    /// Lower-case name to addresses, separated by blanks.
    pub records: Map,
    /// Labels.
    pub external_ids: Map,
}

/// Whose a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ours whole: it says what we want, nothing else.
    Whole,
    /// Ours by key: keys that begin with [`PREFIX`] are ours, others are left alone.
    Keys,
    /// Ours by name: the keys a desired row names, and those it named before (the row's `external_ids` record which, see
    /// [`options_key`]). Others are left alone, and ours are given back.
    Named,
    /// Ours by member: references to rows of ours are ours, others are left alone. Changed only by `mutate`.
    Members,
    /// The server's or OVN's: read, never written.
    Server,
}

/// How a row comes back after it was deleted, while ovn-northd has not acknowledged that it is gone (see [`crate::Plan`] and
/// the module `northd`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// At once, under a UUID that no row ever had; [`ROW`] says which row it is. For rows that only their referrers
    /// name, and that have `external_ids`.
    Fresh,
    /// Once it is acknowledged.
    Waits {
        /// Its name is unique in the table: no other row of that name comes sooner either.
        unique_name: bool,
    },
}

/// What the planner does with one table.
#[derive(Debug)]
pub struct TableSpec {
    /// Its name.
    pub name: &'static str,
    /// Rows of it live by themselves (`isRoot`); others live as long as a row refers to them.
    pub root: bool,
    /// How its rows come back.
    pub renewal: Renewal,
    /// Every column that is read or written, and whose it is. Columns not named here are never looked at.
    pub columns: &'static [(&'static str, Class)],
    /// The columns, of class [`Class::Members`], that refer to rows of this table.
    pub referrers: &'static [(&'static str, &'static str)],
}

impl TableSpec {
    /// Whether a desired row says what this column is to be (rather than by members, or not at all).
    pub fn says(&self, column: &str) -> bool {
        self.columns.iter().any(|(name, class)| {
            *name == column && matches!(class, Class::Whole | Class::Keys | Class::Named)
        })
    }

    /// Whether its rows are others', and only what our record names in them is ours: then we make none.
    pub fn is_others(&self) -> bool {
        let mut columns = self.columns.iter();
        columns.all(|(_, class)| matches!(class, Class::Named | Class::Server))
    }
}

impl PartialEq for TableSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const WAITS: Renewal = Renewal::Waits { unique_name: false };
const WAITS_FOR_NAME: Renewal = Renewal::Waits { unique_name: true };

/// Every table the planner writes.
pub const TABLES: &[TableSpec] = &[
    TableSpec {
        name: LogicalRouter::NAME,
        root: true,
        renewal: WAITS,
        columns: &[
            ("name", Class::Whole),
            ("ports", Class::Members),
            ("static_routes", Class::Members),
            ("nat", Class::Members),
            ("load_balancer_group", Class::Members),
            ("load_balancer", Class::Members),
            ("options", Class::Named),
            ("external_ids", Class::Keys),
        ],
        referrers: &[],
    },
    TableSpec {
        name: LogicalRouterPort::NAME,
        root: false,
        renewal: WAITS_FOR_NAME,
        columns: &[
            ("name", Class::Whole),
            ("mac", Class::Whole),
            ("networks", Class::Whole),
            ("ha_chassis_group", Class::Whole),
            ("enabled", Class::Whole),
            ("external_ids", Class::Keys),
        ],
        referrers: &[(LogicalRouter::NAME, "ports")],
    },
    TableSpec {
        name: StaticRoute::NAME,
        root: false,
        renewal: Renewal::Fresh,
        columns: &[
            ("route_table", Class::Whole),
            ("ip_prefix", Class::Whole),
            ("policy", Class::Whole),
            ("nexthop", Class::Whole),
            ("output_port", Class::Whole),
            ("external_ids", Class::Keys),
        ],
        referrers: &[(LogicalRouter::NAME, "static_routes")],
    },
    TableSpec {
        name: LogicalSwitch::NAME,
        root: true,
        renewal: WAITS,
        columns: &[
            ("name", Class::Whole),
            ("ports", Class::Members),
            ("load_balancer_group", Class::Members),
            ("dns_records", Class::Members),
            ("acls", Class::Members),
            ("external_ids", Class::Keys),
        ],
        referrers: &[],
    },
    TableSpec {
        name: LogicalSwitchPort::NAME,
        root: false,
        renewal: WAITS_FOR_NAME,
        columns: &[
            ("name", Class::Whole),
            ("type", Class::Whole),
            ("options", Class::Whole),
            ("addresses", Class::Whole),
            ("port_security", Class::Whole),
            ("tag", Class::Whole),
            ("enabled", Class::Whole),
            ("up", Class::Server),
            ("external_ids", Class::Keys),
        ],
        referrers: &[(LogicalSwitch::NAME, "ports")],
    },
    TableSpec {
        name: LoadBalancer::NAME,
        root: true,
        renewal: Renewal::Fresh,
        columns: &[
            ("name", Class::Whole),
            ("vips", Class::Whole),
            ("protocol", Class::Whole),
            ("selection_fields", Class::Whole),
            ("options", Class::Whole),
            ("health_check", Class::Whole),
            ("ip_port_mappings", Class::Whole),
            ("external_ids", Class::Keys),
        ],
        referrers: &[
            (LoadBalancerGroup::NAME, "load_balancer"),
            (LogicalRouter::NAME, "load_balancer"),
        ],
    },
    TableSpec {
        name: LoadBalancerGroup::NAME,
        root: true,
        renewal: WAITS_FOR_NAME,
        columns: &[("name", Class::Whole), ("load_balancer", Class::Members)],
        referrers: &[
            (LogicalSwitch::NAME, "load_balancer_group"),
            (LogicalRouter::NAME, "load_balancer_group"),
        ],
    },
    TableSpec {
        name: Nat::NAME,
        root: false,
        renewal: Renewal::Fresh,
        columns: &[
            ("type", Class::Whole),
            ("external_ip", Class::Whole),
            ("logical_ip", Class::Whole),
            ("options", Class::Whole),
            ("external_ids", Class::Keys),
        ],
        referrers: &[(LogicalRouter::NAME, "nat")],
    },
    TableSpec {
        name: Acl::NAME,
        root: false,
        renewal: Renewal::Fresh,
        columns: &[
            ("direction", Class::Whole),
            ("priority", Class::Whole),
            ("match", Class::Whole),
            ("action", Class::Whole),
            ("external_ids", Class::Keys),
        ],
        referrers: &[(LogicalSwitch::NAME, "acls")],
    },
    TableSpec {
        name: AddressSet::NAME,
        root: true,
        renewal: WAITS_FOR_NAME,
        columns: &[
            ("name", Class::Whole),
            ("addresses", Class::Whole),
            ("external_ids", Class::Keys),
        ],
        referrers: &[],
    },
    TableSpec {
        name: HaChassisGroup::NAME,
        root: true,
        renewal: WAITS_FOR_NAME,
        columns: &[
            ("name", Class::Whole),
            ("ha_chassis", Class::Members),
            ("external_ids", Class::Keys),
        ],
        referrers: &[],
    },
    TableSpec {
        name: HaChassis::NAME,
        root: false,
        renewal: Renewal::Fresh,
        columns: &[
            ("chassis_name", Class::Whole),
            ("priority", Class::Whole),
            ("external_ids", Class::Keys),
        ],
        referrers: &[(HaChassisGroup::NAME, "ha_chassis")],
    },
    TableSpec {
        name: NbGlobal::NAME,
        root: true,
        renewal: WAITS,
        columns: &[
            ("options", Class::Named),
            ("external_ids", Class::Named),
            ("nb_cfg", Class::Server),
            ("sb_cfg", Class::Server),
        ],
        referrers: &[],
    },
    TableSpec {
        name: Dns::NAME,
        root: true,
        renewal: Renewal::Fresh,
        columns: &[("records", Class::Whole), ("external_ids", Class::Keys)],
        referrers: &[(LogicalSwitch::NAME, "dns_records")],
    },
];

/// What the planner does with this table; `None` if it does not touch it.
pub fn table(name: &str) -> Option<&'static TableSpec> {
    TABLES.iter().find(|table| table.name == name)
}

/// The name of the index from a unit (its text) to the rows that carry its name and ours. Beside it every column of
/// class [`Class::Members`] has an index called like itself: from a row to the rows that refer to it.
pub const BY_UNIT: &str = "yusur-unit";

/// The name of the index from the UUID that is a row's own to the row of ours that says by [`ROW`] that it is that row.
const BY_ROW: &str = "yusur-row";

/// Where a row stands: under the UUID that is its own, or under another that says so. `None` if it is not there.
pub fn standing(database: &Database, table: &TableSpec, own: Uuid) -> Option<Uuid> {
    if database.has(table.name, own) {
        return Some(own);
    }
    database
        .find_uuids(table.name, BY_ROW, &Atom::Uuid(own))
        .next()
}

/// The row whose own UUID this is, wherever it stands.
pub fn row_of<T: Table>(database: &Database, own: Uuid) -> Option<Arc<Row>> {
    let row = standing(database, table(T::NAME)?, own)?;
    database.row(T::NAME, row)
}

/// The column, and the index, from a group of chassis to the router ports that are on it.
pub const CHASSIS_GROUP: &str = "ha_chassis_group";

/// The indexes that [`crate::plan()`] and [`crate::Inventory`] read: declare them on the replica before it is filled.
pub fn indexes(owner: &str) -> Vec<(&'static str, Index)> {
    let mut indexes = Vec::new();
    let prefix = group_prefix(owner);
    for table in TABLES {
        let unit = if table.name == LoadBalancerGroup::NAME {
            let prefix = prefix.clone();
            Index::new(BY_UNIT, move |row, key| {
                if let Some(vpc) = row
                    .get_str("name")
                    .and_then(|name| name.strip_prefix(&prefix))
                {
                    let vpc = vpc.strip_suffix(ON_SWITCHES).unwrap_or(vpc);
                    key(&Atom::from(Unit::Vpc(vpc.into()).to_string()));
                }
            })
        } else {
            let owner = owner.to_owned();
            Index::new(BY_UNIT, move |row, key| {
                if row.map_str("external_ids", OWNER) == Some(&owner) {
                    let unit = row
                        .get("external_ids")
                        .and_then(|ids| ids.get(&Atom::literal(UNIT)));
                    key(unit.unwrap_or(&Atom::literal("")));
                }
            })
        };
        indexes.push((table.name, unit));
        if table.renewal == Renewal::Fresh {
            let owner = owner.to_owned();
            let row = Index::new(BY_ROW, move |row, key| {
                let ids = row.get("external_ids");
                let Some(own) = ids.and_then(|ids| ids.get_str(ROW)) else {
                    return;
                };
                if row.map_str("external_ids", OWNER) == Some(&owner)
                    && let Ok(own) = Uuid::try_parse(own)
                {
                    key(&Atom::Uuid(own));
                }
            });
            indexes.push((table.name, row));
        }
        if table.name == LogicalRouterPort::NAME {
            indexes.push((table.name, Index::column(CHASSIS_GROUP)));
        }
        for (column, class) in table.columns {
            if *class == Class::Members {
                indexes.push((table.name, Index::column(*column)));
            }
        }
    }
    indexes
}

/// What follows the VPC's name in the name of the group that only its switches carry.
const ON_SWITCHES: &str = "/switches";

/// The EIP gateway that a port of the Southbound (`Port_Binding.logical_port`) is the way out of: the chassis that port is
/// bound to is the node that serves.
pub fn gateway_of_port<'a>(owner: &str, logical_port: &'a str) -> Option<&'a str> {
    let name = logical_port.strip_prefix("cr-yusur:")?;
    let unit = name.strip_prefix(owner)?.strip_prefix(':')?;
    unit.strip_prefix("eipgateway/")?
        .strip_suffix("/outside-router")
}

/// What the names of our load balancer groups begin with; the VPC's name follows.
pub fn group_prefix(owner: &str) -> String {
    format!("yusur:{owner}:")
}

/// The unit a row belongs to, if it is a row of `owner`.
pub fn unit_of(owner: &str, table: &str, row: &Row) -> Option<Unit> {
    if table == LoadBalancerGroup::NAME {
        let vpc = row
            .get_str("name")?
            .strip_prefix("yusur:")?
            .strip_prefix(owner)?
            .strip_prefix(':')?;
        let vpc = vpc.strip_suffix(ON_SWITCHES).unwrap_or(vpc);
        return Some(Unit::Vpc(vpc.into()));
    }
    let ids = row.get("external_ids")?;
    (ids.get_str(OWNER)? == owner).then(|| Unit::parse(ids.get_str(UNIT).unwrap_or_default()))
}

/// The addresses and ports that a load balancer's row is reached at.
pub(crate) fn vips(balancer: &Row) -> Vec<SocketAddr> {
    let vips = balancer.get("vips").map(Datum::pairs).unwrap_or_default();
    let vips = vips.iter().filter_map(|(vip, _)| vip.as_str());
    vips.filter_map(|vip| vip.parse().ok()).collect()
}

/// The key of a row's `external_ids` that says which of its options are this owner's.
pub fn options_key(owner: &str) -> Text {
    Text::from(format!("{PREFIX}{owner}.options"))
}

/// Makes the ids and names of rows.
#[derive(Clone, Debug)]
pub struct Ids {
    owner: Name,
    space: Uuid,
}

/// The namespace of all ids: UUIDv5 of the API group's name in the DNS namespace (RFC 9562 §5.5).
const SPACE: Uuid = Uuid::from_u128(0x4525_7470_b989_5721_883a_c678_49f1_7ea5);

impl Ids {
    /// The ids of this owner's rows.
    pub fn new(owner: Name) -> Self {
        let space = Uuid::new_v5(&SPACE, owner.as_bytes());
        Self { owner, space }
    }

    /// Whose rows these are.
    pub fn owner(&self) -> &Name {
        &self.owner
    }

    /// The id of a row: UUIDv5 of owner, table and key (decision 2 of the design: a restart needs no bookkeeping).
    pub fn row(&self, table: &str, key: &str) -> Uuid {
        let mut text = String::with_capacity(table.len() + key.len() + 1);
        text.push_str(table);
        text.push('\0');
        text.push_str(key);
        Uuid::new_v5(&self.space, text.as_bytes())
    }

    /// The id of a VPC's router, where it is not an existing one.
    pub fn router(&self, vpc: &str) -> Uuid {
        self.row(LogicalRouter::NAME, vpc)
    }

    /// The id of a VPC's load balancer group.
    pub fn group(&self, vpc: &str) -> Uuid {
        self.row(LoadBalancerGroup::NAME, vpc)
    }

    /// The id of the group that only a VPC's switches carry, not its router.
    pub fn switch_group(&self, vpc: &str) -> Uuid {
        self.row(LoadBalancerGroup::NAME, &format!("{vpc}{ON_SWITCHES}"))
    }

    /// The name of that group.
    pub fn switch_group_name(&self, vpc: &str) -> Text {
        self.name(format_args!("{vpc}{ON_SWITCHES}"))
    }

    /// The id of the set of addresses that a VPC's workloads may call, of `ip4` or `ip6`.
    pub fn calls(&self, vpc: &str, ip: &str) -> Uuid {
        self.row(AddressSet::NAME, &format!("{vpc}/{ip}"))
    }

    /// The id of a service's load balancer of one protocol on a VPC's router.
    pub fn vpc_balancer(&self, service: &Unit, protocol: &str, vpc: &str) -> Uuid {
        self.row(
            LoadBalancer::NAME,
            &format!("{service}/{protocol}/vpc/{vpc}"),
        )
    }

    /// The id of a service's load balancer of one protocol on the router of its EIP gateway, or of its service gateway.
    pub fn gateway_balancer(&self, service: &Unit, protocol: &str) -> Uuid {
        self.row(LoadBalancer::NAME, &format!("{service}/{protocol}/gateway"))
    }

    /// The id of a Subnet's switch, where it is not an existing one.
    pub fn switch(&self, subnet: &str) -> Uuid {
        self.row(LogicalSwitch::NAME, subnet)
    }

    /// The id of a Pod's or VNic's port.
    pub fn port(&self, unit: &Unit) -> Uuid {
        self.row(LogicalSwitchPort::NAME, &unit.to_string())
    }

    /// The id of a service's load balancer of one protocol (`tcp`, `udp`, `sctp`).
    pub fn load_balancer(&self, service: &Unit, protocol: &str) -> Uuid {
        self.row(LoadBalancer::NAME, &format!("{service}/{protocol}"))
    }

    /// The rows a unit may have whose ids follow from its name: they are its own even if somebody took their labels off.
    pub(crate) fn of_unit(&self, unit: &Unit) -> Vec<(&'static str, Uuid)> {
        match unit {
            Unit::Vpc(name) => vec![
                (LogicalRouter::NAME, self.router(name)),
                (LoadBalancerGroup::NAME, self.group(name)),
                (LoadBalancerGroup::NAME, self.switch_group(name)),
            ],
            Unit::Subnet(name) => vec![
                (LogicalSwitch::NAME, self.switch(name)),
                (
                    LogicalRouterPort::NAME,
                    self.row(LogicalRouterPort::NAME, name),
                ),
                (LogicalSwitchPort::NAME, self.port(unit)),
            ],
            Unit::Dns(vpc, bucket) => vec![(Dns::NAME, self.names(vpc, *bucket))],
            Unit::Pod(_) | Unit::VNic(_) => vec![(LogicalSwitchPort::NAME, self.port(unit))],
            Unit::Service(_) => ["tcp", "udp", "sctp"]
                .map(|protocol| (LoadBalancer::NAME, self.load_balancer(unit, protocol)))
                .to_vec(),
            Unit::EipGateway(name) => vec![
                (LogicalRouter::NAME, self.gateway_router(name)),
                (LogicalRouter::NAME, self.inside_router(name)),
                (LogicalSwitch::NAME, self.gateway_switch(name)),
                (LogicalSwitch::NAME, self.join(name)),
                (HaChassisGroup::NAME, self.chassis_group(name)),
            ],
            Unit::ServiceGateway(name) => vec![(LogicalRouter::NAME, self.service_gateway(name))],
            Unit::Calls(vpc) => ["ip4", "ip6"]
                .map(|ip| (AddressSet::NAME, self.calls(vpc, ip)))
                .to_vec(),
            // Their rows' ids follow from addresses.
            Unit::Eip(_) | Unit::Global | Unit::Other(_) => Vec::new(),
        }
    }

    /// The id of an EIP gateway's router.
    pub fn gateway_router(&self, gateway: &str) -> Uuid {
        self.row(LogicalRouter::NAME, &format!("eipgateway/{gateway}"))
    }

    /// The id of the router to which VPCs send what is for an EIP gateway's external addresses.
    pub fn inside_router(&self, gateway: &str) -> Uuid {
        self.row(LogicalRouter::NAME, &format!("eipgateway/{gateway}/inside"))
    }

    /// The id of the router of an EIP gateway's service gateway.
    pub fn service_gateway(&self, gateway: &str) -> Uuid {
        self.row(LogicalRouter::NAME, &format!("servicegateway/{gateway}"))
    }

    /// The id of the switch that joins an EIP gateway's router to its physical network.
    pub fn gateway_switch(&self, gateway: &str) -> Uuid {
        self.row(
            LogicalSwitch::NAME,
            &format!("eipgateway/{gateway}/localnet"),
        )
    }

    /// The id of the switch on which VPCs' routers meet an EIP gateway's.
    pub fn join(&self, gateway: &str) -> Uuid {
        self.row(LogicalSwitch::NAME, &format!("eipgateway/{gateway}/join"))
    }

    /// The id of the chassis of an EIP gateway: all that passes it has its ports on one of them.
    pub fn chassis_group(&self, gateway: &str) -> Uuid {
        self.row(HaChassisGroup::NAME, gateway)
    }

    /// The id of one of these chassis.
    pub fn chassis_of(&self, gateway: &str, node: &str) -> Uuid {
        self.row(HaChassis::NAME, &format!("{gateway}/{node}"))
    }

    /// The id of the row that owns an external address: it makes the gateway answer for it.
    pub fn owner_of(&self, gateway: &str, address: std::net::IpAddr) -> Uuid {
        self.row(Nat::NAME, &format!("eip/{gateway}/{address}"))
    }

    /// The id of the port by which a VPC's router joins an EIP gateway.
    pub fn join_port(&self, vpc: &str) -> Uuid {
        self.row(LogicalRouterPort::NAME, &format!("join/{vpc}"))
    }

    /// The key of a row's `external_ids` that says which of its options are this owner's.
    pub fn options_key(&self) -> Text {
        options_key(&self.owner)
    }

    /// The id of a bucket of a VPC's DNS names.
    pub fn names(&self, vpc: &str, bucket: u8) -> Uuid {
        self.row(Dns::NAME, &format!("{vpc}/{bucket}"))
    }

    /// A name that is ours alone: names are unique in some tables and across owners.
    pub fn name(&self, what: impl std::fmt::Display) -> Text {
        Text::from(format!("yusur:{}:{what}", self.owner))
    }

    /// The name of a VPC's load balancer group.
    pub fn group_name(&self, vpc: &str) -> Text {
        self.name(vpc)
    }

    /// The labels every row of a unit has.
    pub fn labels(&self, unit: &Unit) -> Map {
        Map::from([
            (Text::new_static(OWNER), Text::new(&*self.owner)),
            (Text::new_static(UNIT), Text::from(unit.to_string())),
        ])
    }
}
