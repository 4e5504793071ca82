//! Rounds on their way into the Northbound. As a rule there is one. Where plans only add rows, as at a start, a second
//! follows before the first has landed: then the server need not wait for us, nor we for the server.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use ovsdb::TransactError;
use yusur_planner::{Group, Round};

/// A transaction that is on its way.
pub(super) type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

/// How it ended.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) cargo: Cargo,
    pub(super) sent: Instant,
    pub(super) result: Result<(), TransactError>,
}

/// What it carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cargo {
    /// The groups that the round sent; whether it raised `nb_cfg` too.
    Rows { raises: bool },
    /// The raise of `nb_cfg` alone.
    Raise,
    /// The epoch.
    Claim,
}

/// A round and its transaction in flight, if it has one. A transaction that carries no rows has no round.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) round: Option<Round<Group>>,
    pub(super) flight: Option<Flight>,
}

/// Which lane.
pub(super) type Number = usize;

/// How many rounds may be on their way.
const LANES: usize = 2;

/// The lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes([Lane; LANES]);

// === impl Lanes ===

impl Lanes {
    /// The lane of this number, counted round where there are fewer.
    pub(super) fn lane(&mut self, number: Number) -> &mut Lane {
        &mut self.0[number % LANES]
    }

    /// Every lane's number.
    pub(super) fn numbers() -> std::ops::Range<Number> {
        0..LANES
    }

    /// True while a transaction is in flight.
    pub(super) fn any_flies(&self) -> bool {
        self.0.iter().any(|lane| lane.flight.is_some())
    }

    /// True if no round has anything left to send, and nothing is being sent.
    pub(super) fn are_done(&self) -> bool {
        self.0.iter().all(Lane::is_done)
    }

    /// A lane on which nothing is.
    pub(super) fn free(&self) -> Option<Number> {
        self.0.iter().position(Lane::is_done)
    }

    /// What has been planned and is not committed.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        let rounds = self.0.iter().filter_map(|lane| lane.round.as_ref());
        rounds.flat_map(Round::groups)
    }

    /// The next transaction that lands, and where; never, while none is in flight.
    pub(super) async fn next(&mut self) -> (Number, Landed) {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Number, Landed)> {
        for (number, lane) in self.0.iter_mut().enumerate() {
            let Some(flight) = &mut lane.flight else {
                continue;
            };
            if let Poll::Ready(landed) = flight.as_mut().poll(context) {
                lane.flight = None;
                return Poll::Ready((number, landed));
            }
        }
        Poll::Pending
    }
}

// === impl Lane ===

impl Lane {
    fn is_done(&self) -> bool {
        self.flight.is_none() && self.round.is_none()
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("round", &self.round)
            .field("flies", &self.flight.is_some())
            .finish()
    }
}
