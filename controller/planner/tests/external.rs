//! What EIPs cost: rows add up and do not multiply, and a change is as much work among many as among few.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use support::external::World;

/// In every table: a number for the gateway, one for each VPC, and one for each service. No product of the two.
#[test]
fn rows_add_up() {
    let rows = |vpcs, services| {
        let mut rows = World::new(vpcs, services).rows();
        // Names go into buckets by their hash: of these there are as many as names fall into.
        rows.remove("DNS");
        rows
    };
    let [few, more_vpcs, more_services, more_of_both] =
        [(20, 200), (40, 200), (20, 400), (40, 400)].map(|(vpcs, services)| rows(vpcs, services));
    for (table, of_both) in &more_of_both {
        let more = [&more_vpcs, &more_services].map(|rows| rows[table]);
        assert!(more.iter().all(|more| *more >= few[table]), "{table}");
        assert_eq!(of_both + few[table], more.iter().sum::<usize>(), "{table}");
    }
}

/// The same change among ten times as many VPCs and services: the same units and operations.
#[test]
fn a_change_costs_what_it_is() {
    let mut few = World::new(10, 100);
    let mut many = World::new(100, 1_000);
    for at in [3, 9] {
        let cost = few.change(few.version(at, 7));
        assert!(cost.units > 0 && cost.operations > 0, "{cost:?}");
        assert_eq!(cost, many.change(many.version(at, 7)), "service {at}");
    }
}

/// The only service of a service gateway is one service: its change is not all VPCs'.
#[test]
fn the_only_service_of_a_service_gateway_costs_what_it_is() {
    let worlds = [(10, 100), (100, 1_000)].map(|(vpcs, services)| {
        let mut world = World::new(vpcs, services);
        world.write(world.through(9, 1));
        world
    });
    let costs = worlds.map(|mut world| world.change(world.through(9, 2)));
    assert!(
        costs[0].units > 0 && costs[0].operations > 0,
        "{:?}",
        costs[0]
    );
    assert_eq!(costs[0], costs[1]);
}
