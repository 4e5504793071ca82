//! Runs transactions read as lines of JSON from standard input, and prints what came of each as a line of JSON.

mod shared;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use ovsdb::model::{OpResult, Operation, Row};
use ovsdb::{RetryReason, TransactError, Transaction};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Run transactions read as lines of JSON from standard input
///
/// A line is an array of operations (RFC 7047, section 5.2), with or without the database's name before them. For each
/// a line is printed: {"results":[…]}, or {"error":{"kind":…,"message":…}} where nothing was changed ("unknown": where
/// nobody can say). What cannot be read is such an error, and the next line is next. Lines wait while no server can be reached; none is ever sent twice.
#[derive(Debug, Parser)]
#[command(
    after_help = r#"Example: echo '[{"op":"select","table":"NB_Global","where":[]}]' | transact unix:/run/ovn/ovnnb_db.sock OVN_Northbound

The exit status is 1 if a transaction failed."#
)]
struct Arguments {
    #[command(flatten)]
    connection: shared::Connection,

    /// Seconds that an answer may take; after that the outcome is unknown
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    deadline: u64,

    /// Hold this lock of the server's while running, and run each transaction only while it is held
    #[arg(long, value_name = "NAME")]
    lock: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    shared::log();
    let client = arguments.connection.builder()?.start()?;
    let mut lock = arguments.lock.as_ref().map(|name| client.lock(name));
    let mut lines = BufReader::new(tokio::io::stdin()).split(b'\n');
    let mut all_well = true;
    while let Some(line) = lines.next_segment().await.context("standard input")? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let answer = match read(&line, arguments.connection.database()) {
            Err(error) => failure("broken", &format!("{error:#}"), None),
            Ok(operations) => {
                let mut transaction =
                    Transaction::new(operations).deadline(Duration::from_secs(arguments.deadline));
                if let Some(lock) = &lock {
                    transaction = transaction.assert_lock(lock.name());
                }
                loop {
                    anyhow::ensure!(client.synced().await, "the client is closed");
                    if let Some(lock) = &mut lock {
                        anyhow::ensure!(lock.held().await, "the client is closed");
                    }
                    match client.transact(transaction.clone()).await {
                        // Never sent: the session ended after we had looked.
                        Err(TransactError::Retry(RetryReason::NotConnected(_))) => {}
                        outcome => break answer(outcome),
                    }
                }
            }
        };
        all_well &= answer.get("error").is_none();
        println!("{answer}");
    }
    client.close().await;
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The operations of a line, sent as they stand.
fn read(line: &[u8], database: &str) -> anyhow::Result<Vec<Operation>> {
    let line = std::str::from_utf8(line).map_err(|error| {
        let place = error.valid_up_to() + 1;
        anyhow::anyhow!("the line is not UTF-8: byte {place} of it is part of no character")
    })?;
    let mut elements: Vec<Value> = serde_json::from_str(line).context("not a JSON array")?;
    if let Some(Value::String(name)) = elements.first() {
        anyhow::ensure!(
            name == database,
            "it is for database {name:?}, not {database:?}"
        );
        elements.remove(0);
    }
    if let Some(odd) = elements.iter().find(|element| !element.is_object()) {
        anyhow::bail!("{odd} is not an operation");
    }
    Ok(elements.into_iter().map(Operation::Raw).collect())
}

fn answer(outcome: Result<Vec<OpResult>, TransactError>) -> Value {
    let error = match outcome {
        Ok(results) => return json!({ "results": results.iter().map(result).collect::<Vec<_>>() }),
        Err(error) => error,
    };
    let kind = match &error {
        TransactError::Retry(_) => "retry",
        TransactError::Constraint(_) => "constraint",
        TransactError::Fenced(_) => "fenced",
        TransactError::Broken(_) => "broken",
        TransactError::Aborted => "aborted",
        TransactError::OutcomeUnknown(_) => "unknown",
    };
    failure(kind, &error.to_string(), error.operation())
}

fn failure(kind: &str, message: &str, operation: Option<usize>) -> Value {
    json!({ "error": { "kind": kind, "message": message, "operation": operation } })
}

/// In the form of RFC 7047.
fn result(result: &OpResult) -> Value {
    match result {
        OpResult::Inserted(uuid) => json!({ "uuid": ["uuid", uuid.to_string()] }),
        OpResult::Count(count) => json!({ "count": count }),
        OpResult::Rows(rows) => {
            let mut result = json!({ "rows": rows });
            let unreadable = rows.iter().flat_map(Row::unreadable);
            let unreadable: BTreeSet<&str> = unreadable.map(|column| column.as_str()).collect();
            // Not in the rows, although they have them.
            if !unreadable.is_empty() {
                result["unreadable"] = json!(unreadable);
            }
            result
        }
        OpResult::Failed(error) => json!({ "error": error.error, "details": error.details }),
        OpResult::LeftOut | OpResult::NotRun => Value::Null,
        OpResult::Done => json!({}),
    }
}
