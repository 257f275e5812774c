//! Counts of one listener, kept as plain atomics and read when metrics are asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts of one listener. Opened and closed are counted apart, so that a count cannot drift.
#[derive(Debug, Default)]
pub struct Metrics {
    clients_opened: AtomicU64,
    clients_closed: AtomicU64,
    sessions_ended: AtomicU64,
    refusals: AtomicU64,
    cancels: AtomicU64,
    statements: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

/// The same, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections accepted, probes and refusals included.
    pub clients_opened: u64,
    /// Of these, closed.
    pub clients_closed: u64,
    /// Sessions that reached their end after a successful login.
    pub sessions_ended: u64,
    /// Clients that were told an error instead of a session.
    pub refusals: u64,
    /// Requests to cancel that named a session of ours.
    pub cancels: u64,
    /// Statements of ended sessions.
    pub statements: u64,
    /// Bytes from clients, of ended sessions.
    pub bytes_up: u64,
    /// Bytes to clients, of ended sessions.
    pub bytes_down: u64,
}

impl Metrics {
    /// Counts a client for as long as the guard lives.
    pub fn client(self: &Arc<Self>) -> ClientGuard {
        self.clients_opened.fetch_add(1, Relaxed);
        ClientGuard(Arc::clone(self))
    }

    /// Clients connected at this moment.
    pub fn clients_now(&self) -> u64 {
        self.clients_opened
            .load(Relaxed)
            .saturating_sub(self.clients_closed.load(Relaxed))
    }

    /// A client was told an error instead of a session.
    pub fn refused(&self) {
        self.refusals.fetch_add(1, Relaxed);
    }

    /// A request to cancel came that named a session of ours.
    pub fn cancelled(&self) {
        self.cancels.fetch_add(1, Relaxed);
    }

    /// A session ended.
    pub fn session_ended(&self, statements: u64, bytes_up: u64, bytes_down: u64) {
        self.sessions_ended.fetch_add(1, Relaxed);
        self.statements.fetch_add(statements, Relaxed);
        self.bytes_up.fetch_add(bytes_up, Relaxed);
        self.bytes_down.fetch_add(bytes_down, Relaxed);
    }

    /// Reads all counts.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            clients_opened: self.clients_opened.load(Relaxed),
            clients_closed: self.clients_closed.load(Relaxed),
            sessions_ended: self.sessions_ended.load(Relaxed),
            refusals: self.refusals.load(Relaxed),
            cancels: self.cancels.load(Relaxed),
            statements: self.statements.load(Relaxed),
            bytes_up: self.bytes_up.load(Relaxed),
            bytes_down: self.bytes_down.load(Relaxed),
        }
    }
}

/// One connected client.
#[derive(Debug)]
pub struct ClientGuard(Arc<Metrics>);

impl Drop for ClientGuard {
    fn drop(&mut self) {
        self.0.clients_closed.fetch_add(1, Relaxed);
    }
}
