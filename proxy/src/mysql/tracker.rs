//! Where are we in the conversation? One tracker per session, fed with the packets of both directions.
//!
//! MySQL answers commands in order, and what an answer consists of depends on the command (protocol.md C.4). So the
//! tracker keeps the commands that still owe a reply in a queue, and walks through the reply of the first. From that
//! follows the one thing the pool must know: is this server between two commands, or in the middle of one?
//!
//! Pure: no socket, no clock, no allocation per packet once the queue has grown.

use std::collections::VecDeque;

use super::wire::Capabilities;
use super::wire::ReadLenenc;
use super::wire::ServerStatus;
use super::wire::packet::PAYLOAD_MAX;
use super::wire::status::EOF;
use super::wire::status::ERR;
use super::wire::status::EofPacket;
use super::wire::status::ErrPacket;
use super::wire::status::OK;
use super::wire::status::OkPacket;
use crate::wire::Malformed;
use crate::wire::Reader;

/// Commands that may be outstanding before the client is held back. One byte each.
const OUTSTANDING_MAX: usize = 1 << 20;
/// Bytes of a reply's packet that say all there is to know: an OK packet's status and warnings stand behind two
/// length-encoded integers of at most nine bytes.
pub const HEAD_BYTES: usize = 1 + 9 + 9 + 2 + 2;
/// First byte of the reply that asks the client for a file.
const LOCAL_INFILE: u8 = 0xfb;

/// A command that owes a reply, by the grammar of that reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Definitions or rows with an end, and no count before them: COM_STMT_FETCH, COM_FIELD_LIST.
    Fetch,
    /// COM_STMT_PREPARE.
    Prepare,
    /// A COM_PING of ours, of whose answer the client learns nothing.
    Probe,
    /// Whatever COM_QUERY may return: COM_STMT_EXECUTE, COM_STMT_BULK_EXECUTE, COM_PROCESS_INFO.
    Query,
    /// A COM_QUERY after which new sessions may look different.
    QueryForAll,
    /// COM_RESET_CONNECTION.
    Reset,
    /// One packet, OK or ERR or EOF: all others, known or not.
    Simple,
    /// COM_STATISTICS: one packet of text.
    Statistics,
}

/// What comes behind definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Columns(u64),
    Nothing,
    Rows,
}

/// How far the reply to the first outstanding command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The reply, or the next of its results, begins with the next packet.
    Begin,
    /// So many definitions are to come, one at least.
    Definitions(u64, Then),
    /// The EOF behind definitions is to come.
    DefinitionsEnd(Then),
    /// The server reads a file from the client.
    File,
    /// Rows up to their end.
    Rows,
}

/// Is a transaction open?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// None.
    Idle,
    /// One is.
    Open,
    /// ERR packets do not tell, and one came last.
    Unknown,
}

/// Where a server connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Replies are owed.
    Busy,
    /// The server reads a file from the client (LOAD DATA LOCAL). Any end it sees, it takes for the file's.
    File,
    /// Nothing is owed.
    Ready(Transaction),
}

/// Follows one session.
#[derive(Debug)]
pub struct Tracker {
    capabilities: Capabilities,
    outstanding: VecDeque<Command>,
    phase: Phase,
    status: ServerStatus,
    /// An ERR came after `status`.
    status_old: bool,
    /// Another protocol has begun (replication), which ends with the connection.
    streaming: bool,
    /// A reply came that nobody asked for. The count cannot be trusted any more.
    confused: bool,
}

impl Tracker {
    /// A session right after its login, with the flags that both sides have agreed on.
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            outstanding: VecDeque::new(),
            phase: Phase::Begin,
            status: ServerStatus::AUTOCOMMIT,
            status_old: false,
            streaming: false,
            confused: false,
        }
    }

    /// Where the server stands.
    pub fn standing(&self) -> Standing {
        if self.confused || self.streaming {
            Standing::Busy
        } else if self.phase == Phase::File {
            Standing::File
        } else if !self.outstanding.is_empty() {
            Standing::Busy
        } else if self.status_old {
            Standing::Ready(Transaction::Unknown)
        } else if self.status.contains(ServerStatus::IN_TRANS) {
            Standing::Ready(Transaction::Open)
        } else {
            Standing::Ready(Transaction::Idle)
        }
    }

    /// Does the server owe a reply, so that a KILL QUERY would have something to stop?
    pub fn owes_reply(&self) -> bool {
        self.confused || self.streaming || !self.outstanding.is_empty()
    }

    /// True when the client must wait: too much is outstanding, or something that all later commands depend on.
    pub fn is_full(&self) -> bool {
        matches!(
            self.outstanding.back(),
            Some(Command::Probe | Command::Reset)
        ) || self.outstanding.len() >= OUTSTANDING_MAX
    }

    /// Has a protocol begun that is not followed? All bytes pass, both ways, to the end of the connection.
    #[inline]
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Are the client's packets those of a file?
    #[inline]
    pub fn reads_file(&self) -> bool {
        self.phase == Phase::File
    }

    /// Is the reply to this command the next that comes?
    #[inline]
    pub fn answers(&self, command: Command) -> bool {
        self.outstanding.front() == Some(&command)
    }

    /// The server's latest status flags. An ERR carries none.
    pub fn status(&self) -> ServerStatus {
        self.status
    }

    /// A command of the client that owes a reply, in the order sent.
    #[inline]
    pub fn client(&mut self, command: Command) {
        self.outstanding.push_back(command);
        if self.outstanding.len() == 1 {
            self.begin();
        }
    }

    /// The client's file has ended.
    pub fn file_ended(&mut self) {
        self.phase = Phase::Begin;
    }

    /// From now on nothing is followed.
    pub fn stream(&mut self) {
        self.streaming = true;
    }

    /// Bytes of a packet's payload that [`Tracker::server`] must see, given the first one and how long it is.
    #[inline]
    pub fn wants(&self, first: u8, payload: usize) -> usize {
        match self.phase {
            Phase::Rows | Phase::Definitions(..) if first < EOF => 1,
            Phase::Begin
            | Phase::Definitions(..)
            | Phase::DefinitionsEnd(_)
            | Phase::File
            | Phase::Rows => payload.min(HEAD_BYTES),
        }
    }

    /// A packet of the server that begins a payload: its length, and its beginning as far as wanted. Returns the
    /// command that it ended well.
    #[inline]
    pub fn server(&mut self, payload: usize, head: &[u8]) -> Option<Command> {
        let first = head.first().copied();
        match (self.phase, first) {
            (Phase::Rows, Some(0..EOF) | None) => None,
            (Phase::Rows, Some(EOF)) if payload >= self.end_bytes() => None,
            (Phase::Definitions(left, then), Some(0..EOF) | None) => self.defined(left, then),
            (_, first) => match self.turn(first, payload, head) {
                Ok(ended) => ended,
                Err(Malformed) => {
                    self.confused = true;
                    None
                }
            },
        }
    }

    /// A packet that is more than one of many. The payload of an end is shorter than this.
    fn end_bytes(&self) -> usize {
        if self.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            PAYLOAD_MAX
        } else {
            EofPacket::BYTES_END
        }
    }

    fn turn(
        &mut self,
        first: Option<u8>,
        payload: usize,
        head: &[u8],
    ) -> Result<Option<Command>, Malformed> {
        let Some(&command) = self.outstanding.front() else {
            return Err(Malformed);
        };
        match (self.phase, first, command) {
            (Phase::Begin, _, Command::Statistics) => Ok(self.ended(command)),
            (_, Some(ERR), _) => self.failed(head),
            (Phase::File, ..) => Err(Malformed),
            (Phase::Begin, Some(OK), Command::Prepare) => self.prepared(head),
            (Phase::Begin | Phase::Rows, Some(OK | EOF), _) => {
                let status = end_status(payload, head)?;
                Ok(self.result_ended(status, command))
            }
            (Phase::DefinitionsEnd(then), Some(EOF), _) => {
                let status = end_status(payload, head)?;
                if then == Then::Rows && status.contains(ServerStatus::CURSOR_EXISTS) {
                    return Ok(self.result_ended(status, command));
                }
                self.learn(status);
                Ok(self.go_on(then))
            }
            (Phase::Begin, Some(first), Command::Query | Command::QueryForAll) => {
                self.result_began(first, head).map(|()| None)
            }
            (
                Phase::Begin | Phase::Definitions(..) | Phase::DefinitionsEnd(_) | Phase::Rows,
                ..,
            ) => Err(Malformed),
        }
    }

    fn result_began(&mut self, first: u8, head: &[u8]) -> Result<(), Malformed> {
        if first == LOCAL_INFILE {
            // A client that sent commands ahead has sent them into the file.
            if self.outstanding.len() > 1 {
                return Err(Malformed);
            }
            self.phase = Phase::File;
            return Ok(());
        }
        let mut reader = Reader::new(head);
        let columns = reader.lenenc()?;
        let cached = Capabilities::MARIADB_CLIENT_CACHE_METADATA;
        let follow = !self.capabilities.contains(cached) || reader.u8()? != 0;
        self.phase = if follow && columns > 0 {
            Phase::Definitions(columns, Then::Rows)
        } else {
            self.behind_definitions(Then::Rows)
        };
        Ok(())
    }

    /// The answer to COM_STMT_PREPARE: `00`, a statement id, how many columns, how many parameters.
    fn prepared(&mut self, head: &[u8]) -> Result<Option<Command>, Malformed> {
        let mut reader = Reader::new(head);
        reader.take(1 + 4)?;
        let (columns, parameters) = (reader.u16_le()?, reader.u16_le()?);
        let then = Then::Columns(columns.into());
        if parameters == 0 {
            return Ok(self.go_on(then));
        }
        self.phase = Phase::Definitions(parameters.into(), then);
        Ok(None)
    }

    fn defined(&mut self, left: u64, then: Then) -> Option<Command> {
        if left > 1 {
            self.phase = Phase::Definitions(left - 1, then);
            return None;
        }
        self.phase = self.behind_definitions(then);
        if let Phase::DefinitionsEnd(_) | Phase::Rows = self.phase {
            return None;
        }
        self.go_on(then)
    }

    fn behind_definitions(&self, then: Then) -> Phase {
        let eof = !self.capabilities.contains(Capabilities::DEPRECATE_EOF);
        match then {
            then if eof => Phase::DefinitionsEnd(then),
            Then::Rows => Phase::Rows,
            Then::Columns(_) | Then::Nothing => Phase::Begin,
        }
    }

    fn go_on(&mut self, then: Then) -> Option<Command> {
        match then {
            Then::Rows => self.phase = Phase::Rows,
            Then::Columns(columns @ 1..) => {
                self.phase = Phase::Definitions(columns, Then::Nothing);
            }
            Then::Columns(0) | Then::Nothing => return self.ended(Command::Prepare),
        }
        None
    }

    fn learn(&mut self, status: ServerStatus) {
        self.status = status;
        self.status_old = false;
    }

    fn result_ended(&mut self, status: ServerStatus, command: Command) -> Option<Command> {
        self.learn(status);
        if status.contains(ServerStatus::MORE_RESULTS_EXISTS) {
            self.phase = Phase::Begin;
            return None;
        }
        self.ended(command)
    }

    fn ended(&mut self, command: Command) -> Option<Command> {
        self.outstanding.pop_front();
        self.begin();
        Some(command)
    }

    fn failed(&mut self, head: &[u8]) -> Result<Option<Command>, Malformed> {
        if ErrPacket::parse(head)?.code == ErrPacket::PROGRESS {
            return Ok(None);
        }
        // The server reads a file to its end before it complains about it.
        if self.phase == Phase::File {
            return Err(Malformed);
        }
        self.status_old = true;
        self.outstanding.pop_front();
        self.begin();
        Ok(None)
    }

    fn begin(&mut self) {
        self.phase = if self.answers(Command::Fetch) {
            Phase::Rows
        } else {
            Phase::Begin
        };
    }
}

/// The status in an OK, an EOF, or an OK in place of an EOF. They cannot be mixed up: an EOF has five bytes, an OK
/// seven at least.
fn end_status(payload: usize, head: &[u8]) -> Result<ServerStatus, Malformed> {
    if head.first() == Some(&EOF) && payload <= 5 {
        return EofPacket::parse(head).map(|packet| packet.status);
    }
    // The text and the trackers behind the status are cut off, and not looked at without SESSION_TRACK.
    OkPacket::parse(head, Capabilities::NONE).map(|packet| packet.status)
}

#[cfg(test)]
mod tests;
