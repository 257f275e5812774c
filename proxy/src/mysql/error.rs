//! Why there is no upstream connection, in the words of MySQL.

use std::sync::Arc;
use std::time::Duration;

use super::wire::status::ErrPacket;
use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::identity::EndpointError;
use crate::identity::IdentityError;
use crate::net::DialError;
use crate::tls::TlsError;

/// Too many connections (`ER_CON_COUNT_ERROR`).
pub const CON_COUNT: u16 = 1040;
/// Access denied (`ER_ACCESS_DENIED_ERROR`).
pub const ACCESS_DENIED: u16 = 1045;
/// The server stops (`ER_SERVER_SHUTDOWN`).
pub const SERVER_SHUTDOWN: u16 = 1053;
/// The client's host made too many failed connections (`ER_HOST_IS_BLOCKED`).
const HOST_IS_BLOCKED: u16 = 1129;
/// `max_user_connections` (`ER_TOO_MANY_USER_CONNECTIONS`).
const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
/// A limit of the user's account (`ER_USER_LIMIT_REACHED`).
const USER_LIMIT_REACHED: u16 = 1226;
/// Plugin is not loaded (`ER_PLUGIN_IS_NOT_LOADED`).
const PLUGIN_IS_NOT_LOADED: u16 = 1524;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The error number.
    pub code: u16,
    /// The SQLSTATE; `HY000` where the server sent none.
    pub sqlstate: String,
    /// Its words.
    pub message: String,
}

impl Said {
    /// From an ERR packet. Before the handshake response there is no SQLSTATE in it (protocol.md C.3).
    pub fn new(packet: &ErrPacket<'_>) -> Self {
        let known = match packet.code {
            CON_COUNT => "08004",
            _ => "HY000",
        };
        let sqlstate = packet.sqlstate.as_ref().map(|state| &state[..]);
        Self {
            code: packet.code,
            sqlstate: sqlstate.map_or_else(
                || known.to_owned(),
                |state| String::from_utf8_lossy(state).into_owned(),
            ),
            message: String::from_utf8_lossy(packet.message).into_owned(),
        }
    }

    /// The server is full, or full for this user. Of 1226's resources only the number of connections at once comes
    /// back by waiting; the others are counted by the hour.
    fn is_limit(&self) -> bool {
        match self.code {
            CON_COUNT | TOO_MANY_USER_CONNECTIONS => true,
            USER_LIMIT_REACHED => self.message.contains("max_user_connections"),
            _ => false,
        }
    }
}

/// A dial that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// The connection broke during the login.
    #[error("the connection to {endpoint} broke during {step}: {reason}")]
    Broken {
        /// What was dialled.
        endpoint: String,
        /// `the greeting`, `the login`.
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
    /// The server can do less than the one whose greeting the client saw.
    #[error("{endpoint} is not the server it was: it lacks {lost}")]
    Lesser {
        /// What was dialled.
        endpoint: String,
        /// The capabilities.
        lost: String,
    },
    /// The server wants a password, and none is configured.
    #[error("{endpoint} asks for a password and auth = \"none\"")]
    PasswordWanted {
        /// What was dialled.
        endpoint: String,
    },
    /// What came is not the protocol.
    #[error("{endpoint} does not speak the MySQL protocol: {what}")]
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
        said: Arc<Said>,
        /// What was signed for, when the login was by token.
        token_for: Option<String>,
    },
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
    /// The server's greeting offers no TLS.
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
        /// The authentication plugin.
        method: String,
    },
    /// A method nobody can speak here.
    #[error("{endpoint} asks for the authentication plugin {method}, which is not supported")]
    UnsupportedMethod {
        /// What was dialled.
        endpoint: String,
        /// The authentication plugin.
        method: String,
    },
    /// The user's name is not text, so no token can be signed for it.
    #[error("the user name is not UTF-8")]
    UserNotText,
}

impl BackendError {
    /// Could the same login work with freshly fetched credentials? RDS answers a dead token like a wrong password.
    pub fn token_refused(&self) -> bool {
        matches!(self, Self::Refused { said, token_for: Some(_), .. } if said.code == ACCESS_DENIED)
    }

    /// SQLSTATE, detail and hint of the errors that are this room's own.
    fn told(&self) -> (&'static str, Option<&'static str>, Option<String>) {
        match self {
            Self::PasswordWanted { .. } => (
                "28000",
                None,
                Some("set auth = \"iam\" or auth = \"password\" for this database".into()),
            ),
            Self::TlsRefused { .. } => (
                "08001",
                Some("tokens and passwords are only sent over verified TLS, and the server's greeting offers none"),
                Some(
                    "is this the RDS endpoint, or a tunnel to something else? RDS always offers TLS"
                        .into(),
                ),
            ),
            Self::TokenNotWanted { user, .. } => (
                "28000",
                Some("a token is only accepted for users identified with AWSAuthenticationPlugin"),
                Some(grant_hint(user)),
            ),
            Self::UnsupportedMethod { .. } | Self::Protocol { .. } => {
                ("08001", None, Some("is this a MySQL or MariaDB server?".into()))
            }
            Self::UserNotText => ("28000", None, Some("name the user in the database URL".into())),
            Self::TimedOut { .. } => (
                "08001",
                None,
                Some("raise connect_timeout, or see why the server is slow".into()),
            ),
            Self::Lesser { .. } => ("08001", None, Some("connect again".into())),
            Self::Broken { .. }
            | Self::Dial(_)
            | Self::Endpoint(_)
            | Self::Identity(_)
            | Self::Refused { .. }
            | Self::Tls(_) => ("08006", None, None),
        }
    }
}

fn grant_hint(user: &str) -> String {
    format!(
        "run as an administrator: ALTER USER '{user}'@'%' IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'; and check \
         that IAM authentication is enabled on the instance"
    )
}

/// The server's own words, with ours where the cause is ours to explain.
fn refused(said: &Said, token_for: Option<&str>) -> ClientError {
    let mut error = ClientError {
        sqlstate: said.sqlstate.clone().into(),
        message: said.message.clone(),
        detail: None,
        hint: None,
    };
    match (said.code, token_for) {
        (ACCESS_DENIED, Some(token_for)) => {
            error.detail = Some(format!(
                "rds-sidecar logged in with an IAM token signed for {token_for}"
            ));
            // The server never asked for the token: the account is of another kind.
            let never_asked = said.message.contains("using password: NO");
            error.hint = Some(if never_asked {
                let user = token_for
                    .rsplit_once("user ")
                    .map_or("USER", |(_, user)| user);
                grant_hint(user)
            } else {
                TOKEN_HINT.into()
            });
        }
        (PLUGIN_IS_NOT_LOADED, Some(_)) => {
            error.hint = Some("enable IAM authentication on the instance".into());
        }
        (HOST_IS_BLOCKED, _) => error.hint = Some(BLOCKED_HINT.into()),
        _ => {}
    }
    error
}

const TOKEN_HINT: &str = "the role needs rds-db:connect on \
    arn:aws:rds-db:REGION:ACCOUNT:dbuser:RESOURCE-ID/USER with the instance's DbiResourceId (db-..., or cluster-... for \
    Aurora) and the user in its exact case; IAM authentication must be enabled on the instance; where the endpoint is an \
    alias or a tunnel, set sign_host";
const BLOCKED_HINT: &str = "run as an administrator: TRUNCATE TABLE performance_schema.host_cache; (or FLUSH HOSTS), \
    and raise max_connect_errors";

impl Fault for BackendError {
    fn blame(&self) -> Blame {
        match self {
            Self::Dial(error) => error.blame(),
            Self::Endpoint(error) => error.blame(),
            Self::Identity(error) => error.blame(),
            Self::Tls(error) => error.blame(),
            Self::Broken { .. }
            | Self::Lesser { .. }
            | Self::Protocol { .. }
            | Self::Refused { .. }
            | Self::TimedOut { .. } => Blame::Upstream,
            Self::PasswordWanted { .. }
            | Self::TlsRefused { .. }
            | Self::TokenNotWanted { .. }
            | Self::UnsupportedMethod { .. } => Blame::Config,
            Self::UserNotText => Blame::Client,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Dial(error) => error.retry(),
            Self::Endpoint(error) => error.retry(),
            Self::Identity(error) => error.retry(),
            Self::Tls(error) => error.retry(),
            Self::Broken { .. } | Self::Lesser { .. } | Self::TimedOut { .. } => Retry::Later,
            Self::Refused { said, .. } if said.is_limit() => Retry::LimitReached,
            Self::Refused { said, .. } if said.code == SERVER_SHUTDOWN => Retry::Later,
            Self::Refused { .. } if self.token_refused() => Retry::WithFreshCredentials,
            Self::PasswordWanted { .. }
            | Self::Protocol { .. }
            | Self::Refused { .. }
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
            // Errors of the upstream login reach the client with the server's own number and text.
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
mod tests;
