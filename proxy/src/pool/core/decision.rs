//! The words in which the core is asked and answers.

use std::time::Duration;

use crate::fault::Blame;

/// A connection, from the begin of its dial to the end of its closing. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::pool) struct ConnId(pub(super) u64);

/// A key in use. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::pool) struct KeyId(pub(super) u64);

/// A client's place in the queue. Numbers grow with arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::pool) struct Ticket {
    pub(super) number: u64,
    pub(super) key: KeyId,
}

impl Ticket {
    /// Whose connections the client waits for.
    pub(in crate::pool) fn key(self) -> KeyId {
        self.key
    }
}

/// Everything that bounds the pool.
#[derive(Debug, Clone)]
pub(in crate::pool) struct Limits {
    pub(in crate::pool) connections_max: usize,
    pub(in crate::pool) min_idle: usize,
    pub(in crate::pool) idle_timeout: Duration,
    pub(in crate::pool) lifetime_max: Duration,
    pub(in crate::pool) connects_per_second: u32,
    /// Dials under way at once (protocol.md D.4: 8 to 16 handshakes).
    pub(in crate::pool) dials_max: usize,
    /// Clients in the queue.
    pub(in crate::pool) waiting_max: usize,
    /// A client with another key may take over connections of a busy key after this.
    pub(in crate::pool) key_patience: Duration,
}

/// What a client gets that asks for a connection.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pool) enum Checkout {
    Draining,
    QueueFull,
    Reuse(ConnId),
    Wait(Ticket),
}

/// What happens to a connection that a client gives back.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pool) enum Release {
    Close,
    Reset,
}

/// Where a connection that became free goes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pool) enum Arrival {
    Close,
    Idle,
    Lend(Ticket),
}

/// What to begin now.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pool) enum Step<K> {
    Close(ConnId),
    Dial(ConnId, K),
}

/// Why a dial failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pool) enum DialFailure {
    Limit,
    Other(Blame),
}

/// Why a client leaves the queue without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pool) enum Leave {
    Cancelled,
    TimedOut,
}
