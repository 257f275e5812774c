//! What to do when `accept` fails. Pure: the listener sleeps.

use std::io;
use std::io::ErrorKind;
use std::time::Duration;

/// First pause when the machine is out of descriptors or memory.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest pause. Descriptors come back when a client leaves, which nobody announces: look once a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Counts failures in a row and says how long to wait.
///
/// `accept(2)` hands over pending network errors of the new connection ("treat them like EAGAIN by
/// retrying"); only the others mean that trying again at once would spin.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
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
    /// A client was accepted. Returns how many attempts had failed before it.
    pub(super) fn succeeded(&mut self) -> u32 {
        std::mem::take(&mut self.failures)
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

    /// True after the first failure of a row: the one worth a log line.
    pub(super) fn is_first(&self) -> bool {
        self.failures == 1
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
        assert_eq!(backoff.succeeded(), 0);
    }

    #[test]
    fn success_starts_the_row_anew() {
        let mut backoff = Backoff::default();
        backoff.failed(&out_of_descriptors());
        assert!(backoff.is_first());
        backoff.failed(&out_of_descriptors());
        assert!(!backoff.is_first());
        assert_eq!(backoff.succeeded(), 2);
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
}
