//! Transactions: what is sent, what comes back, and how errors are sorted.

use std::ops::Range;
use std::time::Duration;

use ovsdb_model::schema::Missing;
use ovsdb_model::{ErrorKind, Name, OpResult, Operation, Outcome, Schema, TransactionError};
use serde::ser::Error as _;

use crate::error::{BrokenReason, FenceReason, TransactError, sort};
use crate::fence::Fence;
use crate::rpc::wire::Request;

/// Operations that take effect together or not at all, with what must hold for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transaction {
    operations: Vec<Operation>,
    fences: Vec<Fence>,
    locks: Vec<Name>,
    deadline: Option<Duration>,
}

impl Transaction {
    /// These operations, nothing else asked.
    pub fn new(operations: impl Into<Vec<Operation>>) -> Self {
        Self {
            operations: operations.into(),
            ..Self::default()
        }
    }

    /// Takes effect only while `fence` holds; [`TransactError::Fenced`] otherwise.
    #[must_use]
    pub fn fence(mut self, fence: Fence) -> Self {
        self.fences.push(fence);
        self
    }

    /// Takes effect only while this client holds `lock`; [`TransactError::Fenced`] otherwise.
    #[must_use]
    pub fn assert_lock(mut self, lock: impl Into<Name>) -> Self {
        self.locks.push(lock.into());
        self
    }

    /// How long an answer may take, instead of the client's own limit. When it passes, the server is asked to cancel
    /// the transaction (RFC 7047 §4.1.4) and given one more second to say so. What has happened is known only where it
    /// was not sent yet ([`RetryReason::NotSent`](crate::RetryReason::NotSent)) or a standalone server says that it has
    /// canceled it ([`RetryReason::Canceled`](crate::RetryReason::Canceled)).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The same conditions for other operations.
    #[must_use]
    pub fn with_operations(&self, operations: impl Into<Vec<Operation>>) -> Self {
        Self {
            operations: operations.into(),
            fences: self.fences.clone(),
            locks: self.locks.clone(),
            deadline: self.deadline,
        }
    }

    /// The operations.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Fits the transaction to a server's schema and writes it down as a request.
    pub(crate) fn prepare(
        self,
        database: &str,
        schema: &Schema,
    ) -> Result<(Ready, Request), TransactError> {
        let guards = self.locks.len() + self.fences.len();
        let mut all = Vec::with_capacity(guards + self.operations.len());
        all.extend(self.locks.iter().cloned().map(Operation::assert));
        all.extend(self.fences.iter().map(Fence::operation));
        all.extend(self.operations);
        let prepared = schema.prepare(all).map_err(|mut error| {
            error.operation = error.operation.saturating_sub(guards);
            TransactError::Broken(BrokenReason::Check(error))
        })?;
        let request = to_request(database, &prepared.operations)
            .map_err(|error| TransactError::Broken(BrokenReason::Json(error.to_string())))?;
        let ready = Ready {
            operations: prepared.operations,
            left_out: prepared.left_out,
            missing: prepared.missing,
            fences: self.fences,
            locks: self.locks,
            deadline: self.deadline,
        };
        Ok((ready, request))
    }
}

impl<O: Into<Vec<Operation>>> From<O> for Transaction {
    fn from(operations: O) -> Self {
        Self::new(operations)
    }
}

/// A change that was split into several transactions and did not come to its end.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("after {} of {groups} groups: {error}", .done.len())]
pub struct SplitError {
    /// The results of the groups that were committed, from the first on.
    pub done: Vec<Vec<OpResult>>,
    /// How many groups there were.
    pub groups: usize,
    /// The groups, by position, of the transaction that failed; none of them was committed, unless the outcome is
    /// unknown.
    pub failed: Range<usize>,
    /// Why it failed. An operation's place in it counts within its group.
    pub error: TransactError,
    /// The group that the operation at fault belongs to, where one is.
    pub group: Option<usize>,
}

/// Packs groups into transactions: as many as fit into `most` operations, at least one.
pub(crate) fn pack(sizes: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut packs: Vec<Range<usize>> = Vec::new();
    let mut filled = 0;
    for (at, size) in sizes.iter().enumerate() {
        match packs.last_mut() {
            Some(pack) if filled + size <= most => {
                pack.end = at + 1;
                filled += size;
            }
            _ => {
                packs.push(at..at + 1);
                filled = *size;
            }
        }
    }
    packs
}

/// A transaction that was written down: what its answer is read by.
#[derive(Debug)]
pub(crate) struct Ready {
    /// What the server lacks and was left out.
    pub(crate) missing: Vec<Missing>,
    pub(crate) deadline: Option<Duration>,
    /// Locks, fences, then those of the caller that the server can take.
    operations: Vec<Operation>,
    left_out: Vec<usize>,
    fences: Vec<Fence>,
    locks: Vec<Name>,
}

impl Ready {
    /// Reads the server's answer: one result for each operation of the caller.
    pub(crate) fn read_reply(
        &self,
        reply: &str,
        schema: &Schema,
    ) -> Result<Vec<OpResult>, TransactError> {
        let outcome = Outcome::decode(reply, &self.operations, schema).map_err(|error| {
            TransactError::OutcomeUnknown(format!(
                "the answer is not what the protocol has: {error}"
            ))
        })?;
        let mut results = outcome
            .with_left_out(&self.left_out)
            .into_result(&self.operations)
            .map_err(|error| self.sort(error))?;
        results.drain(..self.guards());
        Ok(results)
    }

    /// How many operations of ours precede those of the caller. The schema has what they speak of: none is left out.
    fn guards(&self) -> usize {
        self.fences.len() + self.locks.len()
    }

    fn sort(&self, mut error: TransactionError) -> TransactError {
        let not_held = matches!(error.error.kind, ErrorKind::NotOwner | ErrorKind::TimedOut);
        if let Some(place) = error.operation.filter(|_| not_held) {
            if let Some(lock) = self.locks.get(place) {
                return TransactError::Fenced(FenceReason::Lock(lock.to_string()));
            }
            if let Some(fence) = self.fences.get(place.wrapping_sub(self.locks.len())) {
                return TransactError::Fenced(FenceReason::Fence(fence.to_string()));
            }
            if let Some(lock) = self.operations.get(place).and_then(Operation::lock) {
                return TransactError::Fenced(FenceReason::Lock(lock.to_owned()));
            }
        }
        error.operation = error.operation.and_then(|at| at.checked_sub(self.guards()));
        sort(error)
    }
}

/// What an operation usually takes at most, in bytes of JSON.
const ROOM: usize = 512;

/// The parameters are the database's name, then the operations.
fn to_request(database: &str, operations: &[Operation]) -> Result<Request, serde_json::Error> {
    let mut text = Request::head("transact").into_bytes();
    text.reserve(ROOM * (1 + operations.len()));
    text.push(b'[');
    serde_json::to_writer(&mut text, database)?;
    for operation in operations {
        text.push(b',');
        serde_json::to_writer(&mut text, operation)?;
    }
    text.push(b']');
    String::from_utf8(text)
        .map(Request::from_text)
        .map_err(serde_json::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_packed_and_never_split() {
        assert_eq!(pack(&[], 3), []);
        assert_eq!(pack(&[1, 2, 1, 9, 1, 1, 1], 3), [0..2, 2..3, 3..4, 4..7]);
        assert_eq!(pack(&[0, 0, 1], 0), [0..2, 2..3]);
    }
}
