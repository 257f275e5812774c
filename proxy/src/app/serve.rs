//! Accept loops.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::build::StartError;
use super::service::Service;
use crate::net::Drain;
use crate::net::Listener;

/// A database and its open port.
pub(super) struct Bound {
    listener: Listener,
    service: Service,
}

/// Connections that are told "too many clients" instead of being left in the kernel's queue.
const REFUSABLE: usize = 64;

/// Opens all ports.
pub(super) async fn bind(services: &[Service], clients_max: u64) -> Result<Vec<Bound>, StartError> {
    let places = usize::try_from(clients_max)
        .unwrap_or(usize::MAX)
        .saturating_add(REFUSABLE);
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    let mut bound = Vec::with_capacity(services.len());
    for service in services {
        let database = service.database();
        let option = format!("`listen` of database `{}`", database.name);
        let listener = Listener::bind(&database.listen, &option, Arc::clone(&places)).await?;
        bound.push(Bound {
            listener,
            service: service.clone(),
        });
    }
    for Bound { listener, service } in &bound {
        let database = service.database();
        tracing::info!(listen = %listener.local(), upstream = %database.upstream, auth = auth_word(database),
            max_connections = database.pool.max_connections, "serving database {}", database.name);
    }
    Ok(bound)
}

fn auth_word(database: &config::Database) -> &'static str {
    match database.auth {
        config::UpstreamAuth::Iam => "iam",
        config::UpstreamAuth::None => "none",
        config::UpstreamAuth::Password(_) => "password",
    }
}

/// Accepts on all ports until draining begins; then the ports are closed. The future ends when they are.
pub(super) fn accept_all(
    bound: Vec<Bound>,
    sessions: &TaskTracker,
    drain: &Drain,
) -> impl Future<Output = ()> {
    let loops = TaskTracker::new();
    for Bound {
        mut listener,
        service,
    } in bound
    {
        let (sessions, drain) = (sessions.clone(), drain.clone());
        loops.spawn(async move {
            loop {
                let stream = tokio::select! {
                    biased;
                    () = drain.begun() => return,
                    stream = listener.accept() => stream,
                };
                let service = service.clone();
                sessions.spawn(async move { service.serve(stream).await });
            }
        });
    }
    loops.close();
    async move { loops.wait().await }
}
