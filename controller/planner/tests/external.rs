//! What EIPs cost: rows add up and do not multiply, and a change is as much work among many as among few.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use support::external::{Kind, World};

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
    // One of each kind.
    for at in [3, 9, 19] {
        let cost = few.change(few.version(at, 7));
        assert!(cost.units > 0 && cost.operations > 0, "{cost:?}");
        assert_eq!(cost, many.change(many.version(at, 7)), "service {at}");
    }
}

/// The only service of a service gateway, or of an inside router, is one service: its change is not all VPCs'.
#[test]
fn the_only_service_that_needs_a_router_costs_what_it_is() {
    for kind in [Kind::ServiceGateway, Kind::Preserve] {
        let costs = [(10, 100), (100, 1_000)].map(|(vpcs, services)| {
            let mut world = World::of(vpcs, services, |_| Kind::OneVpc);
            world.write(world.changed(9, 1, kind));
            world.change(world.changed(9, 2, kind))
        });
        let [few, many] = costs;
        assert!(few.units > 0 && few.operations > 0, "{kind:?}: {few:?}");
        assert_eq!(few, many, "{kind:?}");
    }
}
