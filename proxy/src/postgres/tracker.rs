//! Where are we in the conversation? One tracker per session, fed with the messages of both directions.
//!
//! Postgres answers requests in order, so the tracker keeps the requests that still owe a reply in a queue and
//! takes them off as the replies pass (protocol.md A.7; PgBouncer's `outstanding_requests`). From that follows the
//! one thing the pool must know: is this server between two conversations, or in the middle of one?
//!
//! Pure: no socket, no clock, no allocation per message once the queue has grown.

use std::collections::VecDeque;

use super::wire::status::Transaction;

/// Requests that may be outstanding before the client is held back. One byte each; libpq's own pipeline tests
/// stay far below.
const OUTSTANDING_MAX: usize = 1 << 20;

/// A request that owes a reply, or the end of a COPY that the server still has to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Bind,
    Close,
    CopyEnd,
    Describe,
    Execute,
    FunctionCall,
    Parse,
    Query,
    Sync,
}

/// What the stream of COPY data is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    /// Replication: both sides send until the server ends it.
    Both,
    /// The server reads rows; it ignores Sync and Flush meanwhile.
    In,
    None,
}

/// Where a server connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Replies are owed, or extended messages wait for their Sync.
    Busy,
    /// The server reads COPY rows.
    CopyIn,
    /// Nothing is owed; this is the transaction status.
    Ready(Transaction),
}

/// Follows one session.
#[derive(Debug)]
pub struct Tracker {
    outstanding: VecDeque<Request>,
    copy: Copy,
    transaction: Transaction,
    /// After an error in the extended protocol the server ignores everything up to the next Sync.
    skipping: bool,
    /// The client's last request was an extended message without its Sync: portals may be open although nothing
    /// is owed.
    unsynced: bool,
    /// A reply came that nobody asked for. The count cannot be trusted any more.
    confused: bool,
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            outstanding: VecDeque::new(),
            copy: Copy::None,
            transaction: Transaction::Idle,
            skipping: false,
            unsynced: false,
            confused: false,
        }
    }
}

impl Tracker {
    /// Where the server stands.
    pub fn standing(&self) -> Standing {
        if self.confused || self.copy == Copy::Both {
            Standing::Busy
        } else if self.copy == Copy::In {
            Standing::CopyIn
        } else if self.outstanding.is_empty() && !self.unsynced && !self.skipping {
            Standing::Ready(self.transaction)
        } else {
            Standing::Busy
        }
    }

    /// True when a reply came that nobody asked for: what is still to come can never be told again.
    pub fn is_lost(&self) -> bool {
        self.confused
    }

    /// Does the server owe a reply, so that a cancel request would have something to stop?
    pub fn owes_reply(&self) -> bool {
        self.confused || self.copy != Copy::None || !self.outstanding.is_empty()
    }

    /// True when so many requests are outstanding that the client must wait.
    pub fn is_full(&self) -> bool {
        self.outstanding.len() >= OUTSTANDING_MAX
    }

    /// A message of the client, by its tag, in the order sent.
    #[inline]
    pub fn client(&mut self, tag: u8) {
        match tag {
            b'Q' => self.request(Request::Query),
            b'S' => {
                self.skipping = false;
                self.request(Request::Sync);
            }
            b'P' => self.extended(Request::Parse),
            b'B' => self.extended(Request::Bind),
            b'D' => self.extended(Request::Describe),
            b'E' => self.extended(Request::Execute),
            b'C' => self.extended(Request::Close),
            b'F' => self.request(Request::FunctionCall),
            b'c' | b'f' => self.copy_end(),
            _ => {}
        }
    }

    fn request(&mut self, request: Request) {
        self.unsynced = false;
        if !self.skipping {
            self.outstanding.push_back(request);
        }
    }

    fn extended(&mut self, request: Request) {
        self.request(request);
        self.unsynced = true;
    }

    /// CopyDone and CopyFail count only where a COPY runs or may be about to; elsewhere the server drops them.
    fn copy_end(&mut self) {
        let copy_possible = self.copy == Copy::In
            || self
                .outstanding
                .iter()
                .any(|request| matches!(request, Request::Query | Request::Execute));
        if self.copy != Copy::Both && copy_possible && !self.skipping {
            self.outstanding.push_back(Request::CopyEnd);
        }
    }

    /// A message of the server other than ReadyForQuery, by its tag.
    #[inline]
    pub fn server(&mut self, tag: u8) {
        match tag {
            b'D' | b'd' | b'N' | b'S' | b'A' | b't' | b'H' | b'V' | b'c' => {}
            b'C' | b'I' | b's' => self.completed(),
            b'T' | b'n' => self.answered(Request::Describe),
            b'1' => self.answered(Request::Parse),
            b'2' => self.answered(Request::Bind),
            b'3' => self.answered(Request::Close),
            b'E' => self.failed(),
            b'G' => self.copy = Copy::In,
            b'W' => self.copy = Copy::Both,
            _ => self.confused = true,
        }
    }

    /// ReadyForQuery: ends a Query, a FunctionCall or a Sync.
    #[inline]
    pub fn ready(&mut self, transaction: Transaction) {
        self.transaction = transaction;
        self.copy = Copy::None;
        self.drop_stray_copy_ends();
        match self.outstanding.pop_front() {
            Some(Request::Query | Request::Sync | Request::FunctionCall) => {}
            _ => self.confused = true,
        }
        self.drop_stray_copy_ends();
    }

    fn completed(&mut self) {
        self.drop_stray_copy_ends();
        if self.copy == Copy::In {
            self.copy_ended();
        } else if self.outstanding.front() == Some(&Request::Execute) {
            self.outstanding.pop_front();
            self.drop_stray_copy_ends();
        }
    }

    fn answered(&mut self, request: Request) {
        self.drop_stray_copy_ends();
        // RowDescription also comes inside the answer to a Query.
        if self.outstanding.front() == Some(&request) {
            self.outstanding.pop_front();
        } else if request != Request::Describe {
            self.confused = true;
        }
    }

    fn failed(&mut self) {
        self.drop_stray_copy_ends();
        let in_copy = self.copy == Copy::In;
        let by_query = matches!(
            self.outstanding.front(),
            None | Some(Request::Query | Request::FunctionCall | Request::Sync)
        );
        if in_copy {
            self.copy_ended();
        }
        if by_query {
            return;
        }
        // "the backend discards any remaining messages until a Sync message is received" (manual, 55.2.3)
        while self
            .outstanding
            .front()
            .is_some_and(|request| *request != Request::Sync)
        {
            self.outstanding.pop_front();
        }
        self.skipping = self.outstanding.is_empty();
    }

    /// The COPY is over. Up to the client's CopyDone or CopyFail the server read and ignored everything; where the
    /// client has not sent one yet, everything sent so far was read in copy mode, and the late one will be dropped.
    fn copy_ended(&mut self) {
        self.copy = Copy::None;
        let end = self
            .outstanding
            .iter()
            .position(|request| *request == Request::CopyEnd);
        let keep = self
            .outstanding
            .front()
            .copied()
            .filter(|request| *request == Request::Query);
        self.outstanding
            .drain(..end.map_or(self.outstanding.len(), |end| end + 1));
        if let Some(query) = keep {
            self.outstanding.push_front(query);
        }
    }

    /// A CopyDone that no COPY waited for was dropped by the server.
    fn drop_stray_copy_ends(&mut self) {
        while self.copy == Copy::None && self.outstanding.front() == Some(&Request::CopyEnd) {
            self.outstanding.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
