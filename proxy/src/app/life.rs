//! What may end the process, and how it ends.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::time::Instant;
use tokio::time::interval;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::build::StartError;
use super::service::Service;
use crate::net::Drain;

/// How often it is looked whether anybody is connected.
const IDLE_TICK: Duration = Duration::from_millis(250);
/// What runs when the grace is over is cancelled at the server; that takes one connection to it.
const CUT_OFF_MAX: Duration = Duration::from_secs(2);

/// Waits for whatever ends the process; its name, for the log.
pub(super) async fn until_end(
    server: &config::Server,
    services: &[Service],
    quit: &CancellationToken,
) -> Result<&'static str, StartError> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = quit.cancelled() => "asked over HTTP",
        () = optional(server.max_lifetime, sleep) => "max_lifetime reached",
        () = optional(server.exit_when_idle, |limit| idle(services, limit)) => "exit_when_idle reached",
    })
}

/// Lets sessions finish what runs; a second signal, or the end of the grace, stops it: a statement would otherwise
/// run on at the server, with its locks, long after this process is gone.
pub(super) async fn finish_sessions(sessions: &TaskTracker, drain: &Drain, grace: Duration) {
    sessions.close();
    let again = async {
        // Without signals there is still the grace.
        match (
            listen(SignalKind::terminate()),
            listen(SignalKind::interrupt()),
        ) {
            (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = timeout(grace, sessions.wait()) => if outcome.is_err() {
            tracing::warn!(sessions = sessions.len(), "shutdown_grace is over, closing what is left");
        },
        () = again => tracing::warn!(sessions = sessions.len(), "second signal, closing at once"),
    }
    drain.end();
    if timeout(CUT_OFF_MAX, sessions.wait()).await.is_err() {
        tracing::warn!(
            sessions = sessions.len(),
            "the database did not stop in time what still ran"
        );
    }
}

fn listen(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(StartError::Signals)
}

/// Runs a wait that is only there when it is configured.
async fn optional<F: Future<Output = ()>>(
    limit: Option<Duration>,
    wait: impl FnOnce(Duration) -> F,
) {
    match limit {
        Some(limit) => wait(limit).await,
        None => std::future::pending().await,
    }
}

/// Ends when, after the first client, nobody was connected for `limit`.
async fn idle(services: &[Service], limit: Duration) {
    let mut tick = interval(IDLE_TICK.min(limit));
    let mut empty_since = None;
    loop {
        tick.tick().await;
        let snapshots = services.iter().map(|service| service.counts());
        let (opened, ended, now) = snapshots.fold((0, 0, 0), |(opened, ended, now), counts| {
            (
                opened + counts.clients_opened,
                ended + counts.sessions_ended,
                now + (counts.clients_opened - counts.clients_closed.min(counts.clients_opened)),
            )
        });
        // A probe is no client: somebody must have had a session.
        if opened == 0 || ended == 0 || now > 0 {
            empty_since = None;
        } else if empty_since.get_or_insert_with(Instant::now).elapsed() >= limit {
            return;
        }
    }
}
