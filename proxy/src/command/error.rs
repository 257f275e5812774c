//! Why a command about the running sidecar failed, and the exit code that says so.

use std::net::SocketAddr;
use std::time::Duration;

/// Why `wait`, `healthcheck` or `stop` failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// `admin = "off"`.
    #[error(
        "the admin port is off; set --admin (RDS_SIDECAR_ADMIN) to the address of the running sidecar"
    )]
    AdminOff,
    /// `admin` with port 0.
    #[error(
        "admin has port 0, which means any free one; give it a fixed port so that it can be found"
    )]
    AdminPortUnknown,
    /// Nothing listens there.
    #[error("{reason}; is rds-sidecar running here, with the same --admin?")]
    NobodyThere {
        /// What was tried.
        reason: String,
    },
    /// `wait` ran out of time.
    #[error("not ready after {after:?}: {reason}")]
    NotReady {
        /// How long we waited.
        after: Duration,
        /// What the last probe said is missing.
        reason: String,
    },
    /// `stop` was not let.
    #[error("not stopped: {reason}")]
    Refused {
        /// What it answered.
        reason: String,
    },
    /// `stop` ran out of time.
    #[error("asked to stop, but {address} still answers after {after:?}")]
    StillRunning {
        /// The admin port.
        address: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// `healthcheck` says no.
    #[error("unhealthy: {reason}")]
    Unhealthy {
        /// Why.
        reason: String,
    },
}

impl CommandError {
    /// The process's exit code: 64 for a configuration that cannot work, 69 for a sidecar that is not there
    /// or not ready, 1 for `healthcheck` (Docker's `HEALTHCHECK` knows 0 and 1 and reserves 2).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::AdminOff | Self::AdminPortUnknown => 64,
            Self::NobodyThere { .. }
            | Self::NotReady { .. }
            | Self::Refused { .. }
            | Self::StillRunning { .. } => 69,
            Self::Unhealthy { .. } => 1,
        }
    }
}
