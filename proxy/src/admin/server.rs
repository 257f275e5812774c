//! Connections of the admin port, their bounds and their end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::routes;
use super::routes::Hooks;

/// Probes, a scraper, a person or two.
const CONNECTIONS_MAX: usize = 64;
/// A request's head must be complete, and the next one on the same connection begun, within this.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// All of a head, and what hyper reads ahead of a body. Its default is 400 KiB a connection.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// A connection is closed after the request that is running then, so that nobody holds a place for ever.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(300);
/// What a running request gets to finish, at the end of its connection's life and of ours.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// After a failed `accept`: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the admin port until `shutdown` is cancelled, then lets running requests finish and closes it.
///
/// A peer that is not loopback may change something only with `token` as its bearer token.
pub async fn serve(
    listener: TcpListener,
    hooks: Hooks,
    token: Option<SecretString>,
    shutdown: CancellationToken,
) {
    let token = token.map(Arc::new);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let accept_all = async {
        // Never closed, so this ends only by cancellation.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection =
                        connection(stream, peer, hooks.clone(), token.clone(), shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "admin port cannot accept for now");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept_all).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    hooks: Hooks,
    token: Option<Arc<SecretString>>,
    shutdown: CancellationToken,
) {
    let service = service_fn(|request| {
        let hooks = &hooks;
        let token = token.as_deref();
        async move { Ok::<_, Infallible>(routes::answer(request, peer, hooks, token).await) }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let outcome = tokio::select! {
        outcome = serving.as_mut() => Ok(outcome),
        () = end_of(&shutdown) => {
            serving.as_mut().graceful_shutdown();
            timeout(FINISH_WITHIN, serving).await
        }
    };
    match outcome {
        Ok(Ok(())) => (),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "admin connection ended early"),
        Err(_elapsed) => tracing::debug!(%peer, "admin connection cut"),
    }
}

async fn end_of(shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => (),
        () = sleep(CONNECTION_LIFE_MAX) => (),
    }
}
