//! What a server that is full taught us (protocol.md D.4).
//!
//! Kept per key: a limit may be that of one role or one database, and must not stop the others.

use std::time::Duration;

use tokio::time::Instant;

use super::ConnId;

/// First pause after a refusal.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause between two probes.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The limit in force for one key, and when to try whether it still holds.
#[derive(Debug)]
pub(super) struct Learned {
    /// Connections of the key that the server let us have. Up to here dials are free; 0: it let us have none.
    pub(super) max: usize,
    /// When one dial more may try.
    pub(super) probe_at: Instant,
    backoff: Duration,
    /// Refusals of dials begun before this one belong to the same wave: they teach nothing about waiting longer.
    wave: ConnId,
}

impl Learned {
    /// The first refusal. `jitter` is in 0..1; `next` is the id the next dial will have.
    pub(super) fn new(established: usize, next: ConnId, now: Instant, jitter: f64) -> Self {
        Self {
            max: established,
            probe_at: now + spread(BACKOFF_MIN, jitter),
            backoff: BACKOFF_MIN,
            wave: next,
        }
    }

    /// A further refusal, of the dial `id`.
    pub(super) fn refused(&mut self, id: ConnId, next: ConnId, now: Instant, jitter: f64) {
        if id < self.wave {
            return;
        }
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.probe_at = now + spread(self.backoff, jitter);
        self.wave = next;
    }

    /// A dial succeeded; the key now has `established` connections.
    pub(super) fn accepted(&mut self, established: usize, now: Instant, jitter: f64) {
        if established > self.max {
            self.max = established;
            self.backoff = BACKOFF_MIN;
            self.probe_at = now + spread(BACKOFF_MIN, jitter);
        }
    }
}

/// Between half of `pause` and all of it, so that many sidecars do not knock together.
fn spread(pause: Duration, jitter: f64) -> Duration {
    pause / 2 + (pause / 2).mul_f64(jitter.clamp(0.0, 1.0))
}
