//! Which node each EIP gateway is on, in which order its nodes are to serve, and where its service gateway is.

use std::collections::{BTreeMap, BTreeSet};

use ovsdb_model::{Database, Table};
use yusur_crds::ServiceGatewayPlacement;

use super::{Gateway, Inventory};
use crate::name::Name;
use crate::nb::{self, HaChassis, HaChassisGroup, LogicalRouter};

/// The order in which a gateway's nodes are to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// One that failed has gone to the end. Empty until it is settled.
    pub(crate) nodes: Vec<Name>,
    /// Those that another has taken over from, and of which nobody has said since that they are well.
    pub(crate) failed: BTreeSet<Name>,
    /// The node that the service gateway was pinned to when this planner first looked: there it stays until somebody has
    /// seen which node serves.
    pinned: Option<Name>,
}

impl Order {
    /// Those that failed, as the Northbound records it.
    pub(crate) fn failed_text(&self) -> String {
        let failed: Vec<&str> = self.failed.iter().map(|node| &**node).collect();
        failed.join(",")
    }
}

impl Inventory {
    /// The order in which a gateway's nodes are to serve: the spec's, or where a node has failed since, what the
    /// Northbound records. Nodes that another has taken over from, and those that are not ready or kept out, come last, and
    /// stay there when they are back: every move costs connections.
    pub(super) fn order_of(&self, name: &Name, database: &Database) -> Order {
        let Some(gateway) = self.gateways.get(name) else {
            return Order::default();
        };
        let mut order = if gateway.order.nodes.is_empty() {
            self.recorded_order(name, gateway, database)
                .unwrap_or_else(|| Order {
                    nodes: gateway.nodes.clone(),
                    ..Order::default()
                })
        } else {
            gateway.order.clone()
        };
        if let (Some(last), Some(Some(now))) = (&gateway.last, self.serving_node(name))
            && *last != now
            && let Some(rank) = order.nodes.iter().position(|node| *node == now)
        {
            order.failed.extend(order.nodes.iter().take(rank).cloned());
            order.failed.remove(&now);
            order.nodes.rotate_left(rank);
        }
        order.nodes.sort_by_key(|node| !self.node_serves(node));
        // From now on it is the Node that says whether it is well.
        order.failed.retain(|node| self.node_serves(node));
        order
    }

    fn recorded_order(&self, name: &Name, gateway: &Gateway, database: &Database) -> Option<Order> {
        let group = database.row(HaChassisGroup::NAME, self.ids.chassis_group(name))?;
        if group.map_str("external_ids", nb::NODES) != Some(&gateway.nodes_text()) {
            return None;
        }
        let priority = |node: &Name| {
            let row = nb::row_of::<HaChassis>(database, self.ids.chassis_of(name, node))?;
            row.get_integer("priority")
        };
        let mut order: Vec<(i64, Name)> = Vec::with_capacity(gateway.nodes.len());
        for node in &gateway.nodes {
            order.push((-priority(node)?, node.clone()));
        }
        order.sort_by_key(|(rank, _)| *rank);
        let failed = group
            .map_str("external_ids", nb::FAILED)
            .unwrap_or_default();
        let failed: BTreeSet<&str> = failed.split(',').collect();
        let router = database.row(LogicalRouter::NAME, self.ids.service_gateway(name));
        let pinned = router
            .as_ref()
            .and_then(|router| router.map_str("options", "chassis"));
        let pinned = pinned.and_then(|chassis| self.node_on(gateway, chassis));
        let nodes = gateway.nodes.iter();
        Some(Order {
            pinned: pinned.cloned(),
            nodes: order.into_iter().map(|(_, node)| node).collect(),
            failed: nodes
                .filter(|node| failed.contains(&***node))
                .cloned()
                .collect(),
        })
    }

    /// Takes in which chassis each EIP gateway is on, by name, once it has been there for a while; missing if it is on none.
    pub fn serving(&mut self, chassis: &BTreeMap<String, String>) {
        let differs = |name: &&Name| {
            let before = self.on_chassis.as_ref();
            before.is_none_or(|before| before.get(&***name) != chassis.get(&***name))
        };
        let moved: Vec<Name> = self.gateways.keys().filter(differs).cloned().collect();
        self.gateways_differ |= !moved.is_empty();
        for name in moved {
            self.dirty.add_gateway(&name);
        }
        self.on_chassis = Some(chassis.clone());
    }

    /// The node that a gateway is on: `None` while nobody has looked.
    pub(super) fn serving_node(&self, name: &Name) -> Option<Option<Name>> {
        let chassis = self.on_chassis.as_ref()?.get(&**name);
        let gateway = self.gateways.get(name)?;
        let found = chassis.and_then(|chassis| self.node_on(gateway, chassis));
        Some(found.cloned())
    }

    /// The gateway's node that is this chassis.
    fn node_on<'a>(&self, gateway: &'a Gateway, chassis: &str) -> Option<&'a Name> {
        let mut nodes = gateway.nodes.iter();
        nodes.find(|node| **self.chassis(node) == *chassis)
    }

    /// The node that a gateway's service gateway is pinned to. With the gateway: the one it is on itself, as far as anybody
    /// knows. Apart: the first of the others that is well; if none is, with the gateway all the same. Where nobody knows, it
    /// stays where it is: a restarted controller must not move it for want of memory.
    pub(crate) fn service_gateway_node<'a>(&self, gateway: &'a Gateway) -> Option<&'a Name> {
        let seen = gateway.serving.as_ref().or(gateway.last.as_ref());
        let seen = seen.filter(|node| gateway.nodes.contains(node));
        let order = &gateway.order;
        let pinned = order.pinned.as_ref().filter(|_| seen.is_none());
        let well = |node: &&Name| self.node_serves(node) && !order.failed.contains(*node);
        match gateway.placement {
            ServiceGatewayPlacement::WithGateway => seen.or(pinned).or(order.nodes.first()),
            ServiceGatewayPlacement::Apart => {
                let with = seen.or(order.nodes.first());
                let mut others = order.nodes.iter().filter(|node| Some(*node) != with);
                let apart = pinned.filter(well).or_else(|| others.find(well));
                apart.or(with)
            }
        }
    }

    fn node_serves(&self, node: &Name) -> bool {
        self.nodes.get(node).is_none_or(|entry| entry.serves)
    }

    /// A node's chassis, or whether it serves, is another: the gateways it serves have it under another name, or in another place.
    pub(super) fn gateway_node_changed(&mut self, node: &Name) {
        for (name, gateway) in &self.gateways {
            if gateway.nodes.contains(node) {
                self.gateways_differ = true;
                self.dirty.add_gateway(name);
            }
        }
    }
}
