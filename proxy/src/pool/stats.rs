//! The pool in numbers: plain data for metrics, errors and notices.

use std::fmt;
use std::time::Duration;

use crate::fault::Blame;

/// Upper bounds of [`Waits::buckets`]; the last bucket has none.
pub const WAIT_BOUNDS: [Duration; 12] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// The pool at one moment. All counts are of this sidecar and this endpoint, over all keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Lent to clients.
    pub leased: usize,
    /// Given back, not yet reset.
    pub resetting: usize,
    /// Ready to be lent.
    pub idle: usize,
    /// Being opened.
    pub dialling: usize,
    /// Being closed; the server may still count them.
    pub closing: usize,
    /// Clients in the queue.
    pub waiting: usize,
    /// The configured limit: the five connection counts together never pass it.
    pub max_connections: usize,
    /// What the server let this sidecar have, while it refuses more. At least 1.
    pub learned_max: Option<usize>,
    /// What happened since the start.
    pub counters: Counters,
}

impl Stats {
    /// The limit in force: the learned one while there is one.
    pub fn limit(&self) -> usize {
        self.learned_max.unwrap_or(self.max_connections)
    }

    /// Connections that clients hold or have just given back.
    pub fn in_use(&self) -> usize {
        self.leased + self.resetting
    }
}

/// A client's place in the queue, as told to it after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Place in the queue over all keys, from 1.
    pub position: usize,
    /// How long the client has waited.
    pub waited: Duration,
    /// The pool at this moment.
    pub stats: Stats,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            position, stats, ..
        } = self;
        let (in_use, limit, waiting) = (stats.in_use(), stats.limit(), stats.waiting);
        write!(
            f,
            "waiting for an upstream connection: place {position} of {waiting}, {in_use} of {limit} in use"
        )
    }
}

/// What happened since the start. Every number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Dials begun.
    pub dials_started: u64,
    /// Dials that gave a connection.
    pub dials_ok: u64,
    /// Dials that did not.
    pub dials_failed: DialFailures,
    /// Leases and how they ended.
    pub leases: Leases,
    /// Connections closed, by reason. `dials_ok` less their sum is what is open.
    pub closings: Closings,
    /// How long clients waited for the lease they got.
    pub waits: Waits,
    /// Clients that waited `checkout_timeout` in vain.
    pub timeouts: u64,
    /// Clients that left the queue by themselves.
    pub cancelled: u64,
    /// Clients refused because the queue was full.
    pub queue_full: u64,
}

/// Failed dials by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DialFailures {
    /// The server was full: the client kept waiting.
    pub limit: u64,
    /// [`Blame::Client`].
    pub client: u64,
    /// [`Blame::Config`].
    pub config: u64,
    /// [`Blame::Identity`].
    pub identity: u64,
    /// [`Blame::Internal`], and dials that panicked.
    pub internal: u64,
    /// [`Blame::Upstream`].
    pub upstream: u64,
}

impl DialFailures {
    /// Label and count of each reason.
    pub fn by_reason(&self) -> [(&'static str, u64); 6] {
        [
            ("limit", self.limit),
            ("client", self.client),
            ("config", self.config),
            ("identity", self.identity),
            ("internal", self.internal),
            ("upstream", self.upstream),
        ]
    }

    pub(super) fn count(&mut self, blame: Blame) {
        let slot = match blame {
            Blame::Client => &mut self.client,
            Blame::Config => &mut self.config,
            Blame::Identity => &mut self.identity,
            Blame::Internal => &mut self.internal,
            Blame::Upstream => &mut self.upstream,
        };
        *slot += 1;
    }
}

/// Leases: `opened` is the sum of the others and of those out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leases {
    /// Begun.
    pub opened: u64,
    /// Ended by `release`.
    pub released: u64,
    /// Ended by `discard`.
    pub discarded: u64,
    /// Dropped without either: closed abruptly.
    pub dropped: u64,
    /// Handed to a client that left at that moment: never used, kept.
    pub undelivered: u64,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Dead,
    Discarded,
    Drained,
    Dropped,
    Evicted,
    Idle,
    Lifetime,
    Outdated,
    Requested,
    ResetFailed,
}

/// Closed connections by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closings {
    /// Found dead while idle.
    pub dead: u64,
    /// By `Lease::discard`.
    pub discarded: u64,
    /// By `drain`.
    pub drained: u64,
    /// The lease was dropped.
    pub dropped: u64,
    /// Made room for a client with another key.
    pub evicted: u64,
    /// `idle_timeout`.
    pub idle: u64,
    /// `max_lifetime`.
    pub lifetime: u64,
    /// `bump_generation`.
    pub outdated: u64,
    /// `close_idle`.
    pub requested: u64,
    /// The reset failed or took too long.
    pub reset_failed: u64,
}

impl Closings {
    /// Label and count of each reason.
    pub fn by_reason(&self) -> [(&'static str, u64); 10] {
        [
            ("dead", self.dead),
            ("discarded", self.discarded),
            ("drained", self.drained),
            ("dropped", self.dropped),
            ("evicted", self.evicted),
            ("idle_timeout", self.idle),
            ("max_lifetime", self.lifetime),
            ("outdated", self.outdated),
            ("requested", self.requested),
            ("reset_failed", self.reset_failed),
        ]
    }

    pub(super) fn count(&mut self, why: Ended) {
        let slot = match why {
            Ended::Dead => &mut self.dead,
            Ended::Discarded => &mut self.discarded,
            Ended::Drained => &mut self.drained,
            Ended::Dropped => &mut self.dropped,
            Ended::Evicted => &mut self.evicted,
            Ended::Idle => &mut self.idle,
            Ended::Lifetime => &mut self.lifetime,
            Ended::Outdated => &mut self.outdated,
            Ended::Requested => &mut self.requested,
            Ended::ResetFailed => &mut self.reset_failed,
        };
        *slot += 1;
    }
}

/// How long clients waited for the lease they got; a lease at once counts as no wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// Number of waits.
    pub count: u64,
    /// All waits together.
    pub sum: Duration,
    /// The longest.
    pub max: Duration,
    /// Waits up to each of [`WAIT_BOUNDS`] and above the bound before it; the last: longer than all.
    pub buckets: [u64; WAIT_BOUNDS.len() + 1],
}

impl Waits {
    pub(super) fn count(&mut self, wait: Duration) {
        self.count += 1;
        self.sum += wait;
        self.max = self.max.max(wait);
        let bucket = WAIT_BOUNDS.partition_point(|bound| *bound < wait);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
    }
}
