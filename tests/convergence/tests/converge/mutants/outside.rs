//! Ways to spoil what leads in from outside, and between VPCs.

use ovsdb_model::{Datum, Row, Uuid};
use serde_json::json;
use yusur_convergence::{Objects, Rule};
use yusur_crds::{Path, ServiceGatewayPlacement, ServiceGatewaySpec};

use super::{Mutant, Spoiler, meta, owned, pairs};
use crate::northbound::{Northbound, OWNER};

/// A gateway, and one service for each way in: by the Vpc's router (`w3`), by the service gateway (`w4`), balanced on the
/// gateway itself (`w4b`), and from one VPC to another (`w5`). Another gateway that nobody uses, an Eip without a service,
/// a VPC that has joined and may call nobody.
pub(super) fn add(objects: &mut Objects) {
    for (name, cidr, next_hop) in [
        ("g1", "203.0.113.0/24", "203.0.113.254"),
        ("g2", "198.18.0.0/24", "198.18.0.254"),
    ] {
        let spec = json!({ "cidrs": [cidr], "nextHops": [next_hop], "physicalNetwork": "outside", "nodes": ["n0", "n1"],
            "default": name == "g1" });
        let spec = serde_json::from_value(spec).expect("an EipGateway");
        objects
            .gateways
            .insert(name.into(), (meta(name, ""), spec, None));
    }
    for (name, address) in [("idle", "203.0.113.40"), ("other", "203.0.113.41")] {
        let spec = json!({ "gateway": "g1", "addresses": [address] });
        let spec = serde_json::from_value(spec).expect("an Eip");
        let key = ("a".to_owned(), name.to_owned());
        objects.eips.insert(key, (meta(name, ""), spec, None));
    }
    let spec = json!({ "serviceCIDRs": ["10.96.0.0/24"], "allowedNamespaces": { "from": "All" }, "eipGateway": "g1" });
    let spec = serde_json::from_value(spec).expect("a Vpc");
    objects
        .vpcs
        .insert("green".into(), (meta("green", ""), spec));
    let spec = json!({ "vpc": "green", "cidrs": ["10.0.1.0/24"] });
    let spec = serde_json::from_value(spec).expect("a Subnet");
    objects.subnets.insert("s4".into(), (meta("s4", ""), spec));

    let home = json!({ "kind": "VM", "addresses": ["10.0.2.30"] });
    let away = json!({ "kind": "VM", "addresses": ["10.0.3.30", "10.0.3.31"], "vpc": "blue" });
    let port = json!([{ "port": 80 }]);
    for (name, spec) in [
        (
            "w3",
            json!({ "vpc": "red", "eip": { "addresses": ["203.0.113.10"] }, "ports": port, "backends": [home] }),
        ),
        (
            "w4",
            json!({ "vpc": "red", "eip": { "addresses": ["203.0.113.20"] }, "ports": port, "backends": [home, away],
                "sourceRanges": ["198.51.100.0/24"] }),
        ),
        (
            "w4b",
            json!({ "vpc": "red", "eip": { "addresses": ["203.0.113.30"] }, "ports": port, "backends": [home, away],
                "sourceAddress": "Preserve" }),
        ),
        (
            "w5",
            json!({ "vpc": "red", "ports": port, "backends": [home, away] }),
        ),
    ] {
        let spec = serde_json::from_value(spec).expect("a service");
        let key = ("a".to_owned(), name.to_owned());
        objects.services.insert(key, (meta(name, ""), spec, None));
    }
}

impl Spoiler<'_> {
    fn name(rest: &str) -> String {
        format!("yusur:{OWNER}:{rest}")
    }

    fn router(&self, rest: &str) -> Uuid {
        self.named("Logical_Router", &Self::name(rest))
    }

    fn router_port(&self, rest: &str) -> Uuid {
        self.named("Logical_Router_Port", &Self::name(rest))
    }

    fn switch_port(&self, rest: &str) -> Uuid {
        self.named("Logical_Switch_Port", &Self::name(rest))
    }

    fn join_switch(&self, gateway: &str) -> Uuid {
        let name = Self::name(&format!("eipgateway/{gateway}/join"));
        self.named("Logical_Switch", &name)
    }

    /// The load balancer of this name.
    fn balancer_named(&self, rest: &str) -> (Uuid, std::sync::Arc<Row>) {
        let name = Self::name(rest);
        let mut rows = self.rows("Load_Balancer", |row| row.get_str("name") == Some(&name));
        rows.pop().expect("a load balancer")
    }

    /// The row of a router's column that has this text in one of its own.
    fn member(
        &self,
        (parent, column): (Uuid, &'static str),
        table: &'static str,
        wanted: &[(&str, &str)],
    ) -> Uuid {
        let replica = self.0.northbound.replica();
        let parents = ["Logical_Router", "Logical_Switch"].into_iter();
        let mut parents = parents.filter_map(|table| replica.row(table, parent));
        let members: Vec<Uuid> = parents
            .next()
            .and_then(|row| Some(row.get(column)?.uuids().collect()))
            .unwrap_or_default();
        let fits = |uuid: &&Uuid| {
            let row = replica.row(table, **uuid);
            row.is_some_and(|row| {
                let mut wanted = wanted.iter();
                wanted.all(|(column, text)| {
                    row.get_str(column)
                        .is_some_and(|value| value.contains(text))
                })
            })
        };
        *members.iter().find(fits).expect("a member")
    }

    pub(super) fn route(&self, router: &str, to: &str, hop: &str) -> (Uuid, Uuid) {
        let router = self.router(router);
        let wanted = [("ip_prefix", to), ("nexthop", hop)];
        let table = "Logical_Router_Static_Route";
        (
            router,
            self.member((router, "static_routes"), table, &wanted),
        )
    }

    pub(super) fn take_route(&mut self, router: &str, to: &str, hop: &str) {
        let (router, route) = self.route(router, to, hop);
        self.take("Logical_Router", router, "static_routes", route);
    }

    fn take_rule(&mut self, switch: Uuid, text: &str, action: &str) {
        let wanted = [("match", text), ("action", action)];
        let rule = self.member((switch, "acls"), "ACL", &wanted);
        self.take("Logical_Switch", switch, "acls", rule);
    }

    fn labels(unit: &str) -> Datum {
        let labels = [("yusur.io/owner", OWNER), ("yusur.io/unit", unit)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Datum::from(std::collections::BTreeMap::from(labels))
    }

    /// A row that looks like ours, in a column of a router or switch.
    fn add(
        &mut self,
        (parents, parent, column): (&'static str, Uuid, &'static str),
        table: &'static str,
        row: Row,
    ) {
        let uuid = Uuid::from_u128(0xd0d2);
        self.carry_out(vec![
            ovsdb_model::Operation::insert(table, uuid, row),
            ovsdb_model::Operation::mutate(
                parents,
                parent,
                vec![ovsdb_model::Mutation::insert(column, uuid)],
            ),
        ]);
    }

    fn add_route(&mut self, router: &str, unit: &str, to: &str, hop: &str) {
        let router = self.router(router);
        let row = Row::new()
            .with("ip_prefix", to)
            .with("nexthop", hop)
            .with("external_ids", Self::labels(unit));
        let place = ("Logical_Router", router, "static_routes");
        self.add(place, "Logical_Router_Static_Route", row);
    }

    fn service(&mut self, name: &str) -> &mut yusur_crds::YusurServiceSpec {
        let key = ("a".to_owned(), name.to_owned());
        &mut self.0.objects.services.get_mut(&key).expect("a service").1
    }

    fn service_status(&mut self, name: &str) -> &mut yusur_crds::YusurServiceStatus {
        let key = ("a".to_owned(), name.to_owned());
        let service = self.0.objects.services.get_mut(&key).expect("a service");
        service.2.as_mut().expect("a status")
    }

    fn eip_status(&mut self, name: &str) -> &mut yusur_crds::EipStatus {
        let key = ("a".to_owned(), name.to_owned());
        let eip = self.0.objects.eips.get_mut(&key).expect("an Eip");
        eip.2.as_mut().expect("a status")
    }

    /// Each VIP of a load balancer gets other backends.
    fn rebalance(&mut self, balancer: &str, change: impl Fn(Vec<&str>) -> Vec<String>) {
        let (uuid, row) = self.balancer_named(balancer);
        let vips = pairs(&row, "vips").into_iter().map(|(vip, backends)| {
            let backends = change(backends.split(',').collect());
            (vip, backends.join(","))
        });
        let vips: std::collections::BTreeMap<_, _> = vips.collect();
        self.set("Load_Balancer", uuid, "vips", Datum::from(vips));
    }
}

pub(super) const MUTANTS: &[Mutant] = &[
    // The gateway and its nodes.
    ("a gateway's router is missing", Rule::Gateway, |it| {
        let router = it.router("eipgateway/g2");
        it.delete("Logical_Router", router);
    }),
    ("a gateway has another address", Rule::Gateway, |it| {
        let port = it.router_port("eipgateway/g1/outside-router");
        let networks = Datum::set(["203.0.113.9/24"]);
        it.set("Logical_Router_Port", port, "networks", networks);
    }),
    ("a gateway is on another network", Rule::Gateway, |it| {
        let port = it.switch_port("eipgateway/g1/localnet");
        let options = Datum::map([("network_name", "elsewhere")]);
        it.set("Logical_Switch_Port", port, "options", options);
    }),
    ("a gateway is in a VLAN", Rule::Gateway, |it| {
        let port = it.switch_port("eipgateway/g1/localnet");
        it.set("Logical_Switch_Port", port, "tag", Datum::from(7));
    }),
    ("a gateway moves in silence", Rule::Gateway, |it| {
        let name = Spoiler::name("eipgateway/g1/outside-switch");
        let mut rows = it.rows("Logical_Switch_Port", |row| {
            row.get_str("name") == Some(&name)
        });
        let row = rows.pop().expect("a port");
        it.edit("Logical_Switch_Port", row, "options", |options| {
            options.remove("nat-addresses");
        });
    }),
    ("the last node is preferred", Rule::Chassis, |it| {
        let mut rows = it.rows("HA_Chassis", |row| {
            row.get_str("chassis_name") == Some("n1")
        });
        let (uuid, _) = rows.pop().expect("a chassis");
        it.set("HA_Chassis", uuid, "priority", Datum::from(30));
    }),
    ("a node is missing", Rule::Chassis, |it| {
        let (group, row) = it.of("HA_Chassis_Group", "eipgateway/g1");
        let members = row.get("ha_chassis").expect("members").uuids().next();
        it.take(
            "HA_Chassis_Group",
            group,
            "ha_chassis",
            members.expect("a member"),
        );
    }),
    (
        "a Vpc's router is not where its gateway is",
        Rule::Chassis,
        |it| {
            let port = it.router_port("join/red-router");
            let nowhere = Datum::empty_set();
            it.set("Logical_Router_Port", port, "ha_chassis_group", nowhere);
        },
    ),
    (
        "a service gateway is on a stranger's node",
        Rule::Chassis,
        |it| {
            let row = it.of("Logical_Router", "servicegateway/g1");
            it.edit("Logical_Router", row, "options", |options| {
                options.insert("chassis".into(), "n9".into());
            });
        },
    ),
    (
        "a service gateway is with its gateway and not apart",
        Rule::Chassis,
        |it| {
            let objects = &mut it.0.objects;
            let (_, spec, _) = objects.gateways.get_mut("g1").expect("a gateway");
            spec.service_gateway = Some(ServiceGatewaySpec {
                placement: ServiceGatewayPlacement::Apart,
            });
            objects.serving = Some([("g1".into(), "n0".into())].into());
        },
    ),
    ("there are two service gateways", Rule::Once, |it| {
        let (_, row) = it.of("Logical_Router", "servicegateway/g1");
        let mut row = Row::clone(&row);
        for column in ["ports", "static_routes", "load_balancer"] {
            row.set(column, Datum::empty_set());
        }
        it.double("Logical_Router", &row);
    }),
    (
        "rows are left of a gateway that is gone",
        Rule::Owned,
        |it| {
            it.0.objects.gateways.remove("g2");
        },
    ),
    ("an option for all is another", Rule::Foreign, |it| {
        let mut rows = it.rows("NB_Global", |_| true);
        let row = rows.pop().expect("a row");
        it.edit("NB_Global", row, "options", |options| {
            options.insert("mac_prefix".into(), "0a:00:01".into());
        });
    }),
    // Joins, and the way out.
    ("a Vpc has joined two gateways", Rule::Join, |it| {
        let (switch, port) = (it.join_switch("g2"), it.switch_port("join/red-switch"));
        it.put("Logical_Switch", switch, "ports", port);
    }),
    ("a Vpc has not joined", Rule::Join, |it| {
        let (switch, port) = (it.join_switch("g1"), it.switch_port("join/green-switch"));
        it.take("Logical_Switch", switch, "ports", port);
    }),
    ("a Vpc has no way out", Rule::Join, |it| {
        it.take_route("green", "0.0.0.0/0", "100.64.0.1");
    }),
    ("what leaves has its Vpc's address", Rule::Join, |it| {
        let router = it.router("eipgateway/g1");
        let nat = it.member((router, "nat"), "NAT", &[("logical_ip", "100.64.0.0/16")]);
        it.take("Logical_Router", router, "nat", nat);
    }),
    (
        "a Vpc's router does not balance for the outside",
        Rule::Group,
        |it| {
            let (router, group) = (it.router("red"), it.group("red"));
            it.take("Logical_Router", router, "load_balancer_group", group);
        },
    ),
    ("a Vpc's router balances another's", Rule::Group, |it| {
        let (router, group) = (it.router("red"), it.group("blue"));
        it.put("Logical_Router", router, "load_balancer_group", group);
    }),
    // Who holds what.
    ("an Eip has not what it asked for", Rule::Eip, |it| {
        it.eip_status("idle").addresses = vec!["203.0.113.42".into()];
    }),
    ("an Eip has an address of no gateway", Rule::Eip, |it| {
        it.eip_status("idle").addresses = vec!["192.0.2.1".into()];
    }),
    ("an Eip has nothing", Rule::Eip, |it| {
        it.eip_status("idle").addresses.clear();
    }),
    ("two Eips have one address", Rule::Once, |it| {
        it.eip_status("idle").addresses = vec!["203.0.113.41".into()];
    }),
    ("an Eip names another gateway", Rule::Record, |it| {
        it.eip_status("idle").gateway = Some("g2".into());
    }),
    ("nobody answers for an Eip", Rule::Outside, |it| {
        let router = it.router("eipgateway/g1");
        let nat = it.member((router, "nat"), "NAT", &[("external_ip", "203.0.113.40")]);
        it.take("Logical_Router", router, "nat", nat);
    }),
    ("two gateways answer for an Eip", Rule::Outside, |it| {
        let (from, to) = (it.router("eipgateway/g1"), it.router("eipgateway/g2"));
        let nat = it.member((from, "nat"), "NAT", &[("external_ip", "203.0.113.40")]);
        it.put("Logical_Router", to, "nat", nat);
    }),
    // The ways in.
    ("an address leads to another Vpc", Rule::Outside, |it| {
        let (_, route) = it.route("eipgateway/g1", "203.0.113.10/32", "100.64.");
        it.set(
            "Logical_Router_Static_Route",
            route,
            "nexthop",
            Datum::from("100.64.0.2"),
        );
    }),
    ("what nobody serves goes round", Rule::Outside, |it| {
        it.take_route("red", "203.0.113.10/32", "discard");
    }),
    ("a port is open that the service has not", Rule::Vip, |it| {
        let balancer = it.balancer_named("service/a/w3/tcp");
        it.edit("Load_Balancer", balancer, "vips", |vips| {
            vips.insert("203.0.113.10:81".into(), "10.0.2.30:80".into());
        });
    }),
    ("an address has lost its port", Rule::Outside, |it| {
        let balancer = it.balancer_named("service/a/w3/tcp");
        it.edit("Load_Balancer", balancer, "vips", |vips| {
            vips.remove("203.0.113.10:80");
        });
    }),
    (
        "a backend in another Vpc is missing",
        Rule::Backends,
        |it| {
            it.rebalance("service/a/w4/tcp/vpc/blue", |backends| {
                owned(&backends[1..])
            });
        },
    ),
    (
        "the service gateway leaves out a Vpc",
        Rule::Backends,
        |it| {
            it.rebalance("service/a/w4/tcp/gateway", |mut backends| {
                backends.dedup();
                owned(&backends[1..])
            });
        },
    ),
    ("the gateway leaves out a Vpc", Rule::Backends, |it| {
        it.rebalance("service/a/w4b/tcp/gateway", |mut backends| {
            backends.dedup();
            owned(&backends[1..])
        });
    }),
    ("clients leave out a Vpc", Rule::Backends, |it| {
        it.rebalance("service/a/w5/tcp", |backends| owned(&backends[..1]));
    }),
    ("a Vpc has more than its share", Rule::Balance, |it| {
        it.rebalance("service/a/w4/tcp/gateway", |mut backends| {
            backends.sort_unstable();
            backends.dedup();
            owned(&backends)
        });
    }),
    (
        "connections to a Vpc's nobody time out",
        Rule::Balance,
        |it| {
            let balancer = it.balancer_named("service/a/w4/tcp/vpc/blue");
            it.edit("Load_Balancer", balancer, "options", |options| {
                options.remove("reject");
            });
        },
    ),
    (
        "the service gateway does not hide clients",
        Rule::Source,
        |it| {
            let row = it.of("Logical_Router", "servicegateway/g1");
            it.edit("Logical_Router", row, "options", |options| {
                options.remove("lb_force_snat_ip");
            });
        },
    ),
    (
        "backends elsewhere see the workload itself",
        Rule::Source,
        |it| {
            let router = it.router("red");
            let nat = it.member((router, "nat"), "NAT", &[("logical_ip", "10.0.1.0/24")]);
            it.take("Logical_Router", router, "nat", nat);
        },
    ),
    ("workloads take the outside's way", Rule::Source, |it| {
        it.take_route("eipgateway/g1/inside", "203.0.113.30/32", "100.64.0.2");
    }),
    (
        "the outside takes the workloads' way",
        Rule::Outside,
        |it| {
            let (uuid, _) = it.balancer_named("service/a/w4b/tcp/gateway");
            let router = it.router("eipgateway/g1");
            it.take("Logical_Router", router, "load_balancer", uuid);
        },
    ),
    ("a status names no way in", Rule::Record, |it| {
        it.service_status("w4").paths.clear();
    }),
    ("a status names another way in", Rule::Record, |it| {
        it.service_status("w3").paths.push(Path::EipPreserve);
    }),
    (
        "a status does not say that Vpcs are joined",
        Rule::Record,
        |it| {
            let status = it.service_status("w5");
            status.paths.retain(|path| *path != Path::Join);
        },
    ),
    // What is kept apart.
    ("a Vpc may call whatever it wants", Rule::Isolation, |it| {
        let join = it.join_switch("g1");
        it.take_rule(join, "100.96.0.0/11", "drop");
    }),
    (
        "a Vpc may call what another's services name",
        Rule::Isolation,
        |it| {
            let join = it.join_switch("g1");
            let rule = it.member((join, "acls"), "ACL", &[("match", "join/red-switch")]);
            let mut rows = it.rows("ACL", |_| true);
            rows.retain(|(uuid, _)| *uuid == rule);
            let text = rows[0].1.get_str("match").unwrap_or_default();
            let text = text.replace("join/red-switch", "join/green-switch");
            it.set("ACL", rule, "match", Datum::from(text));
        },
    ),
    (
        "the outside may call what is the system's",
        Rule::Isolation,
        |it| {
            let name = Spoiler::name("eipgateway/g1/localnet");
            let outside = it.named("Logical_Switch", &name);
            it.take_rule(outside, "100.96.0.0/11", "drop");
        },
    ),
    ("sourceRanges let in everybody", Rule::Isolation, |it| {
        let join = it.join_switch("g1");
        it.take_rule(join, "203.0.113.20", "drop");
    }),
    ("sourceRanges let in nobody", Rule::Outside, |it| {
        let join = it.join_switch("g1");
        it.take_rule(join, "203.0.113.20", "allow");
    }),
    // What is left behind.
    (
        "an address is answered for that nobody holds",
        Rule::Left,
        |it| {
            let router = it.router("eipgateway/g1");
            let row = Row::new()
                .with("type", "dnat_and_snat")
                .with("external_ip", "203.0.113.77")
                .with("logical_ip", "203.0.113.77")
                .with("external_ids", Spoiler::labels("eip/a/idle"));
            it.add(("Logical_Router", router, "nat"), "NAT", row);
        },
    ),
    ("a route leads where nobody is", Rule::Left, |it| {
        it.add_route(
            "eipgateway/g1",
            "eip/a/idle",
            "203.0.113.77/32",
            "100.64.0.2",
        );
    }),
    ("a route leads into a share of nobody", Rule::Left, |it| {
        it.add_route("eipgateway/g1", "vpc/red", "100.99.9.0/24", "100.64.0.9");
    }),
    ("a route is there twice", Rule::Once, |it| {
        it.add_route("eipgateway/g1", "eip/a/idle", "203.0.113.40/32", "discard");
    }),
    (
        "a Vpc balances an address of another's share",
        Rule::Left,
        |it| {
            let balancer = it.balancer_named("service/a/w5/tcp/vpc/blue");
            it.edit("Load_Balancer", balancer, "vips", |vips| {
                vips.insert("100.99.9.9:80".into(), "10.0.3.30:80".into());
            });
        },
    ),
    ("a Vpc balances for a service that left", Rule::Left, |it| {
        it.service("w5").backends.truncate(1);
    }),
    ("rules guard what is open to all", Rule::Left, |it| {
        it.service("w4").source_ranges.clear();
    }),
    ("a Vpc may call what nobody names", Rule::Left, |it| {
        let mut rows = it.rows("Address_Set", |row| {
            let addresses = row
                .get("addresses")
                .map(Datum::elements)
                .unwrap_or_default();
            addresses
                .iter()
                .any(|it| it.as_str().is_some_and(|it| it.contains('.')))
        });
        let (uuid, row) = rows.pop().expect("an address set");
        let mut addresses: Vec<String> =
            crate::strangers::elements(row.get("addresses").expect("addresses"))
                .iter()
                .filter_map(|atom| atom.as_str().map(str::to_owned))
                .collect();
        addresses.push("100.99.9.9".into());
        it.set("Address_Set", uuid, "addresses", Datum::set(addresses));
    }),
];
