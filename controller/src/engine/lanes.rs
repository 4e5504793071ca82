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

/// Both lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    first: Lane,
    second: Lane,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Second,
}

// === impl Lanes ===

impl Lanes {
    pub(super) fn lane(&mut self, which: Which) -> &mut Lane {
        match which {
            Which::First => &mut self.first,
            Which::Second => &mut self.second,
        }
    }

    fn both(&self) -> [&Lane; 2] {
        [&self.first, &self.second]
    }

    /// True while a transaction is in flight.
    pub(super) fn any_flies(&self) -> bool {
        self.both().iter().any(|lane| lane.flight.is_some())
    }

    /// True if no round has anything left to send, and nothing is being sent.
    pub(super) fn are_done(&self) -> bool {
        self.both().iter().all(|lane| lane.is_done())
    }

    /// A lane on which nothing is.
    pub(super) fn free(&self) -> Option<Which> {
        if self.first.is_done() {
            Some(Which::First)
        } else {
            self.second.is_done().then_some(Which::Second)
        }
    }

    /// What has been planned and is not committed.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        let rounds = self
            .both()
            .into_iter()
            .filter_map(|lane| lane.round.as_ref());
        rounds.flat_map(Round::groups)
    }

    /// The next transaction that lands, and where; never, while none is in flight.
    pub(super) async fn next(&mut self) -> (Which, Landed) {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Which, Landed)> {
        for which in [Which::First, Which::Second] {
            let lane = self.lane(which);
            let Some(flight) = &mut lane.flight else {
                continue;
            };
            if let Poll::Ready(landed) = flight.as_mut().poll(context) {
                lane.flight = None;
                return Poll::Ready((which, landed));
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
