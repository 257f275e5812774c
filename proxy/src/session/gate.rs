//! Who may still stop what a session runs: a late cancel must not hit the session's next user.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Requests under way for one session; more would only say the same.
const INFLIGHT_MAX: usize = 8;

/// Opens while a client owns an upstream session; closes before anything else is done with it.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    left: Notify,
}

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    inflight: usize,
}

impl Gate {
    /// From now on requests to cancel are for the client that has the session now.
    pub fn open(&self) {
        self.state.lock().open = true;
    }

    /// Lets no further request in, and waits until those inside are done. Cancel safe: it stays closed.
    pub async fn close(&self) {
        loop {
            let left = self.left.notified();
            let inflight = {
                let mut state = self.state.lock();
                state.open = false;
                state.inflight
            };
            if inflight == 0 {
                return;
            }
            left.await;
        }
    }

    /// Lets a request in, unless the session belongs to nobody or enough are inside already.
    pub fn enter(&self) -> Option<Inside<'_>> {
        let mut state = self.state.lock();
        if !state.open || state.inflight >= INFLIGHT_MAX {
            return None;
        }
        state.inflight += 1;
        Some(Inside(self))
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state.lock().inflight -= 1;
        self.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_gate_waits_for_those_inside_and_lets_nobody_else_in() {
        let gate = Gate::default();
        assert!(gate.enter().is_none(), "closed at first");
        gate.open();
        let inside = gate.enter().unwrap();
        let mut closing = std::pin::pin!(gate.close());
        assert!(timeout(Duration::from_secs(1), &mut closing).await.is_err());
        assert!(gate.enter().is_none());
        drop(inside);
        closing.await;
    }
}
