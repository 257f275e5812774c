//! How fast new logins may begin.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket, kept as the time at which it would be full again (GCRA): nothing to refill.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    slack: Duration,
    full_at: Option<Instant>,
}

impl Pace {
    /// `per_second` logins, up to `burst` of them at once.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            slack: interval * burst.saturating_sub(1),
            full_at: None,
        }
    }

    /// Takes a token, or says when there will be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        if full_at - now > self.slack {
            return Err(full_at - self.slack);
        }
        self.full_at = Some(full_at + self.interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn burst_then_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(20, 8);
        let mut begun = 0;
        let mut now = start;
        while now < start + Duration::from_secs(10) {
            match pace.take(now) {
                Ok(()) => begun += 1,
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
            if now == start {
                assert!(begun <= 8);
            }
        }
        // The one that finds `now` at exactly 10 s is not taken any more.
        assert_eq!(begun, 8 + 199);
    }
}
