//! Who gets which upstream connection, and which connections die.
//!
//! # Layout
//! - `core` (pure): ids in, decisions out. A connection's state is the collection that holds its id.
//! - `shell`, `shared`, `state`: the async side: one short lock around the core, one oneshot per waiting client.
//! - [`Lease`]: a connection that gives itself back, or closes.
//! - `maintain`: timers. `error`, `stats`: what is told to clients and to metrics.
//!
//! Invariant: `core` has no async and reads no clock; nothing here knows a protocol or what a transaction is.
//!
//! # Idle connections of a database nobody uses any more
//! A connection whose last client left stays until `idle_timeout`, also when it keeps a database from being
//! dropped by somebody else. Statements seen by this sidecar that need the database unused call
//! [`Pool::close_idle`] first; for the rest a shorter `idle_timeout` is the remedy (protocol.md A.9).

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;

use crate::fault::Fault;

mod core;
mod error;
mod lease;
mod maintain;
mod shared;
mod shell;
mod state;
mod stats;
#[cfg(test)]
mod tests;

pub use error::CheckoutError;
pub use error::Starved;
pub use lease::Lease;
pub use shell::Pool;
pub use stats::Closings;
pub use stats::Counters;
pub use stats::DialFailures;
pub use stats::Leases;
pub use stats::Stats;
pub use stats::WAIT_BOUNDS;
pub use stats::Waiting;
pub use stats::Waits;

/// What a look at an idle connection tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Nothing came from the server that must not be there: it may be lent.
    Clean,
    /// Closed, or out of step: it is dropped, and nobody hears of it.
    Dead,
}

/// What a protocol offers the pool. One backend is one endpoint: all its keys share the pool's limits.
pub trait Backend: Send + Sync + 'static {
    /// Connections are lent only to clients with an equal key (protocol.md D.1).
    type Key: Clone + Eq + Hash + Debug + Send + Sync + 'static;
    /// A logged-in upstream connection. Dropping it closes it abruptly.
    type Conn: Send + 'static;
    /// Why a dial failed. `Retry::LimitReached` makes the client wait instead of failing.
    type Error: Fault + Clone + Send + Sync + 'static;

    /// Opens and logs in. Must end by itself (`connect_timeout`); runs in a task of its own.
    fn dial(&self, key: &Self::Key)
    -> impl Future<Output = Result<Self::Conn, Self::Error>> + Send;

    /// Makes a used connection as good as new; `None`: it could not, and the connection is gone.
    fn reset(&self, conn: Self::Conn) -> impl Future<Output = Option<Self::Conn>> + Send;

    /// No round trip, does not block. Called with the pool's lock held: it must not touch the pool.
    fn health(&self, conn: &mut Self::Conn) -> Health;

    /// Closes politely, and waits until the server let go as far as that can be known. The pool waits 2 s at most.
    fn close(&self, conn: Self::Conn) -> impl Future<Output = ()> + Send;
}
