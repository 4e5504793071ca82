//! Eips, and what is asked for and held of external addresses, by an Eip or by a service for itself.

use yusur_crds::{EipRequest, EipSpec, EipStatus, IpFamily};

use super::ipam::Want;
use super::parse::{self, Addresses, Problem};
use super::topology::Header;
use crate::family::Family;
use crate::input::Object;
use crate::name::Name;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Request {
    /// `None`: the default gateway.
    pub(crate) gateway: Option<Name>,
    pub(crate) given: Addresses,
    /// Empty: as follows from the rest.
    pub(crate) families: Box<[Family]>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Holding {
    /// The gateway that owns the addresses.
    pub(crate) gateway: Option<Name>,
    pub(crate) families: Vec<Family>,
    /// Addresses claimed of its pool.
    pub(crate) claims: Addresses,
    /// Some were allocated and are not in a status yet.
    pub(crate) unrecorded: bool,
    /// It is refused: what it holds stays its own, and is not used.
    pub(crate) refused: bool,
    pub(crate) problem: Option<Problem>,
}

/// An Eip.
#[derive(Clone, Debug)]
pub(crate) struct Eip {
    pub(crate) header: Header,
    pub(crate) request: Request,
    pub(super) recorded: Addresses,
    /// The gateway they are of, as its status says.
    pub(super) recorded_gateway: Option<Name>,
    pub(crate) invalid: Option<Problem>,
    pub(crate) holding: Holding,
}

impl Holding {
    /// True if these are on record: all that was allocated, as far as it should.
    pub(super) fn is_on_record(&self, request: &Request, recorded: &Addresses) -> bool {
        self.unrecorded || recorded.covers(&self.claims, &request.given)
    }
}

impl Request {
    fn parse(
        field: &str,
        gateway: Option<&str>,
        addresses: &[String],
        families: &[IpFamily],
    ) -> Result<Self, Problem> {
        let given = parse::addresses(&format!("{field}.addresses"), addresses, parse::unicast)?;
        let families: Vec<Family> = families.iter().copied().map(Family::from).collect();
        if let Some(stray) = given
            .iter()
            .find(|address| !families.is_empty() && !families.contains(&Family::of(*address)))
        {
            return Err(Problem::invalid(format!(
                "{field}.ipFamilies does not list the family of {stray}; add it, or remove the address"
            )));
        }
        Ok(Self {
            gateway: gateway.map(Name::from),
            given,
            families: families.into(),
        })
    }

    /// What is asked for still while the gateway refuses it.
    pub(super) fn standing(&self) -> [Option<Want>; 2] {
        Family::ALL.map(|family| match self.given.get(family) {
            Some(ip) => Some(Want::This(ip)),
            None => {
                let asked = match self.families.is_empty() {
                    true => self.given.is_empty(),
                    false => self.families.contains(&family),
                };
                asked.then_some(Want::Any)
            }
        })
    }

    /// What a service asks for itself.
    pub(super) fn of_service(request: &EipRequest) -> Result<Self, Problem> {
        Self::parse(
            "spec.eip",
            request.gateway.as_deref(),
            &request.addresses,
            &request.ip_families,
        )
    }
}

impl Eip {
    pub(super) fn parse(object: &Object<EipSpec, EipStatus>) -> Self {
        let spec = &object.spec;
        let read = Request::parse(
            "spec",
            spec.gateway.as_deref(),
            &spec.addresses,
            &spec.ip_families,
        );
        let (request, invalid) = match read {
            Ok(request) => (request, None),
            Err(problem) => (Request::default(), Some(problem)),
        };
        Self {
            header: Header::new(&object.meta),
            request,
            recorded_gateway: object
                .status
                .as_ref()
                .and_then(|status| status.gateway.as_deref())
                .map(Name::from),
            recorded: recorded(object.status.iter().flat_map(|status| &status.addresses)),
            invalid,
            holding: Holding::default(),
        }
    }
}

/// Addresses a status records.
pub(super) fn recorded<'a>(texts: impl IntoIterator<Item = &'a String>) -> Addresses {
    let read = texts.into_iter().filter_map(|text| text.parse().ok());
    read.collect()
}
