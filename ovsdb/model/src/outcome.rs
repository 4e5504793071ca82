//! What came of a transaction: a result for each operation, or the error that undid them all (RFC 7047 §4.1.3, §5.2).

use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use uuid::Uuid;

use crate::atom::{AtomType, Name};
use crate::datum::Datum;
use crate::json::{AtomSeed, DatumSeed, read_alone};
use crate::operation::Operation;
use crate::row::Row;
use crate::schema::{Schema, TableSchema};

/// One operation's result.
#[derive(Debug, Clone, PartialEq)]
pub enum OpResult {
    /// The UUID of the row inserted.
    Inserted(Uuid),
    /// How many rows an update, mutate or delete met: 0 is no error.
    Count(u64),
    /// The rows selected. A column that could not be read is not in its row ([`Row::unreadable`]).
    Rows(Vec<Row>),
    /// Done, with nothing to tell: wait, commit, comment, assert.
    Done,
    /// Not sent, since the server lacks the table.
    LeftOut,
    /// Refused.
    Failed(OpError),
    /// Not carried out, since one before it failed.
    NotRun,
}

/// An error as the server words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct OpError {
    /// Which error.
    pub kind: ErrorKind,
    /// The server's word for it, such as `constraint violation`.
    pub error: String,
    /// What the server adds, for people.
    pub details: Option<String>,
}

impl OpError {
    /// The error of these words.
    pub fn new(error: impl Into<String>, details: Option<String>) -> Self {
        let error = error.into();
        Self {
            kind: ErrorKind::of(&error),
            error,
            details,
        }
    }

    /// Reads the `error` member of a reply: a string, or an object with `error` and `details`.
    pub fn from_json(json: &Value) -> Self {
        let text = |member| json.get(member).and_then(Value::as_str).map(str::to_owned);
        match (json.as_str(), text("error")) {
            (Some(word), _) => Self::new(word, None),
            (None, Some(word)) => Self::new(word, text("details")),
            (None, None) => Self::new(json.to_string(), None),
        }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        match &self.details {
            Some(details) => write!(f, ": {details}"),
            None => Ok(()),
        }
    }
}

/// The errors that a transaction can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// `timed out`: a wait did not find what it waited for.
    TimedOut,
    /// `not owner`: this client does not hold the lock that was asserted.
    NotOwner,
    /// `aborted`: the transaction aborts itself.
    Aborted,
    /// `constraint violation`: a value, a count of rows or a unique index is against the schema.
    Constraint,
    /// `referential integrity violation`: a strong reference to no row, or the deletion of a row referred to.
    ReferentialIntegrity,
    /// `duplicate uuid`, `duplicate uuid-name`: the UUID chosen for an insert exists already.
    Duplicate,
    /// `domain error`, `range error`: a mutation divides by zero or leaves the range of numbers.
    Arithmetic,
    /// `resources exhausted`, `I/O error`: the server is in trouble; nothing was changed.
    Resources,
    /// `permission error`: role-based access control forbids it.
    Permission,
    /// `not allowed`: the database is read-only here (a standby).
    NotAllowed,
    /// `canceled`: the client took the transaction back.
    Canceled,
    /// `cluster error`: the cluster did not say whether the transaction was carried out.
    Cluster,
    /// The server did not understand the request, or something else.
    Other,
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The database has moved on or the server is busy: look at the replica and compute the transaction anew.
    Retry,
    /// Another client has taken over: stop writing until it is settled who may.
    Fenced,
    /// The same transaction will fail again: change what it says.
    Constraint,
    /// The request itself is wrong, or not permitted: a person has to look.
    Broken,
    /// It is not known whether the transaction was carried out: resynchronise and compute anew.
    Unknown,
}

impl ErrorKind {
    /// The kind of the error that the server calls `word`.
    pub fn of(word: &str) -> Self {
        match word {
            "timed out" => Self::TimedOut,
            "not owner" => Self::NotOwner,
            "aborted" => Self::Aborted,
            "constraint violation" => Self::Constraint,
            "referential integrity violation" => Self::ReferentialIntegrity,
            "duplicate uuid" | "duplicate uuid-name" => Self::Duplicate,
            "domain error" | "range error" => Self::Arithmetic,
            "resources exhausted" | "I/O error" => Self::Resources,
            "permission error" => Self::Permission,
            "not allowed" => Self::NotAllowed,
            "canceled" => Self::Canceled,
            "cluster error" => Self::Cluster,
            _ => Self::Other,
        }
    }

    /// What to do about it.
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::TimedOut | Self::Resources | Self::Canceled | Self::Aborted => ErrorClass::Retry,
            Self::NotOwner => ErrorClass::Fenced,
            Self::Constraint | Self::ReferentialIntegrity | Self::Duplicate | Self::Arithmetic => {
                ErrorClass::Constraint
            }
            Self::Permission | Self::NotAllowed | Self::Other => ErrorClass::Broken,
            Self::Cluster => ErrorClass::Unknown,
        }
    }
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// A result for each operation.
    pub results: Vec<OpResult>,
    /// Why the transaction failed although every operation was fine by itself: an index, a reference, the disk.
    pub commit_error: Option<OpError>,
}

/// A transaction that was refused; nothing of it was carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TransactionError {
    /// The error.
    pub error: OpError,
    /// The operation that failed, by position; `None` if the transaction failed as a whole.
    pub operation: Option<usize>,
    /// Where it failed, for people: the operation's name and table, or another part of the transaction than its commit.
    pub place: Option<String>,
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.operation, &self.place) {
            (Some(operation), Some(place)) => {
                write!(f, "operation {operation} ({place}): {}", self.error)
            }
            (Some(operation), None) => write!(f, "operation {operation}: {}", self.error),
            (None, Some(place)) => write!(f, "{place}: {}", self.error),
            (None, None) => write!(f, "commit: {}", self.error),
        }
    }
}

impl Outcome {
    /// Reads the result of a `transact` request. `operations` are those that were sent; the columns of selected rows
    /// are read with the schema's types.
    ///
    /// # Errors
    /// When it is not JSON, or not the results of that many operations.
    pub fn decode(
        json: &str,
        operations: &[Operation],
        schema: &Schema,
    ) -> Result<Self, serde_json::Error> {
        let read = |lenient| {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            let seed = OutcomeSeed {
                operations,
                schema,
                lenient,
            };
            let outcome = seed.deserialize(&mut deserializer)?;
            deserializer.end()?;
            Ok(outcome)
        };
        // Once more where a selected row has a value that cannot be read: what else the answer says must not be lost.
        read(false).or_else(|_: serde_json::Error| read(true))
    }

    /// Puts [`OpResult::LeftOut`] where operations were left out ([`Prepared::left_out`](crate::schema::Prepared)), so
    /// that results and operations correspond again.
    #[must_use]
    pub fn with_left_out(mut self, left_out: &[usize]) -> Self {
        // Ascending: each is inserted where it stood, those before it being there already.
        for position in left_out {
            self.results
                .insert((*position).min(self.results.len()), OpResult::LeftOut);
        }
        self
    }

    /// The results, if the transaction was carried out. `operations` are those that were sent: they serve to name the
    /// one that failed.
    ///
    /// # Errors
    /// The error that undid the transaction; its position counts operations that were left out.
    pub fn into_result(self, operations: &[Operation]) -> Result<Vec<OpResult>, TransactionError> {
        let mut sent = operations.iter();
        for (position, result) in self.results.iter().enumerate() {
            let operation = match result {
                OpResult::LeftOut => continue,
                _ => sent.next(),
            };
            if let OpResult::Failed(error) = result {
                let place = operation.map(|operation| match operation.table() {
                    Some(table) => format!("{} on table {table}", operation.name()),
                    None => operation.name().to_owned(),
                });
                return Err(TransactionError {
                    error: error.clone(),
                    operation: Some(position),
                    place,
                });
            }
        }
        match self.commit_error {
            Some(error) => Err(TransactionError {
                error,
                operation: None,
                place: None,
            }),
            None => Ok(self.results),
        }
    }
}

struct OutcomeSeed<'a> {
    operations: &'a [Operation],
    schema: &'a Schema,
    /// Values that cannot be read are left out of their rows.
    lenient: bool,
}

impl<'de> DeserializeSeed<'de> for OutcomeSeed<'_> {
    type Value = Outcome;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Outcome, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OutcomeSeed<'_> {
    type Value = Outcome;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the results of {} operations", self.operations.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Outcome, A::Error> {
        let mut results = Vec::with_capacity(self.operations.len());
        for operation in self.operations {
            let table = operation.table().and_then(|table| self.schema.table(table));
            let lenient = self.lenient;
            match seq.next_element_seed(ResultSeed { table, lenient })? {
                Some(result) => results.push(result),
                None => break,
            }
        }
        // One element more than there are operations tells why the commit failed.
        let commit_error = match seq.next_element_seed(ResultSeed {
            table: None,
            lenient: self.lenient,
        })? {
            Some(OpResult::Failed(error)) => Some(error),
            Some(_) => return Err(de::Error::invalid_length(results.len() + 1, &self)),
            None => None,
        };
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(results.len() + 2, &self));
        }
        let failed = commit_error.is_some()
            || results
                .iter()
                .any(|result| matches!(result, OpResult::Failed(_)));
        if results.len() < self.operations.len() && !failed {
            return Err(de::Error::invalid_length(results.len(), &self));
        }
        results.resize(self.operations.len(), OpResult::NotRun);
        Ok(Outcome {
            results,
            commit_error,
        })
    }
}

/// Reads one result; selected rows are of `table`.
#[derive(Clone, Copy)]
struct ResultSeed<'a> {
    table: Option<&'a TableSchema>,
    lenient: bool,
}

impl<'de> DeserializeSeed<'de> for ResultSeed<'_> {
    type Value = OpResult;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<OpResult, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ResultSeed<'_> {
    type Value = OpResult;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation's result: an object or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<OpResult, E> {
        Ok(OpResult::NotRun)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OpResult, A::Error> {
        let (mut result, mut error, mut details) = (OpResult::Done, None, None);
        while let Some(member) = map.next_key::<String>()? {
            match member.as_str() {
                "uuid" => {
                    let uuid = map
                        .next_value_seed(AtomSeed(Some(AtomType::Uuid)))?
                        .as_uuid();
                    result = uuid.map_or(result, OpResult::Inserted);
                }
                "count" => result = OpResult::Count(map.next_value()?),
                "rows" => {
                    result =
                        OpResult::Rows(map.next_value_seed(crate::json::ListSeed(RowSeed {
                            table: self.table,
                            lenient: self.lenient,
                        }))?)
                }
                "error" => error = map.next_value::<Option<String>>()?,
                "details" => details = map.next_value::<Option<String>>()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(match error {
            Some(error) => OpResult::Failed(OpError::new(error, details)),
            None => result,
        })
    }
}

/// Reads a selected row with the types of its table.
#[derive(Clone, Copy)]
struct RowSeed<'a> {
    table: Option<&'a TableSchema>,
    lenient: bool,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Row;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Row, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        let mut columns: Vec<(Name, Datum)> = Vec::new();
        let mut unreadable = Vec::new();
        while let Some(column) = map.next_key::<String>()? {
            let kind = self
                .table
                .and_then(|table| table.columns.get(column.as_str()))
                .map(|found| &found.kind);
            if self.lenient {
                match read_alone(DatumSeed(kind), map.next_value()?) {
                    Ok(value) => columns.push((Name::from(column), value)),
                    Err(_) => unreadable.push(Name::from(column)),
                }
                continue;
            }
            let value = map
                .next_value_seed(DatumSeed(kind))
                .map_err(|error| de::Error::custom(format_args!("column {column}: {error}")))?;
            columns.push((Name::from(column), value));
        }
        let row: Row = columns.into_iter().collect();
        Ok(row.with_unreadable(unreadable))
    }
}
