//! Logging in upstream: from a verified stream to ReadyForQuery.

use std::sync::Arc;

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::ChannelBinding;
use postgres_protocol::authentication::sasl::SCRAM_SHA_256;
use postgres_protocol::authentication::sasl::ScramSha256;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use super::error::BackendError;
use super::key::Key;
use super::wire::Header;
use super::wire::Notice;
use super::wire::auth;
use super::wire::auth::Request;
use super::wire::header::HEADER_BYTES;
use super::wire::startup::CancelKey;
use super::wire::startup::startup_message;
use super::wire::status;
use super::wire::status::Reported;
use crate::tls::Verified;
use crate::wire::Malformed;

/// A message during login may not be longer: error texts and parameter values are short.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Notices of a login (collation mismatch, login triggers) are kept for the client up to this many bytes.
const NOTICE_BYTES_MAX: usize = 16 * 1024;

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

/// What the server told during the login.
#[derive(Debug, Default)]
pub struct LoggedIn {
    /// How to cancel on this connection; some servers (RDS Proxy) give none.
    pub cancel_key: Option<CancelKey>,
    /// Its parameters.
    pub reported: Reported,
    /// Whole NoticeResponse messages, as sent.
    pub notices: Vec<u8>,
}

/// Logs in. It takes a [`Verified`] stream, so that no secret can be written to any other.
pub async fn login<S>(
    io: &mut Verified<S>,
    key: &Key,
    credential: &Credential,
    endpoint: &str,
) -> Result<LoggedIn, BackendError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut login = Login {
        io,
        key,
        credential,
        endpoint,
        scram: None,
    };
    login.send(&startup_message(key.startup())).await?;
    login.run().await
}

struct Login<'a, S> {
    io: &'a mut Verified<S>,
    key: &'a Key,
    credential: &'a Credential,
    endpoint: &'a str,
    scram: Option<ScramSha256>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Login<'_, S> {
    async fn run(&mut self) -> Result<LoggedIn, BackendError> {
        let mut told = LoggedIn::default();
        loop {
            let (tag, body) = self.receive().await?;
            match tag {
                b'R' => self.answer(&body).await?,
                b'S' => {
                    let (name, value) = status::parameter(&body).map_err(|_| self.malformed())?;
                    told.reported.set(name, value);
                }
                b'K' => {
                    let (pid, secret) = status::backend_key(&body).map_err(|_| self.malformed())?;
                    told.cancel_key = Some(CancelKey {
                        pid,
                        secret: secret.to_vec(),
                    });
                }
                b'N' if told.notices.len() + body.len() < NOTICE_BYTES_MAX => {
                    told.notices.push(b'N');
                    crate::wire::length_prefixed(&mut told.notices, |out| {
                        out.extend_from_slice(&body)
                    });
                }
                // A newer minor version was asked for than the server knows: never, since 3.0 is asked for.
                b'N' | b'v' => {}
                b'E' => return Err(self.refused(&body)),
                b'Z' => return Ok(told),
                _ => return Err(self.protocol("an unexpected message during login")),
            }
        }
    }

    async fn answer(&mut self, body: &[u8]) -> Result<(), BackendError> {
        let mut out = Vec::new();
        match Request::parse(body).map_err(|_| self.malformed())? {
            Request::Ok => return Ok(()),
            Request::CleartextPassword => auth::put_password(&mut out, self.secret()?.as_bytes()),
            Request::Md5Password(salt) => {
                let hash = md5_hash(&self.key.user, self.password("MD5")?.as_bytes(), salt);
                auth::put_password(&mut out, hash.as_bytes());
            }
            Request::Sasl(offered) if offered.contains(&SCRAM_SHA_256) => {
                let scram = ScramSha256::new(
                    self.password(SCRAM_SHA_256)?.as_bytes(),
                    ChannelBinding::unsupported(),
                );
                auth::put_sasl_initial(&mut out, SCRAM_SHA_256, scram.message());
                self.scram = Some(scram);
            }
            Request::SaslContinue(data) => {
                let scram = self.scram.as_mut().ok_or(Malformed).and_then(|scram| {
                    scram.update(data).map_err(|_| Malformed)?;
                    Ok(scram)
                });
                let Ok(scram) = scram else {
                    return Err(self.protocol("SCRAM out of order"));
                };
                auth::put_sasl_response(&mut out, scram.message());
            }
            Request::SaslFinal(data) => {
                // The server proves that it knows the password too.
                let proven = self
                    .scram
                    .as_mut()
                    .is_some_and(|scram| scram.finish(data).is_ok());
                return if proven {
                    Ok(())
                } else {
                    Err(self.protocol("a false SCRAM server signature"))
                };
            }
            Request::Sasl(_) => return Err(self.unsupported(10)),
            Request::Other(code) => return Err(self.unsupported(code)),
        }
        self.send(&out).await
    }

    /// What may be sent in clear text inside verified TLS.
    fn secret(&self) -> Result<&str, BackendError> {
        match self.credential {
            Credential::None => Err(BackendError::PasswordWanted {
                endpoint: self.endpoint.to_owned(),
            }),
            Credential::Password(secret) | Credential::Token { token: secret, .. } => {
                Ok(secret.expose_secret())
            }
        }
    }

    /// What a challenge is answered with: never a token, which RDS asks for in clear text or not at all.
    fn password(&self, method: &'static str) -> Result<&str, BackendError> {
        match self.credential {
            Credential::Token { .. } => Err(BackendError::TokenNotWanted {
                endpoint: self.endpoint.to_owned(),
                user: self.key.user_text(),
                method,
            }),
            Credential::None | Credential::Password(_) => self.secret(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        let sent = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        sent.await.map_err(|error| broken(self.endpoint, &error))
    }

    async fn receive(&mut self) -> Result<(u8, Vec<u8>), BackendError> {
        receive(self.io, MESSAGE_BYTES_MAX)
            .await
            .map_err(|error| match error {
                Received::Broken(error) => broken(self.endpoint, &error),
                Received::Malformed => self.malformed(),
            })
    }

    fn refused(&self, body: &[u8]) -> BackendError {
        let Ok(said) = Notice::parse(body) else {
            return self.malformed();
        };
        let token_for = match self.credential {
            Credential::Token { signed_for, .. } => Some(signed_for.clone()),
            Credential::None | Credential::Password(_) => None,
        };
        BackendError::Refused {
            endpoint: self.endpoint.to_owned(),
            said: Arc::new(said),
            token_for,
        }
    }

    fn malformed(&self) -> BackendError {
        self.protocol("a malformed message during login")
    }

    fn protocol(&self, what: &'static str) -> BackendError {
        BackendError::Protocol {
            endpoint: self.endpoint.to_owned(),
            what,
        }
    }

    fn unsupported(&self, code: u32) -> BackendError {
        BackendError::UnsupportedMethod {
            endpoint: self.endpoint.to_owned(),
            code,
        }
    }
}

/// Why there is no next message.
#[derive(Debug)]
pub enum Received {
    /// The connection broke.
    Broken(std::io::Error),
    /// It is no message, or too long.
    Malformed,
}

/// Reads exactly one message of at most `limit` bytes; never a byte more. Not cancel safe.
pub async fn receive<R>(io: &mut R, limit: usize) -> Result<(u8, Vec<u8>), Received>
where
    R: AsyncRead + Unpin,
{
    let mut header = [0; HEADER_BYTES];
    io.read_exact(&mut header).await.map_err(Received::Broken)?;
    match Header::parse(&header) {
        Ok(Some(header)) if header.body <= limit => {
            let mut body = vec![0; header.body];
            io.read_exact(&mut body).await.map_err(Received::Broken)?;
            Ok((header.tag, body))
        }
        _ => Err(Received::Malformed),
    }
}

fn broken(endpoint: &str, error: &std::io::Error) -> BackendError {
    BackendError::Broken {
        endpoint: endpoint.to_owned(),
        step: "the login",
        reason: error.to_string(),
    }
}
