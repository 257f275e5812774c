//! Why a server was not proven to be the named database, and what to do about it.

use std::io;
use std::sync::Arc;

use rustls::CertificateError;
use thiserror::Error;

use super::describe;
use super::explain;
use super::explain::RefusedChain;
use super::hint;
use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;

/// SQLSTATE "the SQL client cannot establish the connection": nothing was sent to the server.
const CANNOT_ESTABLISH: &str = "08001";
/// SQLSTATE "connection failure": it was there and broke.
const CONNECTION_FAILURE: &str = "08006";

/// A handshake that gave no proven peer.
#[derive(Debug, Clone, Error)]
pub enum TlsError {
    /// What to connect to is no name and no address.
    #[error("{host:?} is neither a DNS name nor an IP address, so no certificate can prove it")]
    BadName {
        /// What was asked for.
        host: String,
    },
    /// The server hung up in the middle.
    #[error("{host} closed the connection during the TLS handshake")]
    Closed {
        /// The server dialled.
        host: String,
    },
    /// A certificate of the chain has ended.
    #[error("the certificate of {host} ended at {not_after}")]
    Expired {
        /// The server dialled.
        host: String,
        /// Who the server's certificate speaks for.
        subject: String,
        /// RFC 3339.
        not_after: String,
        /// This machine's clock, RFC 3339.
        now: String,
    },
    /// No common version or cipher, an alert, a broken record.
    #[error("the TLS handshake with {host} failed")]
    Handshake {
        /// The server dialled.
        host: String,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The transport failed.
    #[error("the connection to {host} broke during the TLS handshake")]
    Io {
        /// The server dialled.
        host: String,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The bytes that came are no TLS.
    #[error("{host} answered the TLS handshake with something that is not TLS")]
    NotTls {
        /// The server dialled.
        host: String,
    },
    /// A certificate of the chain has not begun.
    #[error("the certificate of {host} is not valid before {not_before}")]
    NotYetValid {
        /// The server dialled.
        host: String,
        /// Who the server's certificate speaks for.
        subject: String,
        /// RFC 3339.
        not_before: String,
        /// This machine's clock, RFC 3339.
        now: String,
    },
    /// The certificate is unfit for another reason.
    #[error("the certificate of {host} cannot be accepted: {reason}")]
    Refused {
        /// The server dialled.
        host: String,
        /// Who the server's certificate speaks for.
        subject: String,
        /// Who signed it.
        issuer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody we trust vouches for the certificate.
    #[error("the certificate of {host} is signed by an unknown authority")]
    UnknownCa {
        /// The server dialled.
        host: String,
        /// Who the server's certificate speaks for.
        subject: String,
        /// The authority that would have to be trusted: the issuer of the last certificate presented.
        issuer: String,
        /// In what way it is unknown.
        how: Unknown,
    },
    /// The certificate is good, and another server's.
    #[error("the certificate presented is not for {host}")]
    WrongName {
        /// The name that had to be proven.
        host: String,
        /// Who the certificate speaks for.
        subject: String,
        /// DNS names and addresses in the certificate.
        presented: Vec<String>,
    },
}

/// In what way an authority is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// No trusted authority has this name.
    Name,
    /// A trusted authority has this name, but another key: most often a file from before it was made anew.
    Key,
    /// The server's certificate names itself as issuer.
    SelfSigned,
}

impl TlsError {
    pub(super) fn bad_name(host: &str) -> Self {
        Self::BadName {
            host: describe::tame(host),
        }
    }

    /// Reads what tokio-rustls reports: rustls's error inside an `io::Error`, or the transport's own.
    pub(super) fn from_handshake(host: &str, error: io::Error) -> Self {
        let host = host.to_owned();
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(inner) = inner {
            return match (explain::refused_chain(inner), inner) {
                (Some(refused), _) => Self::from_refused(host, refused),
                (None, rustls::Error::InvalidMessage(_)) => Self::NotTls { host },
                (None, other) => Self::Handshake {
                    host,
                    source: other.clone(),
                },
            };
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed { host },
            _ => Self::Io {
                host,
                source: Arc::new(error),
            },
        }
    }

    fn from_refused(host: String, refused: &RefusedChain) -> Self {
        let Some(leaf) = refused.chain.first() else {
            return Self::Refused {
                host,
                subject: String::new(),
                issuer: String::new(),
                reason: refused.why.to_string(),
            };
        };
        let subject = describe::subject(leaf);
        let top = refused.chain.last().unwrap_or(leaf);
        match &refused.why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName {
                    host,
                    subject,
                    presented: describe::names(leaf),
                }
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                let how = match &refused.why {
                    CertificateError::BadSignature => Unknown::Key,
                    _ if describe::is_self_issued(leaf) => Unknown::SelfSigned,
                    _ => Unknown::Name,
                };
                Self::UnknownCa {
                    host,
                    subject,
                    issuer: describe::issuer(top),
                    how,
                }
            }
            CertificateError::ExpiredContext { time, not_after } => {
                let (not_after, now) = (describe::rfc3339(*not_after), describe::rfc3339(*time));
                Self::Expired {
                    host,
                    subject,
                    not_after,
                    now,
                }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                let (not_before, now) = (describe::rfc3339(*not_before), describe::rfc3339(*time));
                Self::NotYetValid {
                    host,
                    subject,
                    not_before,
                    now,
                }
            }
            other => {
                let reason = describe::tame(&other.to_string());
                Self::Refused {
                    host,
                    subject,
                    issuer: describe::issuer(top),
                    reason,
                }
            }
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::BadName { .. } | Self::Closed { .. } | Self::NotTls { .. } => None,
            Self::Expired { subject, now, .. } | Self::NotYetValid { subject, now, .. } => Some(
                format!("certificate of {subject}; this machine's clock says {now}"),
            ),
            Self::Handshake { source, .. } => Some(describe::tame(&source.to_string())),
            Self::Io { source, .. } => Some(source.to_string()),
            Self::Refused {
                subject, issuer, ..
            } => Some(format!("certificate of {subject}, issued by {issuer}")),
            Self::UnknownCa {
                subject,
                issuer,
                how,
                ..
            } => Some(match how {
                Unknown::Name => format!("certificate of {subject}, issued by {issuer}"),
                Unknown::Key => format!(
                    "certificate of {subject}, issued by {issuer}; an authority of that name is trusted, but its key \
                     is another"
                ),
                Unknown::SelfSigned => format!("certificate of {subject}, signed by itself"),
            }),
            Self::WrongName {
                subject, presented, ..
            } if presented.is_empty() => Some(format!(
                "certificate of {subject}, without any name (subjectAltName)"
            )),
            Self::WrongName { presented, .. } => {
                Some(format!("the certificate is for {}", presented.join(", ")))
            }
        }
    }
}

impl Fault for TlsError {
    fn blame(&self) -> Blame {
        match self {
            Self::Closed { .. }
            | Self::Handshake { .. }
            | Self::Io { .. }
            | Self::NotTls { .. } => Blame::Upstream,
            Self::BadName { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::Refused { .. }
            | Self::UnknownCa { .. }
            | Self::WrongName { .. } => Blame::Config,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Closed { .. } | Self::Io { .. } => Retry::Later,
            Self::BadName { .. }
            | Self::Expired { .. }
            | Self::Handshake { .. }
            | Self::NotTls { .. }
            | Self::NotYetValid { .. }
            | Self::Refused { .. }
            | Self::UnknownCa { .. }
            | Self::WrongName { .. } => Retry::Never,
        }
    }

    fn for_client(&self) -> ClientError {
        let sqlstate = match self.retry() {
            Retry::Later => CONNECTION_FAILURE,
            Retry::LimitReached | Retry::Never | Retry::WithFreshCredentials => CANNOT_ESTABLISH,
        };
        ClientError {
            sqlstate: sqlstate.into(),
            message: self.to_string(),
            detail: self.detail(),
            hint: hint::for_error(self),
        }
    }
}
