//! Looks at what was read in either direction and says how much of it may go on.
//!
//! Forwarding is by ranges of the read buffer, not by packet: the observer steps from header to header, and of most
//! packets it wants to see a few bytes at most. What is not forwarded yet (a cut header, the beginning of a packet
//! that is looked at) stays with the caller and is shown again with more bytes behind it.
//!
//! Pure: bytes in, decisions out.

use super::statement;
use super::statement::Kill;
use super::tracker::Command;
use super::tracker::Standing;
use super::tracker::Tracker;
use super::wire::Capabilities;
use super::wire::Header;
use super::wire::packet::HEADER_BYTES;
use crate::wire::Reader;

/// The longest COM_CHANGE_USER that is taken; a name, a password's digest, a database and connection attributes.
pub const CHANGE_USER_BYTES_MAX: usize = 16 * 1024;
/// An answer is wanted whole, where it is, only up to this many bytes.
const WHOLE_BYTES_MAX: usize = 8 * 1024;

/// Ids of sessions that the client may have been greeted with: ours, not the server's.
const OUR_IDS: std::ops::Range<u32> = 0x4000_0000..0x8000_0000;

/// The first byte of a command (`enum_server_command` in `my_command.h`; MariaDB's in `mysql_com.h`).
mod com {
    pub(super) const QUIT: u8 = 0x01;
    pub(super) const QUERY: u8 = 0x03;
    pub(super) const FIELD_LIST: u8 = 0x04;
    pub(super) const STATISTICS: u8 = 0x09;
    pub(super) const PROCESS_INFO: u8 = 0x0a;
    pub(super) const PROCESS_KILL: u8 = 0x0c;
    pub(super) const CHANGE_USER: u8 = 0x11;
    pub(super) const BINLOG_DUMP: u8 = 0x12;
    pub(super) const TABLE_DUMP: u8 = 0x13;
    pub(super) const REGISTER_SLAVE: u8 = 0x15;
    pub(super) const STMT_PREPARE: u8 = 0x16;
    pub(super) const STMT_EXECUTE: u8 = 0x17;
    pub(super) const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub(super) const STMT_CLOSE: u8 = 0x19;
    pub(super) const SET_OPTION: u8 = 0x1b;
    pub(super) const STMT_FETCH: u8 = 0x1c;
    pub(super) const BINLOG_DUMP_GTID: u8 = 0x1e;
    pub(super) const RESET_CONNECTION: u8 = 0x1f;
    pub(super) const CLONE: u8 = 0x20;
    pub(super) const SUBSCRIBE_GROUP_REPLICATION_STREAM: u8 = 0x21;
    pub(super) const STMT_BULK_EXECUTE: u8 = 0xfa;
    pub(super) const MULTI: u8 = 0xfe;
}

/// What the client's bytes ask of the session.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Another login on the same connection: the payload of COM_CHANGE_USER. Nothing is outstanding.
    ChangeUser(Vec<u8>),
    /// A session is to be killed whose id may be one of ours. Nothing is outstanding; the answer is the caller's.
    Kill(Kill),
    /// Nothing but to be forwarded.
    Nothing,
    /// The client said goodbye.
    Terminate,
    /// A COM_CHANGE_USER longer than any client's.
    TooLong,
}

/// What is to be done with the client's bytes: the first `pass` are forwarded, the next `drop` are not, and then
/// comes what is asked.
#[derive(Debug, PartialEq, Eq)]
pub struct FromClient {
    /// Bytes to forward.
    pub pass: usize,
    /// Bytes behind them that the caller answers for.
    pub drop: usize,
    /// What must happen before the others.
    pub asked: Asked,
}

/// What is to be done with the server's bytes: the first `pass` are forwarded, the next `drop` are not.
#[derive(Debug, PartialEq, Eq)]
pub struct FromServer {
    /// Bytes to forward.
    pub pass: usize,
    /// Bytes behind them that are no answer to the client.
    pub drop: usize,
}

/// What the server's bytes ask of the session.
#[derive(Debug, Default)]
pub struct Told {
    /// The session is as after a login again, without what was set since.
    pub connection_reset: bool,
    /// A statement ran after which new sessions may look different.
    pub sessions_changed: bool,
}

/// One direction's place inside a payload.
#[derive(Debug, Default)]
struct Place {
    /// Bytes of the current packet that still go by unseen.
    passing: usize,
    /// The next packet continues the payload.
    continued: bool,
}

impl Place {
    /// Goes past as much of the packet as is there; returns how much that is.
    fn pass(&mut self, header: Header, bytes: &[u8]) -> usize {
        let passed = header.total().min(bytes.len());
        self.passing = header.total() - passed;
        self.continued = header.is_continued();
        passed
    }
}

/// Follows both directions of one session.
#[derive(Debug)]
pub struct Observer {
    /// Where the conversation stands.
    pub tracker: Tracker,
    capabilities: Capabilities,
    client: Place,
    server: Place,
    /// The client's next command is not for the server, and waits for the replies before it.
    waiting: bool,
    /// The login's flags hold no longer, or another protocol began: nobody else may get this connection.
    altered: bool,
    /// Statements seen, for the log line at the end.
    pub statements: u64,
}

impl Observer {
    /// At the beginning of a session, with the flags that both sides have agreed on.
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            tracker: Tracker::new(capabilities),
            capabilities,
            client: Place::default(),
            server: Place::default(),
            waiting: false,
            altered: false,
            statements: 0,
        }
    }

    /// True when the last byte forwarded from the client ended a command.
    pub fn client_message_complete(&self) -> bool {
        self.client.passing == 0 && !self.client.continued
    }

    /// Where the server stands. A packet is understood by its beginning; it counts when all of it has passed.
    pub fn standing(&self) -> Standing {
        match self.tracker.standing() {
            Standing::Ready(_) if !self.server_message_complete() => Standing::Busy,
            standing => standing,
        }
    }

    /// Is there anything to come from the server?
    pub fn owes_reply(&self) -> bool {
        self.tracker.owes_reply() || !self.server_message_complete()
    }

    fn server_message_complete(&self) -> bool {
        self.server.passing == 0 && !self.server.continued
    }

    /// May the connection be lent to another client with the same flags, once it is at rest?
    pub fn is_poolable(&self) -> bool {
        !self.altered
    }

    /// Must the client's next command wait for the server?
    pub fn holds_client(&self) -> bool {
        self.tracker.is_full() || (self.waiting && self.owes_reply())
    }

    /// Looks at the client's bytes.
    pub fn client(&mut self, bytes: &[u8]) -> FromClient {
        let mut pass = self.client.passing.min(bytes.len());
        self.client.passing -= pass;
        self.waiting = false;
        while let Some(rest) = bytes.get(pass..)
            && !self.tracker.is_full()
        {
            if self.tracker.is_streaming() {
                return asked(bytes.len(), 0, Asked::Nothing);
            }
            let Some(header) = Header::parse(rest) else {
                break;
            };
            if self.client.continued {
                pass += self.client.pass(header, rest);
                continue;
            }
            if self.tracker.reads_file() {
                if header.payload == 0 {
                    self.tracker.file_ended();
                }
                pass += self.client.pass(header, rest);
                continue;
            }
            match self.command(header, rest) {
                None => break,
                Some(Asked::Nothing) => pass += self.client.pass(header, rest),
                Some(last @ (Asked::Terminate | Asked::TooLong)) => return asked(pass, 0, last),
                Some(other) => return asked(pass, header.total(), other),
            }
        }
        asked(pass, 0, Asked::Nothing)
    }

    /// Looks at the beginning of a command; `None` until enough of it has been read, or while it must wait.
    fn command(&mut self, header: Header, packet: &[u8]) -> Option<Asked> {
        let command = match packet.get(HEADER_BYTES) {
            Some(&command) => command,
            // The server takes an empty packet for COM_SLEEP, and complains.
            None if header.payload == 0 => 0,
            None => return None,
        };
        match command {
            com::QUIT => return Some(Asked::Terminate),
            com::CHANGE_USER => return self.change_user(header, packet),
            com::PROCESS_KILL => return self.process_kill(header, packet),
            com::QUERY => return self.query(header, packet),
            com::STMT_SEND_LONG_DATA | com::STMT_CLOSE => {}
            com::FIELD_LIST | com::STMT_FETCH => self.tracker.client(Command::Fetch),
            com::STMT_PREPARE => self.tracker.client(Command::Prepare),
            com::STMT_EXECUTE | com::STMT_BULK_EXECUTE => {
                self.statements += 1;
                self.tracker.client(Command::Query);
            }
            com::PROCESS_INFO => self.tracker.client(Command::Query),
            com::STATISTICS => self.tracker.client(Command::Statistics),
            com::RESET_CONNECTION => self.tracker.client(Command::Reset),
            com::SET_OPTION | com::REGISTER_SLAVE => {
                self.altered = true;
                self.tracker.client(Command::Simple);
            }
            com::MULTI if !self.has(Capabilities::MARIADB_CLIENT_COM_MULTI) => {
                self.tracker.client(Command::Simple);
            }
            com::BINLOG_DUMP
            | com::BINLOG_DUMP_GTID
            | com::TABLE_DUMP
            | com::CLONE
            | com::SUBSCRIBE_GROUP_REPLICATION_STREAM
            | com::MULTI => {
                self.altered = true;
                self.tracker.stream();
            }
            _ => self.tracker.client(Command::Simple),
        }
        Some(Asked::Nothing)
    }

    fn has(&self, capability: Capabilities) -> bool {
        self.capabilities.contains(capability)
    }

    /// Is nothing outstanding? Otherwise the command at hand waits.
    fn alone(&mut self) -> bool {
        self.waiting = self.owes_reply();
        !self.waiting
    }

    fn change_user(&mut self, header: Header, packet: &[u8]) -> Option<Asked> {
        if header.payload > CHANGE_USER_BYTES_MAX {
            return Some(Asked::TooLong);
        }
        let payload = packet.get(HEADER_BYTES..header.total())?;
        self.alone().then(|| Asked::ChangeUser(payload.to_vec()))
    }

    fn process_kill(&mut self, header: Header, packet: &[u8]) -> Option<Asked> {
        let head = packet.get(HEADER_BYTES..HEADER_BYTES + header.payload.min(1 + 4))?;
        let id = Reader::new(head.get(1..).unwrap_or_default()).u32_le();
        let scope = statement::Scope::Connection;
        if let Some(kill) = id.ok().and_then(|id| ours(Kill { id, scope }))
            && header.payload == 1 + 4
        {
            return self.alone().then_some(Asked::Kill(kill));
        }
        self.tracker.client(Command::Simple);
        Some(Asked::Nothing)
    }

    fn query(&mut self, header: Header, packet: &[u8]) -> Option<Asked> {
        let wanted = header.payload.min(statement::HEAD_BYTES);
        let head = packet.get(HEADER_BYTES..HEADER_BYTES + wanted)?;
        let text = self.text(head.get(1..).unwrap_or_default());
        if wanted == header.payload
            && let Some(kill) = statement::kill(text).and_then(ours)
        {
            return self.alone().then_some(Asked::Kill(kill));
        }
        self.statements += 1;
        self.tracker
            .client(if statement::changes_new_sessions(text) {
                Command::QueryForAll
            } else {
                Command::Query
            });
        Some(Asked::Nothing)
    }

    /// What stands behind the attributes of a COM_QUERY, where there may be some. There are none in most, and
    /// statements with some are not looked at.
    fn text<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        if !self.has(Capabilities::QUERY_ATTRIBUTES) {
            return body;
        }
        match body {
            [0, 1, text @ ..] => text,
            _ => &[],
        }
    }

    /// Looks at the server's bytes. What they tell is added to `told`.
    pub fn server(&mut self, bytes: &[u8], told: &mut Told) -> FromServer {
        let mut pass = self.server.passing.min(bytes.len());
        self.server.passing -= pass;
        if self.tracker.is_streaming() {
            pass = bytes.len();
        }
        while let Some(rest) = bytes.get(pass..)
            && let Some(header) = Header::parse(rest)
        {
            if self.server.continued {
                pass += self.server.pass(header, rest);
                continue;
            }
            let first = match rest.get(HEADER_BYTES) {
                Some(&first) => first,
                None if header.payload == 0 => 0,
                None => break,
            };
            let wanted = self
                .tracker
                .wants(first, header.payload)
                .min(header.payload);
            let Some(head) = rest.get(HEADER_BYTES..HEADER_BYTES + wanted) else {
                break;
            };
            let probed = self.tracker.answers(Command::Probe);
            if (probed || self.tracker.answers(Command::Reset))
                && rest.len() < header.total()
                && header.payload <= WHOLE_BYTES_MAX
            {
                break;
            }
            if probed && header.total() <= rest.len() {
                self.tracker.server(header.payload, head);
                let drop = header.total();
                return FromServer { pass, drop };
            }
            match self.tracker.server(header.payload, head) {
                Some(Command::QueryForAll) => told.sessions_changed = true,
                Some(Command::Reset) => told.connection_reset = true,
                Some(_) | None => {}
            }
            pass += self.server.pass(header, rest);
        }
        FromServer { pass, drop: 0 }
    }
}

fn asked(pass: usize, drop: usize, asked: Asked) -> FromClient {
    FromClient { pass, drop, asked }
}

/// The server knows its own ids better.
fn ours(kill: Kill) -> Option<Kill> {
    OUR_IDS.contains(&kill.id).then_some(kill)
}

#[cfg(test)]
mod tests;
