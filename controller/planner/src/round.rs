//! One plan on its way into the Northbound: which groups go together, what happens when the server refuses some of
//! them. No waiting here: an edge sends what [`Round::next_run`] hands out and reports how it ended.
//!
//! A refused transaction is halved until the groups that cannot be written stand alone (decision 5). Groups that rest
//! on rows of a group that failed are left out with it.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};

use crate::plan::Group;

/// What the round needs to know of a group of a plan.
pub trait Part {
    /// Operations it takes.
    fn size(&self) -> usize;
    /// Positions of the groups it rests on.
    fn after(&self) -> &[usize];
}

/// Bounds of one transaction.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Operations; a single group may have more.
    pub operations: usize,
}

impl Part for Group {
    fn size(&self) -> usize {
        Self::size(self)
    }

    fn after(&self) -> &[usize] {
        &self.after
    }
}

/// One plan on its way.
#[derive(Debug)]
pub struct Round<P> {
    groups: HashMap<usize, P>,
    /// Runs of groups still to be sent, in order.
    runs: VecDeque<Vec<usize>>,
    /// The run that is being sent.
    sent: Vec<usize>,
    /// Groups that were refused or left out.
    lost: HashSet<usize>,
}

/// What came of a refusal.
#[derive(Debug)]
pub enum Refused<P> {
    /// The run was halved; go on with [`Round::next_run`].
    Halved,
    /// It was this one group.
    Group(P),
}

// === impl Round ===

impl<P: Part> Round<P> {
    /// The groups of a plan, cut into transactions within `bounds`.
    pub fn new(groups: Vec<P>, bounds: Bounds) -> Self {
        let mut runs: VecDeque<Vec<usize>> = VecDeque::new();
        let mut room = 0;
        for (at, group) in groups.iter().enumerate() {
            match runs.back_mut().filter(|_| group.size() <= room) {
                Some(run) => {
                    room -= group.size();
                    run.push(at);
                }
                None => {
                    room = bounds.operations.saturating_sub(group.size());
                    runs.push_back(vec![at]);
                }
            }
        }
        let groups = groups.into_iter().enumerate().collect();
        Self {
            groups,
            runs,
            sent: Vec::new(),
            lost: HashSet::new(),
        }
    }

    /// Whether nothing is left to send and nothing is being sent.
    pub fn is_done(&self) -> bool {
        self.runs.is_empty() && self.sent.is_empty()
    }

    /// The groups of the next transaction, and groups that are left out because what they rest on was refused: look at
    /// those again later. Both empty: the round is over.
    pub fn next_run(&mut self) -> (Vec<&P>, Vec<P>) {
        let mut left_out = Vec::new();
        while let Some(run) = self.runs.pop_front() {
            let mut sent = Vec::with_capacity(run.len());
            for at in run {
                let rests_on_lost = self
                    .groups
                    .get(&at)
                    .is_some_and(|group| group.after().iter().any(|on| self.lost.contains(on)));
                if rests_on_lost {
                    self.lost.insert(at);
                    left_out.extend(self.groups.remove(&at));
                } else {
                    sent.push(at);
                }
            }
            if !sent.is_empty() {
                self.sent = sent;
                break;
            }
        }
        (
            self.sent
                .iter()
                .filter_map(|at| self.groups.get(at))
                .collect(),
            left_out,
        )
    }

    /// What is not committed, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &P> {
        self.groups.values()
    }

    /// What was sent is committed.
    pub fn committed(&mut self) -> Vec<P> {
        std::mem::take(&mut self.sent)
            .into_iter()
            .filter_map(|at| self.groups.remove(&at))
            .collect()
    }

    /// What was sent was refused for its content.
    pub fn refused(&mut self) -> Refused<P> {
        let mut run = std::mem::take(&mut self.sent);
        if let [only] = run[..] {
            self.lost.insert(only);
            if let Some(group) = self.groups.remove(&only) {
                return Refused::Group(group);
            }
        }
        let second = run.split_off(run.len() / 2);
        for half in [second, run] {
            if !half.is_empty() {
                self.runs.push_front(half);
            }
        }
        Refused::Halved
    }

    /// Gives the round up: everything that is not committed.
    pub fn abandon(self) -> impl Iterator<Item = P> {
        self.groups.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Fake {
        name: usize,
        size: usize,
        after: Vec<usize>,
    }

    impl Part for Fake {
        fn size(&self) -> usize {
            self.size
        }

        fn after(&self) -> &[usize] {
            &self.after
        }
    }

    fn groups(count: usize) -> Vec<Fake> {
        (0..count)
            .map(|name| Fake {
                name,
                size: 1,
                after: Vec::new(),
            })
            .collect()
    }

    /// Runs a round against a server that refuses transactions with any of `bad`; what was committed, in order, what
    /// was refused, what was left out, and how many transactions it took.
    fn run(
        groups: Vec<Fake>,
        bound: usize,
        bad: &[usize],
    ) -> (Vec<usize>, Vec<usize>, Vec<usize>, usize) {
        let mut round = Round::new(groups, Bounds { operations: bound });
        let (mut committed, mut refused, mut left, mut transactions) = (vec![], vec![], vec![], 0);
        loop {
            let (sent, left_out) = round.next_run();
            let names: Vec<usize> = sent.iter().map(|group| group.name).collect();
            left.extend(left_out.iter().map(|group| group.name));
            if names.is_empty() {
                break;
            }
            transactions += 1;
            if names.iter().any(|name| bad.contains(name)) {
                if let Refused::Group(group) = round.refused() {
                    refused.push(group.name);
                }
            } else {
                committed.extend(round.committed().iter().map(|group| group.name));
            }
        }
        assert!(round.is_done());
        (committed, refused, left, transactions)
    }

    #[test]
    fn a_good_plan_takes_as_few_transactions_as_the_bound_allows() {
        let (committed, _, _, transactions) = run(groups(1000), 400, &[]);
        assert_eq!(committed, (0..1000).collect::<Vec<_>>());
        assert_eq!(transactions, 3);
        let (committed, _, _, transactions) = run(
            vec![Fake {
                name: 0,
                size: 9,
                after: vec![],
            }],
            4,
            &[],
        );
        assert_eq!(
            (committed, transactions),
            (vec![0], 1),
            "a group is never split"
        );
    }

    #[test]
    fn bad_groups_are_found_and_block_nobody() {
        let (committed, refused, left, transactions) = run(groups(1024), 2048, &[7, 700]);
        assert_eq!(refused, [7, 700]);
        assert_eq!(
            committed,
            (0..1024)
                .filter(|name| ![7, 700].contains(name))
                .collect::<Vec<_>>()
        );
        assert!(left.is_empty());
        assert!(transactions <= 2 * 2 * 10 + 1, "{transactions}");
    }

    #[test]
    fn what_rests_on_a_bad_group_is_left_out() {
        let mut groups = groups(6);
        groups[3].after = vec![1];
        groups[5].after = vec![3];
        let (committed, refused, left, _) = run(groups, 100, &[1]);
        assert_eq!(
            (committed, refused, left),
            (vec![0, 2, 4], vec![1], vec![3, 5])
        );
    }

    #[test]
    fn an_abandoned_round_names_all_that_is_not_committed() {
        let mut round = Round::new(groups(6), Bounds { operations: 2 });
        round.next_run();
        round.committed();
        round.next_run();
        let mut left: Vec<usize> = round.abandon().map(|group| group.name).collect();
        left.sort_unstable();
        assert_eq!(left, [2, 3, 4, 5]);
    }
}
