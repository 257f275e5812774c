//! One served database, whatever it speaks: the handful of things that the rest of this room asks of it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::mysql;
use crate::net::ClientStream;
use crate::pool::Stats;
use crate::postgres;
use crate::session::Snapshot;

/// One served database.
#[derive(Clone)]
pub(super) enum Service {
    Mysql(Arc<mysql::Service>),
    Postgres(Arc<postgres::Service>),
}

impl Service {
    pub(super) fn database(&self) -> &config::Database {
        match self {
            Self::Mysql(service) => &service.database,
            Self::Postgres(service) => &service.database,
        }
    }

    pub(super) fn counts(&self) -> Snapshot {
        match self {
            Self::Mysql(service) => service.metrics.snapshot(),
            Self::Postgres(service) => service.metrics.snapshot(),
        }
    }

    pub(super) fn pool_stats(&self) -> Stats {
        match self {
            Self::Mysql(service) => service.pool.stats(),
            Self::Postgres(service) => service.pool.stats(),
        }
    }

    pub(super) fn failures(&self) -> Failures {
        match self {
            Self::Mysql(service) => Failures::Mysql(service.failures.clone()),
            Self::Postgres(service) => Failures::Postgres(service.failures.clone()),
        }
    }

    /// Serves one client to its end.
    pub(super) async fn serve(&self, stream: ClientStream) {
        match self {
            Self::Mysql(service) => service.serve(stream).await,
            Self::Postgres(service) => service.serve(stream).await,
        }
    }

    /// The pool's timers, for as long as the process lives.
    pub(super) async fn maintain_pool(self) {
        match self {
            Self::Mysql(service) => service.pool.clone().maintain().await,
            Self::Postgres(service) => service.pool.clone().maintain().await,
        }
    }

    /// Closes what no client holds any more, politely.
    pub(super) async fn drain_pool(&self) {
        match self {
            Self::Mysql(service) => service.pool.drain().await,
            Self::Postgres(service) => service.pool.drain().await,
        }
    }
}

/// Why the last upstream login failed; none when it did not.
pub(super) enum Failures {
    Mysql(watch::Receiver<Option<mysql::error::BackendError>>),
    Postgres(watch::Receiver<Option<postgres::error::BackendError>>),
}

impl Failures {
    /// The present value, which counts as seen.
    pub(super) fn see(&mut self) -> Option<String> {
        match self {
            Self::Mysql(failures) => failures
                .borrow_and_update()
                .as_ref()
                .map(ToString::to_string),
            Self::Postgres(failures) => failures
                .borrow_and_update()
                .as_ref()
                .map(ToString::to_string),
        }
    }

    /// Waits for a value that was not seen. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let changed = match self {
            Self::Mysql(failures) => failures.changed().await,
            Self::Postgres(failures) => failures.changed().await,
        };
        if changed.is_err() {
            // Nothing will ever change.
            std::future::pending::<()>().await;
        }
    }
}
