//! `rds-sidecar healthcheck`: one probe, for the image's `HEALTHCHECK`.

use std::time::Duration;

use config::Server;
use hyper::Method;
use hyper::StatusCode;

use super::admin_port::AdminPort;
use super::error::CommandError;

/// Below Docker's own limits of 30 s between checks and 30 s for one.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// Probes `/startup` once: healthy means that the process answers and its ports are open.
///
/// Not `/readiness`: orchestrators restart what is unhealthy (ECS, Swarm, autoheal), and a sidecar that waits
/// for its identity or a restarting database must not be restarted for it. Clients that connect meanwhile are
/// held, so `depends_on: service_healthy` is right with this answer; who needs more runs `wait`.
/// Every failure is [`CommandError::Unhealthy`], exit code 1.
pub async fn healthcheck(server: &Server) -> Result<(), CommandError> {
    match probe(server).await {
        Ok(()) => Ok(()),
        Err(reason) => Err(CommandError::Unhealthy { reason }),
    }
}

async fn probe(server: &Server) -> Result<(), String> {
    let port = AdminPort::of(server).map_err(|error| error.to_string())?;
    let answer = port
        .ask(Method::GET, "/startup", PROBE_WITHIN)
        .await
        .map_err(|error| error.to_string())?;
    if answer.status == StatusCode::OK {
        Ok(())
    } else {
        Err(answer.reason())
    }
}
