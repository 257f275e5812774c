//! Learns what the server says first, so that clients can be greeted in its words before they log in.
//!
//! A MySQL server speaks first, so the first client is held until the upstream server's greeting is known. That takes
//! a TCP connection and no identity. The connection is kept for the first login, which follows at once as a rule; a
//! probe that sends nothing leaves it unused, and after a while it is closed. The server counts that as one failed
//! handshake in a process's life (`Aborted_connects`; towards `max_connect_errors` it is forgotten with the next login
//! that works). Every later login refreshes what is known.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep;

use super::error::BackendError;
use super::wire::handshake::Greeting;
use crate::fault::Fault;
use crate::fault::Retry;

/// An unused connection is closed after this: below the server's own patience, `connect_timeout`, 10 s by default.
const SPARE_TIME_MAX: Duration = Duration::from_secs(5);
/// A server that is full is asked again after this, then after twice as long (protocol.md D.4).
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// A connection on which the server has spoken, and nobody else.
#[derive(Debug)]
pub struct Greeted {
    /// The connection.
    pub stream: TcpStream,
    /// The address that answered.
    pub address: SocketAddr,
    /// What it said.
    pub greeting: Greeting,
}

/// What is known of the server's greeting.
#[derive(Debug, Default)]
pub struct Greeter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: Option<Arc<Greeting>>,
    /// Made to learn the greeting, and good for one login.
    spare: Option<Greeted>,
    /// Somebody is learning it.
    learning: Option<watch::Receiver<Learned>>,
}

type Learned = Option<Result<Arc<Greeting>, BackendError>>;

impl Greeter {
    /// The server said this.
    pub fn heard(&self, greeting: &Greeting) {
        self.0.lock().known = Some(Arc::new(greeting.clone()));
    }

    /// The connection that learning left over.
    pub fn take_spare(&self) -> Option<Greeted> {
        let spare = self.0.lock().spare.take()?;
        // The server may have lost patience, or said so.
        let silent = matches!(spare.stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        silent.then_some(spare)
    }

    /// What the server says first; where that is not known, `dial` finds out, once for all who wait, and again while
    /// the server is full and `patience` lasts. Cancel safe: the learning goes on.
    pub async fn greeting<D, F>(
        self: &Arc<Self>,
        dial: D,
        patience: Duration,
    ) -> Result<Arc<Greeting>, BackendError>
    where
        D: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Greeted, BackendError>> + Send + 'static,
    {
        let mut learning = {
            let mut state = self.0.lock();
            if let Some(known) = &state.known {
                return Ok(Arc::clone(known));
            }
            match &state.learning {
                Some(learning) => learning.clone(),
                None => {
                    let (tell, learning) = watch::channel(None);
                    state.learning = Some(learning.clone());
                    tokio::spawn(Arc::clone(self).learn(dial, patience, tell));
                    learning
                }
            }
        };
        loop {
            if let Some(learned) = &*learning.borrow_and_update() {
                return learned.clone();
            }
            if learning.changed().await.is_err() {
                return Err(BackendError::Protocol {
                    endpoint: "the server".to_owned(),
                    what: "no greeting was learned",
                });
            }
        }
    }

    async fn learn<D, F>(self: Arc<Self>, dial: D, patience: Duration, tell: watch::Sender<Learned>)
    where
        D: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Greeted, BackendError>> + Send + 'static,
    {
        let outcome = until_not_full(dial, patience).await;
        let learned = {
            let mut state = self.0.lock();
            state.learning = None;
            outcome.map(|greeted| {
                let greeting = Arc::new(greeted.greeting.clone());
                state.known = Some(Arc::clone(&greeting));
                state.spare = Some(greeted);
                greeting
            })
        };
        let has_spare = learned.is_ok();
        tell.send_replace(Some(learned));
        if has_spare {
            sleep(SPARE_TIME_MAX).await;
            self.0.lock().spare = None;
        }
    }
}

async fn until_not_full<D, F>(dial: D, patience: Duration) -> Result<Greeted, BackendError>
where
    D: Fn() -> F + Send + Sync,
    F: Future<Output = Result<Greeted, BackendError>> + Send,
{
    let deadline = Instant::now() + patience;
    let mut again = AGAIN_FIRST;
    loop {
        match dial().await {
            Err(error)
                if error.retry() == Retry::LimitReached && Instant::now() + again < deadline =>
            {
                sleep(again).await;
                again = (again * 2).min(AGAIN_MAX);
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests;
