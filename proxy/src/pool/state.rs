//! What the lock protects: the core, and the connections and clients that its ids stand for.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::pool::Backend;
use crate::pool::CheckoutError;
use crate::pool::Health;
use crate::pool::Lease;
use crate::pool::core::Arrival;
use crate::pool::core::ConnId;
use crate::pool::core::Core;
use crate::pool::core::DialFailure;
use crate::pool::core::KeyId;
use crate::pool::core::Ticket;

/// What a waiting client gets in the end.
pub(super) type Delivery<B> = Result<Lease<B>, CheckoutError<<B as Backend>::Error>>;

pub(super) struct State<B: Backend> {
    pub(super) core: Core<B::Key>,
    pub(super) parked: HashMap<ConnId, B::Conn>,
    pub(super) waiters: HashMap<Ticket, oneshot::Sender<Delivery<B>>>,
    /// The server's latest refusal for want of room, for keys whose limit is in force.
    pub(super) refusals: HashMap<KeyId, B::Error>,
    /// When `maintain` will be up.
    pub(super) alarm_at: Option<Instant>,
}

/// Where a connection that became free goes.
pub(super) enum Placed<B: Backend> {
    Close(B::Conn),
    Deliver(oneshot::Sender<Delivery<B>>, B::Conn),
    Parked,
}

impl<B: Backend> State<B> {
    /// The connection, if it is idle and dead: it is not the pool's any more.
    pub(super) fn take_if_dead(&mut self, id: ConnId, backend: &B) -> Option<B::Conn> {
        match backend.health(self.parked.get_mut(&id)?) {
            Health::Clean => None,
            Health::Dead => {
                self.core.dead(id);
                self.parked.remove(&id)
            }
        }
    }

    /// The server is full: nobody is told, the clients wait on.
    pub(super) fn refused(&mut self, id: ConnId, error: B::Error, now: Instant, jitter: f64) {
        let key = self.core.key_of_dial(id);
        self.core.dial_failed(id, DialFailure::Limit, now, jitter);
        self.refusals.extend(key.map(|key| (key, error)));
        let Self { core, refusals, .. } = self;
        refusals.retain(|key, _| core.is_limited(*key));
    }

    pub(super) fn settle(&mut self, id: ConnId, conn: B::Conn, arrival: Arrival) -> Placed<B> {
        match arrival {
            Arrival::Close => Placed::Close(conn),
            Arrival::Idle => {
                self.parked.insert(id, conn);
                Placed::Parked
            }
            Arrival::Lend(ticket) => match self.waiters.remove(&ticket) {
                Some(client) => Placed::Deliver(client, conn),
                None => Placed::Close(conn),
            },
        }
    }

    /// True: `maintain` must be woken, it would sleep too long.
    pub(super) fn set_alarm(&mut self, now: Instant, sweep: Duration) -> bool {
        let look = self.core.has_idle().then(|| now + sweep);
        let Some(at) = look.into_iter().chain(self.core.retry_at()).min() else {
            return false;
        };
        if self.alarm_at.is_some_and(|alarm| alarm <= at) {
            return false;
        }
        self.alarm_at = Some(at);
        true
    }
}
