//! One listener's clients, from their first byte to their last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument;

use super::backend::Backend;
use super::cancel::Registration;
use super::cancel::Registry;
use super::error::BackendError;
use super::front::Hello;
use super::front::fatal;
use super::front::hello;
use super::key::Key;
use super::prove;
use super::relay::End;
use super::relay::Relay;
use super::scram;
use super::scram::ScramError;
use super::settle::Farewell;
use super::settle::Rest;
use super::settle::settle;
use super::wire::Severity;
use super::wire::Startup;
use super::wire::auth;
use super::wire::error::put_error;
use super::wire::status;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::net::ClientStream;
use crate::net::Drain;
use crate::pool::CheckoutError;
use crate::pool::Lease;
use crate::pool::Pool;
use crate::session::AppStream;
use crate::session::Metrics;
use crate::session::client_gone;
use crate::tls::ClientAcceptor;

/// PostgreSQL's `authentication_timeout`: a client that does not get to the point is dropped without a word.
const STARTUP_TIME_MAX: Duration = Duration::from_secs(60);
/// A client that does not read its last message does not keep its server.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// One listener.
#[derive(Debug)]
pub struct Service {
    /// What is configured.
    pub database: Arc<config::Database>,
    /// Upstream connections.
    pub pool: Pool<Backend>,
    /// TLS towards clients, where configured.
    pub acceptor: Option<ClientAcceptor>,
    /// The shared secret, where clients must know it.
    pub secret: Option<scram::Verifier>,
    /// Who may cancel what.
    pub cancels: Arc<Registry>,
    /// More clients than this at once are refused (53300).
    pub clients_max: u64,
    /// Why the last upstream login failed; none when it did not.
    pub failures: watch::Receiver<Option<BackendError>>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The wish to end.
    pub drain: Drain,
}

/// Why a session did not come about, or ended.
enum Refusal {
    /// The client is gone; nobody to tell.
    Gone,
    /// The client is told.
    Told(Box<ClientError>),
}

impl From<io::Error> for Refusal {
    fn from(_error: io::Error) -> Self {
        Self::Gone
    }
}

impl Service {
    /// Serves one client to its end.
    pub async fn serve(&self, stream: ClientStream) {
        let _counted = self.metrics.client();
        let peer = stream.peer();
        // A probe that sends nothing, or a handshake that fails, is no news.
        match timeout(STARTUP_TIME_MAX, hello(stream, self.acceptor.as_ref())).await {
            Err(_elapsed) => tracing::debug!(%peer, "no startup packet within a minute"),
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no session"),
            Ok(Ok(Hello::Gone)) => tracing::debug!(%peer, "closed before a startup packet"),
            Ok(Ok(Hello::Cancel(key, io))) => {
                if let Some(victim) = self.cancels.find(&key) {
                    self.metrics.cancelled();
                    victim.cancel().await;
                }
                drop(io);
            }
            Ok(Ok(Hello::Session(startup, io))) => {
                let span =
                    tracing::info_span!("session", client = %peer, database = %self.database.name);
                Box::pin(self.session(startup, io)).instrument(span).await;
            }
        }
    }

    async fn session(&self, startup: Startup, mut io: AppStream) {
        match self.prepare(&startup, &mut io).await {
            Ok((lease, early)) => self.converse(io, lease, early, startup.minor).await,
            Err(Refusal::Gone) => tracing::debug!("client left before its session began"),
            Err(Refusal::Told(error)) => {
                self.metrics.refused();
                tracing::warn!(sqlstate = %error.sqlstate, detail = error.detail, hint = error.hint,
                    "client refused: {}", error.message);
                if fatal(&mut io, &error).await.is_err() {
                    tracing::debug!("client left before it was told");
                }
            }
        }
    }

    /// Everything before the first ReadyForQuery: who is it, and a connection for it.
    async fn prepare(
        &self,
        startup: &Startup,
        io: &mut AppStream,
    ) -> Result<(Prepared, Vec<u8>), Refusal> {
        if self.metrics.clients_now() > self.clients_max {
            return Err(told("53300", "sorry, too many clients already"));
        }
        let Some(key) = Key::new(startup, &self.database) else {
            return Err(told(
                "28000",
                "no PostgreSQL user name specified in startup packet",
            ));
        };
        self.authenticate(startup, io).await?;
        let mut early = Vec::new();
        let (lease, greeted) = self.wait_for_lease(&key, io, &mut early).await?;
        Ok((
            Prepared {
                lease,
                greeted,
                poolable: !key.replication,
            },
            early,
        ))
    }

    async fn authenticate(&self, startup: &Startup, io: &mut AppStream) -> Result<(), Refusal> {
        let Some(verifier) = &self.secret else {
            return Ok(());
        };
        match timeout(STARTUP_TIME_MAX, prove::exchange(verifier, io)).await {
            Err(_elapsed) => Err(Refusal::Gone),
            Ok(Ok(())) => Ok(()),
            Ok(Err(Some(ScramError::FalseProof))) => {
                let user = String::from_utf8_lossy(startup.parameter("user").unwrap_or_default())
                    .into_owned();
                Err(told(
                    "28P01",
                    &format!("password authentication failed for user \"{user}\""),
                ))
            }
            Ok(Err(Some(ScramError::Malformed))) => Err(told("08P01", "malformed SCRAM message")),
            Ok(Err(None)) => Err(Refusal::Gone),
        }
    }

    /// Waits for an upstream connection, as long as the client does. Errors of the upstream login are the client's
    /// login errors: that is why AuthenticationOk waits (protocol.md A.3); only who waits in the queue for long is
    /// told so, and that takes an AuthenticationOk first. The second value says whether it was sent.
    async fn wait_for_lease(
        &self,
        key: &Key,
        io: &mut AppStream,
        early: &mut Vec<u8>,
    ) -> Result<(Lease<Backend>, bool), Refusal> {
        let (tell, mut long_wait) = oneshot::channel();
        let notify = move |waiting: &crate::pool::Waiting| {
            // The receiver lives as long as this future does.
            let _ = tell.send(waiting.to_string());
        };
        let mut checkout = std::pin::pin!(self.pool.checkout_with(key, notify));
        let mut greeted = false;
        loop {
            tokio::select! {
                biased;
                outcome = &mut checkout => {
                    return outcome.map(|lease| (lease, greeted)).map_err(|error| checkout_refusal(&error));
                }
                () = self.drain.begun() => return Err(told("57P01", SHUTTING_DOWN)),
                Ok(waiting) = &mut long_wait, if !greeted => {
                    greeted = true;
                    io.write_all(&notice_of_wait(waiting)).await?;
                    io.flush().await?;
                }
                () = client_gone(io, early) => return Err(Refusal::Gone),
            }
        }
    }

    async fn converse(&self, mut io: AppStream, prepared: Prepared, early: Vec<u8>, minor: u16) {
        let Prepared {
            mut lease,
            greeted,
            poolable,
        } = prepared;
        let victim = Arc::clone(&lease.victim);
        let registration = self.cancels.register(&victim, minor);
        victim.gate.open();
        let mut relay = Relay::new(early, self.drain.watch());
        let end = match io.write_all(&welcome(&lease, &registration, greeted)).await {
            Ok(()) => self.relay(&mut relay, &mut io, &mut lease).await,
            Err(error) => End::ClientGone(Some(error)),
        };
        drop(registration);
        let farewell = say_farewell(&mut io, &end, relay.server_complete()).await;
        drop(io);
        let (up, down) = relay.bytes();
        self.metrics
            .session_ended(relay.observer.statements, up, down);
        tracing::info!(
            statements = relay.observer.statements,
            bytes_up = up,
            bytes_down = down,
            end = end.word(),
            "session ended"
        );
        let rest = match farewell {
            Some(farewell) => {
                let over = self.drain.over();
                settle(&mut relay, &mut lease.io, &victim, (farewell, over)).await
            }
            None => None,
        };
        victim.gate.close().await;
        lease.reported.update(&relay.told.parameters);
        match rest.filter(|_| poolable) {
            Some(rest) => {
                lease.in_transaction = rest == Rest::InTransaction;
                lease.release().await;
            }
            None => lease.discard().await,
        }
    }

    /// Relays until the session ends, doing on the way what a statement needs done beside it.
    async fn relay(
        &self,
        relay: &mut Relay,
        io: &mut AppStream,
        lease: &mut Lease<Backend>,
    ) -> End {
        loop {
            match relay.run(io, &mut lease.io).await {
                End::FreeDatabase(name) => {
                    self.pool.close_idle(|key| key.may_be_in(&name)).await;
                    relay.database_freed();
                }
                End::SessionsChanged => self.pool.bump_generation(|_| true),
                end => return end,
            }
        }
    }
}

/// A client with a connection.
struct Prepared {
    lease: Lease<Backend>,
    /// AuthenticationOk was sent already.
    greeted: bool,
    /// May be lent to another client afterwards.
    poolable: bool,
}

const SHUTTING_DOWN: &str = "terminating connection: rds-sidecar is shutting down";

fn told(sqlstate: &'static str, message: &str) -> Refusal {
    Refusal::Told(Box::new(ClientError {
        sqlstate: sqlstate.into(),
        message: message.to_owned(),
        detail: None,
        hint: None,
    }))
}

fn checkout_refusal(error: &CheckoutError<BackendError>) -> Refusal {
    Refusal::Told(Box::new(error.for_client()))
}

fn notice_of_wait(waiting: String) -> Vec<u8> {
    let mut out = auth::AUTHENTICATION_OK.to_vec();
    let notice = ClientError {
        sqlstate: "00000".into(),
        message: format!("rds-sidecar: {waiting}"),
        detail: None,
        hint: Some("raise max_connections, or let other clients finish".into()),
    };
    put_error(&mut out, Severity::Notice, &notice);
    out
}

/// What a server says after a login: AuthenticationOk to ReadyForQuery.
fn welcome(lease: &Lease<Backend>, registration: &Registration, greeted: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    if !greeted {
        out.extend_from_slice(auth::AUTHENTICATION_OK);
    }
    out.extend_from_slice(&lease.notices);
    for (name, value) in lease.reported.iter() {
        status::put_parameter(&mut out, name, value);
    }
    status::put_backend_key(&mut out, registration.key().pid, &registration.key().secret);
    out.extend_from_slice(status::READY_IDLE);
    out
}

/// Tells the client what there is to tell, and says how it left; `None` where the server is lost.
/// `whole`: the client got whole messages only, so that one more makes sense.
async fn say_farewell(io: &mut AppStream, end: &End, whole: bool) -> Option<Farewell> {
    let (farewell, error) = match end {
        End::ClientTerminated => (Farewell::Goodbye, None),
        End::ClientViolation(byte) => (
            Farewell::Loss,
            Some(told(
                "08P01",
                &format!("invalid frontend message type {byte}"),
            )),
        ),
        End::CutOff => (Farewell::Loss, whole.then(|| told("57P01", SHUTTING_DOWN))),
        End::Drained => (Farewell::Goodbye, Some(told("57P01", SHUTTING_DOWN))),
        End::ClientGone(_) | End::FreeDatabase(_) | End::SessionsChanged => (Farewell::Loss, None),
        End::ServerGone(_) => return None,
        End::ServerViolation => {
            tracing::error!(
                "the server sent what is not the PostgreSQL protocol; its connection is closed"
            );
            let error = told("08P01", "rds-sidecar: the server broke the protocol");
            tell(io, error).await;
            return None;
        }
    };
    if let Some(error) = error {
        tell(io, error).await;
    }
    Some(farewell)
}

async fn tell(io: &mut AppStream, refusal: Refusal) {
    if let Refusal::Told(error) = refusal
        && !matches!(timeout(LAST_WORDS_MAX, fatal(io, &error)).await, Ok(Ok(())))
    {
        tracing::debug!("client left before it was told");
    }
}
