//! Connecting to a database.

use std::time::Duration;

use anyhow::{Context, bail};
use ovsdb::{Builder, Client};

/// How long to wait for a database's content.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that knows the database's content. `what` the database is, and the `flag` that says where, are for the error.
pub(crate) async fn synced(builder: Builder, what: &str, flag: &str) -> anyhow::Result<Client> {
    let client = builder.start().with_context(|| what.to_owned())?;
    if tokio::time::timeout(PATIENCE, client.synced()).await != Ok(true) {
        let state = client.state().borrow().to_string();
        bail!("{what} cannot be reached ({flag}): {state}");
    }
    Ok(client)
}
