//! Who can go on: dials, evictions, and the limits that hold them back.

use std::hash::Hash;

use tokio::time::Instant;

use super::ConnId;
use super::Core;
use super::Fate;
use super::Held;
use super::Idle;
use super::KeyId;
use super::KeyState;
use super::Learned;
use super::Mode;
use super::Step;
use crate::pool::stats::Ended;

/// Whether one dial more for a key may begin.
enum Gate {
    Open,
    /// Not before, unless something happens.
    Until(Instant),
    /// Not before something happens.
    Shut,
}

impl<K: Clone + Eq + Hash> Core<K> {
    /// One thing to begin now. To be called after every event, and at [`Self::retry_at`], until it gives `None`.
    pub(in crate::pool) fn next(&mut self, now: Instant) -> Option<Step<K>> {
        if let Some(id) = self.to_close.pop() {
            return Some(Step::Close(id));
        }
        self.retry_at = None;
        if self.mode == Mode::Draining {
            return None;
        }
        match self.waiting {
            0 => self.refill(now),
            _ => self.serve(now),
        }
    }

    /// When `next` is to be asked again although nothing happened. Valid after `next` gave `None`.
    pub(in crate::pool) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether a connection of `key`, given back now, is owed to a client with another key.
    pub(super) fn is_claimed(&mut self, key: KeyId, now: Instant) -> bool {
        if self.waiting == 0 || self.held() < self.limits.connections_max {
            return false;
        }
        let own = self
            .keys
            .get(&key)
            .and_then(|state| state.waiters.front())
            .map(|waiter| waiter.number);
        if own.is_some_and(|_| self.keys.len() == 1) {
            return false;
        }
        let Some((claimant, number)) = self.claimant(self.closing.len(), now) else {
            return false;
        };
        let Some(since) = self.since(claimant, number) else {
            return false;
        };
        let patient = since + self.limits.key_patience <= now;
        claimant != key && own.is_none_or(|own| number < own && patient)
    }

    /// What a refused dial teaches, and the room that other keys make for it.
    pub(super) fn learn(&mut self, id: ConnId, key: KeyId, now: Instant, jitter: f64) {
        let established = self.established(key);
        let next = ConnId(self.ids + 1);
        let Some(state) = self.keys.get_mut(&key) else {
            return;
        };
        match &mut state.learned {
            Some(learned) => {
                learned.max = established;
                learned.refused(id, next, now, jitter);
            }
            None => state.learned = Some(Learned::new(established, next, now, jitter)),
        }
        if state.waiters.is_empty() {
            return;
        }
        // The server may count all keys together: give one back, it may be the one that was missing.
        if let Some(victim) = self.oldest_idle_of_others(key) {
            self.end_idle(victim, Ended::Evicted);
        }
    }

    fn serve(&mut self, now: Instant) -> Option<Step<K>> {
        if self.held() >= self.limits.connections_max {
            // Each connection being closed already makes room for one client.
            let (key, _) = self.claimant(self.closing.len(), now)?;
            let victim = self.oldest_idle_of_others(key)?;
            self.end_idle(victim, Ended::Evicted);
            return self.to_close.pop().map(Step::Close);
        }
        if self.dialling.len() >= self.limits.dials_max {
            return None;
        }
        let (key, _) = self.claimant(0, now)?;
        self.dial(key, now)
    }

    /// Opens a connection to have it at hand, for a key that is in use.
    fn refill(&mut self, now: Instant) -> Option<Step<K>> {
        let at_hand = self.idle.len() + self.resetting.len() + self.dialling.len();
        if at_hand >= self.limits.min_idle
            || self.held() >= self.limits.connections_max
            || self.dialling.len() >= self.limits.dials_max
        {
            return None;
        }
        let key = self.key_in_use()?;
        let state = self.keys.get(&key)?;
        if let Some(after) = self.refill_after.filter(|after| *after > now) {
            self.retry_at = Some(after);
            return None;
        }
        // Never a probe: only clients are worth one.
        if state
            .learned
            .as_ref()
            .is_some_and(|learned| self.established(key) >= learned.max)
        {
            return None;
        }
        self.dial(key, now)
    }

    fn dial(&mut self, key: KeyId, now: Instant) -> Option<Step<K>> {
        let name = self.keys.get(&key)?.name.clone();
        if let Err(at) = self.pace.take(now) {
            self.retry_at = Some(self.retry_at.map_or(at, |other| other.min(at)));
            return None;
        }
        let id = ConnId(self.next_id());
        self.dialling.insert(
            id,
            Held {
                key,
                fate: Fate::Keep,
                expires_at: now,
            },
        );
        self.counters.dials_started += 1;
        Some(Step::Dial(id, name))
    }

    /// The oldest client over all keys that nothing under way will serve and a dial may be begun for, after
    /// leaving out `skip` of them. Notes in `retry_at` when a key now barred may dial.
    fn claimant(&mut self, skip: usize, now: Instant) -> Option<(KeyId, u64)> {
        let mut retry_at = self.retry_at;
        let mut first: Option<(u64, KeyId)> = None;
        let mut all = Vec::new();
        for (key, state) in self
            .keys
            .iter()
            .filter(|(_, state)| !state.waiters.is_empty())
        {
            let mut uncovered = state
                .waiters
                .iter()
                .skip(self.coming(*key))
                .map(|waiter| (waiter.number, *key));
            match self.gate(*key, state, now) {
                Gate::Open if skip > 0 => all.extend(uncovered.take(skip + 1)),
                Gate::Open => first = first.into_iter().chain(uncovered.next()).min(),
                Gate::Until(at) if uncovered.next().is_some() => {
                    retry_at = Some(retry_at.map_or(at, |other| other.min(at)));
                }
                Gate::Until(_) | Gate::Shut => {}
            }
        }
        self.retry_at = retry_at;
        if skip > 0 {
            all.sort_unstable();
            first = all.get(skip).copied();
        }
        first.map(|(number, key)| (key, number))
    }

    fn gate(&self, key: KeyId, state: &KeyState<K>, now: Instant) -> Gate {
        let Some(learned) = &state.learned else {
            return Gate::Open;
        };
        let dialling = self
            .dialling
            .values()
            .filter(|held| held.key == key)
            .count();
        if self.established(key) + dialling < learned.max {
            return Gate::Open;
        }
        match dialling {
            0 if learned.probe_at <= now => Gate::Open,
            0 => Gate::Until(learned.probe_at),
            _ => Gate::Shut,
        }
    }

    fn since(&self, key: KeyId, number: u64) -> Option<Instant> {
        let waiters = &self.keys.get(&key)?.waiters;
        let at = waiters
            .binary_search_by_key(&number, |waiter| waiter.number)
            .ok()?;
        waiters.get(at).map(|waiter| waiter.since)
    }

    fn oldest_idle_of_others(&self, key: KeyId) -> Option<ConnId> {
        self.idle
            .iter()
            .find(|idle: &&Idle| idle.held.key != key)
            .map(|idle| idle.id)
    }

    fn key_in_use(&self) -> Option<KeyId> {
        let used = |key: KeyId| self.leased.values().any(|held| held.key == key);
        self.last_lent
            .filter(|key| used(*key))
            .or_else(|| self.leased.values().map(|held| held.key).min())
    }
}
