//! Logging in upstream: from a verified stream to the OK packet (protocol.md C.3).

use std::sync::Arc;

use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use super::error::BackendError;
use super::error::Said;
use super::front::ReadError;
use super::front::receive;
use super::key::Key;
use super::wire::Capabilities;
use super::wire::auth;
use super::wire::auth::CACHING_SHA2;
use super::wire::auth::CLEAR;
use super::wire::auth::NATIVE;
use super::wire::auth::SHA256;
use super::wire::handshake::Greeting;
use super::wire::handshake::Response;
use super::wire::packet::put_packet;
use super::wire::status;
use super::wire::status::ErrPacket;
use crate::tls::Verified;

/// A message during login may not be longer.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The SSLRequest has number 1.
const RESPONSE_SEQUENCE: u8 = 2;
/// What the login needs of itself.
const LOGIN: [Capabilities; 3] = [
    Capabilities::PROTOCOL_41,
    Capabilities::SSL,
    Capabilities::SECURE_CONNECTION,
];
/// What the login uses where the server can.
const LOGIN_IF_KNOWN: [Capabilities; 3] = [
    Capabilities::PLUGIN_AUTH,
    Capabilities::CONNECT_ATTRS,
    Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA,
];

/// What a login is made with.
#[derive(Debug)]
pub enum Credential {
    /// Nothing: the server lets the user in without.
    None,
    /// A fixed password.
    Password(SecretString),
    /// An RDS IAM token.
    Token {
        /// The token.
        token: SecretString,
        /// What it was signed for, for messages.
        signed_for: String,
    },
}

/// The capabilities of the upstream session, from its SSLRequest on.
pub fn capabilities(greeting: &Greeting, key: &Key) -> Capabilities {
    let always: Capabilities = LOGIN.into_iter().collect();
    let if_known: Capabilities = LOGIN_IF_KNOWN.into_iter().collect();
    let database = if key.database.is_empty() {
        Capabilities::NONE
    } else {
        Capabilities::CONNECT_WITH_DB
    };
    key.capabilities | always | database | (if_known & greeting.capabilities)
}

/// Logs in, and returns the payload of the server's OK packet. It takes a [`Verified`] stream, so that no secret can be
/// written to any other.
pub async fn login<S>(
    io: &mut Verified<S>,
    greeting: &Greeting,
    key: &Key,
    credential: &Credential,
    endpoint: &str,
) -> Result<Vec<u8>, BackendError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut login = Login {
        io,
        key,
        credential,
        endpoint,
        next: RESPONSE_SEQUENCE,
        plugin: Vec::new(),
        scramble: greeting.scramble.clone(),
    };
    login.respond(greeting).await?;
    login.run().await
}

struct Login<'a, S> {
    io: &'a mut Verified<S>,
    key: &'a Key,
    credential: &'a Credential,
    endpoint: &'a str,
    /// Sequence number of the next packet to send.
    next: u8,
    /// The plugin in force.
    plugin: Vec<u8>,
    /// What its digest is made with.
    scramble: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Login<'_, S> {
    /// The handshake response: a digest where there is a password for it, else nothing. Never a token: that goes only
    /// where the server asks for a clear-text password, and its length need not fit the one byte older servers have.
    async fn respond(&mut self, greeting: &Greeting) -> Result<(), BackendError> {
        self.plugin = match greeting.plugin.as_slice() {
            known @ (NATIVE | CACHING_SHA2) => known.to_vec(),
            _ => NATIVE.to_vec(),
        };
        let auth = match self.credential {
            Credential::Password(password) => self.digest(password),
            Credential::None | Credential::Token { .. } => Vec::new(),
        };
        let capabilities = capabilities(greeting, self.key);
        let named = capabilities.contains(Capabilities::PLUGIN_AUTH);
        let response = Response {
            capabilities,
            packet_max: self.key.packet_max,
            charset: self.key.charset,
            user: self.key.user.clone(),
            auth,
            database: self.key.database.clone(),
            plugin: named.then(|| self.plugin.clone()),
            attributes: self.key.attributes.clone(),
        };
        let mut payload = Vec::new();
        response.put(&mut payload);
        self.send(&payload).await
    }

    async fn run(&mut self) -> Result<Vec<u8>, BackendError> {
        loop {
            let payload = self.receive().await?;
            match payload.split_first() {
                Some((&status::OK, _)) => return Ok(payload),
                Some((&status::ERR, _)) => return Err(self.refused(&payload)),
                Some((&auth::AUTH_SWITCH, _)) => self.switch(&payload).await?,
                Some((&auth::AUTH_MORE, data)) => self.more(data).await?,
                Some(_) | None => return Err(self.protocol("an unexpected packet during login")),
            }
        }
    }

    async fn switch(&mut self, payload: &[u8]) -> Result<(), BackendError> {
        let Ok((plugin, data)) = auth::auth_switch(payload) else {
            return Err(self.unsupported(b"mysql_old_password"));
        };
        self.plugin = plugin.to_vec();
        self.scramble = data.to_vec();
        match plugin {
            CLEAR | SHA256 => self.send_in_clear().await,
            NATIVE | CACHING_SHA2 => {
                let digest = match self.credential {
                    Credential::None => Vec::new(),
                    Credential::Password(password) => self.digest(password),
                    Credential::Token { .. } => return Err(self.token_not_wanted()),
                };
                self.send(&digest).await
            }
            other => Err(self.unsupported(other)),
        }
    }

    async fn more(&mut self, data: &[u8]) -> Result<(), BackendError> {
        match data {
            [auth::FAST_AUTH_SUCCESS] => Ok(()),
            [auth::FULL_AUTHENTICATION] => self.send_in_clear().await,
            _ => Err(self.protocol("unexpected data of an authentication plugin")),
        }
    }

    /// The password or token itself and a NUL, inside verified TLS, as one packet of any length.
    async fn send_in_clear(&mut self) -> Result<(), BackendError> {
        let secret = match self.credential {
            Credential::None => {
                return Err(BackendError::PasswordWanted {
                    endpoint: self.endpoint.to_owned(),
                });
            }
            Credential::Token { .. } if self.plugin != CLEAR => {
                return Err(self.token_not_wanted());
            }
            Credential::Password(secret) | Credential::Token { token: secret, .. } => secret,
        };
        let mut payload = secret.expose_secret().as_bytes().to_vec();
        payload.push(0);
        self.send(&payload).await
    }

    fn digest(&self, password: &SecretString) -> Vec<u8> {
        let password = password.expose_secret().as_bytes();
        if self.plugin == CACHING_SHA2 {
            auth::caching_sha2_digest(password, &self.scramble)
        } else {
            auth::native_digest(password, &self.scramble)
        }
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), BackendError> {
        let mut out = Vec::new();
        self.next = put_packet(&mut out, self.next, |out| out.extend_from_slice(payload));
        let sent = async {
            self.io.write_all(&out).await?;
            self.io.flush().await
        };
        sent.await.map_err(|error| self.broken(&error))
    }

    async fn receive(&mut self) -> Result<Vec<u8>, BackendError> {
        match receive(self.io, MESSAGE_BYTES_MAX).await {
            Ok((sequence, payload)) => {
                self.next = sequence.wrapping_add(1);
                Ok(payload)
            }
            Err(ReadError::Broken(error)) => Err(self.broken(&error)),
            Err(ReadError::Malformed) => Err(self.protocol("a malformed packet during login")),
        }
    }

    fn refused(&self, payload: &[u8]) -> BackendError {
        let Ok(said) = ErrPacket::parse(payload) else {
            return self.protocol("a malformed packet during login");
        };
        let token_for = match self.credential {
            Credential::Token { signed_for, .. } => Some(signed_for.clone()),
            Credential::None | Credential::Password(_) => None,
        };
        BackendError::Refused {
            endpoint: self.endpoint.to_owned(),
            said: Arc::new(Said::new(&said)),
            token_for,
        }
    }

    fn token_not_wanted(&self) -> BackendError {
        BackendError::TokenNotWanted {
            endpoint: self.endpoint.to_owned(),
            user: self.key.user_text(),
            method: String::from_utf8_lossy(&self.plugin).into_owned(),
        }
    }

    fn unsupported(&self, method: &[u8]) -> BackendError {
        BackendError::UnsupportedMethod {
            endpoint: self.endpoint.to_owned(),
            method: String::from_utf8_lossy(method).into_owned(),
        }
    }

    fn protocol(&self, what: &'static str) -> BackendError {
        BackendError::Protocol {
            endpoint: self.endpoint.to_owned(),
            what,
        }
    }

    fn broken(&self, error: &std::io::Error) -> BackendError {
        BackendError::Broken {
            endpoint: self.endpoint.to_owned(),
            step: "the login",
            reason: error.to_string(),
        }
    }
}
