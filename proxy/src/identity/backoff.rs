//! When to refresh, and when to try again. Pure.

use std::time::Duration;
use std::time::SystemTime;

/// Credentials are renewed when this much of their life is over.
const REFRESH_PERCENT: u32 = 70;
/// With less than this left, a login could outlast the credentials: they are renewed first.
const SLACK_MAX: Duration = Duration::from_secs(30);
/// Longest wait after a refusal: somebody may be mending the trust policy.
const REFUSED_MAX: Duration = Duration::from_secs(30);
/// Longest wait after a failure that mends itself, or is soon mended.
const TRANSIENT_MAX: Duration = Duration::from_secs(5);
/// First wait.
const FIRST: Duration = Duration::from_secs(1);

/// When credentials obtained at `obtained` that end at `expiry` are to be renewed. `jitter`, 0 to 1, brings
/// it forward by up to a twentieth of their life, so that jobs started together do not ask together.
pub(super) fn refresh_at(obtained: SystemTime, expiry: SystemTime, jitter: f64) -> SystemTime {
    let life = expiry.duration_since(obtained).unwrap_or_default();
    let early = (life / 20).mul_f64(jitter.clamp(0.0, 1.0));
    let at = (life * REFRESH_PERCENT / 100).saturating_sub(early);
    // Credentials of a second must not become a busy loop.
    obtained + at.max(Duration::from_secs(1))
}

/// How much must be left of credentials of this `life` for a new login.
pub(super) fn slack(life: Duration) -> Duration {
    SLACK_MAX.min(life / 10)
}

/// How long the `attempt`th failure in a row (from 1) is remembered. `jitter`, 0 to 1, adds up to a fifth.
pub(super) fn delay(attempt: u32, mends_soon: bool, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(10));
    let delay = doubled.min(if mends_soon {
        TRANSIENT_MAX
    } else {
        REFUSED_MAX
    });
    delay + (delay / 5).mul_f64(jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn renewal_is_at_70_percent_of_life() {
        let after = |life, jitter| {
            let at = refresh_at(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(life), jitter);
            at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
        };
        assert!((after(3_600, 0.0) - 2_520.0).abs() < 0.001);
        assert!((after(3_600, 1.0) - 2_340.0).abs() < 0.001);
        assert!((after(900, 0.0) - 630.0).abs() < 0.001);
        assert!((after(10, 0.0) - 7.0).abs() < 0.001);
        assert!((after(0, 0.0) - 1.0).abs() < 0.001);
    }

    #[test]
    fn renewal_is_never_within_the_slack() {
        for life in [10, 60, 300, 900, 3_600, 43_200] {
            let expiry = UNIX_EPOCH + Duration::from_secs(life);
            let left = expiry
                .duration_since(refresh_at(UNIX_EPOCH, expiry, 0.0))
                .unwrap();
            assert!(left > slack(Duration::from_secs(life)), "{life}");
        }
        assert_eq!(slack(Duration::from_secs(3_600)), Duration::from_secs(30));
        assert_eq!(slack(Duration::from_secs(100)), Duration::from_secs(10));
    }

    #[test]
    fn failures_are_remembered_from_one_second_to_thirty() {
        let seconds: Vec<u64> = (1..=8)
            .map(|attempt| delay(attempt, false, 0.0).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        let seconds: Vec<u64> = (1..=5)
            .map(|attempt| delay(attempt, true, 0.0).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        assert_eq!(delay(1, false, 1.0), Duration::from_millis(1_200));
        assert_eq!(delay(u32::MAX, false, 0.0), Duration::from_secs(30));
    }
}
