//! How fast status is written to an API server that others need as well.
//!
//! Two [`Limit`]s on the writes that are on their way follow how long the server takes: each grows by a little while the
//! server answers about as fast as it ever did lately, and shrinks by a part where it does not (additive increase,
//! multiplicative decrease, as congestion control does with round trips). That of what somebody waits for bears a server that
//! is busy; that of the backlog gives way as soon as the server takes a third longer than it can: whatever else it does at
//! that time goes first. Below one the limit of the backlog means pauses between writes.
//!
//! A server that says "not now" (429, 503, with `Retry-After` or without) or does not answer at all is left alone for as
//! long as it asks, or ever longer.

use std::collections::HashMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;
use yusur_planner::Name;

use super::Priority;

/// Writes on their way at most.
pub(super) const AT_ONCE: usize = 16;

/// Writes of one namespace on their way at most. Less where the limit is low: half of it.
const OF_ONE: usize = 4;

/// Answers that are judged together.
const WINDOW: usize = 16;

/// How long the fastest of the server's answers is remembered, at least; at most twice as long.
const MEMORY: Duration = Duration::from_secs(300);

/// The longest pause between two writes of the backlog: almost twenty a second, however busy the server.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The longest the server is left alone without its asking for it.
const LONGEST_STALL: Duration = Duration::from_secs(5);

/// The longest `Retry-After` that is believed.
const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// What may be started now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// A write that somebody waits for.
    pub(super) prompt: bool,
    /// A write of the backlog.
    pub(super) backlog: bool,
}

/// When which write may begin.
#[derive(Debug)]
pub(super) struct Pacer {
    prompt: Limit,
    backlog: Limit,
    latency: Latency,
    /// Writes on their way, by whether they are of the backlog.
    prompt_flying: usize,
    backlog_flying: usize,
    flying_of: HashMap<Name, usize>,
    /// How long a write takes with its Events: the mean of the last dozen.
    duration: Duration,
    /// When the next write of the backlog may begin.
    next: Option<Instant>,
    stalled: Option<Instant>,
    stalls: usize,
    /// Nothing is left to others any more: the process ends.
    hurry: bool,
}

/// A limit on the writes on their way.
#[derive(Debug)]
struct Limit {
    now: f64,
    least: f64,
    most: f64,
    step: f64,
    /// How many times its best the server may take.
    tolerance: f64,
}

/// How long the server takes.
#[derive(Debug, Default)]
struct Latency {
    window: Vec<Duration>,
    /// The best window of this period and of the one before.
    best: Option<Duration>,
    before: Option<Duration>,
    since: Option<Instant>,
}

// === impl Pacer ===

impl Pacer {
    pub(super) fn new() -> Self {
        Self {
            prompt: Limit {
                now: 8.0,
                least: 2.0,
                most: AT_ONCE as f64,
                step: 1.0,
                tolerance: 4.0,
            },
            backlog: Limit {
                now: 0.5,
                least: 0.1,
                most: 4.0,
                step: 0.125,
                tolerance: 1.3,
            },
            latency: Latency::default(),
            prompt_flying: 0,
            backlog_flying: 0,
            flying_of: HashMap::new(),
            duration: Duration::ZERO,
            next: None,
            stalled: None,
            stalls: 0,
            hurry: false,
        }
    }

    /// From now on the backlog is written as what somebody waits for.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// What may be started now.
    pub(super) fn room(&self, now: Instant) -> Room {
        let stalled = self.stalled.is_some_and(|until| now < until);
        // After a stall one write finds out whether the server is well.
        let probing = self.stalls > 0 && self.flying() > 0;
        let prompt = !stalled && !probing && self.flying() < self.prompt.whole();
        let backlog = self.hurry
            || (self.backlog_flying < self.backlog.whole()
                && self.next.is_none_or(|next| next <= now));
        Room {
            prompt,
            backlog: prompt && backlog,
        }
    }

    /// Whether one more write of the namespace may be on its way.
    pub(super) fn has_room_for(&self, namespace: &Name) -> bool {
        let most = if self.hurry {
            AT_ONCE / 2
        } else {
            OF_ONE.min(self.prompt.whole() / 2).max(1)
        };
        self.flying_of.get(namespace).is_none_or(|of| *of < most)
    }

    /// When there may be room although no write has ended.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        let later = |moment: Option<Instant>| moment.filter(|moment| now < *moment);
        later(self.stalled).or(later(self.next).filter(|_| !self.hurry))
    }

    /// A write begins.
    pub(super) fn started(&mut self, namespace: &Name, priority: Priority, now: Instant) {
        *self.flying_of.entry(namespace.clone()).or_default() += 1;
        if priority == Priority::Backlog {
            self.backlog_flying += 1;
            let pause = self
                .duration
                .div_f64(self.backlog.now)
                .min(self.duration + LONGEST_PAUSE);
            // What a timer is late by is made up for, but no more than one pause of it.
            let due = self.next.filter(|due| *due + pause > now);
            self.next = Some(due.unwrap_or(now) + pause);
        } else {
            self.prompt_flying += 1;
        }
    }

    /// A write has ended that began then.
    pub(super) fn ended(
        &mut self,
        namespace: &Name,
        priority: Priority,
        began: Instant,
        now: Instant,
    ) {
        if let Some(of) = self.flying_of.get_mut(namespace) {
            *of -= 1;
            if *of == 0 {
                self.flying_of.remove(namespace);
            }
        }
        let flying = match priority {
            Priority::Backlog => &mut self.backlog_flying,
            Priority::Record | Priority::Changed => &mut self.prompt_flying,
        };
        *flying = flying.saturating_sub(1);
        let took = now.saturating_duration_since(began);
        self.duration = if self.duration.is_zero() {
            took
        } else {
            self.duration.mul_f64(0.9) + took.mul_f64(0.1)
        };
    }

    /// The server has written a status and took so long.
    pub(super) fn answered(&mut self, took: Duration, now: Instant) {
        self.stalls = 0;
        self.stalled = None;
        if let Some(slowness) = self.latency.note(took, now) {
            self.prompt.follow(slowness);
            self.backlog.follow(slowness);
        }
    }

    /// The server has answered, but not written: it is there.
    pub(super) fn present(&mut self) {
        self.stalls = 0;
    }

    /// The server has asked to be left alone for this long, or has not answered.
    pub(super) fn stall(&mut self, asked: Option<Duration>, now: Instant) {
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(LONGEST_STALL)
            .with_jitter()
            .without_max_times();
        // Several that were on their way together are one stall.
        if self.stalled.is_some_and(|until| now < until) && asked.is_none() {
            return;
        }
        let own = delays.build().nth(self.stalls.min(8));
        let own = own.unwrap_or(LONGEST_STALL);
        let pause = asked.map_or(own, |asked| asked.min(LONGEST_ASKED).max(own));
        let until = now + pause;
        self.stalled = Some(self.stalled.map_or(until, |before| before.max(until)));
        self.stalls += 1;
        self.prompt.halve();
        self.backlog.halve();
    }

    /// The two limits, for the metrics: of what somebody waits for, and of the backlog.
    pub(super) fn limits(&self) -> (f64, f64) {
        (self.prompt.now, self.backlog.now)
    }

    fn flying(&self) -> usize {
        self.prompt_flying + self.backlog_flying
    }
}

// === impl Limit ===

impl Limit {
    /// Writes on their way; at least one, and none more for a fraction below two.
    fn whole(&self) -> usize {
        // Between 1 and 16.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "see above"
        )]
        let whole = self.now.ceil() as usize;
        whole.max(1)
    }

    /// The server takes so many times its best.
    fn follow(&mut self, slowness: f64) {
        self.now = if slowness <= self.tolerance {
            self.now + self.step
        } else {
            self.now * (self.tolerance / slowness).max(0.5)
        };
        self.now = self.now.clamp(self.least, self.most);
    }

    fn halve(&mut self) {
        self.now = (self.now / 2.0).max(self.least);
    }
}

// === impl Latency ===

impl Latency {
    /// Notes an answer. With every [`WINDOW`] answers: how many times its best the server takes.
    ///
    /// A third of the answers decides: a namespace whose objects are large and slow to write must not slow down all others.
    fn note(&mut self, took: Duration, now: Instant) -> Option<f64> {
        self.window.push(took);
        if self.window.len() < WINDOW {
            return None;
        }
        self.window.sort_unstable();
        let recent = self.window[WINDOW / 3].max(Duration::from_micros(100));
        self.window.clear();
        if self.since.is_none_or(|since| now - since > MEMORY) {
            self.before = self.best.take();
            self.since = Some(now);
        }
        let best = self.best.map_or(recent, |best| best.min(recent));
        self.best = Some(best);
        let best = self.before.map_or(best, |before| before.min(best));
        Some(recent.as_secs_f64() / best.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An API server of so many processors, each write taking 5 ms of one: how many of the backlog are written in a
    /// minute, and what share of the server's time they take. Until `others` are done it has that many requests of
    /// others at any time.
    async fn minute(processors: f64, others: f64) -> (u64, f64) {
        let mut pacer = Pacer::new();
        let (name, work) = (Name::from("n"), 0.005);
        let end = Instant::now() + Duration::from_secs(60);
        let mut flying: Vec<(Instant, f64)> = Vec::new();
        let (mut written, mut busy) = (0, 0.0);
        let step = Duration::from_millis(1);
        // The first seconds without others: the server at its best.
        let start = Instant::now();
        while Instant::now() < end {
            let now = Instant::now();
            while pacer.room(now).backlog {
                pacer.started(&name, Priority::Backlog, now);
                flying.push((now, work));
            }
            let others = if now - start < Duration::from_secs(5) {
                0.0
            } else {
                others
            };
            let share = (processors / (flying.len() as f64 + others)).min(1.0);
            busy += share * flying.len() as f64 * step.as_secs_f64();
            tokio::time::advance(step).await;
            let now = Instant::now();
            flying.retain_mut(|(began, left)| {
                *left -= share * step.as_secs_f64();
                if *left <= 1e-9 {
                    pacer.ended(&name, Priority::Backlog, *began, now);
                    pacer.answered(now - *began, now);
                    written += 1;
                }
                *left > 1e-9
            });
        }
        (written, busy / processors / 60.0)
    }

    #[tokio::test(start_paused = true)]
    async fn the_backlog_follows_the_servers_size() {
        let (small, _) = minute(2.0, 0.0).await;
        assert!(small > 5_000, "{small} writes");
        let (large, share) = minute(16.0, 0.0).await;
        assert!(
            large > small * 5 / 4,
            "{large} writes, not many more than {small}"
        );
        assert!(share < 0.3, "{share} of the time");
    }

    #[tokio::test(start_paused = true)]
    async fn the_backlog_gives_way_to_others() {
        let (alone, _) = minute(2.0, 0.0).await;
        let (beside, share) = minute(2.0, 8.0).await;
        assert!(
            beside < alone / 3,
            "{beside} writes beside others, {alone} alone"
        );
        assert!(share < 0.25, "{share} of the time");
        assert!(beside > 300, "and never stands still");
    }

    #[tokio::test(start_paused = true)]
    async fn one_namespace_leaves_room_for_others() {
        let mut pacer = Pacer::new();
        let (a, b) = (Name::from("a"), Name::from("b"));
        let now = Instant::now();
        while pacer.has_room_for(&a) {
            assert!(pacer.room(now).prompt);
            pacer.started(&a, Priority::Changed, now);
        }
        assert!(pacer.room(now).prompt && pacer.has_room_for(&b));
        pacer.ended(&a, Priority::Changed, now, now);
        assert!(pacer.has_room_for(&a));
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(10)).await;
            pacer.stall(None, Instant::now());
        }
        assert!(pacer.prompt.whole() == 2 && pacer.has_room_for(&b));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_for_it_is_left_alone() {
        let mut pacer = Pacer::new();
        let name = Name::from("a");
        let now = Instant::now();
        assert!(pacer.room(now).prompt);
        let (prompt, backlog) = pacer.limits();
        pacer.stall(Some(Duration::from_secs(7)), now);
        assert_eq!(pacer.limits(), (prompt / 2.0, backlog / 2.0));
        tokio::time::advance(Duration::from_secs(6)).await;
        let now = Instant::now();
        assert!(!pacer.room(now).prompt);
        assert_eq!(pacer.wake(now), Some(now + Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(2)).await;
        let now = Instant::now();
        assert!(pacer.room(now).prompt);
        // One finds out.
        pacer.started(&name, Priority::Changed, now);
        assert!(!pacer.room(now).prompt);
        pacer.answered(Duration::from_millis(5), now);
        assert!(pacer.room(now).prompt);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_objects_of_one_namespace_do_not_slow_others() {
        let mut pacer = Pacer::new();
        for turn in 0..320 {
            let slow = turn % 2 == 0;
            let took = if slow { 400 } else { 5 };
            pacer.answered(Duration::from_millis(took), Instant::now());
        }
        assert!(pacer.limits().1 > 1.0, "{:?}", pacer.limits());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_at_the_end_is_written_at_once() {
        let mut pacer = Pacer::new();
        let name = Name::from("a");
        let now = Instant::now();
        pacer.ended(
            &name,
            Priority::Backlog,
            now,
            now + Duration::from_millis(5),
        );
        pacer.started(&name, Priority::Backlog, now);
        assert!(!pacer.room(now).backlog);
        pacer.hurry();
        assert!(pacer.room(now).backlog && pacer.wake(now).is_none());
    }
}
