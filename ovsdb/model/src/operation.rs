//! Operations: what a transaction is made of (RFC 7047 §5.2), and builders for them.

use serde::ser::{Serialize, SerializeMap, Serializer};
use uuid::Uuid;

use crate::atom::Name;
use crate::clause::Clause;
use crate::mutation::Mutation;
use crate::row::Row;
use crate::table::Table;

/// One operation of a transaction; it serialises to RFC 7047 §5.2 JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Adds a row.
    Insert {
        /// The table.
        table: Name,
        /// The new row's UUID, chosen by us (ovsdb-server 2.13 and later); the server chooses without it. A UUID that
        /// exists already fails as `duplicate uuid`.
        uuid: Option<Uuid>,
        /// The columns to set; the others get their defaults.
        row: Row,
    },
    /// Returns rows.
    Select {
        /// The table.
        table: Name,
        /// Which rows: those that meet all clauses.
        condition: Vec<Clause>,
        /// The columns to return; all if `None`.
        columns: Option<Vec<Name>>,
    },
    /// Sets columns of rows.
    Update {
        /// The table.
        table: Name,
        /// Which rows: those that meet all clauses.
        condition: Vec<Clause>,
        /// The columns to set.
        row: Row,
    },
    /// Changes parts of columns.
    Mutate {
        /// The table.
        table: Name,
        /// Which rows: those that meet all clauses.
        condition: Vec<Clause>,
        /// The changes, carried out in order.
        mutations: Vec<Mutation>,
    },
    /// Removes rows.
    Delete {
        /// The table.
        table: Name,
        /// Which rows: those that meet all clauses.
        condition: Vec<Clause>,
    },
    /// Goes on only if rows are as expected.
    Wait {
        /// The table.
        table: Name,
        /// Which rows: those that meet all clauses.
        condition: Vec<Clause>,
        /// The columns to compare; all if `None`.
        columns: Option<Vec<Name>>,
        /// Whether the rows shall equal [`rows`](Self::Wait::rows) or differ from them.
        until: Until,
        /// The rows to compare with.
        rows: Vec<Row>,
        /// Milliseconds to wait before failing with `timed out`. Without it the server waits for ever.
        timeout: Option<u64>,
    },
    /// Has the transaction on disk before it is answered (or not: `durable: false`).
    Commit {
        /// Whether to wait for the disk.
        durable: bool,
    },
    /// Fails the transaction: everything before it was only a trial.
    Abort,
    /// Leaves a remark in the database's log.
    Comment(String),
    /// Goes on only if this client holds the lock.
    Assert {
        /// The lock's name.
        lock: Name,
    },
    /// An operation as JSON, sent as it is: for tools that pass on what a person typed. Not checked against the schema.
    Raw(serde_json::Value),
}

/// What a [`Operation::Wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The rows are those expected.
    Equal,
    /// The rows are others than those named.
    NotEqual,
}

impl Operation {
    /// Adds `row` as the row `uuid`.
    pub fn insert(table: impl Into<Name>, uuid: Uuid, row: Row) -> Self {
        Self::Insert {
            table: table.into(),
            uuid: Some(uuid),
            row,
        }
    }

    /// Adds `value` as the row `uuid` of its table.
    pub fn insert_value<T: Table>(uuid: Uuid, value: &T) -> Self {
        Self::insert(Name::new_static(T::NAME), uuid, value.to_row())
    }

    /// Sets the columns of `row` in the row `uuid`.
    pub fn update(table: impl Into<Name>, uuid: Uuid, row: Row) -> Self {
        Self::Update {
            table: table.into(),
            condition: vec![Clause::uuid(uuid)],
            row,
        }
    }

    /// Changes parts of columns of the row `uuid`.
    pub fn mutate(table: impl Into<Name>, uuid: Uuid, mutations: impl Into<Vec<Mutation>>) -> Self {
        Self::Mutate {
            table: table.into(),
            condition: vec![Clause::uuid(uuid)],
            mutations: mutations.into(),
        }
    }

    /// Removes the row `uuid`.
    pub fn delete(table: impl Into<Name>, uuid: Uuid) -> Self {
        Self::Delete {
            table: table.into(),
            condition: vec![Clause::uuid(uuid)],
        }
    }

    /// Returns the columns of the rows that meet `condition`; all columns if `columns` is empty.
    pub fn select<N: Into<Name>>(
        table: impl Into<Name>,
        condition: Vec<Clause>,
        columns: impl IntoIterator<Item = N>,
    ) -> Self {
        let columns: Vec<Name> = columns.into_iter().map(Into::into).collect();
        Self::Select {
            table: table.into(),
            condition,
            columns: (!columns.is_empty()).then_some(columns),
        }
    }

    /// Goes on only if the row `uuid` has the values of `row` in those columns, now: fails with `timed out` otherwise.
    pub fn verify(table: impl Into<Name>, uuid: Uuid, row: Row) -> Self {
        Self::Wait {
            table: table.into(),
            condition: vec![Clause::uuid(uuid)],
            columns: Some(row.columns().names().to_vec()),
            until: Until::Equal,
            rows: vec![row],
            timeout: Some(0),
        }
    }

    /// Goes on only if at least one row meets `condition`, now: fails with `timed out` otherwise.
    pub fn require(table: impl Into<Name>, condition: Vec<Clause>) -> Self {
        // Of no columns the matching rows are "some empty rows", which differ from "no rows" if there is one.
        Self::Wait {
            table: table.into(),
            condition,
            columns: Some(Vec::new()),
            until: Until::NotEqual,
            rows: Vec::new(),
            timeout: Some(0),
        }
    }

    /// Goes on only if no row meets `condition`, now: fails with `timed out` otherwise.
    pub fn forbid(table: impl Into<Name>, condition: Vec<Clause>) -> Self {
        Self::Wait {
            table: table.into(),
            condition,
            columns: Some(Vec::new()),
            until: Until::Equal,
            rows: Vec::new(),
            timeout: Some(0),
        }
    }

    /// Leaves a remark in the database's log.
    pub fn comment(text: impl Into<String>) -> Self {
        Self::Comment(text.into())
    }

    /// Goes on only if this client holds `lock`.
    pub fn assert(lock: impl Into<Name>) -> Self {
        Self::Assert { lock: lock.into() }
    }

    /// The operation's name in RFC 7047.
    pub fn name(&self) -> &str {
        match self {
            Self::Insert { .. } => "insert",
            Self::Select { .. } => "select",
            Self::Update { .. } => "update",
            Self::Mutate { .. } => "mutate",
            Self::Delete { .. } => "delete",
            Self::Wait { .. } => "wait",
            Self::Commit { .. } => "commit",
            Self::Abort => "abort",
            Self::Comment(_) => "comment",
            Self::Assert { .. } => "assert",
            Self::Raw(json) => json
                .get("op")
                .and_then(serde_json::Value::as_str)
                .unwrap_or("?"),
        }
    }

    /// The table it is about.
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::Insert { table, .. }
            | Self::Select { table, .. }
            | Self::Update { table, .. }
            | Self::Mutate { table, .. }
            | Self::Delete { table, .. }
            | Self::Wait { table, .. } => Some(table),
            Self::Raw(json) => json.get("table").and_then(serde_json::Value::as_str),
            Self::Commit { .. } | Self::Abort | Self::Comment(_) | Self::Assert { .. } => None,
        }
    }

    /// The lock that it asserts.
    pub fn lock(&self) -> Option<&str> {
        match self {
            Self::Assert { lock } => Some(lock),
            Self::Raw(json) if self.name() == "assert" => {
                json.get("lock").and_then(serde_json::Value::as_str)
            }
            _ => None,
        }
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Raw(json) = self {
            return json.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("op", self.name())?;
        if let Some(table) = self.table() {
            map.serialize_entry("table", table)?;
        }
        match self {
            Self::Insert { uuid, row, .. } => {
                if let Some(uuid) = uuid {
                    map.serialize_entry(
                        "uuid",
                        uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()),
                    )?;
                }
                map.serialize_entry("row", row)?;
            }
            Self::Select {
                condition, columns, ..
            } => {
                map.serialize_entry("where", condition)?;
                if let Some(columns) = columns {
                    map.serialize_entry("columns", &Names(columns))?;
                }
            }
            Self::Update { condition, row, .. } => {
                map.serialize_entry("where", condition)?;
                map.serialize_entry("row", row)?;
            }
            Self::Mutate {
                condition,
                mutations,
                ..
            } => {
                map.serialize_entry("where", condition)?;
                map.serialize_entry("mutations", mutations)?;
            }
            Self::Delete { condition, .. } => map.serialize_entry("where", condition)?,
            Self::Wait {
                condition,
                columns,
                until,
                rows,
                timeout,
                ..
            } => {
                if let Some(timeout) = timeout {
                    map.serialize_entry("timeout", timeout)?;
                }
                map.serialize_entry("where", condition)?;
                if let Some(columns) = columns {
                    map.serialize_entry("columns", &Names(columns))?;
                }
                map.serialize_entry("until", if *until == Until::Equal { "==" } else { "!=" })?;
                map.serialize_entry("rows", rows)?;
            }
            Self::Commit { durable } => map.serialize_entry("durable", durable)?,
            Self::Comment(text) => map.serialize_entry("comment", text)?,
            Self::Assert { lock } => map.serialize_entry("lock", lock.as_str())?,
            Self::Abort | Self::Raw(_) => {}
        }
        map.end()
    }
}

/// Names as an array of strings.
struct Names<'a>(&'a [Name]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Name::as_str))
    }
}
