//! Moves bytes between one application and one server: the only file where nanoseconds matter.
//!
//! Both directions run in one task. A chunk is read into the stack, looked at, and written straight on; memory is
//! taken only for what could not be written yet (at most one chunk a direction, then reading stops, so that
//! back-pressure reaches the sender) and for the few bytes the observer wants to see again. A session at rest
//! holds no buffer.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use super::observe::Asked;
use super::observe::Observer;
use super::observe::Told;
use super::tracker::Standing;
use super::wire::status::Transaction;
use crate::net::DrainWatch;
use crate::net::Stage;
use crate::session::CHUNK_BYTES;
use crate::session::Lane;
use crate::session::Read;

/// Why the relay stopped.
#[derive(Debug)]
pub enum End {
    /// The client closed the connection, or it broke.
    ClientGone(Option<io::Error>),
    /// The client said goodbye.
    ClientTerminated,
    /// The client broke the protocol with this byte.
    ClientViolation(u8),
    /// The process ends, whatever runs.
    CutOff,
    /// The process drains, and the session stands between two transactions.
    Drained,
    /// The client is about to run a statement that needs this database free of idle connections.
    FreeDatabase(Vec<u8>),
    /// A statement ran after which new sessions may look different. Its answer was passed on.
    SessionsChanged,
    /// The server closed the connection, or it broke. All it said was passed on.
    ServerGone(Option<io::Error>),
    /// The server sent what no server sends.
    ServerViolation,
}

impl End {
    /// One word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ClientGone(_) => "client_gone",
            Self::ClientTerminated => "client_terminated",
            Self::ClientViolation(_) => "client_violation",
            Self::CutOff => "cut_off",
            Self::Drained => "drained",
            Self::FreeDatabase(_) | Self::SessionsChanged => "interrupted",
            Self::ServerGone(_) => "server_gone",
            Self::ServerViolation => "server_violation",
        }
    }
}

/// One session's bytes in flight.
#[derive(Debug)]
pub struct Relay {
    /// What passed so far.
    pub observer: Observer,
    /// What the server reported and nobody has collected.
    pub told: Told,
    up: Lane<End>,
    down: Lane<End>,
    drain: DrainWatch,
}

impl Relay {
    /// A relay at the beginning of a session. `early` is what the client sent ahead.
    pub fn new(early: Vec<u8>, drain: DrainWatch) -> Self {
        Self {
            observer: Observer::default(),
            told: Told::default(),
            up: Lane::new(early),
            down: Lane::new(Vec::new()),
            drain,
        }
    }

    /// Moves bytes until something happens that is not moving bytes.
    ///
    /// Cancel safe: what was read stays in the relay.
    pub async fn run<C, S>(&mut self, client: &mut C, server: &mut S) -> End
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        poll_fn(|cx| self.poll(cx, client, server)).await
    }

    /// Goes on after [`End::FreeDatabase`].
    pub fn database_freed(&mut self) {
        self.observer.database_freed();
        self.up.again = true;
    }

    /// True when the server got whole messages only. What is held back was never passed on.
    pub fn client_complete(&self) -> bool {
        self.up.is_written() && self.observer.client_message_complete()
    }

    /// True when the client got whole messages only, so that it can be told something.
    pub fn server_complete(&self) -> bool {
        self.down.is_written() && self.observer.server_message_complete()
    }

    /// Looks at what the server said after the client left, and drops it; `None` when it is not the protocol.
    pub fn swallow(&mut self, bytes: &[u8]) -> Option<()> {
        let mut seen = std::mem::take(&mut self.down.held);
        seen.extend_from_slice(bytes);
        let understood = self.observer.server(&seen, &mut self.told).ok()?;
        self.down.held = seen.split_off(understood);
        Some(())
    }

    /// Bytes passed on, from the client and from the server.
    pub fn bytes(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    fn poll<C, S>(&mut self, cx: &mut Context<'_>, client: &mut C, server: &mut S) -> Poll<End>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Poll::Ready(end) = self.poll_down(cx, client, server) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_up(cx, client, server) {
            return Poll::Ready(end);
        }
        match self.drain.poll(cx) {
            Stage::Draining | Stage::Over if self.between_transactions() => {
                Poll::Ready(End::Drained)
            }
            Stage::Over => Poll::Ready(End::CutOff),
            Stage::Draining | Stage::Serving => Poll::Pending,
        }
    }

    fn between_transactions(&self) -> bool {
        self.observer.tracker.standing() == Standing::Ready(Transaction::Idle)
            && self.client_complete()
            && self.up.held.is_empty()
            && self.down.held.is_empty()
            && self.down.is_written()
    }

    /// Server to client.
    fn poll_down<C, S>(&mut self, cx: &mut Context<'_>, client: &mut C, server: &mut S) -> Poll<End>
    where
        C: AsyncWrite + Unpin,
        S: AsyncRead + Unpin,
    {
        loop {
            if let Err(error) = ready!(self.down.poll_flush(cx, client)) {
                return Poll::Ready(End::ClientGone(Some(error)));
            }
            if let Some(end) = self.down.stop.take() {
                return Poll::Ready(end);
            }
            let mut memory = [MaybeUninit::uninit(); CHUNK_BYTES];
            let mut chunk = ReadBuf::uninit(&mut memory);
            let read = ready!(self.down.poll_fill(cx, server, &mut chunk));
            let Ok(pass) = self.observer.server(chunk.filled(), &mut self.told) else {
                return Poll::Ready(End::ServerViolation);
            };
            if let Err(error) = self.down.pass(cx, client, chunk.filled(), (pass, 0)) {
                return Poll::Ready(End::ClientGone(Some(error)));
            }
            if let Read::End(error) = read {
                self.down.stop = Some(End::ServerGone(error));
            }
            if std::mem::take(&mut self.told.sessions_changed) {
                return Poll::Ready(End::SessionsChanged);
            }
        }
    }

    /// Client to server.
    fn poll_up<C, S>(&mut self, cx: &mut Context<'_>, client: &mut C, server: &mut S) -> Poll<End>
    where
        C: AsyncRead + Unpin,
        S: AsyncWrite + Unpin,
    {
        loop {
            if let Err(error) = ready!(self.up.poll_flush(cx, server)) {
                return Poll::Ready(End::ServerGone(Some(error)));
            }
            if let Some(end) = self.up.stop.take() {
                return Poll::Ready(end);
            }
            if self.observer.tracker.is_full() {
                // The server's next reply wakes this task.
                self.up.again = true;
                return Poll::Pending;
            }
            let mut memory = [MaybeUninit::uninit(); CHUNK_BYTES];
            let mut chunk = ReadBuf::uninit(&mut memory);
            let read = ready!(self.up.poll_fill(cx, client, &mut chunk));
            let (pass, asked) = self.observer.client(chunk.filled());
            if let Err(error) = self.up.pass(cx, server, chunk.filled(), (pass, 0)) {
                return Poll::Ready(End::ServerGone(Some(error)));
            }
            self.up.stop = match (asked, read) {
                (Asked::FreeDatabase(name), _) => Some(End::FreeDatabase(name)),
                (Asked::Terminate, _) => Some(End::ClientTerminated),
                (Asked::Violation(byte), _) => Some(End::ClientViolation(byte)),
                (Asked::Nothing, Read::End(error)) => Some(End::ClientGone(error)),
                (Asked::Nothing, Read::More) => None,
            };
        }
    }
}

#[cfg(test)]
mod tests;
