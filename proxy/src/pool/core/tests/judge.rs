//! What must hold after each event.

use std::collections::BTreeSet;

use super::model::At;
use super::model::Conn;
use super::model::Key;
use super::model::Model;
use crate::pool::core::Ticket;

impl Model {
    pub(super) fn waiters(&self, key: Key) -> Vec<Ticket> {
        self.queue
            .iter()
            .filter(|(_, other)| *other == key)
            .map(|(ticket, _)| *ticket)
            .collect()
    }

    /// A client with another key came first, waited long enough, and nothing else would serve it.
    pub(super) fn is_owed(&self, key: Key) -> bool {
        if self.conns.len() < self.limits.connections_max || self.count(At::Closing) > 0 {
            return false;
        }
        let own = self.waiters(key).first().copied();
        let claims = |(ticket, other): &(Ticket, Key)| {
            let covered = self
                .waiters(*other)
                .iter()
                .take(self.coming(*other))
                .any(|covered| covered == ticket);
            let is_due = own.is_none_or(|own| {
                ticket.number < own.number
                    && self.since[ticket] + self.limits.key_patience <= self.now
            });
            *other != key && !covered && is_due && !self.core.is_limited(self.core.names[other])
        };
        self.queue.iter().any(claims)
    }

    /// Clients that nothing under way will serve.
    pub(super) fn uncovered(&self) -> usize {
        let keys: BTreeSet<Key> = self.queue.iter().map(|(_, key)| *key).collect();
        let of_key = |key: Key| self.waiters(key).len().saturating_sub(self.coming(key));
        keys.into_iter().map(of_key).sum()
    }

    pub(super) fn coming(&self, key: Key) -> usize {
        let under_way =
            |conn: &&Conn| conn.at == At::Dialling || (conn.at == At::Resetting && !conn.slow);
        self.conns
            .iter()
            .filter(under_way)
            .filter(|conn| conn.key == key && !conn.doomed)
            .count()
    }

    pub(super) fn judge(&self) {
        let stats = self.core.stats();
        let counts = [
            stats.closing,
            stats.dialling,
            stats.idle,
            stats.leased,
            stats.resetting,
        ];
        let places = [
            At::Closing,
            At::Dialling,
            At::Idle,
            At::Leased,
            At::Resetting,
        ];
        assert_eq!(counts, places.map(|at| self.count(at)));
        assert_eq!(stats.waiting, self.queue.len());
        let leases = stats.counters.leases;
        let ended = leases.released + leases.discarded + leases.dropped + leases.undelivered;
        assert_eq!(leases.opened, ended + stats.leased as u64);
        let closed: u64 = stats
            .counters
            .closings
            .by_reason()
            .iter()
            .map(|(_, count)| count)
            .sum();
        let open = self.conns.len() - self.count(At::Dialling) - self.count(At::Closing);
        assert_eq!(stats.counters.dials_ok, closed + open as u64);
        assert_eq!(self.core.keys.len(), self.core.names.len());
        self.judge_waiting();
    }

    /// Nobody waits while somebody could do something about it.
    pub(super) fn judge_waiting(&self) {
        assert!(
            self.core.retry_at().is_none_or(|at| at > self.now),
            "no timer that fires at once for ever"
        );
        let keys: BTreeSet<Key> = self.queue.iter().map(|(_, key)| *key).collect();
        let is_free = |key: &Key| !self.core.is_limited(self.core.names[key]);
        let uncovered = |key: &Key| self.waiters(*key).len().saturating_sub(self.coming(*key));
        for key in &keys {
            assert!(
                !self
                    .conns
                    .iter()
                    .any(|conn| conn.at == At::Idle && conn.key == *key)
            );
        }
        let eager: usize = keys.iter().filter(|key| is_free(key)).map(uncovered).sum();
        if eager == 0 {
            return;
        }
        if self.conns.len() < self.limits.connections_max {
            let waits =
                self.core.retry_at().is_some() || self.count(At::Dialling) == self.limits.dials_max;
            assert!(waits, "room, and nobody dials");
        } else {
            let idle_of_others = self.conns.iter().any(|conn| conn.at == At::Idle);
            assert!(
                !idle_of_others || eager <= self.count(At::Closing),
                "an idle connection could make room"
            );
        }
    }
}
