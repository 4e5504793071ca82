//! The judge bites: of a Northbound that is as it should be it says nothing, and of each way to spoil it a little it
//! says what is wrong.

mod outside;

use std::collections::BTreeMap;
use std::sync::Arc;

use ovsdb_model::{Datum, Mutation, Operation, Row, Uuid};
use serde_json::json;
use yusur_convergence::{Foreign, Holders, Meta, Objects, Pod, Rule};

use crate::northbound::{Memory, Northbound, OWNER};
use crate::player::Player;
use crate::strangers::{THEIR_ROUTER, THEIR_SWITCH};

fn meta(uid: &str, app: &str) -> Meta {
    Meta {
        uid: uid.into(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        ..Meta::default()
    }
}

/// Two VPCs with the same ranges, and something of everything in them.
fn objects() -> Objects {
    let mut objects = Objects::default();
    for vpc in ["red", "blue"] {
        let spec = json!({
            "serviceCIDRs": ["10.96.0.0/24", "fd00:96::/112"],
            "allowedNamespaces": { "from": "All" },
            "staticRoutes": [{ "destination": "192.0.2.0/24", "nextHop": "10.0.1.9" }],
        });
        let spec = serde_json::from_value(spec).expect("a Vpc");
        objects.vpcs.insert(vpc.into(), (meta(vpc, ""), spec));
    }
    for (name, vpc, cidr, default) in [
        ("s1", "red", "10.0.1.0/24", "a"),
        ("s2", "red", "10.0.2.0/24", "nobody"),
        ("s3", "blue", "10.0.3.0/24", "b"),
    ] {
        let spec =
            json!({ "vpc": vpc, "cidrs": [cidr], "defaultForNamespaces": { "names": [default] } });
        let spec = serde_json::from_value(spec).expect("a Subnet");
        objects.subnets.insert(name.into(), (meta(name, ""), spec));
    }
    for (namespace, name, ready) in [
        ("a", "p0", true),
        ("a", "p1", true),
        ("a", "p2", false),
        ("b", "p0", true),
    ] {
        let pod = Pod {
            meta: meta(&format!("{namespace}-{name}"), "web"),
            ready,
            ..Pod::default()
        };
        objects.pods.insert((namespace.into(), name.into()), pod);
    }
    let vnic = json!({ "subnet": "s2", "addresses": ["10.0.2.9"], "owner": { "kind": "VM", "name": "db" } });
    let vnic = serde_json::from_value(vnic).expect("a VNic");
    let key = ("a".to_owned(), "v0".to_owned());
    objects.vnics.insert(key, (meta("v0", "db"), vnic, None));
    let web = json!([{ "kind": "Pod", "selector": { "matchLabels": { "app": "web" } } }]);
    for (namespace, name, spec) in [
        (
            "a",
            "w0",
            json!({ "vpc": "red", "ports": [{ "port": 80 }], "backends": web, "sessionAffinity": {} }),
        ),
        (
            "a",
            "w1",
            json!({
                "vpc": "red",
                "clusterIP": "10.96.0.9",
                "ports": [{ "port": 53, "protocol": "UDP" }],
                "backends": [
                    { "kind": "VM", "addresses": ["10.0.2.20"], "weight": 1 },
                    { "kind": "VM", "selector": { "matchLabels": { "app": "db" } }, "weight": 2 },
                ],
            }),
        ),
        (
            "b",
            "w0",
            json!({ "vpc": "blue", "ports": [{ "port": 80 }], "backends": web }),
        ),
    ] {
        let spec = serde_json::from_value(spec).expect("a service");
        let key = (namespace.to_owned(), name.to_owned());
        objects
            .services
            .insert(key.clone(), (meta(&key.1, ""), spec, None));
    }
    outside::add(&mut objects);
    objects
}

/// A Northbound that is as it should be.
fn world() -> Player<Memory> {
    let mut player = Player::new(Memory::new(), None);
    player.begin(objects());
    player.conclude().unwrap_or_else(|error| panic!("{error}"));
    player
}

/// What spoils a row.
struct Spoiler<'a>(&'a mut Player<Memory>);

impl Spoiler<'_> {
    fn rows(&self, table: &str, is_it: impl Fn(&Row) -> bool) -> Vec<(Uuid, Arc<Row>)> {
        let replica = self.0.northbound.replica();
        let rows = replica.rows(table);
        rows.filter(|(_, row)| is_it(row)).collect()
    }

    /// The one row of ours of a unit.
    fn of(&self, table: &str, unit: &str) -> (Uuid, Arc<Row>) {
        let label = |row: &Row, key| row.map_str("external_ids", key).map(str::to_owned);
        let mut rows = self.rows(table, |row| {
            label(row, "yusur.io/owner").as_deref() == Some(OWNER)
                && label(row, "yusur.io/unit").as_deref() == Some(unit)
        });
        assert_eq!(rows.len(), 1, "rows of {table} of {unit}");
        rows.remove(0)
    }

    fn named(&self, table: &str, name: &str) -> Uuid {
        let rows = self.rows(table, |row| row.get_str("name") == Some(name));
        assert_eq!(rows.len(), 1, "rows of {table} named {name}");
        rows[0].0
    }

    fn group(&self, vpc: &str) -> Uuid {
        self.named("Load_Balancer_Group", &format!("yusur:{OWNER}:{vpc}"))
    }

    fn switch(&self, subnet: &str) -> Uuid {
        self.of("Logical_Switch", &format!("subnet/{subnet}")).0
    }

    fn balancer(&self, service: &str) -> (Uuid, Arc<Row>) {
        self.of("Load_Balancer", &format!("service/{service}"))
    }

    fn port(&self, workload: &str) -> Uuid {
        self.of("Logical_Switch_Port", workload).0
    }

    fn address(&self, workload: &str) -> String {
        let (_, row) = self.of("Logical_Switch_Port", workload);
        let text = row.get_str("addresses").expect("addresses");
        text.split(' ').nth(1).expect("an address").to_owned()
    }

    fn carry_out(&mut self, operations: Vec<Operation>) {
        let done = self.0.northbound.transact(&operations);
        done.unwrap_or_else(|error| panic!("{error}: {operations:?}"));
    }

    fn set(&mut self, table: &'static str, uuid: Uuid, column: &'static str, value: Datum) {
        let row = Row::new().with(column, value);
        self.carry_out(vec![Operation::update(table, uuid, row)]);
    }

    fn take(&mut self, table: &'static str, from: Uuid, column: &'static str, uuid: Uuid) {
        let mutation = Mutation::delete(column, uuid);
        self.carry_out(vec![Operation::mutate(table, from, vec![mutation])]);
    }

    fn put(&mut self, table: &'static str, into: Uuid, column: &'static str, uuid: Uuid) {
        let mutation = Mutation::insert(column, uuid);
        self.carry_out(vec![Operation::mutate(table, into, vec![mutation])]);
    }

    fn delete(&mut self, table: &'static str, uuid: Uuid) {
        self.carry_out(vec![Operation::delete(table, uuid)]);
    }

    /// Gives each VIP of a service's load balancer other backends: a function of those it has.
    fn backends(&mut self, service: &str, change: impl Fn(Vec<&str>) -> Vec<String>) {
        let (uuid, row) = self.balancer(service);
        let vips = pairs(&row, "vips").into_iter().map(|(vip, backends)| {
            let backends = change(backends.split(',').collect());
            (vip, backends.join(","))
        });
        let vips = Datum::from(vips.collect::<BTreeMap<_, _>>());
        self.set("Load_Balancer", uuid, "vips", vips);
    }

    /// Gives a row other entries in a map.
    fn edit(
        &mut self,
        table: &'static str,
        (uuid, row): (Uuid, Arc<Row>),
        column: &'static str,
        edit: impl FnOnce(&mut BTreeMap<String, String>),
    ) {
        let mut map = pairs(&row, column);
        edit(&mut map);
        self.set(table, uuid, column, Datum::from(map));
    }

    /// Puts a copy of a row beside it.
    fn double(&mut self, table: &'static str, row: &Row) -> Uuid {
        let uuid = Uuid::from_u128(0xd0d0);
        let mut copy = row.clone();
        if row.get_str("name").is_some() {
            copy.set("name", Datum::from("another name"));
        }
        self.carry_out(vec![Operation::insert(table, uuid, copy)]);
        uuid
    }
}

fn pairs(row: &Row, column: &str) -> BTreeMap<String, String> {
    let pairs = row.get(column).map(Datum::pairs).unwrap_or_default();
    let pairs = pairs.iter();
    pairs
        .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())))
        .collect()
}

fn owned(backends: &[&str]) -> Vec<String> {
    backends.iter().map(|text| (*text).to_owned()).collect()
}

/// One way to spoil it, and the rule that is broken then.
type Mutant = (&'static str, Rule, fn(&mut Spoiler<'_>));

const MUTANTS: &[Mutant] = &[
    // Backends.
    ("a backend is missing", Rule::Backends, |it| {
        it.backends("a/w0", |backends| owned(&backends[1..]));
    }),
    ("no backend is left", Rule::Backends, |it| {
        it.backends("a/w0", |_| Vec::new());
    }),
    ("a backend is not ready", Rule::Backends, |it| {
        let address = it.address("pod/a/p2");
        let another = format!("{address}:80");
        it.backends("a/w0", |backends| {
            let mut backends = owned(&backends);
            backends.push(another.clone());
            backends
        });
    }),
    ("a backend has the wrong port", Rule::Backends, |it| {
        it.backends("a/w0", |backends| {
            let other = backends.iter().map(|backend| backend.replace(":80", ":81"));
            other.collect()
        });
    }),
    ("a backend is another VPC's", Rule::Leak, |it| {
        let address = it.address("pod/b/p0");
        let another = format!("{address}:80");
        it.backends("a/w0", |backends| {
            let mut backends = owned(&backends);
            backends.push(another.clone());
            backends
        });
    }),
    ("a backend is no address", Rule::Backends, |it| {
        it.backends("a/w0", |_| owned(&["nowhere:80"]));
    }),
    ("a backend is listed twice", Rule::Balance, |it| {
        it.backends("a/w0", |mut backends| {
            backends.push(backends[0]);
            owned(&backends)
        });
    }),
    ("weights are the other way round", Rule::Balance, |it| {
        it.backends("a/w1", |backends| {
            let (light, heavy): (Vec<&str>, Vec<&str>) = backends
                .iter()
                .partition(|backend| backend.starts_with("10.0.2.20:"));
            owned(&[light[0], light[0], heavy[0]])
        });
    }),
    // VIPs.
    ("a VIP is missing", Rule::Vip, |it| {
        let balancer = it.balancer("a/w0");
        it.edit("Load_Balancer", balancer, "vips", BTreeMap::clear);
    }),
    ("a VIP is on another port", Rule::Vip, |it| {
        let balancer = it.balancer("a/w1");
        it.edit("Load_Balancer", balancer, "vips", |vips| {
            let (_, backends) = vips.pop_first().expect("a VIP");
            vips.insert("10.96.0.9:54".into(), backends);
        });
    }),
    ("a VIP is not the one asked for", Rule::Vip, |it| {
        let balancer = it.balancer("a/w1");
        it.edit("Load_Balancer", balancer, "vips", |vips| {
            let (_, backends) = vips.pop_first().expect("a VIP");
            vips.insert("10.96.0.77:53".into(), backends);
        });
    }),
    ("a VIP is outside the VPC's ranges", Rule::Vip, |it| {
        let balancer = it.balancer("a/w0");
        it.edit("Load_Balancer", balancer, "vips", |vips| {
            let (_, backends) = vips.pop_first().expect("a VIP");
            vips.insert("172.16.0.1:80".into(), backends);
        });
    }),
    ("two services have one VIP", Rule::Once, |it| {
        let balancer = it.balancer("a/w0");
        it.edit("Load_Balancer", balancer, "vips", |vips| {
            let (_, backends) = vips.pop_first().expect("a VIP");
            vips.insert("10.96.0.9:80".into(), backends);
        });
    }),
    ("a load balancer is missing", Rule::Vip, |it| {
        let uuid = it.balancer("a/w0").0;
        it.delete("Load_Balancer", uuid);
    }),
    ("a load balancer is for another protocol", Rule::Vip, |it| {
        let uuid = it.balancer("a/w0").0;
        it.set("Load_Balancer", uuid, "protocol", Datum::from("sctp"));
    }),
    // Where load balancers are.
    ("a VIP is on a foreign VPC's switch", Rule::Group, |it| {
        let (group, switch) = (it.group("red"), it.switch("s3"));
        it.put("Logical_Switch", switch, "load_balancer_group", group);
    }),
    ("a VIP is not on a switch of its VPC", Rule::Group, |it| {
        let (group, switch) = (it.group("red"), it.switch("s2"));
        it.take("Logical_Switch", switch, "load_balancer_group", group);
    }),
    ("a load balancer is also another VPC's", Rule::Group, |it| {
        let (group, balancer) = (it.group("blue"), it.balancer("a/w0").0);
        it.put("Load_Balancer_Group", group, "load_balancer", balancer);
    }),
    ("a load balancer is in no group", Rule::Group, |it| {
        let (group, balancer) = (it.group("red"), it.balancer("a/w0").0);
        it.take("Load_Balancer_Group", group, "load_balancer", balancer);
    }),
    (
        "a load balancer is on a switch by itself",
        Rule::Group,
        |it| {
            let (switch, balancer) = (it.switch("s3"), it.balancer("a/w0").0);
            it.put("Logical_Switch", switch, "load_balancer", balancer);
        },
    ),
    ("a group is missing", Rule::Group, |it| {
        let group = it.group("red");
        let mut operations: Vec<Operation> = Vec::new();
        for subnet in ["s1", "s2"] {
            let taken = vec![Mutation::delete("load_balancer_group", group)];
            operations.push(Operation::mutate(
                "Logical_Switch",
                it.switch(subnet),
                taken,
            ));
        }
        let router = it.of("Logical_Router", "vpc/red").0;
        let taken = vec![Mutation::delete("load_balancer_group", group)];
        operations.push(Operation::mutate("Logical_Router", router, taken));
        operations.push(Operation::delete("Load_Balancer_Group", group));
        it.carry_out(operations);
    }),
    // How they balance.
    ("connections to nobody time out", Rule::Balance, |it| {
        let balancer = it.balancer("a/w0");
        it.edit("Load_Balancer", balancer, "options", |options| {
            options.remove("reject");
        });
    }),
    ("clients wander", Rule::Balance, |it| {
        let balancer = it.balancer("a/w0");
        it.edit("Load_Balancer", balancer, "options", |options| {
            options.remove("affinity_timeout");
        });
    }),
    ("every connection costs an upcall", Rule::Balance, |it| {
        let uuid = it.balancer("a/w0").0;
        let fields = Datum::set(["ip_src"]);
        it.set("Load_Balancer", uuid, "selection_fields", fields);
    }),
    // Whose rows are.
    ("a row is nobody's", Rule::Owned, |it| {
        let uuid = it.balancer("a/w0").0;
        it.set("Load_Balancer", uuid, "external_ids", Datum::empty_map());
    }),
    ("a row is of an object that is gone", Rule::Owned, |it| {
        let balancer = it.balancer("a/w0");
        it.edit("Load_Balancer", balancer, "external_ids", |labels| {
            labels.insert("yusur.io/unit".into(), "service/a/gone".into());
        });
    }),
    ("a group is of a Vpc that is gone", Rule::Owned, |it| {
        let row = Row::new().with("name", format!("yusur:{OWNER}:gone"));
        it.double_group(row);
    }),
    ("a load balancer is there twice", Rule::Once, |it| {
        let row = it.balancer("a/w0").1;
        it.double("Load_Balancer", &row);
    }),
    ("a router is there twice", Rule::Once, |it| {
        let row = it.of("Logical_Router", "vpc/red").1;
        it.double("Logical_Router", &row);
    }),
    ("a stranger's row was changed", Rule::Foreign, |it| {
        let name = Datum::from("ours now");
        it.set("Logical_Switch", THEIR_SWITCH, "name", name);
    }),
    ("a stranger's row is gone", Rule::Foreign, |it| {
        it.delete("Logical_Router", THEIR_ROUTER);
    }),
    // Routers and switches.
    ("a router is missing", Rule::Router, |it| {
        let uuid = it.of("Logical_Router", "vpc/red").0;
        it.delete("Logical_Router", uuid);
    }),
    ("a route leads elsewhere", Rule::Router, |it| {
        let (_, uuid) = it.route("red", "192.0.2.0/24", "10.0.1.9");
        let there = Datum::from("10.0.1.8");
        it.set("Logical_Router_Static_Route", uuid, "nexthop", there);
    }),
    ("a route is missing", Rule::Router, |it| {
        it.take_route("red", "192.0.2.0/24", "10.0.1.9");
    }),
    ("a switch is missing", Rule::Switch, |it| {
        let uuid = it.switch("s2");
        it.delete("Logical_Switch", uuid);
    }),
    ("a switch is at another VPC's router", Rule::Switch, |it| {
        let (red, blue) = (
            it.of("Logical_Router", "vpc/red").0,
            it.of("Logical_Router", "vpc/blue").0,
        );
        let port = it.of("Logical_Router_Port", "subnet/s2").0;
        it.put("Logical_Router", blue, "ports", port);
        it.take("Logical_Router", red, "ports", port);
    }),
    ("a router has another network", Rule::Switch, |it| {
        let uuid = it.of("Logical_Router_Port", "subnet/s2").0;
        let networks = Datum::set(["10.0.9.1/24"]);
        it.set("Logical_Router_Port", uuid, "networks", networks);
    }),
    ("a router's port is down", Rule::Switch, |it| {
        let uuid = it.of("Logical_Router_Port", "subnet/s2").0;
        it.set("Logical_Router_Port", uuid, "enabled", Datum::from(false));
    }),
    // Ports.
    ("a port is missing", Rule::Port, |it| {
        let (switch, port) = (it.switch("s1"), it.port("pod/a/p0"));
        it.take("Logical_Switch", switch, "ports", port);
    }),
    ("a port is on another VPC's switch", Rule::Port, |it| {
        let (from, to, port) = (it.switch("s1"), it.switch("s3"), it.port("pod/a/p0"));
        it.put("Logical_Switch", to, "ports", port);
        it.take("Logical_Switch", from, "ports", port);
    }),
    ("a port may send from any address", Rule::Port, |it| {
        let uuid = it.port("pod/a/p0");
        it.set(
            "Logical_Switch_Port",
            uuid,
            "port_security",
            Datum::empty_set(),
        );
    }),
    ("two ports have one address", Rule::Once, |it| {
        let (one, two) = (
            it.port("pod/a/p0"),
            it.of("Logical_Switch_Port", "pod/a/p1").1,
        );
        let addresses = two.get("addresses").cloned().expect("addresses");
        it.set("Logical_Switch_Port", one, "addresses", addresses);
    }),
    (
        "a port has an address of another range",
        Rule::Address,
        |it| {
            let uuid = it.port("pod/a/p0");
            let addresses = Datum::set(["0a:58:0a:00:07:07 10.0.7.7"]);
            it.set("Logical_Switch_Port", uuid, "addresses", addresses);
        },
    ),
    ("a port has the router's address", Rule::Address, |it| {
        let uuid = it.port("pod/a/p0");
        let addresses = Datum::set(["0a:58:0a:00:01:77 10.0.1.1"]);
        it.set("Logical_Switch_Port", uuid, "addresses", addresses);
    }),
    ("a VNic has not what it asked for", Rule::Address, |it| {
        let uuid = it.port("vnic/a/v0");
        let addresses = Datum::set(["0a:58:0a:00:02:07 10.0.2.7"]);
        it.set("Logical_Switch_Port", uuid, "addresses", addresses);
    }),
    // Names and records.
    ("a name is missing", Rule::Name, |it| {
        it.names(|records| {
            records.pop_first();
        });
    }),
    ("a name leads elsewhere", Rule::Name, |it| {
        it.names(|records| {
            for addresses in records.values_mut() {
                *addresses = "10.96.0.250".into();
            }
        });
    }),
    ("nobody asked for a name", Rule::Name, |it| {
        it.names(|records| {
            records.insert("more.a.svc.cluster.local".into(), "10.96.0.1".into());
        });
    }),
    ("a name has capitals", Rule::Name, |it| {
        it.names(|records| {
            let (name, addresses) = records.pop_first().expect("a name");
            records.insert(name.to_uppercase(), addresses);
        });
    }),
    ("names are known in another VPC", Rule::Name, |it| {
        let (row, switch) = (it.dns().0, it.switch("s3"));
        it.put("Logical_Switch", switch, "dns_records", row);
    }),
    ("a status does not say the address", Rule::Record, |it| {
        let key = ("a".to_owned(), "w0".to_owned());
        let service = it.0.objects.services.get_mut(&key).expect("a service");
        service.2 = None;
    }),
];

impl Spoiler<'_> {
    fn double_group(&mut self, row: Row) {
        let uuid = Uuid::from_u128(0xd0d1);
        self.carry_out(vec![Operation::insert("Load_Balancer_Group", uuid, row)]);
    }

    /// A row of names of Vpc red.
    fn dns(&self) -> (Uuid, Arc<Row>) {
        let mut rows = self.rows("DNS", |row| {
            let unit = row.map_str("external_ids", "yusur.io/unit");
            row.map_str("external_ids", "yusur.io/owner") == Some(OWNER)
                && unit.is_some_and(|unit| unit.starts_with("dns/red/"))
        });
        rows.swap_remove(0)
    }

    fn names(&mut self, edit: impl FnOnce(&mut BTreeMap<String, String>)) {
        let row = self.dns();
        self.edit("DNS", row, "records", edit);
    }
}

#[test]
fn the_judge_sees_every_mutant() {
    assert_eq!(world().complaints(), []);
    let mut unseen = Vec::new();
    for (what, rule, spoil) in MUTANTS.iter().chain(outside::MUTANTS) {
        let mut player = world();
        spoil(&mut Spoiler(&mut player));
        let complaints = player.complaints();
        if !complaints.iter().any(|complaint| complaint.rule == *rule) {
            unseen.push(format!("{what}: expected {rule:?}, got {complaints:?}"));
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}

/// What one had is another's now: seen as long as the one asks for it as before.
#[test]
fn the_judge_sees_what_is_given_to_another() {
    let mut player = world();
    let holders = |player: &Player<Memory>| {
        Holders::of(
            &player.objects,
            &player.northbound.replica(),
            &Foreign::new(),
        )
    };
    let before = holders(&player);
    let seen = |player: &Player<Memory>| before.lost(&player.objects, &holders(player));
    assert_eq!(seen(&player), []);
    let mut spoiler = Spoiler(&mut player);
    let port = spoiler.of("Logical_Switch_Port", "pod/a/p1");
    spoiler.edit("Logical_Switch_Port", port, "external_ids", |ids| {
        ids.insert("yusur.io/unit".into(), "pod/a/p0".into());
    });
    let complaints = seen(&player);
    let kept = complaints
        .iter()
        .all(|complaint| complaint.rule == Rule::Kept);
    assert!(kept && !complaints.is_empty(), "{complaints:?}");
    let key = ("a".to_owned(), "p1".to_owned());
    let pod = player.objects.pods.get_mut(&key).expect("a Pod");
    pod.subnet = Some("s2".into());
    assert_eq!(seen(&player), [], "it asks for something else");
}
