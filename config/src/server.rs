//! `[server]`: admin port, logs, shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

/// The checked `[server]` section.
#[derive(Debug, Clone)]
pub struct Server {
    /// Admin HTTP address; none: off.
    pub admin: Option<SocketAddr>,
    /// Bearer token that lets a peer which is not loopback use the mutating admin calls.
    pub admin_token: Option<SecretString>,
    /// Log format on stderr.
    pub log: LogFormat,
    /// Filter in `RUST_LOG` syntax.
    pub log_level: String,
    /// How long transactions may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// The process ends itself after this; default in GitLab: `CI_JOB_TIMEOUT`.
    pub max_lifetime: Option<Duration>,
    /// The process ends itself when no client was connected for this long (after the first one).
    pub exit_when_idle: Option<Duration>,
}

/// Log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}
