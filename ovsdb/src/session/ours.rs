//! Which of the databases that servers have under one name is ours, and when another has taken its place.
//!
//! Several endpoints are the members of one cluster. One of them may have something else: a member that was removed and
//! goes on alone, a cluster that somebody made by mistake. While ours cannot be reached for a moment such a one must not
//! be taken for it: what it tells is old or another's, and what it is told is lost. Therefore the database met first, by the
//! id of its cluster, is kept to. But databases are replaced for good as well: a cluster that has lost too many members is
//! rescued into a standalone database, or made anew from a backup. Then what has taken the place of ours is followed:
//!
//! - where it is at an endpoint that had ours, and every other endpoint answers that it has something else as well, after
//!   [`CERTAINTY`]: ours is nowhere that we know of;
//! - where some endpoint does not answer, and might have ours still, after [`SUCCESSION`].

use std::time::{Duration, Instant};

use ovsdb_model::Uuid;

use crate::server_db::{Identity, ServerRow};

/// How long the endpoints must have nothing of ours until that is plain. An endpoint may be a name or an address under
/// which several servers answer in turn, so one answer does not do.
const CERTAINTY: Duration = Duration::from_secs(1);

/// How long a database that was there must be out of sight before another one is taken for its successor, unless it is
/// plain that ours is nowhere any more.
const SUCCESSION: Duration = Duration::from_secs(10);

/// Our database, and what was met in looking for it.
#[derive(Debug)]
pub(super) struct Ours {
    /// The only cluster that will do.
    pub(super) cluster_id: Option<Uuid>,
    /// The first one met, or its successor. None before that, and while only servers were met that do not say.
    pub(super) identity: Option<Identity>,
    /// The highest log index seen.
    pub(super) index: Option<i64>,
    /// Since when it has been out of sight.
    out_of_sight: Option<Instant>,
    /// What is where ours was, while ours is nowhere, and since when.
    replaced: Option<(Identity, Instant)>,
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, Default)]
struct Endpoint {
    /// Ours was met there.
    had_ours: bool,
    /// What was met there in this round.
    met: Option<Met>,
}

/// What an endpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// Our database, in working order.
    Ours,
    /// Ours, without the rest of its cluster, or behind it: it may be of use again.
    CutOff,
    /// Ours, but even the cluster's leader does not know what was seen before.
    SetBack,
    /// Another one; whether it can be used.
    Other(Identity, bool),
    /// None of the name, and there never was ours.
    Nothing,
}

/// What has taken the place of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Successor {
    pub(super) identity: Identity,
    /// It is the same cluster as before, at an earlier state.
    pub(super) set_back: bool,
}

impl Ours {
    pub(super) fn new(endpoints: usize, cluster_id: Option<Uuid>) -> Self {
        Self {
            cluster_id,
            identity: None,
            index: None,
            out_of_sight: None,
            replaced: None,
            endpoints: vec![Endpoint::default(); endpoints],
        }
    }

    /// Takes in what the server at an endpoint says of its database.
    pub(super) fn see(&mut self, endpoint: usize, row: &ServerRow) {
        let (Some(identity), Some(ours)) = (row.identity(), self.identity) else {
            return;
        };
        let Some(endpoint) = self.endpoints.get_mut(endpoint) else {
            return;
        };
        let behind = row
            .index
            .zip(self.index)
            .is_some_and(|(now, seen)| now < seen);
        endpoint.met = Some(if ours != identity {
            Met::Other(identity, row.is_connected())
        } else if !row.is_connected() {
            Met::CutOff
        } else if behind {
            if row.leader {
                Met::SetBack
            } else {
                Met::CutOff
            }
        } else {
            Met::Ours
        });
        endpoint.had_ours |= ours == identity;
    }

    /// The server at an endpoint has no database of the name.
    pub(super) fn see_nothing(&mut self, endpoint: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint).filter(|one| !one.had_ours) {
            endpoint.met = Some(Met::Nothing);
        }
    }

    /// Takes what the server at an endpoint has for ours.
    pub(super) fn accept(&mut self, endpoint: usize, row: &ServerRow) {
        self.identity = self.identity.or(row.identity());
        self.index = self.index.max(row.index);
        self.see(endpoint, row);
    }

    /// An endpoint is tried: what it had before is no news.
    pub(super) fn attempt(&mut self, endpoint: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.met = None;
        }
    }

    /// The database is in use: a round that follows begins anew.
    pub(super) fn in_use(&mut self) {
        self.out_of_sight = None;
        self.replaced = None;
        self.new_round();
    }

    /// At the end of a round of all endpoints in which no session came about: what is to be taken for ours from now on.
    pub(super) fn successor(&mut self, now: Instant) -> Option<Successor> {
        let found = self.look_for_successor(now);
        self.new_round();
        let found = found?;
        self.identity = Some(found.identity);
        self.index = None;
        self.out_of_sight = None;
        self.replaced = None;
        for endpoint in &mut self.endpoints {
            endpoint.had_ours = false;
        }
        Some(found)
    }

    /// How long until what was met may be taken for ours.
    pub(super) fn patience(&self, now: Instant) -> Option<Duration> {
        let left = |since: Instant, time: Duration| {
            let left = time.checked_sub(now.saturating_duration_since(since));
            left.filter(|left| !left.is_zero())
        };
        let certain = self.replaced.and_then(|(_, since)| left(since, CERTAINTY));
        let over = self.out_of_sight.and_then(|since| left(since, SUCCESSION));
        certain.into_iter().chain(over).min()
    }

    fn new_round(&mut self) {
        for endpoint in &mut self.endpoints {
            endpoint.met = None;
        }
    }

    fn look_for_successor(&mut self, now: Instant) -> Option<Successor> {
        let replaced_before = self.replaced.take();
        let met = |wanted: Met| self.endpoints.iter().any(|one| one.met == Some(wanted));
        if met(Met::Ours) {
            self.out_of_sight = None;
            return None;
        }
        if self.cluster_id.is_some() {
            // Another will never do.
            return None;
        }
        let ours = self.identity?;
        let other = |one: &Endpoint| match one.met {
            Some(Met::Other(identity, true)) => Some(identity),
            _ => None,
        };
        let is_other = |one: &Endpoint| matches!(one.met, Some(Met::Other(..) | Met::Nothing));
        let replaced = (self.endpoints.iter())
            .filter(|one| one.had_ours)
            .find_map(other);
        let beside = self.endpoints.iter().find_map(other);
        self.replaced = replaced
            .filter(|_| self.endpoints.iter().all(is_other))
            .map(|new| match replaced_before {
                Some((old, since)) if old == new => (new, since),
                _ => (new, now),
            });
        let since = *self.out_of_sight.get_or_insert(now);
        let lasts = |since: Instant, time| now.saturating_duration_since(since) >= time;
        let is_plain = self
            .replaced
            .is_some_and(|(_, since)| lasts(since, CERTAINTY));
        if !is_plain && !lasts(since, SUCCESSION) {
            return None;
        }
        let set_back = met(Met::SetBack);
        let identity = if set_back { ours } else { replaced.or(beside)? };
        Some(Successor { identity, set_back })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_db::Model;

    fn member(cluster: u128) -> ServerRow {
        ServerRow {
            model: Model::Clustered,
            connected: true,
            leader: true,
            cluster_id: Some(Uuid::from_u128(cluster)),
            ..ServerRow::default()
        }
    }

    fn cluster(id: u128) -> Identity {
        Identity::Cluster(Uuid::from_u128(id))
    }

    /// What is taken for ours after a round at `seconds` in which the endpoints had these.
    fn round(
        ours: &mut Ours,
        began: Instant,
        seconds: u64,
        rows: &[Option<ServerRow>],
    ) -> Option<Identity> {
        for (endpoint, row) in rows.iter().enumerate() {
            if let Some(row) = row {
                ours.see(endpoint, row);
            }
        }
        let successor = ours.successor(began + Duration::from_secs(seconds));
        successor.map(|successor| successor.identity)
    }

    fn using(endpoints: usize, row: &ServerRow) -> Ours {
        let mut ours = Ours::new(endpoints, None);
        ours.accept(0, row);
        ours.in_use();
        ours
    }

    #[test]
    fn what_has_replaced_ours_everywhere_is_followed_promptly() {
        let (began, standalone) = (Instant::now(), ServerRow::default());
        let mut ours = using(1, &member(1));
        let cut_off = ServerRow {
            connected: false,
            ..member(2)
        };
        for (seconds, row, wanted) in [
            (0, cut_off, None),
            (3, member(2), None),
            // Another again: that is not plain yet.
            (4, standalone.clone(), None),
            (5, standalone.clone(), Some(Identity::Standalone)),
            // What has only just been taken for ours was nowhere yet.
            (6, member(2), None),
            (7, member(2), None),
        ] {
            assert_eq!(
                round(&mut ours, began, seconds, &[Some(row)]),
                wanted,
                "{seconds}"
            );
        }
        let mut ours = using(3, &standalone);
        for (seconds, wanted) in [(0, None), (1, Some(cluster(2)))] {
            ours.see_nothing(2);
            let rows = [Some(member(2)), Some(member(3)), None];
            assert_eq!(round(&mut ours, began, seconds, &rows), wanted);
        }
    }

    #[test]
    fn what_lies_beside_ours_is_not_followed_while_ours_may_be_somewhere() {
        let began = Instant::now();
        let mut ours = using(3, &member(1));
        let cut_off = ServerRow {
            connected: false,
            ..member(1)
        };
        let rows = |a, b, c| [Some(a), Some(b), c];
        for (seconds, rows) in [
            // Out of reach at one place, cut off at another, without a leader.
            (0, rows(member(2), member(2), None)),
            (1, rows(member(2), member(2), Some(cut_off))),
            (
                60,
                rows(
                    member(2),
                    member(2),
                    Some(ServerRow {
                        leader: false,
                        ..member(1)
                    }),
                ),
            ),
            // That was a sight of it: the time counts from here.
            (61, rows(member(2), member(3), None)),
            (70, rows(member(2), member(3), None)),
        ] {
            assert_eq!(
                round(&mut ours, began, seconds, &rows),
                None,
                "after {seconds} s"
            );
        }
        assert_eq!(
            ours.patience(began + Duration::from_secs(70)),
            Some(Duration::from_secs(1))
        );
        let last = rows(member(2), member(3), None);
        assert_eq!(round(&mut ours, began, 71, &last), Some(cluster(2)));
        // It never was at the second: the third, which has answered now, settles nothing about the second.
        ours.accept(0, &member(2));
        ours.in_use();
        let rows = [None, Some(member(3)), Some(member(3))];
        assert_eq!(round(&mut ours, began, 72, &rows), None);
    }

    #[test]
    fn a_certain_cluster_has_no_successor() {
        let began = Instant::now();
        let mut ours = Ours::new(1, Some(Uuid::from_u128(1)));
        for seconds in [0, 20] {
            assert_eq!(round(&mut ours, began, seconds, &[Some(member(2))]), None);
        }
        assert_eq!(ours.identity, None);
    }

    #[test]
    fn a_cluster_set_back_is_ours_after_a_while() {
        let began = Instant::now();
        let at = |index| ServerRow {
            index: Some(index),
            ..member(1)
        };
        let follower = ServerRow {
            leader: false,
            ..at(3)
        };
        // It is ours still, whatever lies beside it.
        let rows = [Some(follower.clone()), Some(member(2)), Some(at(3))];
        let mut ours = using(3, &at(7));
        for (seconds, wanted) in [(0, None), (9, None), (10, Some(cluster(1)))] {
            assert_eq!(round(&mut ours, began, seconds, &rows), wanted);
        }
        assert_eq!(ours.index, None);
        // One that only lags catches up.
        let mut ours = using(1, &at(7));
        for seconds in [20, 40] {
            let lags = [Some(follower.clone())];
            assert_eq!(round(&mut ours, began, seconds, &lags), None);
        }
    }
}
