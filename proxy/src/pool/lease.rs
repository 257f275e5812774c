//! A connection in a client's hands.

use std::fmt;
use std::ops::Deref;
use std::ops::DerefMut;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::pool::Backend;
use crate::pool::core::ConnId;
use crate::pool::core::Release;
use crate::pool::shared::Shared;

/// A reset takes microseconds and one round trip; a server that needs longer is not worth waiting for.
const RESET_SLOW: Duration = Duration::from_millis(100);
/// The connection is closed when its reset is not done by then.
const RESET_MAX: Duration = Duration::from_secs(5);
/// Bound on [`Backend::close`].
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// An upstream connection, lent. End it with [`Lease::release`] or [`Lease::discard`]; a dropped lease closes its
/// connection abruptly, which is right only when nothing is known of it any more.
pub struct Lease<B: Backend> {
    // The order matters: a dropped lease closes the connection first, then says that there is room.
    conn: B::Conn,
    place: Place<B>,
}

impl<B: Backend> Lease<B> {
    pub(super) fn new(conn: B::Conn, place: Place<B>) -> Self {
        Self { conn, place }
    }

    pub(super) fn into_parts(self) -> (B::Conn, Place<B>) {
        (self.conn, self.place)
    }

    /// Resets the connection and hands it to the oldest waiting client, or keeps it idle; closes it when it is too
    /// old, not wanted any more, or its reset fails or takes longer than 5 s.
    ///
    /// Not cancel safe: dropping the future closes the connection abruptly.
    pub async fn release(self) {
        let Self { conn, place } = self;
        match place.shared.release(place.id) {
            Release::Close => place.close(conn).await,
            Release::Reset => {
                if let Some(conn) = reset(&place, conn).await {
                    let shared = Arc::clone(&place.shared);
                    shared.check_in(place.settle(), conn);
                }
            }
        }
    }

    /// Closes the connection politely: for one whose state is not known well enough to be reset.
    ///
    /// Not cancel safe: dropping the future closes the connection abruptly.
    pub async fn discard(self) {
        let Self { conn, place } = self;
        place.shared.discard(place.id);
        place.close(conn).await;
    }
}

impl<B: Backend> Deref for Lease<B> {
    type Target = B::Conn;

    fn deref(&self) -> &B::Conn {
        &self.conn
    }
}

impl<B: Backend> DerefMut for Lease<B> {
    fn deref_mut(&mut self) -> &mut B::Conn {
        &mut self.conn
    }
}

impl<B: Backend> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.place.id)
            .finish_non_exhaustive()
    }
}

/// The right to one place among `max_connections`. Dropped, it gives the place back, whatever happened to the task
/// that held it.
pub(super) struct Place<B: Backend> {
    shared: Arc<Shared<B>>,
    id: ConnId,
    is_settled: bool,
}

impl<B: Backend> Place<B> {
    pub(super) fn new(shared: Arc<Shared<B>>, id: ConnId) -> Self {
        Self {
            shared,
            id,
            is_settled: false,
        }
    }

    /// The core is about to be told otherwise what becomes of the connection.
    pub(super) fn settle(mut self) -> ConnId {
        self.is_settled = true;
        self.id
    }

    /// Closes a connection that the core already counts as closing.
    pub(super) async fn close(self, conn: B::Conn) {
        if timeout(CLOSE_MAX, self.shared.backend().close(conn))
            .await
            .is_err()
        {
            tracing::debug!(id = ?self.id, "upstream connection did not close in time");
        }
    }
}

impl<B: Backend> Drop for Place<B> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.shared.vacate(self.id);
        }
    }
}

async fn reset<B: Backend>(place: &Place<B>, conn: B::Conn) -> Option<B::Conn> {
    let mut reset = pin!(place.shared.backend().reset(conn));
    if let Ok(done) = timeout(RESET_SLOW, &mut reset).await {
        return done;
    }
    place.shared.reset_is_slow(place.id);
    timeout(RESET_MAX - RESET_SLOW, reset).await.unwrap_or(None)
}
