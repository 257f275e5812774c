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
use super::observe::FromClient;
use super::observe::FromServer;
use super::observe::Observer;
use super::observe::Told;
use super::statement::Kill;
use super::tracker::Command;
use super::tracker::Standing;
use super::tracker::Transaction;
use super::wire::Capabilities;
use super::wire::packet::put_packet;
use super::wire::status::ErrPacket;
use super::wire::status::OK;
use super::wire::status::OkPacket;
use crate::net::DrainWatch;
use crate::net::Stage;
use crate::session::CHUNK_BYTES;
use crate::session::Lane;
use crate::session::Read;

/// COM_PING as a packet.
const PING: &[u8] = b"\x01\0\0\0\x0e";

/// Why the relay stopped.
#[derive(Debug)]
pub enum End {
    /// The client asks for another login: the payload of COM_CHANGE_USER. Nothing is outstanding.
    ChangeUser(Vec<u8>),
    /// The client closed the connection, or it broke.
    ClientGone(Option<io::Error>),
    /// The client said goodbye.
    ClientTerminated,
    /// The client sent a login longer than any.
    ClientViolation,
    /// A COM_RESET_CONNECTION of the client succeeded, and its answer was passed on: what was set on the connection
    /// before it was lent is gone. The client's next command waits.
    ConnectionReset,
    /// The process ends, whatever runs.
    CutOff,
    /// The process drains, and the session stands between two transactions.
    Drained,
    /// The client wants a session killed whose id may be one of ours. Nothing is outstanding; the client waits for
    /// [`Relay::answer_ok`] or [`Relay::answer_error`].
    Kill(Kill),
    /// The server closed the connection, or it broke. All it said was passed on.
    ServerGone(Option<io::Error>),
    /// A statement ran after which new sessions may look different. Its answer was passed on.
    SessionsChanged,
}

impl End {
    /// One word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ClientGone(_) => "client_gone",
            Self::ClientTerminated => "client_terminated",
            Self::ClientViolation => "client_violation",
            Self::CutOff => "cut_off",
            Self::Drained => "drained",
            Self::ChangeUser(_) | Self::ConnectionReset | Self::Kill(_) | Self::SessionsChanged => {
                "interrupted"
            }
            Self::ServerGone(_) => "server_gone",
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
    capabilities: Capabilities,
    drain: DrainWatch,
}

impl Relay {
    /// A relay at the beginning of a session. `early` is what the client sent ahead, and less than a chunk;
    /// `capabilities` are the flags that both sides have agreed on.
    pub fn new(early: Vec<u8>, capabilities: Capabilities, drain: DrainWatch) -> Self {
        Self {
            observer: Observer::new(capabilities),
            told: Told::default(),
            up: Lane::new(early),
            down: Lane::new(Vec::new()),
            capabilities,
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

    /// What the client sent behind the command that ended the relay.
    pub fn into_early(self) -> Vec<u8> {
        self.up.held
    }

    /// Answers the command that the relay ended with, saying that all went well.
    pub fn answer_ok(&mut self) {
        let packet = OkPacket {
            status: self.observer.tracker.status(),
            ..OkPacket::default()
        };
        let capabilities = self.capabilities;
        self.answer(|out| packet.put(out, OK, capabilities));
    }

    /// Answers the command that the relay ended with, saying what is wrong.
    pub fn answer_error(&mut self, error: &ErrPacket<'_>) {
        self.answer(|out| error.put(out));
    }

    fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.down.insert(|out| {
            put_packet(out, 1, write);
        });
        // Commands may stand behind the one answered.
        self.up.again = true;
    }

    /// True when the server got whole messages only. What is held back was never passed on.
    pub fn client_complete(&self) -> bool {
        self.up.is_written() && self.observer.client_message_complete()
    }

    /// Looks at what the server said after the client left, and drops it.
    pub fn swallow(&mut self, bytes: &[u8]) {
        let mut seen = std::mem::take(&mut self.down.held);
        seen.extend_from_slice(bytes);
        let FromServer { pass, drop } = self.observer.server(&seen, &mut self.told);
        self.down.held = seen.split_off(pass.saturating_add(drop).min(seen.len()));
    }

    /// Did the server say more than was asked for, or the beginning of it?
    pub fn server_said_more(&self) -> bool {
        !self.down.held.is_empty()
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
        loop {
            if let Poll::Ready(end) = self.poll_down(cx, client, server) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(end) = self.poll_up(cx, client, server) {
                return Poll::Ready(end);
            }
            let stage = self.drain.poll(cx);
            if stage == Stage::Serving {
                return Poll::Pending;
            }
            match self.observer.standing() {
                Standing::Ready(Transaction::Idle) if self.is_quiet() => {
                    return Poll::Ready(End::Drained);
                }
                _ if stage == Stage::Over => return Poll::Ready(End::CutOff),
                Standing::Ready(Transaction::Unknown) if self.is_quiet() => self.probe(),
                Standing::Ready(_) | Standing::Busy | Standing::File => return Poll::Pending,
            }
        }
    }

    /// Asks the server whether a transaction is open.
    fn probe(&mut self) {
        self.observer.tracker.client(Command::Probe);
        self.up.insert(|out| out.extend_from_slice(PING));
    }

    /// Is nothing on its way, in either direction?
    fn is_quiet(&self) -> bool {
        self.client_complete()
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
            let FromServer { pass, drop } = self.observer.server(chunk.filled(), &mut self.told);
            if let Err(error) = self.down.pass(cx, client, chunk.filled(), (pass, drop)) {
                return Poll::Ready(End::ClientGone(Some(error)));
            }
            if let Read::End(error) = read {
                self.down.stop = Some(End::ServerGone(error));
            }
            if std::mem::take(&mut self.told.sessions_changed) {
                return Poll::Ready(End::SessionsChanged);
            }
            if std::mem::take(&mut self.told.connection_reset) {
                return Poll::Ready(End::ConnectionReset);
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
            if self.observer.holds_client() {
                // The server's next reply wakes this task.
                self.up.again = true;
                return Poll::Pending;
            }
            let mut memory = [MaybeUninit::uninit(); CHUNK_BYTES];
            let mut chunk = ReadBuf::uninit(&mut memory);
            let read = ready!(self.up.poll_fill(cx, client, &mut chunk));
            let FromClient { pass, drop, asked } = self.observer.client(chunk.filled());
            if let Err(error) = self.up.pass(cx, server, chunk.filled(), (pass, drop)) {
                return Poll::Ready(End::ServerGone(Some(error)));
            }
            self.up.stop = match (asked, read) {
                (Asked::ChangeUser(payload), _) => Some(End::ChangeUser(payload)),
                (Asked::Kill(kill), _) => Some(End::Kill(kill)),
                (Asked::Terminate, _) => Some(End::ClientTerminated),
                (Asked::TooLong, _) => Some(End::ClientViolation),
                (Asked::Nothing, Read::End(error)) => Some(End::ClientGone(error)),
                (Asked::Nothing, Read::More) => None,
            };
        }
    }
}

#[cfg(test)]
mod tests;
