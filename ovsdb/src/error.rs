//! Errors of transactions, sorted by what the caller should do about them.

use std::time::Duration;

use ovsdb_model::schema::{CheckError, Problem};
use ovsdb_model::{ErrorClass, ErrorKind, OpError, TransactionError};

/// Why a transaction has no results. Except for [`TransactError::OutcomeUnknown`], nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactError {
    /// Nothing is wrong with the transaction: look at the replica again, compute it anew, send it.
    #[error("retry: {0}")]
    Retry(RetryReason),
    /// The database refuses the content. The same transaction on the same database will fail again.
    #[error("refused: {0}")]
    Constraint(TransactionError),
    /// A fence or a lock says that we may no longer write: another has taken over.
    #[error("fenced: {0}")]
    Fenced(FenceReason),
    /// The transaction is no valid one for this server, or this client is not permitted it.
    #[error("broken: {0}")]
    Broken(BrokenReason),
    /// The transaction ended itself by `abort`, as asked.
    #[error("aborted")]
    Aborted,
    /// It was sent, and no answer came that settles it: it may have taken effect, now or later, or not. Resynchronise
    /// (wait until the client is synced again) and recompute; never send it again as it is.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
}

impl TransactError {
    /// Whether the transaction may have taken effect.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, TransactError::OutcomeUnknown(_))
    }

    pub(crate) fn operation_mut(&mut self) -> Option<&mut usize> {
        match self {
            TransactError::Retry(RetryReason::WaitFailed(operation)) => Some(operation),
            TransactError::Retry(RetryReason::Server(error))
            | TransactError::Constraint(error)
            | TransactError::Fenced(FenceReason::NotOwner(error))
            | TransactError::Broken(BrokenReason::Server(error)) => error.operation.as_mut(),
            TransactError::Broken(BrokenReason::Check(error)) => Some(&mut error.operation),
            _ => None,
        }
    }

    /// The place of the operation at fault among those of the caller, where one is.
    #[must_use]
    pub fn operation(&self) -> Option<usize> {
        match self {
            TransactError::Retry(RetryReason::WaitFailed(operation)) => Some(*operation),
            TransactError::Retry(RetryReason::Server(error))
            | TransactError::Constraint(error)
            | TransactError::Fenced(FenceReason::NotOwner(error))
            | TransactError::Broken(BrokenReason::Server(error)) => error.operation,
            TransactError::Broken(BrokenReason::Check(error)) => Some(error.operation),
            _ => None,
        }
    }
}

/// Why a transaction should be computed anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryReason {
    /// There is no synchronised session. The transaction was not sent.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// A `wait` of the caller did not hold; the number is its place among the operations.
    #[error("operation {0}: the wait did not hold")]
    WaitFailed(usize),
    /// Its deadline passed while it waited for a server that did not read. The transaction was not sent, and will not
    /// be.
    #[error("not sent within {0:?}: the server does not take what was sent before it")]
    NotSent(Duration),
    /// Its deadline passed, and the server took it back when asked to: it has not taken effect. Only a standalone
    /// server can say so.
    #[error("no answer within {0:?}, so it was canceled")]
    Canceled(Duration),
    /// The server had to give up.
    #[error("{0}")]
    Server(TransactionError),
}

/// Who says that we may not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceReason {
    /// The value that a fence expects is no longer there.
    #[error("{0} has changed hands")]
    Fence(String),
    /// The lock is not, or no longer, ours.
    #[error("lock {0:?} is not held")]
    Lock(String),
    /// The server says so of what asserts no lock that we know of.
    #[error("{0}")]
    NotOwner(TransactionError),
}

/// What is wrong with a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenReason {
    /// A value is not of its column's type, or an operation needs what the server's schema lacks. It was not sent.
    #[error("{0}")]
    Check(CheckError),
    /// The server does not understand it, or does not permit it.
    #[error("{0}")]
    Server(TransactionError),
    /// It cannot be written as JSON. It was not sent.
    #[error("{0}")]
    Json(String),
}

/// Sorts what the server says of an operation of the caller, of the commit, or of the request as a whole.
pub(crate) fn sort(error: TransactionError) -> TransactError {
    let server = |error| TransactError::Retry(RetryReason::Server(error));
    match (error.error.kind, error.operation) {
        (ErrorKind::Aborted, _) => TransactError::Aborted,
        (ErrorKind::TimedOut, Some(operation)) => {
            TransactError::Retry(RetryReason::WaitFailed(operation))
        }
        // At commit: what was to be written may be in the log in spite of it.
        (ErrorKind::Resources, None) if error.error.error == "I/O error" => {
            TransactError::OutcomeUnknown(error.to_string())
        }
        // The database is being converted, or has just been taken from the server.
        (ErrorKind::Other, None)
            if matches!(error.error.error.as_str(), "database removed" | "try again") =>
        {
            server(error)
        }
        (kind, _) => match kind.class() {
            ErrorClass::Retry => server(error),
            ErrorClass::Fenced => TransactError::Fenced(FenceReason::NotOwner(error)),
            ErrorClass::Constraint => TransactError::Constraint(error),
            ErrorClass::Broken => TransactError::Broken(BrokenReason::Server(error)),
            ErrorClass::Unknown => TransactError::OutcomeUnknown(error.to_string()),
        },
    }
}

/// The error of a request as a whole.
pub(crate) fn whole(error: OpError) -> TransactionError {
    TransactionError {
        error,
        operation: None,
        place: Some("the request".to_owned()),
    }
}

/// Why a request other than a transaction has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no connection.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// The connection was lost before the answer came.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Its deadline passed while it waited for a server that did not read. It was not sent.
    #[error("not sent within {0:?}: the server does not take what was sent before it")]
    NotSent(Duration),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The server refuses.
    #[error("{0}")]
    Refused(OpError),
    /// A condition does not fit the server's schema.
    #[error("the condition: {0}")]
    Condition(Problem),
    /// The answer is not what the protocol has.
    #[error("the server's answer: {0}")]
    Answer(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(error: &str, operation: Option<usize>) -> TransactError {
        sort(TransactionError {
            error: OpError::new(error, Some("because".to_owned())),
            operation,
            place: None,
        })
    }

    #[test]
    fn errors_are_sorted() {
        assert_eq!(
            sorted("timed out", Some(3)),
            TransactError::Retry(RetryReason::WaitFailed(3))
        );
        assert!(matches!(
            sorted("not owner", Some(0)),
            TransactError::Fenced(FenceReason::NotOwner(_))
        ));
        assert!(matches!(
            sorted("referential integrity violation", None),
            TransactError::Constraint(_)
        ));
        assert!(matches!(
            sorted("syntax error", None),
            TransactError::Broken(_)
        ));
        assert!(matches!(
            sorted("unknown column", Some(1)),
            TransactError::Broken(_)
        ));
        assert!(matches!(sorted("canceled", None), TransactError::Retry(_)));
        assert!(sorted("I/O error", None).is_outcome_unknown());
        assert!(sorted("cluster error", None).is_outcome_unknown());
        let refused = sorted("constraint violation", Some(1));
        assert_eq!(
            refused.to_string(),
            "refused: operation 1: constraint violation: because"
        );
        assert_eq!(refused.operation(), Some(1));
    }
}
