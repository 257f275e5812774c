//! What the core knows, for those who ask.

use std::hash::Hash;

use super::ConnId;
use super::Core;
use super::Fate;
use super::Held;
use super::KeyId;
use super::KeyState;
use super::Mode;
use super::Ticket;
use crate::pool::Stats;

impl<K: Clone + Eq + Hash> Core<K> {
    /// The pool in numbers.
    pub(in crate::pool) fn stats(&self) -> Stats {
        Stats {
            leased: self.leased.len(),
            resetting: self.resetting.len(),
            idle: self.idle.len(),
            dialling: self.dialling.len(),
            closing: self.closing.len(),
            waiting: self.waiting,
            max_connections: self.limits.connections_max,
            learned_max: self.learned_max(),
            counters: self.counters,
        }
    }

    /// The client's place in the queue over all keys, from 1.
    pub(in crate::pool) fn position(&self, ticket: Ticket) -> usize {
        let ahead = |state: &KeyState<K>| {
            state
                .waiters
                .partition_point(|waiter| waiter.number < ticket.number)
        };
        self.keys.values().map(ahead).sum::<usize>() + 1
    }

    /// The idle connections, to be looked at.
    pub(in crate::pool) fn idle_ids(&self) -> Vec<ConnId> {
        self.idle.iter().map(|idle| idle.id).collect()
    }

    /// Whether any connection is idle.
    pub(in crate::pool) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Whether the server may still count one of these.
    pub(in crate::pool) fn any_left(&self, ids: &[ConnId]) -> bool {
        let left = |id: &ConnId| {
            self.closing.contains_key(id)
                || self.resetting.contains_key(id)
                || self.dialling.contains_key(id)
        };
        ids.iter().any(left)
    }

    /// The connections being closed, and those being reset.
    pub(in crate::pool) fn leaving_ids(&self) -> Vec<ConnId> {
        let leaving = self.closing.keys().chain(self.resetting.keys());
        leaving.copied().collect()
    }

    /// Whether the pool refuses everybody.
    pub(in crate::pool) fn is_draining(&self) -> bool {
        self.mode == Mode::Draining
    }

    /// What the server lets this sidecar have: the learned limits, and what the other keys hold.
    pub(super) fn learned_max(&self) -> Option<usize> {
        self.keys
            .values()
            .any(|state| state.learned.is_some())
            .then(|| {
                let of_key = |(key, state): (&KeyId, &KeyState<K>)| match &state.learned {
                    Some(learned) => learned.max,
                    None => self.established(*key),
                };
                self.keys.iter().map(of_key).sum::<usize>().max(1)
            })
    }

    /// Whether the server lately refused a connection of `key` for want of room.
    pub(in crate::pool) fn is_limited(&self, key: KeyId) -> bool {
        self.keys
            .get(&key)
            .is_some_and(|state| state.learned.is_some())
    }

    /// The key of a dial under way.
    pub(in crate::pool) fn key_of_dial(&self, id: ConnId) -> Option<KeyId> {
        self.dialling.get(&id).map(|held| held.key)
    }

    /// Connections under way that will serve clients of `key`.
    pub(super) fn coming(&self, key: KeyId) -> usize {
        let counts = |held: &&Held| held.key == key && held.fate == Fate::Keep;
        self.resetting.values().filter(counts).count()
            + self.dialling.values().filter(counts).count()
    }

    /// Connections of `key` that the server let in.
    pub(super) fn established(&self, key: KeyId) -> usize {
        let used = self.leased.values().chain(self.resetting.values());
        used.chain(self.idle.iter().map(|idle| &idle.held))
            .filter(|held| held.key == key)
            .count()
    }

    /// Connections that the server may count.
    pub(super) fn held(&self) -> usize {
        self.leased.len()
            + self.resetting.len()
            + self.idle.len()
            + self.dialling.len()
            + self.closing.len()
    }
}
