//! The upstream side: opens, resets, watches and closes connections to the database server.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout_at;

use super::cancel::Victim;
use super::error::BackendError;
use super::key::Key;
use super::login;
use super::login::Credential;
use super::login::receive;
use super::wire::startup::ssl_request;
use super::wire::status;
use super::wire::status::Reported;
use super::wire::status::Transaction;
use crate::identity::Identity;
use crate::identity::RealEndpoint;
use crate::identity::resolve;
use crate::net;
use crate::pool;
use crate::pool::Health;
use crate::session::Gate;
use crate::tls::IdleHealth;
use crate::tls::UpstreamTls;
use crate::tls::Verified;
use crate::wire::length_prefixed;
use crate::wire::put_cstr;

/// A message that comes back while a connection is reset: tags, parameters, late notifications.
const RESET_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// A logged-in upstream connection.
#[derive(Debug)]
pub struct Conn {
    /// The stream.
    pub io: Verified<TcpStream>,
    /// What the server last said of its parameters.
    pub reported: Reported,
    /// Notices of the login, shown to every client as a direct login would.
    pub notices: Vec<u8>,
    /// How its statements are cancelled.
    pub victim: Arc<Victim>,
    /// The last client left a transaction open.
    pub in_transaction: bool,
}

/// One database server, as the pool sees it.
#[derive(Debug)]
pub struct Backend {
    /// What is configured.
    pub database: Arc<config::Database>,
    /// Where tokens come from; needed for `auth = "iam"`.
    pub identity: Arc<Identity>,
    /// The configured region, where there is one.
    pub region: Option<String>,
    /// How the server is proven.
    pub tls: UpstreamTls,
    /// Why the last dial failed; none when it did not.
    pub last_failure: watch::Sender<Option<BackendError>>,
}

impl pool::Backend for Backend {
    type Key = Key;
    // On the heap: it is moved about more than it is used.
    type Conn = Box<Conn>;
    type Error = BackendError;

    async fn dial(&self, key: &Key) -> Result<Box<Conn>, BackendError> {
        let deadline = Instant::now() + self.database.connect_timeout;
        let outcome = match (self.log_in(key, deadline).await, key.in_fallback()) {
            (Err(error), Some(key)) if error.no_such_database() => {
                self.log_in(&key, deadline).await
            }
            (outcome, _) => outcome,
        };
        self.last_failure
            .send_replace(outcome.as_ref().err().cloned());
        outcome
    }

    async fn reset(&self, mut conn: Box<Conn>) -> Option<Box<Conn>> {
        conn.reset().await.ok()?;
        Some(conn)
    }

    fn health(&self, conn: &mut Box<Conn>) -> Health {
        match conn.io.idle_health() {
            IdleHealth::Alive => Health::Clean,
            IdleHealth::Dead => Health::Dead,
        }
    }

    async fn close(&self, mut conn: Box<Conn>) {
        let goodbye = async {
            conn.io.write_all(b"X\0\0\0\x04").await?;
            conn.io.shutdown().await?;
            // The server's own end says that its process lets go of the database.
            tokio::io::copy(&mut conn.io, &mut tokio::io::sink()).await
        };
        if let Err(error) = goodbye.await {
            tracing::trace!(%error, "upstream connection was closed already");
        }
    }
}

impl Backend {
    async fn log_in(&self, key: &Key, deadline: Instant) -> Result<Box<Conn>, BackendError> {
        match self.open(key, deadline).await {
            // A role changed, a session revoked: what we hold may be dead before its time.
            Err(error) if error.token_refused() && self.identity.invalidate() => {
                tracing::debug!(%error, "login refused, trying once more with fresh credentials");
                self.open(key, deadline).await
            }
            outcome => outcome,
        }
    }

    async fn open(&self, key: &Key, deadline: Instant) -> Result<Box<Conn>, BackendError> {
        let upstream = &self.database.upstream;
        let endpoint = upstream.to_string();
        let limit = self.database.connect_timeout;
        let late = |step| BackendError::TimedOut {
            endpoint: endpoint.clone(),
            step,
            after: limit,
        };
        let named = resolve(
            upstream,
            self.database.sign_host.as_ref(),
            self.region.as_deref(),
        );
        let real = timeout_at(deadline, named)
            .await
            .map_err(|_| late("the look-up of its name"))??;
        let credential = timeout_at(deadline, self.credential(key, &real))
            .await
            .map_err(|_| self.identity.timed_out(limit))??;
        let dialled = net::dial(upstream, remaining(deadline)).await?;
        let mut io = timeout_at(
            deadline,
            request_tls(dialled.stream, &self.tls, &real.endpoint.host),
        )
        .await
        .map_err(|_| late("the TLS handshake"))??;
        let told = timeout_at(deadline, login::login(&mut io, key, &credential, &endpoint))
            .await
            .map_err(|_| late("the login"))??;
        tracing::debug!(%endpoint, user = key.user_text(), database = key.database_text(),
            address = %dialled.address, resumed = io.resumed(), "upstream connection opened");
        let victim = Victim {
            address: dialled.address,
            host: real.endpoint.host,
            key: told.cancel_key,
            tls: self.tls.clone(),
            gate: Gate::default(),
        };
        Ok(Box::new(Conn {
            io,
            reported: told.reported,
            notices: told.notices,
            victim: Arc::new(victim),
            in_transaction: false,
        }))
    }

    async fn credential(&self, key: &Key, real: &RealEndpoint) -> Result<Credential, BackendError> {
        match &self.database.auth {
            config::UpstreamAuth::Iam if key.replication => Err(BackendError::ReplicationWithToken),
            config::UpstreamAuth::Iam => {
                let user = std::str::from_utf8(&key.user).map_err(|_| BackendError::UserNotText)?;
                let target = real.sign_target()?;
                let token = self.identity.rds_token(&target, user).await?;
                let signed_for = format!("{} in {}, user {user}", target.endpoint, target.region);
                Ok(Credential::Token { token, signed_for })
            }
            config::UpstreamAuth::None => Ok(Credential::None),
            config::UpstreamAuth::Password(password) => Ok(Credential::Password(password.clone())),
        }
    }
}

impl Conn {
    /// Makes the session as it was after its login.
    async fn reset(&mut self) -> Result<(), login::Received> {
        let mut out = Vec::new();
        let mut owed = 0;
        // DISCARD ALL may not run inside a transaction, nor share a Query with anything (25001).
        let statements: &[&str] = if self.in_transaction {
            &["ROLLBACK", "DISCARD ALL"]
        } else {
            &["DISCARD ALL"]
        };
        for statement in statements {
            out.push(b'Q');
            length_prefixed(&mut out, |out| put_cstr(out, statement));
            owed += 1;
        }
        self.io
            .write_all(&out)
            .await
            .map_err(login::Received::Broken)?;
        self.io.flush().await.map_err(login::Received::Broken)?;
        while owed > 0 {
            let (tag, body) = receive(&mut self.io, RESET_MESSAGE_BYTES_MAX).await?;
            match tag {
                b'S' => {
                    let (name, value) =
                        status::parameter(&body).map_err(|_| login::Received::Malformed)?;
                    self.reported.set(name, value);
                }
                b'Z' => {
                    owed -= 1;
                    if owed == 0 && Transaction::parse(&body) != Ok(Transaction::Idle) {
                        return Err(login::Received::Malformed);
                    }
                }
                b'C' | b'N' | b'A' => {}
                _ => return Err(login::Received::Malformed),
            }
        }
        self.in_transaction = false;
        Ok(())
    }
}

/// Asks for TLS and proves the server. Exactly one byte is read before the handshake, so that nothing sent ahead in
/// clear text can be taken for part of the session (CVE-2021-23222).
pub async fn request_tls(
    mut stream: TcpStream,
    tls: &UpstreamTls,
    host: &str,
) -> Result<Verified<TcpStream>, BackendError> {
    let endpoint = stream
        .peer_addr()
        .map(|address| address.to_string())
        .unwrap_or_default();
    let asked = async {
        stream.write_all(&ssl_request()).await?;
        stream.read_u8().await
    };
    let answer = asked.await.map_err(|error| BackendError::Broken {
        endpoint: endpoint.clone(),
        step: "the TLS request",
        reason: error.to_string(),
    })?;
    match answer {
        b'S' => Ok(tls.connect(stream, host).await?),
        b'N' => Err(BackendError::TlsRefused { endpoint }),
        b'E' => Err(BackendError::Protocol {
            endpoint,
            what: "an error in answer to the TLS request",
        }),
        _ => Err(BackendError::Protocol {
            endpoint,
            what: "neither yes nor no to the TLS request",
        }),
    }
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
