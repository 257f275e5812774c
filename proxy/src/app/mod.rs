//! The composition root: builds everything in start order, and stops it in reverse.
//!
//! # Layout
//! - [`run`]: from a checked configuration to the exit code
//! - `build`: the rooms, put together
//! - `serve`: accept loops; `service`: a served database, whatever it speaks
//! - `readiness`, `metrics`: what the admin port tells, gathered from the rooms
//! - `life`: what may end the process, and how it ends
//!
//! Invariant: no logic worth a unit test of its own.

mod build;
mod life;
mod limits;
mod metrics;
mod readiness;
mod serve;
mod service;

use std::sync::Arc;

use config::Config;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::admin::Hooks;
use crate::clock::Clock;
use crate::net;
use crate::net::Drain;

pub use build::StartError;

/// Serves until something ends it. The outcome is a clean end, or why it could not begin.
pub async fn run(config: Config, clock: Clock) -> Result<(), StartError> {
    let clients_max = limits::raise_open_files();
    let drain = Drain::default();
    let app = Arc::new(build::build(&config, clock, drain.clone(), clients_max)?);
    // All ports before anything else is started: a port in use must not leave half a sidecar behind.
    let listeners = serve::bind(&app.services, clients_max).await?;
    let admin_listener = match config.server.admin {
        Some(address) => Some(net::bind_tcp(address, "`admin`")?),
        None => None,
    };
    let background = TaskTracker::new();
    let ended = CancellationToken::new();
    let quit = CancellationToken::new();
    app.spawn_background(&background, &ended);
    let readiness = readiness::watch(&app, &background, &ended, &drain);
    if let Some(listener) = admin_listener {
        let hooks = Hooks {
            readiness,
            metrics: metrics::page(&app),
            push_identity: build::push_identity(&app),
            quit: quit.clone(),
        };
        let token = config.server.admin_token.clone();
        background.spawn(admin::serve(listener, hooks, token, ended.clone()));
    }
    let sessions = TaskTracker::new();
    let accepting = serve::accept_all(listeners, &sessions, &drain);
    let reason = life::until_end(&config.server, &app.services, &quit).await?;
    tracing::info!(reason, "shutting down");
    drain.begin();
    accepting.await;
    life::finish_sessions(&sessions, &drain, config.server.shutdown_grace).await;
    app.close_pools().await;
    ended.cancel();
    background.close();
    background.wait().await;
    tracing::info!("stopped");
    Ok(())
}
