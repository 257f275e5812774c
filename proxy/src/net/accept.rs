//! What to do when `accept` fails, and how often to say so. The listener does the sleeping.

use std::io;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::Instant;

/// First pause when the machine is out of descriptors or memory.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest pause. Descriptors come back when a client leaves, which nobody announces: look once a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Between two log lines that say the same.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

/// Counts failures in a row and says how long to wait.
///
/// `accept(2)` hands over pending network errors of the new connection ("treat them like EAGAIN by
/// retrying"); only the others mean that trying again at once would spin.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

/// Lets one complaint through, then is deaf to the same for a while: a machine at its limit hits it with every
/// client that leaves.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    last: Option<Instant>,
}

impl Complaint {
    /// True if it has been long enough.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self
            .last
            .is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// The next step after a failed `accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// That client is gone; take the next one.
    AtOnce,
    /// Wait, then try again.
    After(Duration),
}

impl Backoff {
    /// A client was accepted.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// `accept` failed with `error`.
    pub(super) fn failed(&mut self, error: &io::Error) -> Next {
        if only_this_client(error) {
            return Next::AtOnce;
        }
        let pause = PAUSE_MIN.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        Next::After(pause.min(PAUSE_MAX))
    }
}

fn only_this_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::Interrupted
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `EMFILE`: too many open files.
    fn out_of_descriptors() -> io::Error {
        io::Error::from_raw_os_error(24)
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..10)
            .map(|_| backoff.failed(&out_of_descriptors()))
            .collect();
        let expected = [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000];
        assert_eq!(
            pauses,
            expected.map(|ms| Next::After(Duration::from_millis(ms)))
        );
    }

    #[test]
    fn a_client_that_left_early_costs_no_pause() {
        let mut backoff = Backoff::default();
        // ECONNABORTED
        assert_eq!(
            backoff.failed(&io::Error::from_raw_os_error(103)),
            Next::AtOnce
        );
        assert_eq!(
            backoff.failed(&out_of_descriptors()),
            Next::After(PAUSE_MIN)
        );
    }

    #[test]
    fn success_starts_the_row_anew() {
        let mut backoff = Backoff::default();
        backoff.failed(&out_of_descriptors());
        backoff.failed(&out_of_descriptors());
        backoff.succeeded();
        assert_eq!(
            backoff.failed(&out_of_descriptors()),
            Next::After(PAUSE_MIN)
        );
    }

    #[test]
    fn a_long_row_does_not_overflow() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(
            backoff.failed(&out_of_descriptors()),
            Next::After(PAUSE_MAX)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_complaint_is_not_repeated_at_once() {
        let mut complaint = Complaint::default();
        assert!(complaint.is_due());
        assert!(!complaint.is_due());
        tokio::time::advance(COMPLAIN_EVERY).await;
        assert!(complaint.is_due());
    }
}
