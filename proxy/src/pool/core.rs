//! The pool's bookkeeping: ids in, decisions out.
//!
//! Invariant: no async, no clock, no randomness: `now` and `jitter` (0..1) are arguments. A connection's state is
//! the collection that holds its id; it moves, it is never copied. Numbers per key are counted when needed.
//!
//! # Who is served
//! - An idle connection of the client's key: at once, the newest first. Otherwise the client queues.
//! - Clients of one key are served in the order of their arrival, by whatever comes first: a connection given back
//!   or a dial. Dials belong to the key, not to a client.
//! - Room for a dial goes to the client that came first over all keys, among those that no dial or reset under way
//!   will serve. Without room the oldest idle connection of another key is closed for it; and when it has waited
//!   for `key_patience`, the next connection that another key's client gives back.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use crate::pool::Counters;
use crate::pool::stats::Ended;

mod decision;
mod ends;
mod learned;
mod pace;
mod serve;
#[cfg(test)]
mod tests;
mod view;

pub(super) use decision::Arrival;
pub(super) use decision::Checkout;
pub(super) use decision::ConnId;
pub(super) use decision::DialFailure;
pub(super) use decision::KeyId;
pub(super) use decision::Leave;
pub(super) use decision::Limits;
pub(super) use decision::Release;
pub(super) use decision::Step;
pub(super) use decision::Ticket;
use learned::Learned;
use pace::Pace;

/// Lifetimes are shortened by up to this part, so that connections opened together do not end together.
const LIFETIME_JITTER: f64 = 0.1;
/// After a failed dial nothing is opened merely to have it at hand.
const REFILL_PAUSE: Duration = Duration::from_secs(5);

/// What becomes of a connection when its present use ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Close(Ended),
    /// It may be kept, but nobody should count on it: its reset is slow.
    Doubtful,
    Keep,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    key: KeyId,
    fate: Fate,
    expires_at: Instant,
}

#[derive(Debug)]
struct Idle {
    id: ConnId,
    held: Held,
    since: Instant,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    since: Instant,
}

#[derive(Debug)]
struct KeyState<K> {
    name: K,
    waiters: VecDeque<Waiter>,
    learned: Option<Learned>,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Draining,
    Open,
}

/// The bookkeeper of one endpoint.
#[derive(Debug)]
pub(super) struct Core<K> {
    limits: Limits,
    mode: Mode,
    names: HashMap<K, KeyId>,
    keys: BTreeMap<KeyId, KeyState<K>>,
    dialling: HashMap<ConnId, Held>,
    leased: HashMap<ConnId, Held>,
    resetting: HashMap<ConnId, Held>,
    /// In the order in which they fell idle.
    idle: Vec<Idle>,
    closing: HashMap<ConnId, KeyId>,
    /// Of `closing`: those whose closing nobody began yet.
    to_close: Vec<ConnId>,
    /// Clients in the queues of all keys.
    waiting: usize,
    pace: Pace,
    refill_after: Option<Instant>,
    /// When `next` may have something to do although nothing else happens.
    retry_at: Option<Instant>,
    last_lent: Option<KeyId>,
    ids: u64,
    counters: Counters,
}

impl<K: Clone + Eq + Hash> Core<K> {
    pub(super) fn new(limits: Limits) -> Self {
        let burst = u32::try_from(limits.dials_max)
            .unwrap_or(u32::MAX)
            .min(limits.connects_per_second);
        Self {
            pace: Pace::new(limits.connects_per_second, burst),
            limits,
            mode: Mode::Open,
            names: HashMap::new(),
            keys: BTreeMap::new(),
            dialling: HashMap::new(),
            leased: HashMap::new(),
            resetting: HashMap::new(),
            idle: Vec::new(),
            closing: HashMap::new(),
            to_close: Vec::new(),
            waiting: 0,
            refill_after: None,
            retry_at: None,
            last_lent: None,
            ids: 0,
            counters: Counters::default(),
        }
    }

    /// The id of `name`, which stays valid while the key has connections or waiters. A `checkout` must follow.
    pub(super) fn enter(&mut self, name: &K) -> KeyId {
        if let Some(key) = self.names.get(name) {
            return *key;
        }
        let key = KeyId(self.next_id());
        self.names.insert(name.clone(), key);
        self.keys.insert(
            key,
            KeyState {
                name: name.clone(),
                waiters: VecDeque::new(),
                learned: None,
            },
        );
        key
    }

    /// The connection that `checkout` would lend, to be looked at first; see [`Self::dead`].
    pub(super) fn newest_idle(&self, key: KeyId) -> Option<ConnId> {
        self.idle
            .iter()
            .rev()
            .find(|idle| idle.held.key == key)
            .map(|idle| idle.id)
    }

    /// A client asks for a connection of `key`.
    pub(super) fn checkout(&mut self, key: KeyId, now: Instant) -> Checkout {
        if self.mode == Mode::Draining {
            self.forget_if_unused(key);
            return Checkout::Draining;
        }
        if let Some(at) = self.idle.iter().rposition(|idle| idle.held.key == key) {
            let Idle { id, held, .. } = self.idle.remove(at);
            self.lend(id, held, Duration::ZERO);
            return Checkout::Reuse(id);
        }
        if self.waiting >= self.limits.waiting_max {
            self.counters.queue_full += 1;
            self.forget_if_unused(key);
            return Checkout::QueueFull;
        }
        let number = self.next_id();
        if let Some(state) = self.keys.get_mut(&key) {
            state.waiters.push_back(Waiter { number, since: now });
            self.waiting += 1;
        }
        Checkout::Wait(Ticket { number, key })
    }

    /// A waiting client leaves. False: it is not waiting any more, its connection or error is on the way.
    pub(super) fn leave(&mut self, ticket: Ticket, why: Leave) -> bool {
        let Some(state) = self.keys.get_mut(&ticket.key) else {
            return false;
        };
        let Ok(at) = state
            .waiters
            .binary_search_by_key(&ticket.number, |waiter| waiter.number)
        else {
            return false;
        };
        state.waiters.remove(at);
        self.waiting -= 1;
        match why {
            Leave::Cancelled => self.counters.cancelled += 1,
            Leave::TimedOut => self.counters.timeouts += 1,
        }
        self.forget_if_unused(ticket.key);
        true
    }

    /// A client gives its connection back.
    pub(super) fn release(&mut self, id: ConnId, now: Instant) -> Release {
        let Some(held) = self.leased.get(&id).copied() else {
            return Release::Close;
        };
        let end = match held.fate {
            Fate::Close(why) => Some(why),
            Fate::Doubtful | Fate::Keep if self.mode == Mode::Draining => Some(Ended::Drained),
            Fate::Doubtful | Fate::Keep if held.expires_at <= now => Some(Ended::Lifetime),
            Fate::Doubtful | Fate::Keep if self.is_claimed(held.key, now) => Some(Ended::Evicted),
            Fate::Doubtful | Fate::Keep => None,
        };
        self.leased.remove(&id);
        self.counters.leases.released += 1;
        match end {
            Some(why) => {
                self.begin_closing(id, held.key, why);
                Release::Close
            }
            None => {
                self.resetting.insert(id, held);
                Release::Reset
            }
        }
    }

    /// The reset takes long: its connection is not counted on any more.
    pub(super) fn reset_is_slow(&mut self, id: ConnId) {
        if let Some(held) = self
            .resetting
            .get_mut(&id)
            .filter(|held| held.fate == Fate::Keep)
        {
            held.fate = Fate::Doubtful;
        }
    }

    /// The connection is as good as new.
    pub(super) fn reset_done(&mut self, id: ConnId, now: Instant) -> Arrival {
        match self.resetting.remove(&id) {
            Some(held) => self.arrive(id, held, now),
            None => Arrival::Close,
        }
    }

    /// A lease that never reached its client comes back.
    pub(super) fn put_back(&mut self, id: ConnId, now: Instant) -> Arrival {
        let Some(held) = self.leased.remove(&id) else {
            return Arrival::Close;
        };
        self.counters.leases.undelivered += 1;
        self.arrive(id, held, now)
    }

    /// A dial gave a connection.
    pub(super) fn dialled(&mut self, id: ConnId, now: Instant, jitter: f64) -> Arrival {
        let Some(mut held) = self.dialling.remove(&id) else {
            return Arrival::Close;
        };
        self.counters.dials_ok += 1;
        held.expires_at = now
            + self
                .limits
                .lifetime_max
                .mul_f64(1.0 - LIFETIME_JITTER * jitter.clamp(0.0, 1.0));
        let established = self.established(held.key) + 1;
        let connections_max = self.limits.connections_max;
        if let Some(state) = self.keys.get_mut(&held.key) {
            if let Some(learned) = &mut state.learned {
                learned.accepted(established, now, jitter);
            }
            state.learned = state
                .learned
                .take()
                .filter(|learned| learned.max < connections_max);
        }
        self.arrive(id, held, now)
    }

    /// A dial failed. Some: this client gets the error, nothing else that is under way would serve it.
    pub(super) fn dial_failed(
        &mut self,
        id: ConnId,
        why: DialFailure,
        now: Instant,
        jitter: f64,
    ) -> Option<Ticket> {
        let key = self.dialling.remove(&id)?.key;
        self.refill_after = Some(now + REFILL_PAUSE);
        let blame = match why {
            DialFailure::Limit => {
                self.counters.dials_failed.limit += 1;
                self.learn(id, key, now, jitter);
                self.forget_if_unused(key);
                return None;
            }
            DialFailure::Other(blame) => blame,
        };
        self.counters.dials_failed.count(blame);
        let coming = self.coming(key);
        let waiters = &mut self.keys.get_mut(&key)?.waiters;
        let ticket = match waiters.len() > coming {
            true => waiters.pop_front().map(|waiter| Ticket {
                number: waiter.number,
                key,
            }),
            false => None,
        };
        self.waiting -= usize::from(ticket.is_some());
        self.forget_if_unused(key);
        ticket
    }

    /// A free connection goes to the oldest client of its key, or falls idle.
    fn arrive(&mut self, id: ConnId, held: Held, now: Instant) -> Arrival {
        let end = match held.fate {
            Fate::Close(why) => Some(why),
            Fate::Doubtful | Fate::Keep if self.mode == Mode::Draining => Some(Ended::Drained),
            Fate::Doubtful | Fate::Keep => None,
        };
        if let Some(why) = end {
            self.begin_closing(id, held.key, why);
            return Arrival::Close;
        }
        let held = Held {
            fate: Fate::Keep,
            ..held
        };
        match self
            .keys
            .get_mut(&held.key)
            .and_then(|state| state.waiters.pop_front())
        {
            Some(Waiter { number, since }) => {
                self.waiting -= 1;
                self.lend(id, held, now.saturating_duration_since(since));
                Arrival::Lend(Ticket {
                    number,
                    key: held.key,
                })
            }
            None => {
                self.idle.push(Idle {
                    id,
                    held,
                    since: now,
                });
                Arrival::Idle
            }
        }
    }

    fn lend(&mut self, id: ConnId, held: Held, waited: Duration) {
        self.counters.leases.opened += 1;
        self.counters.waits.count(waited);
        self.last_lent = Some(held.key);
        self.leased.insert(id, held);
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}
