//! A naive model: one list of connections with a label, one list of waiting clients. Every answer of the core is
//! judged against it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::fault::Blame;
use crate::pool::core::Arrival;
use crate::pool::core::Checkout;
use crate::pool::core::ConnId;
use crate::pool::core::Core;
use crate::pool::core::DialFailure;
use crate::pool::core::Leave;
use crate::pool::core::Limits;
use crate::pool::core::Release;
use crate::pool::core::Step;
use crate::pool::core::Ticket;

pub(super) type Key = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Closing,
    Dialling,
    Idle,
    Leased,
    Resetting,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) key: Key,
    pub(super) at: At,
    /// Must not be lent again.
    pub(super) doomed: bool,
    /// Its reset is slow: no client is kept waiting for it.
    pub(super) slow: bool,
}

pub(super) struct Model {
    pub(super) core: Core<Key>,
    pub(super) limits: Limits,
    pub(super) now: Instant,
    pub(super) jitter: f64,
    /// In the order in which they came to where they are.
    pub(super) conns: Vec<Conn>,
    /// In the order of arrival.
    pub(super) queue: Vec<(Ticket, Key)>,
    /// When each of the queue came.
    pub(super) since: HashMap<Ticket, Instant>,
    /// In the order in which they were.
    pub(super) served: Vec<Ticket>,
}

impl Model {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            core: Core::new(limits.clone()),
            limits,
            now: Instant::now(),
            jitter: 0.5,
            conns: Vec::new(),
            queue: Vec::new(),
            since: HashMap::new(),
            served: Vec::new(),
        }
    }

    pub(super) fn ids(&self, at: At) -> Vec<ConnId> {
        self.conns
            .iter()
            .filter(|conn| conn.at == at)
            .map(|conn| conn.id)
            .collect()
    }

    pub(super) fn count(&self, at: At) -> usize {
        self.ids(at).len()
    }

    pub(super) fn key_of(&self, id: ConnId) -> Key {
        self.conns
            .iter()
            .find(|conn| conn.id == id)
            .expect("a known connection")
            .key
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
        self.core.expire(self.now);
        self.run();
    }

    pub(super) fn checkout(&mut self, key: Key) -> Option<Ticket> {
        let id = self.core.enter(&key);
        let newest = self
            .conns
            .iter()
            .rev()
            .find(|conn| conn.at == At::Idle && conn.key == key)
            .map(|conn| conn.id);
        assert_eq!(self.core.newest_idle(id), newest);
        let mut ticket = None;
        match self.core.checkout(id, self.now) {
            Checkout::Reuse(id) => {
                assert_eq!(Some(id), newest, "the newest idle one of the key");
                self.shift(id, At::Idle, At::Leased);
            }
            Checkout::Wait(given) => {
                assert_eq!(
                    newest, None,
                    "nobody waits while a connection of its key is idle"
                );
                self.queue.push((given, key));
                self.since.insert(given, self.now);
                ticket = Some(given);
            }
            Checkout::QueueFull => assert_eq!(self.queue.len(), self.limits.waiting_max),
            Checkout::Draining => panic!("not draining"),
        }
        self.run();
        ticket
    }

    pub(super) fn leave(&mut self, ticket: Ticket, why: Leave) {
        let was_waiting = self.queue.iter().any(|(other, _)| *other == ticket);
        assert_eq!(self.core.leave(ticket, why), was_waiting);
        self.queue.retain(|(other, _)| *other != ticket);
        self.run();
    }

    pub(super) fn release(&mut self, id: ConnId) -> Release {
        let is_owed = self.is_owed(self.key_of(id));
        let evicted = |model: &Self| model.core.stats().counters.closings.evicted;
        let evicted_before = evicted(self);
        let release = self.core.release(id, self.now);
        match release {
            Release::Reset => {
                assert!(!self.conn(id).doomed && !is_owed);
                self.shift(id, At::Leased, At::Resetting);
            }
            Release::Close => {
                let key = self.key_of(id);
                let own = self.waiters(key).first().copied();
                let came_first = |(ticket, other): &(Ticket, Key)| {
                    *other != key && own.is_none_or(|own| ticket.number < own.number)
                };
                let is_due = self.queue.iter().any(came_first);
                assert!(
                    is_due || evicted(self) == evicted_before,
                    "its own client came first"
                );
                self.shift(id, At::Leased, At::Closing);
            }
        }
        self.run();
        release
    }

    pub(super) fn reset_done(&mut self, id: ConnId) {
        let arrival = self.core.reset_done(id, self.now);
        self.arrived(id, At::Resetting, arrival);
    }

    pub(super) fn reset_is_slow(&mut self, id: ConnId) {
        self.core.reset_is_slow(id);
        self.conn(id).slow = true;
        self.run();
    }

    pub(super) fn put_back(&mut self, id: ConnId) {
        let arrival = self.core.put_back(id, self.now);
        self.arrived(id, At::Leased, arrival);
    }

    pub(super) fn dialled(&mut self, id: ConnId) {
        let arrival = self.core.dialled(id, self.now, self.jitter);
        self.arrived(id, At::Dialling, arrival);
    }

    pub(super) fn refused(&mut self, id: ConnId) {
        assert_eq!(
            self.core
                .dial_failed(id, DialFailure::Limit, self.now, self.jitter),
            None
        );
        self.conns.retain(|conn| conn.id != id);
        self.run();
    }

    pub(super) fn dial_failed(&mut self, id: ConnId) -> Option<Ticket> {
        let key = self.key_of(id);
        self.conns.retain(|conn| conn.id != id);
        let told = self.core.dial_failed(
            id,
            DialFailure::Other(Blame::Upstream),
            self.now,
            self.jitter,
        );
        let uncovered = self.waiters(key).len() > self.coming(key);
        let oldest = self.waiters(key).first().copied();
        assert_eq!(
            told,
            oldest.filter(|_| uncovered),
            "the oldest one, unless something else will serve it"
        );
        self.queue.retain(|(ticket, _)| Some(*ticket) != told);
        self.run();
        told
    }

    pub(super) fn discard(&mut self, id: ConnId) {
        self.core.discard(id);
        self.shift(id, At::Leased, At::Closing);
        self.run();
    }

    /// The lease was dropped, the reset or dial was lost, or the closing is done.
    pub(super) fn vacate(&mut self, id: ConnId) {
        assert_eq!(self.core.vacate(id), self.conn(id).at == At::Dialling);
        self.conns.retain(|conn| conn.id != id);
        self.run();
    }

    pub(super) fn dead(&mut self, id: ConnId) {
        assert_eq!(self.conn(id).at, At::Idle);
        self.core.dead(id);
        self.conns.retain(|conn| conn.id != id);
        self.run();
    }

    pub(super) fn close_idle(&mut self, key: Key) {
        let leaving = self.core.close_idle(&|other| *other == key);
        let kept = |conn: &&Conn| conn.key == key && conn.at == At::Dialling && !conn.doomed;
        let dials = self.conns.iter().filter(kept).count();
        for conn in self.conns.iter_mut().filter(|conn| conn.key == key) {
            conn.doomed |= conn.at == At::Resetting || conn.at == At::Idle;
            if conn.at == At::Dialling {
                conn.doomed |= leaving.contains(&conn.id);
            }
            let has_to_go = conn.at != At::Leased && (conn.at != At::Dialling || conn.doomed);
            assert_eq!(leaving.contains(&conn.id), has_to_go, "{conn:?}");
        }
        let kept = self.conns.iter().filter(kept).count();
        assert_eq!(
            kept,
            dials.min(self.waiters(key).len()),
            "a dial for each client, no more"
        );
        self.run();
        assert!(
            !self
                .conns
                .iter()
                .any(|conn| conn.key == key && conn.at == At::Idle)
        );
    }

    pub(super) fn bump(&mut self, key: Key) {
        self.core.bump_generation(&|other| *other == key);
        self.conns
            .iter_mut()
            .filter(|conn| conn.key == key)
            .for_each(|conn| conn.doomed = true);
        self.run();
        assert!(
            !self
                .conns
                .iter()
                .any(|conn| conn.key == key && conn.at == At::Idle)
        );
    }

    fn arrived(&mut self, id: ConnId, from: At, arrival: Arrival) {
        self.conn(id).slow = false;
        let key = self.key_of(id);
        match arrival {
            Arrival::Close => {
                assert!(self.conn(id).doomed, "kept unless there is a reason");
                self.shift(id, from, At::Closing);
            }
            Arrival::Idle => {
                assert!(self.waiters(key).is_empty() && !self.conn(id).doomed);
                self.shift(id, from, At::Idle);
            }
            Arrival::Lend(ticket) => {
                assert_eq!(
                    self.waiters(key).first(),
                    Some(&ticket),
                    "first come, first served"
                );
                assert!(!self.conn(id).doomed);
                self.queue.retain(|(other, _)| *other != ticket);
                self.served.push(ticket);
                self.shift(id, from, At::Leased);
            }
        }
        self.run();
    }

    /// Does what the core says until it has nothing more to say; then judges the result.
    fn run(&mut self) {
        let evicted = |model: &Self| model.core.stats().counters.closings.evicted;
        loop {
            let evicted_before = evicted(self);
            let Some(step) = self.core.next(self.now) else {
                break;
            };
            match step {
                Step::Close(id) => {
                    self.shift(id, At::Idle, At::Closing);
                    let is_needed = self.count(At::Closing) <= self.uncovered();
                    assert!(
                        is_needed || evicted(self) == evicted_before,
                        "nobody needs this room"
                    );
                }
                Step::Dial(id, key) => {
                    assert!(self.count(At::Dialling) < self.limits.dials_max);
                    let has_reason =
                        self.waiters(key).len() > self.coming(key) || self.limits.min_idle > 0;
                    assert!(has_reason, "nobody needs this dial");
                    let conn = Conn {
                        id,
                        key,
                        at: At::Dialling,
                        doomed: false,
                        slow: false,
                    };
                    self.conns.push(conn);
                }
            }
            assert!(
                self.conns.len() <= self.limits.connections_max,
                "more than max_connections"
            );
        }
        self.judge();
    }

    fn conn(&mut self, id: ConnId) -> &mut Conn {
        self.conns
            .iter_mut()
            .find(|conn| conn.id == id)
            .expect("a known connection")
    }

    fn shift(&mut self, id: ConnId, from: At, to: At) {
        let position = self
            .conns
            .iter()
            .position(|conn| conn.id == id)
            .expect("a known connection");
        let mut conn = self.conns.remove(position);
        assert_eq!(conn.at, from, "one place at a time");
        conn.at = to;
        self.conns.push(conn);
    }
}
