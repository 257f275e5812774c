//! Opens connections to one database server: name, credentials, TCP, greeting, TLS, login.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout_at;

use super::error::BackendError;
use super::error::Said;
use super::front::ReadError;
use super::front::receive;
use super::greet::Greeted;
use super::greet::Greeter;
use super::key::Key;
use super::login;
use super::login::Credential;
use super::wire::Capabilities;
use super::wire::handshake::Greeting;
use super::wire::handshake::put_ssl_request;
use super::wire::packet::put_packet;
use super::wire::status;
use super::wire::status::ErrPacket;
use crate::identity::Identity;
use crate::identity::RealEndpoint;
use crate::identity::resolve;
use crate::net;
use crate::tls::UpstreamTls;
use crate::tls::Verified;

/// A greeting, or an answer to a statement of our own, may not be longer.
const PACKET_BYTES_MAX: usize = 64 * 1024;
const COM_QUERY: u8 = 0x03;
/// COM_QUIT, header included.
const QUIT: &[u8] = b"\x01\0\0\0\x01";

/// Opens connections to one database server.
#[derive(Debug)]
pub struct Dialer {
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
    /// What the server says first.
    pub greeter: Arc<Greeter>,
}

/// A connection that has logged in.
#[derive(Debug)]
pub struct Opened {
    /// The stream.
    pub io: Verified<TcpStream>,
    /// The address that answered.
    pub address: SocketAddr,
    /// What the server said first.
    pub greeting: Greeting,
    /// The payload of the server's OK packet.
    pub ok: Vec<u8>,
}

/// What a login is made with, and whom the server must prove to be.
#[derive(Debug)]
pub struct Pass {
    credential: Credential,
    host: String,
}

impl Dialer {
    /// What the server says first, as far as that is known or can be found out within `checkout_timeout`.
    pub async fn greeting(self: &Arc<Self>) -> Result<Arc<Greeting>, BackendError> {
        let dialer = Arc::clone(self);
        let dial = move || {
            let dialer = Arc::clone(&dialer);
            async move {
                let deadline = Instant::now() + dialer.database.connect_timeout;
                let outcome = dialer.reach(deadline).await;
                dialer
                    .last_failure
                    .send_replace(outcome.as_ref().err().cloned());
                outcome
            }
        };
        let patience = self.database.pool.checkout_timeout;
        self.greeter.greeting(dial, patience).await
    }

    /// Runs one statement without a result on a connection of its own to exactly this address.
    ///
    /// # Errors
    /// No connection, or the server said no.
    pub async fn execute_at(
        self: &Arc<Self>,
        address: SocketAddr,
        key: &Key,
        statement: &str,
        deadline: Instant,
    ) -> Result<(), BackendError> {
        let pass = self.pass(key, deadline).await?;
        let stream = net::dial_address(address, remaining(deadline)).await?;
        let greeted = self.listen(stream, address, deadline).await?;
        let mut opened = self.open(key, &pass, greeted, deadline).await?;
        let said = execute(&mut opened.io, address, statement).await;
        say_goodbye(opened.io).await;
        said
    }

    /// Connects, and lets the server speak.
    pub async fn reach(&self, deadline: Instant) -> Result<Greeted, BackendError> {
        let dialled = net::dial(&self.database.upstream, remaining(deadline)).await?;
        self.listen(dialled.stream, dialled.address, deadline).await
    }

    /// Reads the greeting, or the refusal that takes its place, and not a byte more.
    async fn listen(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<Greeted, BackendError> {
        let (_, payload) = timeout_at(deadline, receive(&mut stream, PACKET_BYTES_MAX))
            .await
            .map_err(|_| self.late("the greeting"))?
            .map_err(|error| self.unread(error, "the greeting"))?;
        if payload.first() == Some(&status::ERR) {
            return Err(refusal(&payload, self.database.upstream.to_string()));
        }
        let greeting = Greeting::parse(&payload).map_err(|_| BackendError::Protocol {
            endpoint: self.database.upstream.to_string(),
            what: "no greeting of protocol version 10",
        })?;
        Ok(Greeted {
            stream,
            address,
            greeting,
        })
    }

    /// Credentials come before the connection: the server waits for a login for ten seconds, an identity may take
    /// longer.
    pub async fn pass(&self, key: &Key, deadline: Instant) -> Result<Pass, BackendError> {
        let named = resolve(
            &self.database.upstream,
            self.database.sign_host.as_ref(),
            self.region.as_deref(),
        );
        let real = timeout_at(deadline, named)
            .await
            .map_err(|_| self.late("the look-up of its name"))??;
        let credential = timeout_at(deadline, self.credential(key, &real))
            .await
            .map_err(|_| self.identity.timed_out(self.database.connect_timeout))??;
        Ok(Pass {
            credential,
            host: real.endpoint.host,
        })
    }

    /// Proves the server and logs in.
    pub async fn open(
        &self,
        key: &Key,
        pass: &Pass,
        greeted: Greeted,
        deadline: Instant,
    ) -> Result<Opened, BackendError> {
        let Greeted {
            stream,
            address,
            greeting,
        } = greeted;
        self.greeter.heard(&greeting);
        let lost = (key.capabilities & on_the_wire()) - greeting.capabilities;
        if lost != Capabilities::NONE {
            return Err(BackendError::Lesser {
                endpoint: self.database.upstream.to_string(),
                lost: format!("{lost:?}"),
            });
        }
        let secured = self.request_tls(stream, &greeting, key, &pass.host);
        let mut io = timeout_at(deadline, secured)
            .await
            .map_err(|_| self.late("the TLS handshake"))??;
        let endpoint = self.database.upstream.to_string();
        let login = login::login(&mut io, &greeting, key, &pass.credential, &endpoint);
        let ok = timeout_at(deadline, login)
            .await
            .map_err(|_| self.late("the login"))??;
        Ok(Opened {
            io,
            address,
            greeting,
            ok,
        })
    }

    /// Asks for TLS and proves the server. The greeting was read to its last byte and nothing follows it, so that
    /// nothing sent ahead in clear text can be taken for part of the session.
    async fn request_tls(
        &self,
        mut stream: TcpStream,
        greeting: &Greeting,
        key: &Key,
        host: &str,
    ) -> Result<Verified<TcpStream>, BackendError> {
        if !greeting.capabilities.contains(Capabilities::SSL) {
            return Err(BackendError::TlsRefused {
                endpoint: self.database.upstream.to_string(),
            });
        }
        let mut out = Vec::new();
        let capabilities = login::capabilities(greeting, key);
        put_packet(&mut out, 1, |out| {
            put_ssl_request(out, capabilities, key.packet_max, key.charset);
        });
        stream
            .write_all(&out)
            .await
            .map_err(|error| self.unread(ReadError::Broken(error), "the TLS request"))?;
        Ok(self.tls.connect(stream, host).await?)
    }

    async fn credential(&self, key: &Key, real: &RealEndpoint) -> Result<Credential, BackendError> {
        match &self.database.auth {
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

    /// `connect_timeout` is over.
    pub fn late(&self, step: &'static str) -> BackendError {
        BackendError::TimedOut {
            endpoint: self.database.upstream.to_string(),
            step,
            after: self.database.connect_timeout,
        }
    }

    /// No packet came.
    pub fn unread(&self, error: ReadError, step: &'static str) -> BackendError {
        let endpoint = self.database.upstream.to_string();
        match error {
            ReadError::Broken(error) => BackendError::Broken {
                endpoint,
                step,
                reason: error.to_string(),
            },
            ReadError::Malformed => BackendError::Protocol {
                endpoint,
                what: "a malformed packet",
            },
        }
    }
}

/// Runs one statement without a result on an idle session.
///
/// # Errors
/// `Refused`: the server said no, and the session is idle again. All others: it is out of step.
pub async fn execute<S>(
    io: &mut S,
    address: SocketAddr,
    statement: &str,
) -> Result<(), BackendError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |reason: String| BackendError::Broken {
        endpoint: address.to_string(),
        step: "a statement",
        reason,
    };
    let mut out = Vec::new();
    put_packet(&mut out, 0, |out| {
        out.push(COM_QUERY);
        out.extend_from_slice(statement.as_bytes());
    });
    let sent = async {
        io.write_all(&out).await?;
        io.flush().await
    };
    sent.await.map_err(|error| broken(error.to_string()))?;
    match receive(io, PACKET_BYTES_MAX).await {
        Ok((_, payload)) if payload.first() == Some(&status::OK) => Ok(()),
        Ok((_, payload)) => Err(refusal(&payload, address.to_string())),
        Err(ReadError::Broken(error)) => Err(broken(error.to_string())),
        Err(ReadError::Malformed) => Err(broken("a malformed packet".to_owned())),
    }
}

/// What changes the form of packets: a server that does not know them would be misunderstood.
fn on_the_wire() -> Capabilities {
    [
        Capabilities::SESSION_TRACK,
        Capabilities::DEPRECATE_EOF,
        Capabilities::MARIADB_CLIENT_STMT_BULK_OPERATIONS,
        Capabilities::MARIADB_CLIENT_EXTENDED_METADATA,
        Capabilities::MARIADB_CLIENT_CACHE_METADATA,
        Capabilities::MARIADB_CLIENT_BULK_UNIT_RESULTS,
    ]
    .into_iter()
    .collect()
}

fn refusal(payload: &[u8], endpoint: String) -> BackendError {
    match ErrPacket::parse(payload) {
        Ok(said) => BackendError::Refused {
            endpoint,
            said: Arc::new(Said::new(&said)),
            token_for: None,
        },
        Err(_) => BackendError::Protocol {
            endpoint,
            what: "neither a greeting nor an error",
        },
    }
}

/// The server answers COM_QUIT by closing, which says that its thread lets go of everything.
pub async fn say_goodbye(mut io: Verified<TcpStream>) {
    let goodbye = async {
        io.write_all(QUIT).await?;
        io.shutdown().await?;
        tokio::io::copy(&mut io, &mut tokio::io::sink()).await
    };
    if let Err(error) = goodbye.await {
        tracing::trace!(%error, "upstream connection was closed already");
    }
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
