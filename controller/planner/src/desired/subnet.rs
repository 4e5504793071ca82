//! A Subnet: its switch and the pair of ports that joins it to the VPC's router. An existing switch that is adopted gets
//! nothing here; ports, the VPC's group and its names join it as members.

use ovsdb_model::Table;
use yusur_crds::SubnetStatus;
use yusur_crds::common::condition;

use super::{DesiredRow, Referrer, Rows, accepted, follows, programmed, say, silent, subject};
use crate::inventory::{Addresses, Inventory, Problem};
use crate::name::Name;
use crate::nb::{LogicalRouter, LogicalRouterPort, LogicalSwitch, LogicalSwitchPort, Text};
use crate::unit::Unit;
use crate::verdict::{Status, Truth, Verdict};

pub(super) fn desired(unit: &Unit, name: &Name, inventory: &Inventory) -> (Rows, Verdict) {
    let Some(subnet) = inventory.subnet(name) else {
        return (Vec::new(), silent(unit));
    };
    let ids = inventory.ids();
    let mut rows = Vec::new();
    let vpc = inventory.vpc(&subnet.vpc);
    let router = vpc.and_then(|vpc| vpc.router);
    let ours = subnet.problem.is_none() && subnet.adopts.is_none();

    if ours {
        let switch = LogicalSwitch {
            name: ids.name(name),
            external_ids: ids.labels(unit),
            ..LogicalSwitch::default()
        };
        rows.extend(DesiredRow::new(ids.switch(name), &switch, Vec::new()));
    }
    if let (true, Some(vpc), Some(router)) = (ours, vpc, router) {
        let port = ids.name(format_args!("{name}-router"));
        let networks = subnet.cidrs.iter().zip(&subnet.gateways);
        let networks =
            networks.map(|(net, gateway)| Text::from(format!("{gateway}/{}", net.prefix_len())));
        let router_port = LogicalRouterPort {
            name: port.clone(),
            mac: super::port::mac_of(
                subnet.gateways.iter().copied().collect::<Addresses>(),
                || ids.switch(name),
            ),
            networks: networks.collect(),
            external_ids: ids.labels(unit),
            ..LogicalRouterPort::default()
        };
        let parent = Referrer {
            table: LogicalRouter::NAME,
            row: router,
            column: "ports",
            maker: vpc.adopts.is_none().then(|| Unit::Vpc(subnet.vpc.clone())),
        };
        rows.extend(DesiredRow::new(
            ids.row(LogicalRouterPort::NAME, name),
            &router_port,
            vec![parent],
        ));

        let switch_port = LogicalSwitchPort::to_router(
            ids.name(format_args!("{name}-switch")),
            port,
            ids.labels(unit),
        );
        let parent = Referrer {
            table: LogicalSwitch::NAME,
            row: ids.switch(name),
            column: "ports",
            maker: Some(unit.clone()),
        };
        rows.extend(DesiredRow::new(ids.port(unit), &switch_port, vec![parent]));
    }

    let problem = subnet.problem.as_ref().or(subnet.invalid.as_ref());
    let mut conditions = vec![accepted(
        problem,
        "the Subnet is valid and overlaps no other of its Vpc",
    )];
    match &subnet.problem {
        Some(problem) => {
            conditions.extend([
                follows(condition::PROGRAMMED, problem),
                follows(condition::READY, problem),
            ]);
        }
        None => {
            conditions.push(programmed());
            conditions.push(match (router, problem) {
                (None, _) if subnet.adopts.is_none() => follows(
                    condition::READY,
                    &Problem::new(
                        "RouterMissing",
                        format!("Vpc {} has no router yet, its conditions say why; ports work, but reach nothing beyond the Subnet", subnet.vpc),
                    ),
                ),
                (_, Some(problem)) => follows(condition::READY, problem),
                _ => say(condition::READY, Truth::True, "Ready", "Pods and VNics can join it"),
            });
        }
    }
    let logical_switch = match (&subnet.adopts, subnet.switch) {
        (None, _) => subnet.problem.is_none().then(|| ids.name(name).to_string()),
        (Some(_), Some(uuid)) => inventory.switch_name(uuid).map(|name| name.to_string()),
        (Some(_), None) => None,
    };
    let verdict = Verdict {
        unit: unit.clone(),
        object: subject(unit, &subnet.header.uid, subnet.header.generation),
        conditions,
        status: Status::Subnet(SubnetStatus {
            logical_switch,
            gateways: subnet.gateways.iter().map(ToString::to_string).collect(),
            ..SubnetStatus::default()
        }),
        record_first: false,
    };
    (rows, verdict)
}
