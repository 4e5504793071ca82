//! The queue by itself, on a clock that stands still but for what waits for it.

use std::net::IpAddr;

use serde_json::Value;
use yusur_planner::{Kind, ObjectName, Severity};

use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A second, and what timers are late by.
const SOON: Duration = Duration::from_millis(1010);

fn object(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        kind: Kind::YusurService,
        name: ObjectName::new(namespace, name),
    }
}

fn write_in(namespace: &str, name: &str, number: i64) -> StatusWrite {
    StatusWrite {
        object: object(namespace, name),
        uid: "1".into(),
        status: Some(Value::from(number).into()),
        events: vec![Event {
            severity: Severity::Normal,
            reason: "Ready",
            message: number.to_string().into(),
        }],
        record: Vec::new(),
    }
}

fn write(name: &str, number: i64) -> StatusWrite {
    write_in("a", name, number)
}

fn record(name: &str, number: i64) -> StatusWrite {
    StatusWrite {
        record: vec![IpAddr::from([10, 96, 0, 1])],
        ..write(name, number)
    }
}

fn job(queue: &StatusQueue) -> Option<Job> {
    queue.next(true, true, |_| true)
}

fn names(queue: &StatusQueue) -> Vec<String> {
    std::iter::from_fn(|| job(queue))
        .map(|job| job.write.object.name.name.to_string())
        .collect()
}

fn number(job: &Job) -> i64 {
    let status = job.write.status.as_ref().unwrap();
    status.to_value().as_i64().unwrap()
}

/// Waits until something can be written; how long that took.
async fn until_next(queue: &StatusQueue) -> (Job, Duration) {
    let began = Instant::now();
    loop {
        if let Some(job) = job(queue) {
            return (job, began.elapsed());
        }
        queue.changed().await;
    }
}

#[tokio::test]
async fn the_newest_status_wins_and_no_event_is_lost() {
    let (queue, mut receipts) = StatusQueue::new(SECOND);
    queue.push(write("x", 1));
    queue.push(write("y", 5));
    queue.push(write("x", 2));
    // Only Events, about whatever object has the name.
    queue.push(StatusWrite {
        uid: String::new(),
        status: None,
        ..write("x", 3)
    });
    let mut batch = queue.take(10).await.unwrap().writes;
    assert_eq!(batch.len(), 2);
    let x = batch.remove(0);
    assert_eq!(&*x.write.object.name.name, "x");
    assert_eq!(
        (number(&x), &*x.write.uid, x.write.events.len()),
        (2, "1", 3)
    );
    queue.finish(x, Finished::Written);
    assert_eq!(receipts.recv().await.unwrap().end, Finished::Written);
}

#[tokio::test]
async fn a_successor_inherits_nothing() {
    let (queue, _receipts) = StatusQueue::new(SECOND);
    queue.push(record("x", 1));
    queue.push(StatusWrite {
        uid: "2".into(),
        ..write("x", 2)
    });
    let write = job(&queue).unwrap().write;
    assert_eq!((write.events.len(), write.record.len()), (1, 0));
    assert!(job(&queue).is_none());
}

#[tokio::test]
async fn what_is_withdrawn_is_not_written() {
    let (queue, mut receipts) = StatusQueue::new(SECOND);
    for name in ["flying", "retried", "refused"] {
        queue.push(write(name, 1));
    }
    let (flying, retried) = (job(&queue).unwrap(), job(&queue).unwrap());
    assert!(!queue.is_withdrawn(flying.term));
    queue.refuse(job(&queue).unwrap(), "no");
    assert!(matches!(
        receipts.recv().await.unwrap().end,
        Finished::Refused(_)
    ));
    queue.push(record("y", 1));
    queue.push(write("z", 1));
    let mut names: Vec<_> = queue
        .withdraw()
        .into_iter()
        .map(|object| object.name.name)
        .collect();
    names.sort();
    assert_eq!(names, ["refused", "y", "z"]);
    assert!(queue.is_withdrawn(flying.term));
    queue.retry(retried, None);
    assert_eq!(receipts.recv().await.unwrap().end, Finished::Withdrawn);
    queue.finish(flying, Finished::Withdrawn);
    assert!(queue.is_empty());
}

#[tokio::test]
async fn changes_go_before_the_backlog_and_namespaces_take_turns() {
    let (queue, _receipts) = StatusQueue::new(SECOND);
    for name in ["b1", "b2", "b3"] {
        queue.push_backlog(write_in("many", name, 1));
    }
    queue.push_backlog(write_in("few", "b4", 1));
    for name in ["c1", "c2", "c3"] {
        queue.push(write_in("many", name, 1));
    }
    queue.push(write_in("few", "c4", 1));
    queue.push(record("r1", 1));
    queue.push(record("r2", 1));
    assert_eq!(queue.waiting_of(Priority::Backlog, &"many".into()), 3);
    // One of the backlog that somebody changes goes with the changes.
    queue.push(write_in("many", "b3", 2));
    let names = names(&queue);
    assert_eq!(
        names,
        ["r1", "c1", "r2", "c4", "c2", "c3", "b3", "b1", "b4", "b2"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_is_written_once_a_second_and_the_last_wins() {
    let (queue, _receipts) = StatusQueue::new(SECOND);
    let mut written = Vec::new();
    let began = Instant::now();
    let mut pushed = 0;
    while began.elapsed() < 10 * SECOND {
        pushed += 1;
        queue.push(write("x", pushed));
        // Every 10 ms; what can be written is.
        let until = Instant::now() + Duration::from_millis(10);
        while let Ok((job, _)) = tokio::time::timeout_at(until, until_next(&queue)).await {
            written.push(number(&job));
            queue.finish(job, Finished::Written);
        }
    }
    assert!((10..=11).contains(&written.len()), "{written:?}");
    queue.push(write("x", pushed + 1));
    queue.push(write("x", pushed + 2));
    let (last, waited) = until_next(&queue).await;
    assert_eq!(number(&last), pushed + 2);
    assert!(waited <= SOON);
    queue.finish(last, Finished::Written);
    // Then nothing is known of it any more.
    tokio::time::sleep(2 * SECOND).await;
    let nothing = tokio::time::timeout(SECOND, until_next(&queue)).await;
    assert!(nothing.is_err());
    assert!(queue.shared.queue.lock().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn addresses_to_be_recorded_do_not_wait_for_the_last_status() {
    let (queue, _receipts) = StatusQueue::new(SECOND);
    queue.push(write("x", 1));
    queue.finish(job(&queue).unwrap(), Finished::Written);
    queue.push(record("x", 2));
    queue.finish(job(&queue).unwrap(), Finished::Written);
    // But no oftener than once a second either.
    queue.push(record("x", 3));
    let (third, waited) = until_next(&queue).await;
    assert!(number(&third) == 3 && waited >= SECOND - Duration::from_millis(5));
    queue.finish(third, Finished::Written);
    // What follows a first record does not wait for it.
    queue.push(record("y", 1));
    queue.finish(job(&queue).unwrap(), Finished::Written);
    queue.push(write("y", 2));
    assert_eq!(number(&job(&queue).unwrap()), 2);
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_a_write_is_written_after_it() {
    let (queue, _receipts) = StatusQueue::new(Duration::ZERO);
    queue.push(write("x", 1));
    let first = job(&queue).unwrap();
    queue.push(write("x", 2));
    queue.push(write("x", 3));
    assert!(
        job(&queue).is_none(),
        "two at once might overtake each other"
    );
    queue.finish(first, Finished::Written);
    let second = job(&queue).unwrap();
    assert_eq!((number(&second), second.write.events.len()), (3, 2));
    // It fails; what came meanwhile takes its place.
    queue.push(write("x", 4));
    queue.retry(second, None);
    assert_eq!(number(&job(&queue).unwrap()), 4);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_ever_more_rarely_and_keeps_its_priority() {
    let (queue, _receipts) = StatusQueue::new(SECOND);
    queue.push_backlog(write("x", 1));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let (job, waited) = until_next(&queue).await;
        assert_eq!(job.priority, Priority::Backlog);
        waits.push(waited);
        queue.retry(job, None);
    }
    assert!(waits[1] < SECOND && waits[11] >= 30 * SECOND && waits[11] < 61 * SECOND);
    // Waiting takes no place.
    assert!(queue.len() == 1 && job(&queue).is_none());
    queue.push(write("x", 2));
    let (job, waited) = until_next(&queue).await;
    assert!(
        number(&job) == 2 && waited <= SOON,
        "what is new is tried soon"
    );
    queue.retry(job, Some(7 * SECOND));
    let (_, waited) = until_next(&queue).await;
    assert_eq!(waited.as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_said_once_and_tried_again_when_the_object_changes() {
    let (queue, mut receipts) = StatusQueue::new(SECOND);
    queue.push(write("x", 1));
    assert!(queue.refuse(job(&queue).unwrap(), "too large"));
    assert!(queue.is_empty() && receipts.try_recv().is_ok());
    let (again, waited) = until_next(&queue).await;
    assert!(waited >= 60 * SECOND, "{waited:?}");
    assert!(!queue.refuse(again, "too large"), "it was said");
    assert!(receipts.try_recv().is_err());
    // The object changes, its status does not.
    queue.touch(&object("a", "x"));
    let (again, waited) = until_next(&queue).await;
    assert!(waited <= SOON, "{waited:?}");
    // Also if it changes before the refusal is here.
    queue.touch(&object("a", "x"));
    assert!(
        queue.refuse(again, "still too large"),
        "other words are news"
    );
    let (again, waited) = until_next(&queue).await;
    assert!(waited <= SOON, "{waited:?}");
    queue.finish(again, Finished::Written);
    // A new status is tried at once, and a refusal of it is news.
    tokio::time::sleep(2 * SECOND).await;
    queue.push(write("x", 2));
    assert!(queue.refuse(job(&queue).unwrap(), "too large"));
    queue.forget(object("a", "x"), "1".into());
    assert_eq!(queue.shared.queue.lock().counts.refused, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_at_the_end() {
    let (queue, _receipts) = StatusQueue::new(SECOND);
    for name in ["paced", "failed", "refused"] {
        queue.push(write(name, 1));
    }
    queue.finish(job(&queue).unwrap(), Finished::Written);
    queue.push(write("paced", 2));
    queue.retry(job(&queue).unwrap(), None);
    queue.refuse(job(&queue).unwrap(), "no");
    queue.push_backlog(write("late", 1));
    assert!(job(&queue).is_some_and(|job| job.write.object == object("a", "late")));
    assert!(job(&queue).is_none() && queue.len() == 3);
    queue.close();
    let left = names(&queue);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|name| name == "paced" || name == "failed"));
    assert!(!queue.is_finished(), "they are on their way");
}

#[tokio::test]
async fn the_end_comes_once_all_is_handed_out() {
    let (queue, _receipts) = StatusQueue::new(Duration::ZERO);
    queue.push(write("x", 1));
    queue.forget(object("a", "x"), "1".into());
    assert!(queue.is_empty());
    queue.close();
    assert_eq!(queue.take(1).await.unwrap().gone.len(), 1);
    assert!(queue.take(1).await.is_none());
}
