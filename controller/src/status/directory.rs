//! The status writer of `--manifests`: a file an object, and a line in the log when a condition changes.

use std::time::Duration;

use tracing::{info, warn};
use yusur_planner::Severity;

use super::{Finished, Job, StatusQueue, StatusWrite};
use crate::metrics::{Metrics, Outcome};
use crate::source::manifests::Records;

/// How many files are written in one go; a newer status for one of the rest then replaces it before it is written.
const BATCH: usize = 256;

/// How long to wait before a file that could not be written (a full disk) is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes what arrives in `queue` until it is closed and empty.
pub async fn run(queue: StatusQueue, records: Records, metrics: Metrics) {
    let mut failures = 0_u64;
    while let Some(batch) = queue.take(BATCH).await {
        let files = records.clone();
        let written = tokio::task::spawn_blocking(move || {
            for (object, uid) in &batch.gone {
                files.forget(object, Some(uid));
            }
            let write = |job: Job| {
                let result = put(&files, &job.write);
                (job, result)
            };
            batch.writes.into_iter().map(write).collect::<Vec<_>>()
        });
        for notice in &batch.notices {
            warn!(reason = notice.reason, "{}", notice.message);
        }
        // The closure does not panic, and the runtime waits for it.
        let Ok(written) = written.await else { return };
        let (written_any, mut failed) = (!written.is_empty(), 0);
        for (job, result) in written {
            match result {
                Ok(end) => {
                    metrics.status_written(Outcome::Ok);
                    announce(&job.write);
                    queue.finish(job, end);
                }
                Err(error) => {
                    metrics.status_written(Outcome::Failed);
                    failed += 1;
                    failures += 1;
                    // What is true of one file, as a full disk or a directory that is away, is true of all.
                    if failures.is_power_of_two() {
                        warn!(object = %job.write.object, %error, failures, "the status cannot be written; trying again each second");
                    }
                    queue.retry(job, Some(PAUSE));
                }
            }
        }
        if failed == 0 && written_any && failures > 0 {
            info!(failures, "the status can be written again");
            failures = 0;
        }
        queue.measure(&metrics);
    }
}

fn put(records: &Records, write: &StatusWrite) -> std::io::Result<Finished> {
    let Some(status) = &write.status else {
        return Ok(Finished::Written);
    };
    let there = records.write(&write.object, &write.uid, status.to_value())?;
    Ok(if there {
        Finished::Written
    } else {
        Finished::Gone
    })
}

/// What Events are to `kubectl get events`, these lines are to whoever runs the controller by hand.
fn announce(write: &StatusWrite) {
    let object = &write.object;
    for event in &write.events {
        match event.severity {
            Severity::Normal => info!(%object, reason = event.reason, "{}", event.message),
            Severity::Warning => warn!(%object, reason = event.reason, "{}", event.message),
        }
    }
}
