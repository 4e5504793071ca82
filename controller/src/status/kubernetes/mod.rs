//! The status writer of the Kubernetes source: `status` whole, but for what others write in it, for the very object it is
//! about, and Events.

mod answer;
mod events;

use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, warn};
use yusur_planner::{Event, Kind, Name, ObjectRef, Severity};

use self::answer::Answer;
use self::events::Publisher;
use super::pacer::{AT_ONCE, Pacer};
use super::{Finished, Job, Priority, StatusQueue, StatusWrite};
use crate::metrics::{Metrics, Outcome};
use crate::source::kubernetes::Resource;

/// Who we are in managed fields and in Events.
const MANAGER: &str = "yusur-controller";

/// The least time between two writes about one object.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// How long an answer may take; the API server itself gives a request up after that time (`--request-timeout`).
const PATIENCE: Duration = Duration::from_secs(60);

/// What is ours of an EipGateway's status. How many source ports are left the gateway nodes say (`yusurctl source-ports`).
const OF_GATEWAY: [&str; 5] = [
    "observedGeneration",
    "conditions",
    "gatewayAddresses",
    "activeNode",
    "serviceGateway",
];

/// What every write needs.
struct Writer {
    client: Client,
    queue: StatusQueue,
    metrics: Metrics,
    publisher: Publisher,
}

/// A write that is no longer on its way.
struct Done {
    namespace: Name,
    priority: Priority,
    began: Instant,
    /// How long the server took for the status.
    took: Duration,
    signal: Signal,
}

/// What an answer says about the server.
enum Signal {
    /// It has written a status.
    Wrote,
    /// It is there.
    Present,
    /// It is to be left alone: for this long, if it said.
    Stall(Option<Duration>),
    /// Nothing: it was not asked.
    None,
}

/// Writes what arrives in `queue` until it is closed and empty. `instance` names this process in Events; those about the
/// controller itself are about the object `own`. The client must not repeat requests by itself: what waits for a repetition
/// would take the place of others.
pub async fn run(
    client: Client,
    queue: StatusQueue,
    instance: String,
    own: ObjectReference,
    metrics: Metrics,
) {
    let writer = Writer {
        publisher: Publisher::new(client.clone(), MANAGER, instance, own),
        client,
        queue,
        metrics,
    };
    let queue = &writer.queue;
    let mut pacer = Pacer::new();
    let mut running: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
    let mut notices: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    loop {
        if queue.is_closed() {
            pacer.hurry();
        }
        while running.len() < AT_ONCE {
            let now = Instant::now();
            let room = pacer.room(now);
            let next = queue.next(room.prompt, room.backlog, |namespace| {
                pacer.has_room_for(namespace)
            });
            let Some(job) = next else { break };
            let namespace = &job.write.object.name.namespace;
            pacer.started(namespace, job.priority, now);
            running.push(writer.write(job).boxed());
        }
        for event in queue.take_notices() {
            notices.push(writer.notice(event).boxed());
        }
        queue.measure(&writer.metrics);
        writer.metrics.status_limits(pacer.limits());
        if queue.is_finished() && running.is_empty() && notices.is_empty() {
            return;
        }
        let wake = pacer.wake(Instant::now());
        tokio::select! {
            () = queue.changed() => {}
            Some(done) = running.next(), if !running.is_empty() => {
                let now = Instant::now();
                pacer.ended(&done.namespace, done.priority, done.began, now);
                match done.signal {
                    Signal::Wrote => pacer.answered(done.took, now),
                    Signal::Present => pacer.present(),
                    Signal::Stall(asked) => pacer.stall(asked, now),
                    Signal::None => {}
                }
            }
            Some(()) = notices.next(), if !notices.is_empty() => {}
            () = sleep_until(wake) => {}
        }
    }
}

/// Pending for ever without a moment.
async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

// === impl Writer ===

impl Writer {
    /// One attempt of one write. What is to be done after it is the queue's to say.
    async fn write(&self, job: Job) -> Done {
        let began = Instant::now();
        let namespace = job.write.object.name.namespace.clone();
        let priority = job.priority;
        let answer =
            if self.queue.is_withdrawn(job.term) {
                None
            } else {
                let attempt = tokio::time::timeout(PATIENCE, self.apply(&job.write));
                Some(attempt.await.unwrap_or_else(|_| {
                    Answer::Unreachable(format!("no answer within {PATIENCE:?}"))
                }))
            };
        let took = began.elapsed();
        let told = job.write.status.is_some();
        let object = job.write.object.clone();
        let signal = match answer {
            None => {
                debug!(%object, "another process tells it now");
                self.queue.finish(job, Finished::Withdrawn);
                Signal::None
            }
            Some(Answer::Written) => {
                self.metrics.status_written(Outcome::Ok);
                self.publish(&job.write).await;
                self.queue.finish(job, Finished::Written);
                if told { Signal::Wrote } else { Signal::None }
            }
            Some(Answer::Gone) => {
                debug!(%object, "no status for an object that has gone");
                self.queue.finish(job, Finished::Gone);
                Signal::Present
            }
            Some(Answer::Refused(words)) => {
                self.metrics.status_written(Outcome::Refused);
                self.refused(job, &words).await;
                Signal::Present
            }
            Some(Answer::Failed(words)) => {
                self.metrics.status_written(Outcome::Failed);
                if self.queue.fail(job, &words) {
                    warn!(%object, error = words, "the status cannot be written; trying again");
                }
                Signal::Present
            }
            Some(Answer::Unreachable(words)) => {
                self.metrics.status_written(Outcome::Failed);
                if self.queue.fail(job, &words) {
                    warn!(%object, error = words, "the API server cannot be reached to write a status; trying again");
                }
                Signal::Stall(None)
            }
            Some(Answer::Throttled(asked)) => {
                self.metrics.status_written(Outcome::Retry);
                debug!(%object, ?asked, "the API server asks to be left alone");
                let pause = asked.unwrap_or_default();
                self.queue.retry(job, Some(pause));
                Signal::Stall(asked)
            }
        };
        Done {
            namespace,
            priority,
            began,
            took,
            signal,
        }
    }

    /// Says once that a status is refused: in the log, and where whoever made the object looks.
    async fn refused(&self, mut job: Job, words: &str) {
        let mut told = StatusWrite {
            events: std::mem::take(&mut job.write.events),
            ..StatusWrite::events(job.write.object.clone(), job.write.uid.clone())
        };
        if self.queue.refuse(job, words) {
            let object = &told.object;
            warn!(
                %object,
                words,
                "the API server refuses the status; it is tried again when the object changes, and every few minutes"
            );
            told.events.push(Event {
                severity: Severity::Warning,
                reason: "StatusRefused",
                message: format!(
                    "the API server refuses this object's status: {words}. So what it says is out of date, and addresses \
                     that would have to be recorded there are not served. It is tried again when the object changes, and \
                     every few minutes"
                )
                .into(),
            });
        }
        self.publish(&told).await;
    }

    /// An Event about the controller itself. The log has it as well.
    async fn notice(&self, event: Event) {
        if let Err(error) = self.publisher.notice(&event).await {
            warn!(reason = event.reason, %error, "an Event is lost");
        }
    }

    async fn publish(&self, write: &StatusWrite) {
        for event in &write.events {
            // An Event is a courtesy: one that fails is logged, and the condition says the same.
            let told = self.publisher.publish(&write.object, &write.uid, event);
            if let Err(error) = told.await {
                debug!(object = %write.object, %error, "an Event is lost");
            }
        }
    }

    /// Replaces what is ours of the status, if the object is still the one with the uid. Server-side apply could not ask that:
    /// for a status it leaves `metadata` out of account.
    async fn apply(&self, write: &StatusWrite) -> Answer {
        let Some(status) = &write.status else {
            return Answer::Written;
        };
        let status = status.to_value();
        if write.object.kind == Kind::EipGateway {
            // Refused where there is no status to keep anything of, and where the uid is another.
            match self.patch(write, within(&OF_GATEWAY, &status)).await {
                Answer::Gone => {}
                done => return done,
            }
        }
        let whole = json!({ "op": "add", "path": "/status", "value": status });
        self.patch(write, vec![whole]).await
    }

    /// Carries out these operations on the object's status, if it is the one with the uid.
    async fn patch(&self, write: &StatusWrite, operations: Vec<Value>) -> Answer {
        let ObjectRef { kind, name } = &write.object;
        let path = format!(
            "{}/{}/status?fieldManager={MANAGER}",
            Resource::of(*kind).path(&name.namespace),
            name.name
        );
        let same = json!({ "op": "test", "path": "/metadata/uid", "value": write.uid });
        let patch: Vec<Value> = [same].into_iter().chain(operations).collect();
        let request = http::Request::patch(path)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, "application/json-patch+json")
            .body(Body::from(Value::from(patch).to_string().into_bytes()));
        match request {
            Ok(request) => Answer::to(&self.client, request).await,
            Err(error) => Answer::Refused(error.to_string()),
        }
    }
}

/// The operations of a JSON patch (RFC 6902) that make these fields of the status what they are to be, and leave others alone.
fn within(fields: &[&str], status: &Value) -> Vec<Value> {
    let of = |field: &&str| {
        let path = format!("/status/{field}");
        match status.get(*field) {
            Some(value) => vec![json!({ "op": "add", "path": path, "value": value })],
            // What is not there cannot be removed.
            None => vec![
                json!({ "op": "add", "path": path, "value": null }),
                json!({ "op": "remove", "path": path }),
            ],
        }
    };
    fields.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn of_a_gateways_status_all_is_ours_but_one_field() {
        let definitions = yusur_crds::manifest::definitions();
        let gateways = definitions.iter();
        let mut gateways = gateways.filter(|it| it.spec.names.kind == "EipGateway");
        let schema = json!(gateways.next().map(|it| &it.spec.versions[0].schema));
        let fields = schema["openAPIV3Schema"]["properties"]["status"]["properties"].as_object();
        let fields: BTreeSet<&str> = fields
            .into_iter()
            .flatten()
            .map(|it| it.0.as_str())
            .collect();
        let wanted = OF_GATEWAY.into_iter().chain(["sourcePorts"]);
        assert_eq!(fields, wanted.collect());
    }
}
