//! How connections end, and what ends many of them at once.

use std::hash::Hash;

use tokio::time::Instant;

use super::ConnId;
use super::Core;
use super::Fate;
use super::Held;
use super::KeyId;
use super::Mode;
use super::Ticket;
use crate::fault::Blame;
use crate::pool::stats::Ended;

impl<K: Clone + Eq + Hash> Core<K> {
    /// An idle connection was found dead; its place is free. Ids of keys got before are not valid any more.
    pub(in crate::pool) fn dead(&mut self, id: ConnId) {
        if let Some(at) = self.idle.iter().position(|idle| idle.id == id) {
            let key = self.idle.remove(at).held.key;
            self.counters.closings.count(Ended::Dead);
            self.forget_if_unused(key);
        }
    }

    /// A client wants its connection closed. `closed` follows.
    pub(in crate::pool) fn discard(&mut self, id: ConnId) {
        if let Some(held) = self.leased.remove(&id) {
            self.counters.leases.discarded += 1;
            self.begin_closing(id, held.key, Ended::Discarded);
        }
    }

    /// Whoever had the connection in hand let it go: the lease was dropped, the reset or the dial failed to end
    /// properly, or the closing is done. Its place is free. True: it was a dial.
    pub(in crate::pool) fn vacate(&mut self, id: ConnId) -> bool {
        let was_dial = self.dialling.contains_key(&id);
        let key = if let Some(held) = self.leased.remove(&id) {
            self.counters.leases.dropped += 1;
            self.counters.closings.count(Ended::Dropped);
            held.key
        } else if let Some(held) = self.resetting.remove(&id) {
            self.counters.closings.count(Ended::ResetFailed);
            held.key
        } else if let Some(held) = self.dialling.remove(&id) {
            self.counters.dials_failed.count(Blame::Internal);
            held.key
        } else if let Some(key) = self.closing.remove(&id) {
            key
        } else {
            return false;
        };
        self.forget_if_unused(key);
        was_dial
    }

    /// Closes the idle connections of these keys, and those that would fall idle next. Returns all that have to be
    /// gone before none of them is left at the server.
    pub(in crate::pool) fn close_idle(&mut self, which: &dyn Fn(&K) -> bool) -> Vec<ConnId> {
        let keys = self.matching(which);
        self.end_all_idle(&keys, Ended::Requested);
        for held in self
            .resetting
            .values_mut()
            .filter(|held| keys.contains(&held.key))
        {
            held.fate = Fate::Close(Ended::Requested);
        }
        for key in &keys {
            // A dial that no client waits for any more would fall idle.
            let wanted = self.keys.get(key).map_or(0, |state| state.waiters.len());
            let kept = self
                .dialling
                .values_mut()
                .filter(|held| held.key == *key && held.fate == Fate::Keep);
            kept.skip(wanted)
                .for_each(|held| held.fate = Fate::Close(Ended::Requested));
        }
        let doomed = self.resetting.iter().chain(&self.dialling);
        let doomed = doomed
            .filter(|(_, held)| keys.contains(&held.key) && matches!(held.fate, Fate::Close(_)));
        let closing = self.closing.iter().filter(|(_, key)| keys.contains(key));
        doomed
            .map(|(id, _)| *id)
            .chain(closing.map(|(id, _)| *id))
            .collect()
    }

    /// No connection of these keys that exists now is lent again.
    pub(in crate::pool) fn bump_generation(&mut self, which: &dyn Fn(&K) -> bool) {
        let keys = self.matching(which);
        self.end_all_idle(&keys, Ended::Outdated);
        let in_use = self
            .leased
            .values_mut()
            .chain(self.resetting.values_mut())
            .chain(self.dialling.values_mut());
        for held in in_use.filter(|held| keys.contains(&held.key)) {
            held.fate = Fate::Close(Ended::Outdated);
        }
    }

    /// Refuses everybody from now on. Returns the clients to be told.
    pub(in crate::pool) fn drain(&mut self) -> Vec<Ticket> {
        self.mode = Mode::Draining;
        let keys = self.matching(&|_| true);
        self.end_all_idle(&keys, Ended::Drained);
        let mut told = Vec::new();
        for (key, state) in &mut self.keys {
            told.extend(state.waiters.drain(..).map(|waiter| Ticket {
                number: waiter.number,
                key: *key,
            }));
        }
        self.waiting = 0;
        told.sort_unstable();
        keys.into_iter().for_each(|key| self.forget_if_unused(key));
        told
    }

    /// Ends idle connections whose time is over.
    pub(in crate::pool) fn expire(&mut self, now: Instant) {
        let old: Vec<ConnId> = self
            .idle
            .iter()
            .filter(|idle| idle.held.expires_at <= now)
            .map(|idle| idle.id)
            .collect();
        old.into_iter()
            .for_each(|id| self.end_idle(id, Ended::Lifetime));
        let spare = self.idle.len().saturating_sub(self.limits.min_idle);
        let since = |at: Instant| at + self.limits.idle_timeout <= now;
        let unused: Vec<ConnId> = self
            .idle
            .iter()
            .take(spare)
            .filter(|idle| since(idle.since))
            .map(|idle| idle.id)
            .collect();
        unused
            .into_iter()
            .for_each(|id| self.end_idle(id, Ended::Idle));
    }

    /// When `expire` or `next` will have something to do although nothing happens.
    pub(in crate::pool) fn deadline(&self) -> Option<Instant> {
        let lives = self.idle.iter().map(|idle| idle.held.expires_at).min();
        let oldest = self
            .idle
            .first()
            .filter(|_| self.idle.len() > self.limits.min_idle);
        let unused = oldest.map(|idle| idle.since + self.limits.idle_timeout);
        lives.into_iter().chain(unused).chain(self.retry_at()).min()
    }

    pub(super) fn end_idle(&mut self, id: ConnId, why: Ended) {
        if let Some(at) = self.idle.iter().position(|idle| idle.id == id) {
            let key = self.idle.remove(at).held.key;
            self.begin_closing(id, key, why);
            self.to_close.push(id);
        }
    }

    pub(super) fn begin_closing(&mut self, id: ConnId, key: KeyId, why: Ended) {
        self.counters.closings.count(why);
        self.closing.insert(id, key);
    }

    /// Keys come from clients: one that has neither connections nor waiters leaves nothing behind.
    pub(super) fn forget_if_unused(&mut self, key: KeyId) {
        let Some(state) = self.keys.get(&key) else {
            return;
        };
        let of_key = |held: &Held| held.key == key;
        let in_use = !state.waiters.is_empty()
            || self.leased.values().any(of_key)
            || self.resetting.values().any(of_key)
            || self.dialling.values().any(of_key)
            || self.idle.iter().any(|idle| idle.held.key == key)
            || self.closing.values().any(|other| *other == key);
        if !in_use && let Some(state) = self.keys.remove(&key) {
            self.names.remove(&state.name);
        }
    }

    fn matching(&self, which: &dyn Fn(&K) -> bool) -> Vec<KeyId> {
        self.keys
            .iter()
            .filter(|(_, state)| which(&state.name))
            .map(|(key, _)| *key)
            .collect()
    }

    fn end_all_idle(&mut self, keys: &[KeyId], why: Ended) {
        let ids: Vec<ConnId> = self
            .idle
            .iter()
            .filter(|idle| keys.contains(&idle.held.key))
            .map(|idle| idle.id)
            .collect();
        ids.into_iter().for_each(|id| self.end_idle(id, why));
    }
}
