//! What services ask for of their VPC's service ranges.

use std::net::IpAddr;

use ovsdb_model::Database;
use yusur_crds::IpFamilyPolicy;

use super::ipam::pool::Room;
use super::ipam::{Evidence, Granted, Request, Scope, Want, records};
use super::service::{Outcome, Wants};
use super::settling::Asked;
use super::topology::Vpc;
use super::{Addresses, Inventory, Problem, Service};
use crate::family::Family;
use crate::name::ObjectName;
use crate::unit::Unit;

impl Service {
    /// Where its cluster addresses are of.
    pub(crate) fn cluster_scope(&self) -> Scope {
        Scope::Vpc(self.vpc.clone())
    }

    /// What it goes on asking for while its VPC refuses it.
    fn standing(&self) -> [Option<Want>; 2] {
        let Wants::Balanced {
            given,
            families,
            policy,
        } = &self.wants
        else {
            return [None; 2];
        };
        Family::ALL.map(|family| match given.get(family) {
            Some(ip) => Some(Want::This(ip)),
            None => {
                let asked = families.is_empty()
                    || families.contains(&family)
                    || *policy != IpFamilyPolicy::SingleStack;
                asked.then_some(Want::Any)
            }
        })
    }
}

impl Vpc {
    /// What cluster addresses there are.
    fn room(&self) -> Room {
        let ends = |net: &ipnet::IpNet| (net.network(), net.broadcast());
        Room {
            // Also the last of the range: it was one among others before the range became smaller, and serves as well.
            whole: self.cidrs.iter().map(ends).collect(),
            wanted: self
                .cidrs
                .iter()
                .map(|net| super::parse::hosts(*net))
                .collect(),
            ..Room::default()
        }
    }
}

impl Inventory {
    /// Gives all cluster addresses of a service back.
    pub(super) fn release_vips(&mut self, name: &ObjectName) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let claims = std::mem::take(&mut service.outcome.claims);
        let scope = service.cluster_scope();
        self.ipam
            .leave(&scope, &Unit::Service(name.clone()), &claims);
        self.close_unless_there(&scope);
        self.spread_news();
    }

    fn close_unless_there(&mut self, scope: &Scope) {
        if let Scope::Vpc(vpc) = scope
            && !self.vpcs.contains_key(vpc)
        {
            self.ipam.close(scope);
        }
    }

    /// Which families a service is to have, and which addresses it was given.
    fn wishes(&self, name: &ObjectName) -> Result<(Vec<Family>, Addresses), Problem> {
        let Some(service) = self.services.get(name) else {
            return Ok(Default::default());
        };
        let vpc = self.vpc_for(&name.namespace, &service.vpc)?;
        let (given, asked, policy) = match &service.wants {
            Wants::Headless | Wants::Unreadable => return Ok(Default::default()),
            Wants::Balanced {
                given,
                families,
                policy,
            } => (*given, families, *policy),
        };
        let mut families: Vec<Family> = asked.to_vec();
        if families.is_empty() {
            let first = vpc.cidrs.first().map(|net| Family::of(net.addr()));
            families.extend(first);
        }
        if families.is_empty() {
            return Err(Problem::new(
                "NoServiceCIDR",
                format!(
                    "Vpc {} has no serviceCIDRs to take an address from; add a range to it, or make the service headless \
                     with clusterIP: None",
                    service.vpc
                ),
            ));
        }
        for other in Family::ALL {
            let there = vpc.range(other).is_some();
            match policy {
                IpFamilyPolicy::SingleStack => {}
                IpFamilyPolicy::PreferDualStack if !there => {
                    // One family is enough, as long as it is not an address that was asked for.
                    if families.len() > 1 && given.get(other).is_none() {
                        families.retain(|family| *family != other);
                    }
                }
                IpFamilyPolicy::PreferDualStack | IpFamilyPolicy::RequireDualStack => {
                    if !families.contains(&other) {
                        families.push(other);
                    }
                }
            }
        }
        for family in &families {
            let Some(range) = vpc.range(*family) else {
                return Err(Problem::new(
                    "NoServiceCIDR",
                    format!(
                        "Vpc {} has no {} range in serviceCIDRs; add one, or do not ask for {}",
                        service.vpc,
                        family.as_str(),
                        family.as_str()
                    ),
                ));
            };
            if let Some(address) = given.get(*family)
                && !range.contains(&address)
            {
                return Err(Problem::new(
                    "AddressOutOfRange",
                    format!(
                        "{address} is not in {range}, the serviceCIDR of Vpc {}; choose an address within it, or leave \
                         clusterIP out to have one allocated",
                        service.vpc
                    ),
                ));
            }
        }
        Ok((families, given))
    }

    /// What a service asks for.
    pub(super) fn cluster_request(
        &mut self,
        name: &ObjectName,
        database: &Database,
    ) -> Option<Asked> {
        let service = self.services.get(name)?;
        let scope = service.cluster_scope();
        if let Some(vpc) = self.vpcs.get(&service.vpc) {
            let room = vpc.room();
            self.ipam.fit(scope.clone(), room);
        }
        let (wants, families, problem) = match self.wishes(name) {
            Ok((families, given)) => (Request::wants(&families, &given), families, None),
            Err(problem) => (
                self.services.get(name)?.standing(),
                Vec::new(),
                Some(problem),
            ),
        };
        let service = self.services.get(name)?;
        let unit = Unit::Service(name.clone());
        let had = service.outcome.claims;
        let held = self.ipam.held(&scope, &unit, &had);
        let records = if is_on_record(&wants, &held, &service.recorded) {
            Vec::new()
        } else {
            known(service.recorded, &records::vips(&unit, database))
        };
        Some(Asked {
            request: Request {
                created: service.header.created,
                scope,
                wants,
                mac: None,
                may: problem.is_none(),
                had,
                records,
                mac_record: None,
                unit,
            },
            families,
            problem,
            had_mac: false,
        })
    }

    /// Takes in what became of it.
    pub(super) fn cluster_granted(&mut self, name: &ObjectName, asked: Asked, granted: Granted) {
        let Some(service) = self.services.get(name) else {
            return;
        };
        let scope = &asked.request.scope;
        let lacking = Family::ALL
            .into_iter()
            .find(|family| granted.lacks[*family as usize]);
        let exhausted = lacking.map(|family| {
            let (taken, all) = self.ipam.usage(scope, family);
            Problem::new(
                "PoolExhausted",
                format!(
                    "no {} address is free in the serviceCIDRs of Vpc {} ({taken} of {all} taken); delete services that \
                     are not needed, or use a larger range",
                    family.as_str(),
                    service.vpc
                ),
            )
        });
        let problem = asked.problem.or(exhausted);
        // While it is refused its status goes on saying what it has: that is the record of it.
        let families = if asked.request.may {
            asked.families
        } else {
            granted.claims.iter().map(Family::of).collect()
        };
        let unrecorded = unrecorded(&asked.request, &granted, &service.recorded);
        let after = Outcome {
            families: families.into(),
            claims: granted.claims,
            unrecorded,
            problem: problem.map(Box::new),
        };
        if after != service.outcome {
            let unit = Unit::Service(name.clone());
            if let Some(service) = self.services.get_mut(name) {
                service.outcome = after;
            }
            self.dirty.add(unit.clone());
            self.dns_changed(name);
            // Only who has its cluster addresses asks for anything else.
            self.external_unsettled(&unit);
        }
        self.close_unless_there(&asked.request.scope);
    }

    pub(super) fn dns_changed(&mut self, name: &ObjectName) {
        if let Some(service) = self.services.get(name)
            && service.dns
        {
            let bucket = Unit::Dns(service.vpc.clone(), super::bucket(name));
            self.dirty.add(bucket);
        }
    }
}

/// What a unit is known to have had: by its status, and by its rows. What is on a row is in use, and so comes before what
/// is only recorded, whoever else has that on record.
pub(super) fn known(status: Addresses, rows: &[IpAddr]) -> Vec<(IpAddr, Evidence)> {
    let recorded = status.iter().map(|ip| {
        let evidence = if rows.contains(&ip) {
            Evidence::Row
        } else {
            Evidence::Status
        };
        (ip, evidence)
    });
    let others = rows
        .iter()
        .filter(|ip| !status.iter().any(|other| other == **ip));
    let others = others.map(|ip| (*ip, Evidence::Row));
    recorded.chain(others).collect()
}

/// True if a unit has all that it wants, and its status says so: then no row need be asked.
pub(super) fn is_on_record(
    wants: &[Option<Want>; 2],
    held: &Addresses,
    status: &Addresses,
) -> bool {
    Family::ALL.into_iter().zip(wants).all(|(family, want)| {
        let held = held.get(family);
        match want {
            None => true,
            Some(Want::This(ip)) => held == Some(*ip),
            Some(Want::Any) => held.is_some() && held == status.get(family),
        }
    })
}

/// True if some address was allocated and stands neither in the unit's status nor in its rows. Also what was given until
/// now becomes allocated, if the spec no longer names it.
pub(super) fn unrecorded(request: &Request, granted: &Granted, status: &Addresses) -> bool {
    granted.claims.iter().any(|ip| {
        let family = Family::of(ip);
        let by_name = request.wants[family as usize] == Some(Want::This(ip));
        let on_row = request.records.contains(&(ip, Evidence::Row));
        !by_name && status.get(family) != Some(ip) && !on_row
    })
}
