//! The queue of units to look at again: first in, first out, each at most once.

use std::collections::VecDeque;

use hashbrown::HashSet;

use crate::name::Name;
use crate::unit::Unit;

#[derive(Debug, Default)]
pub(crate) struct Dirty {
    queue: VecDeque<Unit>,
    queued: HashSet<Unit>,
}

impl Dirty {
    pub(crate) fn add(&mut self, unit: Unit) {
        if !self.queued.contains(&unit) {
            self.queued.insert(unit.clone());
            self.queue.push_back(unit);
        }
    }

    /// All that an EIP gateway consists of.
    pub(crate) fn add_gateway(&mut self, name: &Name) {
        self.add(Unit::EipGateway(name.clone()));
        self.add(Unit::ServiceGateway(name.clone()));
    }

    pub(crate) fn take(&mut self, max: usize) -> Vec<Unit> {
        let count = max.min(self.queue.len());
        let units: Vec<Unit> = self.queue.drain(..count).collect();
        for unit in &units {
            self.queued.remove(unit);
        }
        // A cold start's room is not needed again, and the rows that follow from it need some.
        if self.queue.len() < self.queue.capacity() / 4 {
            self.queue.shrink_to(1024.max(self.queue.len() * 2));
            self.queued.shrink_to(1024.max(self.queue.len() * 2));
        }
        units
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
