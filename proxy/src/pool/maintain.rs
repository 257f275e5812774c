//! What is due by time alone.

use std::sync::Arc;

use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::pool::Backend;
use crate::pool::shared::Shared;

impl<B: Backend> Shared<B> {
    /// See [`crate::pool::Pool::maintain`]. Sleeps without a timer while nothing is idle and nobody waits.
    pub(super) async fn maintain(self: Arc<Self>) {
        let mut swept_at = Instant::now();
        loop {
            let is_draining = self.with(|state, now| {
                state.core.expire(now);
                state.core.is_draining()
            });
            if is_draining {
                return;
            }
            if swept_at.elapsed() >= self.sweep_interval() {
                self.sweep();
                swept_at = Instant::now();
            }
            match self.next_alarm(swept_at + self.sweep_interval()) {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.alarm.notified() => {}
                },
                None => self.alarm.notified().await,
            }
        }
    }
}
