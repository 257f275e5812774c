//! One listener's clients, from their first byte to their last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument;

use super::backend::Backend;
use super::cancel::Registration;
use super::cancel::Registry;
use super::dialer::Dialer;
use super::error::ACCESS_DENIED;
use super::error::BackendError;
use super::error::CON_COUNT;
use super::front;
use super::front::ClientIo;
use super::front::Hello;
use super::front::hello;
use super::key::Key;
use super::prove;
use super::prove::Claim;
use super::prove::ProveError;
use super::told::Told;
use super::wire::Capabilities;
use super::wire::auth::NATIVE;
use super::wire::handshake::Greeting;
use super::wire::handshake::Response;
use super::wire::handshake::Scramble;
use crate::fault::Fault;
use crate::net::ClientStream;
use crate::net::Drain;
use crate::net::Peer;
use crate::pool::CheckoutError;
use crate::pool::Lease;
use crate::pool::Pool;
use crate::session::Metrics;
use crate::session::client_gone;
use crate::tls::ClientAcceptor;

/// A client that does not get to the point is dropped without a word. MySQL's `connect_timeout` is 10 s; clients are
/// held here while an identity is fetched, so they get more.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(60);

/// One listener.
#[derive(Debug)]
pub struct Service {
    /// What is configured.
    pub database: Arc<config::Database>,
    /// Upstream connections.
    pub pool: Pool<Backend>,
    /// What opens them, and knows how the server greets.
    pub dialer: Arc<Dialer>,
    /// TLS towards clients, where configured.
    pub acceptor: Option<ClientAcceptor>,
    /// The shared secret, where clients must know it.
    pub secret: Option<SecretString>,
    /// Who may kill what.
    pub cancels: Arc<Registry>,
    /// More clients than this at once are refused (1040).
    pub clients_max: u64,
    /// Why the last upstream login failed; none when it did not.
    pub failures: watch::Receiver<Option<BackendError>>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The wish to end.
    pub drain: Drain,
}

/// Why a session did not come about, or ended.
pub(super) enum Refusal {
    /// The client is gone; nobody to tell.
    Gone,
    /// The client is told.
    Told(Box<Told>),
}

impl From<io::Error> for Refusal {
    fn from(_error: io::Error) -> Self {
        Self::Gone
    }
}

impl From<Told> for Refusal {
    fn from(told: Told) -> Self {
        Self::Told(Box::new(told))
    }
}

impl Service {
    /// Serves one client to its end.
    pub async fn serve(&self, stream: ClientStream) {
        let _counted = self.metrics.client();
        let peer = stream.peer();
        let span = tracing::info_span!("session", client = %peer, database = %self.database.name);
        Box::pin(self.session(ClientIo::new(stream), peer))
            .instrument(span)
            .await;
    }

    async fn session(&self, mut io: ClientIo, peer: Peer) {
        let id = self.cancels.register();
        match self.prepare(&mut io, &id, peer).await {
            Ok(prepared) => Box::pin(self.converse(io, &id, prepared)).await,
            Err(refusal) => self.refuse(&mut io, refusal).await,
        }
    }

    /// Tells the client why there is no session, or no more.
    pub(super) async fn refuse(&self, io: &mut ClientIo, refusal: Refusal) {
        match refusal {
            // A probe that sends nothing, or a handshake that fails, is no news.
            Refusal::Gone => tracing::debug!("client left before its session began"),
            Refusal::Told(told) => {
                self.metrics.refused();
                let error = &told.error;
                tracing::warn!(
                    code = told.code,
                    detail = error.detail,
                    hint = error.hint,
                    "client refused: {}",
                    error.message
                );
                if io.fatal(&told).await.is_err() {
                    tracing::debug!("client left before it was told");
                }
            }
        }
    }

    /// Everything before the OK packet: who is it, and a connection for it.
    async fn prepare(
        &self,
        io: &mut ClientIo,
        id: &Registration,
        peer: Peer,
    ) -> Result<Prepared, Refusal> {
        if self.metrics.clients_now() > self.clients_max {
            return Err(Told::new(CON_COUNT, "08004", "Too many connections").into());
        }
        let mut early = Vec::new();
        let upstream = self.upstream_greeting(io, &mut early).await?;
        if !early.is_empty() {
            // Nobody may speak before the server does.
            return Err(Told::bad_handshake().into());
        }
        let scramble = prove::fresh_scramble();
        let greeting = self.greeting(&upstream, id.id(), &scramble);
        let response = self.hello(io, &greeting).await?;
        let claim = Claim {
            plugin: response.plugin.as_deref(),
            answer: &response.auth,
            scramble: &scramble,
            attributes: &response.attributes,
        };
        let scramble = self.authenticate(io, &response.user, claim, peer).await?;
        let key = Key::new(&response, greeting.capabilities, &self.database);
        let lease = self.wait_for_lease(&key, io, id, &mut early).await?;
        let client = Greeted {
            early,
            scramble,
            negotiated: response.capabilities & greeting.capabilities,
            peer,
        };
        Ok(Prepared { lease, client })
    }

    /// The server's greeting, as long as the client waits for it.
    async fn upstream_greeting(
        &self,
        io: &mut ClientIo,
        early: &mut Vec<u8>,
    ) -> Result<Arc<Greeting>, Refusal> {
        tokio::select! {
            biased;
            greeting = self.dialer.greeting() => greeting.map_err(|error| Told::from(&error).into()),
            () = self.drain.begun() => Err(Told::shutting_down().into()),
            () = client_gone(io, early) => Err(Refusal::Gone),
        }
    }

    /// The server's greeting with our id and scramble, and without what is not for clients.
    fn greeting(&self, upstream: &Greeting, id: u32, scramble: &Scramble) -> Greeting {
        Greeting {
            version: upstream.version.clone(),
            thread_id: id,
            scramble: scramble.to_vec(),
            capabilities: front::offered(upstream.capabilities, self.acceptor.is_some()),
            charset: upstream.charset,
            status: upstream.status,
            plugin: NATIVE.to_vec(),
        }
    }

    async fn hello(&self, io: &mut ClientIo, greeting: &Greeting) -> Result<Response, Refusal> {
        let hello = hello(io, greeting, self.acceptor.as_ref());
        let Ok(hello) = timeout(HANDSHAKE_TIME_MAX, hello).await else {
            return Err(Refusal::Gone);
        };
        match hello? {
            Hello::Session(response) => Ok(response),
            Hello::Gone => Err(Refusal::Gone),
            Hello::Malformed | Hello::Old => Err(Told::bad_handshake().into()),
        }
    }

    /// Returns the scramble that the client answered last.
    pub(super) async fn authenticate(
        &self,
        io: &mut ClientIo,
        user: &[u8],
        claim: Claim<'_>,
        peer: Peer,
    ) -> Result<Scramble, Refusal> {
        let proof = prove::exchange(self.secret.as_ref(), io, claim);
        match timeout(HANDSHAKE_TIME_MAX, proof).await {
            Ok(Ok(scramble)) => Ok(scramble),
            Err(_) | Ok(Err(ProveError::Gone)) => Err(Refusal::Gone),
            Ok(Err(ProveError::Malformed)) => Err(Told::bad_handshake().into()),
            Ok(Err(ProveError::Denied { using_password })) => {
                Err(denied(user, peer, using_password).into())
            }
        }
    }

    /// Waits for an upstream connection, as long as the client does. Errors of the upstream login are the client's
    /// login errors: that is why the OK packet waits.
    pub(super) async fn wait_for_lease(
        &self,
        key: &Key,
        io: &mut ClientIo,
        id: &Registration,
        early: &mut Vec<u8>,
    ) -> Result<Lease<Backend>, Refusal> {
        tokio::select! {
            biased;
            outcome = self.pool.checkout(key) => {
                outcome.map_err(|error| checkout_refusal(&error).into())
            }
            () = self.drain.begun() => Err(Told::shutting_down().into()),
            () = id.client.killed.cancelled() => Err(Told::killed().into()),
            () = client_gone(io, early) => Err(Refusal::Gone),
        }
    }
}

/// A client with a connection.
pub(super) struct Prepared {
    pub(super) lease: Lease<Backend>,
    pub(super) client: Greeted,
}

/// What is known of a client that has logged in.
pub(super) struct Greeted {
    /// What it sent ahead.
    pub(super) early: Vec<u8>,
    /// What it was asked with last.
    pub(super) scramble: Scramble,
    /// What both sides of its connection can do.
    pub(super) negotiated: Capabilities,
    pub(super) peer: Peer,
}

fn denied(user: &[u8], peer: Peer, using_password: bool) -> Told {
    let host = match peer {
        Peer::Tcp(address) => address.ip().to_string(),
        Peer::Unix { .. } => "localhost".to_owned(),
    };
    let user = String::from_utf8_lossy(user);
    let used = if using_password { "YES" } else { "NO" };
    let text = format!("Access denied for user '{user}'@'{host}' (using password: {used})");
    Told::new(ACCESS_DENIED, "28000", text)
}

fn checkout_refusal(error: &CheckoutError<BackendError>) -> Told {
    match error {
        CheckoutError::Dial(error) => Told::from(error),
        CheckoutError::ShuttingDown => Told::shutting_down(),
        CheckoutError::QueueFull { .. } | CheckoutError::Timeout(_) => {
            Told::translated(error.for_client())
        }
    }
}
