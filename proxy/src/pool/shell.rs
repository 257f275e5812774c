//! The pool as its users see it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::pool::Backend;
use crate::pool::CheckoutError;
use crate::pool::Lease;
use crate::pool::Starved;
use crate::pool::Stats;
use crate::pool::Waiting;
use crate::pool::core::ConnId;
use crate::pool::core::Core;
use crate::pool::core::Leave;
use crate::pool::core::Limits;
use crate::pool::core::Ticket;
use crate::pool::shared::Asked;
use crate::pool::shared::Shared;
use crate::pool::state::Delivery;

/// A waiting client is told that it waits after this (protocol.md D.5).
const LONG_WAIT: Duration = Duration::from_secs(5);
/// Dials under way at once (protocol.md D.4: 8 to 16 handshakes).
const DIALS_MAX: usize = 8;
/// Clients in the queue.
const WAITING_MAX: usize = 10_000;
/// Below it, a key's own clients get its connections even before an older client of another key: a changed key
/// costs a login. Above it, nobody starves.
const KEY_PATIENCE: Duration = Duration::from_millis(250);
/// `close_idle` and `drain` wait no longer.
const GONE_MAX: Duration = Duration::from_secs(2);
/// Idle connections are looked at this often, so that dead ones are given back.
const SWEEP: Duration = Duration::from_secs(5);
/// ... and never more often, however short `idle_timeout` is.
const SWEEP_MIN: Duration = Duration::from_millis(100);
/// Longer times are as good as for ever, and cannot be added to an `Instant` everywhere.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The upstream connections of one endpoint. Cheap to clone: clones are the same pool.
///
/// [`Pool::maintain`] must run: without it nothing happens by time alone (expiry, the rate of logins, the next try
/// at a server that was full).
pub struct Pool<B: Backend> {
    shared: Arc<Shared<B>>,
    checkout_timeout: Duration,
}

impl<B: Backend> Pool<B> {
    /// An empty pool. `jitter` gives random numbers in 0..1, such as `rand::random`.
    pub fn new(
        backend: B,
        limits: &config::Pool,
        jitter: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        let core = Core::new(Limits {
            connections_max: limits.max_connections.max(1),
            min_idle: limits.min_idle,
            idle_timeout: limits.idle_timeout.min(FOR_EVER),
            lifetime_max: limits.max_lifetime.min(FOR_EVER),
            connects_per_second: limits.connects_per_second.max(1),
            dials_max: DIALS_MAX,
            waiting_max: WAITING_MAX,
            key_patience: KEY_PATIENCE,
        });
        let sweep = limits.idle_timeout.clamp(SWEEP_MIN, SWEEP);
        Self {
            shared: Arc::new(Shared::new(backend, core, Box::new(jitter), sweep)),
            checkout_timeout: limits.checkout_timeout.min(FOR_EVER),
        }
    }

    /// A connection for `key`: an idle one, a new one, or the next that comes free.
    ///
    /// Cancel safe: dropping the future leaves the queue, and a connection on its way goes to the next client.
    ///
    /// # Errors
    /// See [`CheckoutError`]. A server that is full is no error until `checkout_timeout` has passed.
    pub async fn checkout(&self, key: &B::Key) -> Result<Lease<B>, CheckoutError<B::Error>> {
        self.checkout_with(key, |_| ()).await
    }

    /// As [`Self::checkout`]; calls `on_long_wait` once when the client has waited for 5 s. It runs inside this
    /// future: to send the client a notice meanwhile, let it fill a channel that is read beside this future.
    ///
    /// # Errors
    /// As [`Self::checkout`].
    pub async fn checkout_with(
        &self,
        key: &B::Key,
        on_long_wait: impl FnOnce(&Waiting) + Send,
    ) -> Result<Lease<B>, CheckoutError<B::Error>> {
        match self.shared.ask(key) {
            Asked::Lent(lease) => Ok(lease),
            Asked::Refused(error) => Err(error),
            Asked::Queued(ticket, delivery) => {
                let since = Instant::now();
                let place = InQueue {
                    shared: Arc::clone(&self.shared),
                    ticket,
                    delivery,
                    since,
                };
                place.wait(self.checkout_timeout, on_long_wait).await
            }
        }
    }

    /// Closes the idle connections of these keys, also those being reset or closed at this moment; returns when
    /// they are gone, at most after 2 s. For statements that need a database unused (protocol.md A.9).
    ///
    /// Cancel safe: what began to close goes on closing.
    pub async fn close_idle(&self, which: impl Fn(&B::Key) -> bool + Send) {
        let leaving = self.shared.with(|state, _| state.core.close_idle(&which));
        self.gone(&leaving).await;
    }

    /// No connection of these keys that exists now is lent again: idle ones are closed, the others when their
    /// present use ends. For statements that change what a new session starts with (protocol.md A.9).
    pub fn bump_generation(&self, which: impl Fn(&B::Key) -> bool) {
        self.shared
            .with(|state, _| state.core.bump_generation(&which));
    }

    /// Refuses everybody from now on, also those who wait; closes idle connections, and returns when they are
    /// gone, at most after 2 s. Leases stay with their clients and are closed at release.
    ///
    /// Cancel safe: the pool stays closed.
    pub async fn drain(&self) {
        let leaving = self.shared.drain();
        self.gone(&leaving).await;
    }

    /// The pool in numbers.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Does what is due by time alone: expiry, paced dials, `min_idle`, dead idle connections. Ends after `drain`.
    ///
    /// Cancel safe.
    pub async fn maintain(self) {
        self.shared.maintain().await;
    }

    async fn gone(&self, leaving: &[ConnId]) {
        let all_gone = async {
            loop {
                let gone = self.shared.gone.notified();
                if !self.shared.any_left(leaving) {
                    return;
                }
                gone.await;
            }
        };
        if timeout(GONE_MAX, all_gone).await.is_err() {
            tracing::debug!("some idle upstream connections did not close in time");
        }
    }
}

impl<B: Backend> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            checkout_timeout: self.checkout_timeout,
        }
    }
}

impl<B: Backend> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// A waiting client. Dropped, it leaves the queue and gives back what was delivered to it.
struct InQueue<B: Backend> {
    shared: Arc<Shared<B>>,
    ticket: Ticket,
    delivery: oneshot::Receiver<Delivery<B>>,
    since: Instant,
}

impl<B: Backend> InQueue<B> {
    async fn wait(
        mut self,
        patience: Duration,
        on_long_wait: impl FnOnce(&Waiting) + Send,
    ) -> Delivery<B> {
        let deadline = self.since + patience;
        if LONG_WAIT < patience {
            match timeout_at(self.since + LONG_WAIT, &mut self.delivery).await {
                Ok(delivered) => return delivered.unwrap_or(Err(CheckoutError::ShuttingDown)),
                Err(_) => on_long_wait(&self.shared.waiting(self.ticket, self.since.elapsed())),
            }
        }
        if let Ok(delivered) = timeout_at(deadline, &mut self.delivery).await {
            return delivered.unwrap_or(Err(CheckoutError::ShuttingDown));
        }
        match self.shared.time_out(self.ticket) {
            Some((stats, refusal)) => Err(CheckoutError::Timeout(Box::new(Starved {
                timeout: patience,
                stats,
                refusal,
            }))),
            // Somebody decided to serve this client just before its time was over; the delivery is on its way.
            None => (&mut self.delivery)
                .await
                .unwrap_or(Err(CheckoutError::ShuttingDown)),
        }
    }
}

impl<B: Backend> Drop for InQueue<B> {
    fn drop(&mut self) {
        if self.shared.leave(self.ticket, Leave::Cancelled) {
            return;
        }
        // From here on a sender gets its lease back; one sent before is here.
        self.delivery.close();
        if let Ok(Ok(lease)) = self.delivery.try_recv() {
            self.shared.put_back(lease);
        }
    }
}
