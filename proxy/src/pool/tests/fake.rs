//! A server that does what it is told.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::pool::Backend;
use crate::pool::Health;
use crate::pool::Pool;

#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    pub(super) text: &'static str,
    pub(super) retry: Retry,
}

impl Fault for Failure {
    fn blame(&self) -> Blame {
        Blame::Upstream
    }

    fn retry(&self) -> Retry {
        self.retry
    }

    fn for_client(&self) -> ClientError {
        let message = self.text.to_owned();
        ClientError {
            sqlstate: Cow::Borrowed("53300"),
            message,
            detail: None,
            hint: None,
        }
    }
}

/// A connection; the server counts it until it is dropped.
pub(super) struct Conn {
    pub(super) number: u64,
    server: Arc<Server>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.server.world.lock().open.remove(&self.number);
    }
}

#[derive(Default)]
pub(super) struct Server {
    pub(super) world: Mutex<World>,
}

impl Server {
    pub(super) fn open(&self) -> usize {
        self.world.lock().open.len()
    }

    pub(super) fn open_max(&self) -> usize {
        self.world.lock().open_max
    }

    pub(super) fn dials(&self) -> u64 {
        self.world.lock().dials
    }

    pub(super) fn polite(&self) -> u64 {
        self.world.lock().polite
    }
}

#[derive(Default)]
pub(super) struct World {
    pub(super) open: HashMap<u64, &'static str>,
    pub(super) dead: HashSet<u64>,
    pub(super) dials: u64,
    pub(super) dialling: usize,
    pub(super) dialling_max: usize,
    pub(super) open_max: usize,
    /// The server refuses more.
    pub(super) limit: Option<usize>,
    /// Answers to the next dials, before the server is asked.
    pub(super) script: VecDeque<Failure>,
    pub(super) dial_takes: Duration,
    pub(super) reset_takes: Duration,
    pub(super) close_takes: Duration,
    pub(super) reset_fails: bool,
    pub(super) dial_panics: bool,
    pub(super) polite: u64,
}

#[derive(Clone)]
pub(super) struct Fake(pub(super) Arc<Server>);

impl Backend for Fake {
    type Key = &'static str;
    type Conn = Conn;
    type Error = Failure;

    async fn dial(&self, key: &&'static str) -> Result<Conn, Failure> {
        let (takes, number) = {
            let mut world = self.0.world.lock();
            world.dials += 1;
            world.dialling += 1;
            world.dialling_max = world.dialling_max.max(world.dialling);
            (world.dial_takes, world.dials)
        };
        sleep(takes).await;
        let mut world = self.0.world.lock();
        world.dialling -= 1;
        assert!(!world.dial_panics, "the dial panics, as asked");
        if let Some(failure) = world.script.pop_front() {
            return Err(failure);
        }
        if world.limit.is_some_and(|limit| world.open.len() >= limit) {
            return Err(Failure {
                text: "sorry, too many clients already",
                retry: Retry::LimitReached,
            });
        }
        world.open.insert(number, key);
        world.open_max = world.open_max.max(world.open.len());
        Ok(Conn {
            number,
            server: Arc::clone(&self.0),
        })
    }

    async fn reset(&self, conn: Conn) -> Option<Conn> {
        let (takes, fails) = {
            let world = self.0.world.lock();
            (world.reset_takes, world.reset_fails)
        };
        sleep(takes).await;
        if fails { None } else { Some(conn) }
    }

    fn health(&self, conn: &mut Conn) -> Health {
        match self.0.world.lock().dead.contains(&conn.number) {
            true => Health::Dead,
            false => Health::Clean,
        }
    }

    async fn close(&self, conn: Conn) {
        let takes = self.0.world.lock().close_takes;
        sleep(takes).await;
        self.0.world.lock().polite += 1;
        drop(conn);
    }
}

pub(super) fn limits(max_connections: usize) -> config::Pool {
    config::Pool {
        mode: config::PoolMode::Session,
        max_connections,
        min_idle: 0,
        idle_timeout: Duration::from_secs(60),
        max_lifetime: Duration::from_secs(30 * 60),
        checkout_timeout: Duration::from_secs(60),
        connects_per_second: 20,
    }
}

/// A pool with its timers running, and the server behind it. A dial takes 50 ms.
pub(super) fn pool(limits: &config::Pool) -> (Pool<Fake>, Arc<Server>) {
    let server = Arc::new(Server::default());
    server.world.lock().dial_takes = Duration::from_millis(50);
    let pool = Pool::new(Fake(Arc::clone(&server)), limits, || 0.5);
    tokio::spawn(pool.clone().maintain());
    (pool, server)
}

/// Lets every task that can run do so, without time passing.
pub(super) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
