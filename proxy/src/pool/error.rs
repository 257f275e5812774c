//! Why a client got no connection, and what it is told.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::pool::Stats;

/// Too many connections (PostgreSQL manual, appendix A, `too_many_connections`).
const TOO_MANY_CONNECTIONS: &str = "53300";
/// PostgreSQL's own answer to a client that comes during shutdown (`cannot_connect_now`).
const CANNOT_CONNECT_NOW: &str = "57P03";

/// Why a checkout gave no lease.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CheckoutError<E: Fault> {
    /// Opening a connection for this client failed, and none could be expected to come free.
    #[error(transparent)]
    Dial(E),
    /// More clients wait than this sidecar lets queue.
    #[error("rds-sidecar: {waiting} clients already wait for an upstream connection")]
    QueueFull {
        /// Clients in the queue.
        waiting: usize,
    },
    /// The sidecar is stopping.
    #[error("rds-sidecar is shutting down")]
    ShuttingDown,
    /// `checkout_timeout` passed.
    #[error("{0}")]
    Timeout(Box<Starved<E>>),
}

/// What the pool looked like when a client's patience ended.
#[derive(Debug, Clone)]
pub struct Starved<E> {
    /// `checkout_timeout`.
    pub timeout: Duration,
    /// The pool at that moment, this client still in the queue.
    pub stats: Stats,
    /// The server's latest refusal for want of room, while it is in force.
    pub refusal: Option<E>,
}

impl<E: Fault> fmt::Display for Starved<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.stats;
        write!(
            f,
            "rds-sidecar: no upstream connection became free within {:?}: ",
            self.timeout
        )?;
        let clients = counted(stats.leased, "client");
        write!(
            f,
            "{} of {} in use by {clients}",
            stats.in_use(),
            stats.limit()
        )?;
        if stats.dialling > 0 {
            write!(f, ", {} being opened", stats.dialling)?;
        }
        write!(f, ", {} waiting", counted(stats.waiting, "client"))?;
        match &self.refusal {
            Some(refusal) => write!(
                f,
                "; the server refused more: {}",
                refusal.for_client().message
            ),
            None => Ok(()),
        }
    }
}

impl<E: Fault> Fault for CheckoutError<E> {
    fn blame(&self) -> Blame {
        match self {
            Self::Dial(error) => error.blame(),
            Self::QueueFull { .. } | Self::ShuttingDown => Blame::Config,
            Self::Timeout(starved) if starved.refusal.is_some() => Blame::Upstream,
            Self::Timeout(_) => Blame::Config,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Dial(error) => error.retry(),
            Self::QueueFull { .. } | Self::ShuttingDown | Self::Timeout(_) => Retry::Later,
        }
    }

    fn for_client(&self) -> ClientError {
        let sqlstate = match self {
            Self::Dial(error) => return error.for_client(),
            Self::QueueFull { .. } | Self::Timeout(_) => TOO_MANY_CONNECTIONS,
            Self::ShuttingDown => CANNOT_CONNECT_NOW,
        };
        ClientError {
            sqlstate: Cow::Borrowed(sqlstate),
            message: self.to_string(),
            detail: self.detail(),
            hint: self.hint(),
        }
    }
}

impl<E: Fault> CheckoutError<E> {
    fn detail(&self) -> Option<String> {
        let Self::Timeout(starved) = self else {
            return None;
        };
        let refusal = starved.refusal.as_ref()?.for_client();
        let configured = starved.stats.max_connections;
        let mut detail = format!(
            "the server answered {} to the latest login while max_connections = {configured} allows more",
            refusal.sqlstate
        );
        if let Some(more) = refusal.detail {
            detail.push_str(": ");
            detail.push_str(&more);
        }
        Some(detail)
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Dial(_) | Self::ShuttingDown => return None,
            Self::QueueFull { .. } => {
                "Open fewer connections at once, or raise max_connections of [database.pool]."
            }
            Self::Timeout(starved) if starved.refusal.is_some() => {
                "Free connections at the server or raise its limit; checkout_timeout of [database.pool] says how long \
                 rds-sidecar waits."
            }
            Self::Timeout(_) => {
                "Raise max_connections or checkout_timeout of [database.pool], or let the application hold fewer \
                 connections: a client that waits for a second connection while it holds the last one waits for itself."
            }
        };
        Some(hint.to_owned())
    }
}

fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
