//! Why there is no upstream connection, in the words of PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use super::wire::Notice;
use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::identity::EndpointError;
use crate::identity::IdentityError;
use crate::net::DialError;
use crate::tls::TlsError;

/// A dial that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// The connection broke during the login.
    #[error("the connection to {endpoint} broke during {step}: {reason}")]
    Broken {
        /// What was dialled.
        endpoint: String,
        /// `the TLS request`, `the login`.
        step: &'static str,
        /// The system's words.
        reason: String,
    },
    /// No TCP connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No endpoint to sign for.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server wants a password, and none is configured.
    #[error("{endpoint} asks for a password and auth = \"none\"")]
    PasswordWanted {
        /// What was dialled.
        endpoint: String,
    },
    /// What came is not the protocol.
    #[error("{endpoint} does not speak the PostgreSQL protocol: {what}")]
    Protocol {
        /// What was dialled.
        endpoint: String,
        /// What was wrong.
        what: &'static str,
    },
    /// The server said no.
    #[error("{endpoint} refused the login: {}", .said.message)]
    Refused {
        /// What was dialled.
        endpoint: String,
        /// The server's words.
        said: Arc<Notice>,
        /// What was signed for, when the login was by token.
        token_for: Option<String>,
    },
    /// RDS accepts no IAM token for replication.
    #[error("IAM authentication cannot be used for replication connections")]
    ReplicationWithToken,
    /// Not within `connect_timeout`.
    #[error("no connection to {endpoint} within {after:?}: {step} did not end")]
    TimedOut {
        /// What was dialled.
        endpoint: String,
        /// What was being done.
        step: &'static str,
        /// `connect_timeout`.
        after: Duration,
    },
    /// The server's certificate, or its TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server answered `N` to the TLS request.
    #[error("{endpoint} does not offer TLS")]
    TlsRefused {
        /// What was dialled.
        endpoint: String,
    },
    /// The configured credential is a token and the server wants to see no password.
    #[error("{endpoint} does not accept IAM tokens for user {user}: it asks for {method}")]
    TokenNotWanted {
        /// What was dialled.
        endpoint: String,
        /// The upstream user.
        user: String,
        /// `SCRAM-SHA-256`, `MD5`.
        method: &'static str,
    },
    /// A method nobody can speak here.
    #[error("{endpoint} asks for an authentication method that is not supported (code {code})")]
    UnsupportedMethod {
        /// What was dialled.
        endpoint: String,
        /// The code of the authentication request.
        code: u32,
    },
    /// The user's name is not text, so no token can be signed for it.
    #[error("the user name is not UTF-8")]
    UserNotText,
}

impl BackendError {
    /// Could the same login work with freshly fetched credentials? RDS answers a dead token with 28000 (PAM), and
    /// with 28P01 where the user is not granted `rds_iam`.
    pub fn token_refused(&self) -> bool {
        matches!(self, Self::Refused { said, token_for: Some(_), .. } if matches!(&*said.sqlstate, "28000" | "28P01"))
    }

    /// The server let us in, and has no such database.
    pub fn no_such_database(&self) -> bool {
        matches!(self, Self::Refused { said, .. } if said.sqlstate == "3D000")
    }

    /// SQLSTATE, detail and hint of the errors that are this room's own.
    fn told(&self) -> (&'static str, Option<&'static str>, Option<String>) {
        match self {
            Self::PasswordWanted { .. } => (
                "28000",
                None,
                Some("set auth = \"iam\" or auth = \"password\" for this database".into()),
            ),
            Self::ReplicationWithToken => (
                "0A000",
                Some("RDS accepts IAM tokens for ordinary sessions only"),
                Some("use auth = \"password\" for replication".into()),
            ),
            Self::TlsRefused { .. } => (
                "08001",
                Some(
                    "tokens and passwords are only sent over verified TLS, and the server answered N to the TLS \
                     request",
                ),
                Some(
                    "is this the RDS endpoint, or a tunnel to something else? RDS always offers TLS"
                        .into(),
                ),
            ),
            Self::TokenNotWanted { user, .. } => (
                "28000",
                Some(
                    "PostgreSQL on RDS asks only members of rds_iam for a clear-text password, which is where the \
                     token goes",
                ),
                Some(format!(
                    "run as an administrator: GRANT rds_iam TO \"{user}\"; and check that IAM authentication is \
                     enabled on the instance"
                )),
            ),
            Self::UnsupportedMethod { .. } | Self::Protocol { .. } => {
                ("08P01", None, Some("is this a PostgreSQL server?".into()))
            }
            Self::UserNotText => ("28000", None, Some("name the user in the database URL".into())),
            Self::TimedOut { .. } => (
                "08001",
                None,
                Some("raise connect_timeout, or see why the server is slow".into()),
            ),
            Self::Broken { .. }
            | Self::Dial(_)
            | Self::Endpoint(_)
            | Self::Identity(_)
            | Self::Refused { .. }
            | Self::Tls(_) => ("08006", None, None),
        }
    }
}

/// The server's own fields, with ours where it has none and the cause is ours to explain.
fn refused(said: &Notice, token_for: Option<&str>) -> ClientError {
    let mut error = ClientError {
        sqlstate: said.sqlstate.clone().into(),
        message: said.message.clone(),
        detail: said.detail.clone(),
        hint: said.hint.clone(),
    };
    if let Some(token_for) = token_for
        && said.sqlstate == "28000"
        && said.message.contains("PAM")
    {
        error.detail.get_or_insert_with(|| {
            format!("rds-sidecar logged in with an IAM token signed for {token_for}")
        });
        error.hint.get_or_insert_with(|| PAM_HINT.into());
    }
    error
}

const PAM_HINT: &str = "the role needs rds-db:connect on arn:aws:rds-db:REGION:ACCOUNT:dbuser:RESOURCE-ID/USER with the \
    instance's DbiResourceId (db-..., or cluster-... for Aurora) and the user in its exact case; IAM authentication \
    must be enabled on the instance; where the endpoint is an alias or a tunnel, set sign_host";

impl Fault for BackendError {
    fn blame(&self) -> Blame {
        match self {
            Self::Dial(error) => error.blame(),
            Self::Endpoint(error) => error.blame(),
            Self::Identity(error) => error.blame(),
            Self::Tls(error) => error.blame(),
            Self::Broken { .. }
            | Self::Protocol { .. }
            | Self::Refused { .. }
            | Self::TimedOut { .. } => Blame::Upstream,
            Self::PasswordWanted { .. }
            | Self::TlsRefused { .. }
            | Self::TokenNotWanted { .. }
            | Self::UnsupportedMethod { .. } => Blame::Config,
            Self::ReplicationWithToken | Self::UserNotText => Blame::Client,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Dial(error) => error.retry(),
            Self::Endpoint(error) => error.retry(),
            Self::Identity(error) => error.retry(),
            Self::Tls(error) => error.retry(),
            Self::Broken { .. } | Self::TimedOut { .. } => Retry::Later,
            // Match the SQLSTATE, never the text: there are five texts (protocol.md D.4).
            Self::Refused { said, .. } => match &*said.sqlstate {
                "53300" => Retry::LimitReached,
                "57P03" => Retry::Later,
                _ if self.token_refused() => Retry::WithFreshCredentials,
                _ => Retry::Never,
            },
            Self::PasswordWanted { .. }
            | Self::Protocol { .. }
            | Self::ReplicationWithToken
            | Self::TlsRefused { .. }
            | Self::TokenNotWanted { .. }
            | Self::UnsupportedMethod { .. }
            | Self::UserNotText => Retry::Never,
        }
    }

    fn for_client(&self) -> ClientError {
        match self {
            Self::Dial(error) => signed(error.for_client()),
            Self::Endpoint(error) => signed(error.for_client()),
            Self::Identity(error) => signed(error.for_client()),
            Self::Tls(error) => signed(error.for_client()),
            // "Errors of the upstream login must reach the client with the original SQLSTATE and text."
            Self::Refused {
                said, token_for, ..
            } => refused(said, token_for.as_deref()),
            _ => {
                let (sqlstate, detail, hint) = self.told();
                signed(ClientError {
                    sqlstate: sqlstate.into(),
                    message: self.to_string(),
                    detail: detail.map(str::to_owned),
                    hint,
                })
            }
        }
    }
}

/// Says who speaks, where it is not the server.
fn signed(mut error: ClientError) -> ClientError {
    if !error.message.starts_with("rds-sidecar: ") {
        error.message.insert_str(0, "rds-sidecar: ");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_with(sqlstate: &str, message: &str) -> BackendError {
        BackendError::Refused {
            endpoint: "db:5432".into(),
            said: Arc::new(Notice {
                severity: "FATAL".into(),
                sqlstate: sqlstate.into(),
                message: message.into(),
                ..Notice::default()
            }),
            token_for: Some("real:5432 in eu-west-1, user u".into()),
        }
    }

    #[test]
    fn the_servers_words_pass_unchanged() {
        let told = refused_with("3D000", "database \"x\" does not exist").for_client();
        assert_eq!(
            (&*told.sqlstate, told.message.as_str()),
            ("3D000", "database \"x\" does not exist")
        );
        assert_eq!((told.detail, told.hint), (None, None));
    }

    #[test]
    fn a_pam_refusal_is_explained() {
        let error = refused_with("28000", "PAM authentication failed for user \"u\"");
        assert_eq!(error.retry(), Retry::WithFreshCredentials);
        let told = error.for_client();
        assert!(told.detail.unwrap().contains("signed for real:5432"));
        assert!(told.hint.unwrap().contains("rds-db:connect"));
    }

    #[test]
    fn a_full_server_is_waited_for_whatever_its_words() {
        assert_eq!(
            refused_with("53300", "anything").retry(),
            Retry::LimitReached
        );
        assert_eq!(
            refused_with("57P03", "the database system is starting up").retry(),
            Retry::Later
        );
        assert_eq!(refused_with("3D000", "x").retry(), Retry::Never);
        assert!(refused_with("3D000", "x").no_such_database());
        assert!(!refused_with("28000", "x").no_such_database());
    }

    #[test]
    fn a_user_without_rds_iam_is_told_the_grant() {
        let error = BackendError::TokenNotWanted {
            endpoint: "db:5432".into(),
            user: "ci".into(),
            method: "SCRAM-SHA-256",
        };
        let told = error.for_client();
        assert_eq!(
            told.message,
            "rds-sidecar: db:5432 does not accept IAM tokens for user ci: it asks for SCRAM-SHA-256"
        );
        assert!(told.hint.unwrap().contains("GRANT rds_iam TO \"ci\""));
    }
}
