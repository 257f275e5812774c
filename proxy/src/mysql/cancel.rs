//! KILL that reaches the right server session, and never a later user of it (protocol.md C.6).
//!
//! A client is greeted before its upstream connection exists, so it gets an id of ours, from a range no server uses.
//! A KILL that names such an id is translated and made on the connection of the client that asks, as a direct client's
//! would be: the server judges whether its user may, and a server that is full does not matter. Where that client is
//! connected to another address (reader endpoints), and where nobody asks but the victim's client is gone, a separate
//! connection to the victim's address is made. KILL QUERY works on whatever its victim runs when it arrives; so the
//! victim is not lent to anybody else before the KILL has been answered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::backend::Conn;
use super::dialer::Dialer;
use super::dialer::execute;
use super::error::BackendError;
use super::key::Key;
use super::settle::Stop;
use super::statement::Scope;
use super::told::Told;
use crate::session::Gate;

/// How long one KILL may take, from dial to the server's answer.
const CANCEL_TIME_MAX: Duration = Duration::from_secs(5);
/// Ids of ours begin here: positive for clients that read them signed, and out of reach of a server that counts from 1.
const FIRST_ID: u32 = 0x4000_0000;

/// An upstream session, as a target for KILL.
#[derive(Debug)]
pub struct Victim {
    /// How to reach its server.
    pub dialer: Arc<Dialer>,
    /// The address the session is connected to: a name could mean another server by now.
    pub address: SocketAddr,
    /// Its real id.
    pub thread_id: u32,
    /// Whose session it is.
    pub key: Key,
    /// Who may kill, and how many do.
    pub gate: Gate,
}

/// Why a KILL did not work.
#[derive(Debug)]
pub enum KillError {
    /// The connection it was made on is out of step.
    Lost,
    /// The server could not be reached, or said no: what the client is told.
    Told(Box<Told>),
}

impl KillError {
    fn told(error: &BackendError) -> Self {
        Self::from(Told::from(error))
    }
}

impl From<Told> for KillError {
    fn from(told: Told) -> Self {
        Self::Told(Box::new(told))
    }
}

impl Victim {
    /// Kills as the user of `by`, which must be idle, and waits for the server's answer. Does nothing while the session
    /// belongs to nobody.
    ///
    /// # Errors
    /// See [`KillError`].
    pub async fn kill(&self, scope: Scope, by: &mut Conn) -> Result<(), KillError> {
        if by.victim.address != self.address {
            let killed = self.kill_apart(scope, &by.victim.key).await;
            return killed.map_err(|error| KillError::told(&error));
        }
        let Some(_inside) = self.gate.enter() else {
            return Ok(());
        };
        let statement = self.statement(scope);
        let said = execute(&mut by.io, self.address, &statement);
        match timeout(CANCEL_TIME_MAX, said).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ BackendError::Refused { .. })) => Err(KillError::told(&error)),
            Ok(Err(_)) | Err(_) => Err(KillError::Lost),
        }
    }

    /// Kills on a connection of its own, as the user of `by`.
    async fn kill_apart(&self, scope: Scope, by: &Key) -> Result<(), BackendError> {
        let Some(_inside) = self.gate.enter() else {
            return Ok(());
        };
        let deadline = Instant::now() + CANCEL_TIME_MAX;
        let (by, statement) = (by.bare(), self.statement(scope));
        let said = self
            .dialer
            .execute_at(self.address, &by, &statement, deadline);
        timeout(CANCEL_TIME_MAX, said).await.unwrap_or_else(|_| {
            Err(BackendError::TimedOut {
                endpoint: self.address.to_string(),
                step: "KILL",
                after: CANCEL_TIME_MAX,
            })
        })
    }

    fn statement(&self, scope: Scope) -> String {
        let what = match scope {
            Scope::Connection => "CONNECTION",
            Scope::Query => "QUERY",
        };
        format!("KILL {what} {}", self.thread_id)
    }
}

impl Stop for Victim {
    async fn stop(&self) {
        if let Err(error) = self.kill_apart(Scope::Query, &self.key).await {
            tracing::warn!(%error, "KILL QUERY failed");
        }
    }

    async fn close(&self) {
        self.gate.close().await;
    }
}

/// The clients of one listener, by the ids they were greeted with.
#[derive(Debug, Default)]
pub struct Registry {
    clients: Mutex<HashMap<u32, Arc<Client>>>,
    given: AtomicU32,
}

/// A connected client.
#[derive(Debug, Default)]
pub struct Client {
    /// The session that works for it at this moment.
    victim: Mutex<Option<Arc<Victim>>>,
    /// Somebody killed its connection.
    pub killed: CancellationToken,
}

impl Client {
    /// From now on this session works for the client; none: nobody does.
    pub fn attach(&self, victim: Option<Arc<Victim>>) {
        *self.victim.lock() = victim;
    }

    /// The session that works for it at this moment.
    pub fn victim(&self) -> Option<Arc<Victim>> {
        self.victim.lock().clone()
    }
}

impl Registry {
    /// Gives the client an id; it is valid as long as the registration lives.
    pub fn register(self: &Arc<Self>) -> Registration {
        let client = Arc::new(Client::default());
        let mut clients = self.clients.lock();
        let id = loop {
            let id = FIRST_ID + self.given.fetch_add(1, Relaxed) % FIRST_ID;
            if !clients.contains_key(&id) {
                break id;
            }
        };
        clients.insert(id, Arc::clone(&client));
        Registration {
            registry: Arc::clone(self),
            id,
            client,
        }
    }

    /// The client that was greeted with this id; none: it is no id of ours, or its client is gone.
    pub fn find(&self, id: u32) -> Option<Arc<Client>> {
        self.clients.lock().get(&id).cloned()
    }
}

/// A client's id. Dropping it takes the id out of use.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    id: u32,
    /// What the id stands for.
    pub client: Arc<Client>,
}

impl Registration {
    /// What the client is greeted with.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.clients.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ours_and_end_with_the_registration() {
        let registry = Arc::new(Registry::default());
        let (one, two) = (registry.register(), registry.register());
        assert_eq!((one.id(), two.id()), (0x4000_0000, 0x4000_0001));
        assert!(registry.find(0x4000_0000).is_some());
        drop(one);
        assert!(registry.find(0x4000_0000).is_none());
        drop(two);
        assert!(registry.clients.lock().is_empty());
    }

    #[test]
    fn ids_stay_positive_and_are_not_given_twice() {
        let registry = Arc::new(Registry::default());
        let first = registry.register();
        registry.given.store(FIRST_ID - 1, Relaxed);
        let last = registry.register();
        assert_eq!(last.id(), 0x7fff_ffff);
        assert_eq!(registry.register().id(), first.id() + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_gate_waits_for_those_inside_and_lets_nobody_else_in() {
        let gate = Gate::default();
        assert!(gate.enter().is_none(), "closed at first");
        gate.open();
        let inside = gate.enter().unwrap();
        let mut closing = std::pin::pin!(gate.close());
        assert!(timeout(Duration::from_secs(1), &mut closing).await.is_err());
        assert!(gate.enter().is_none());
        drop(inside);
        closing.await;
    }
}
