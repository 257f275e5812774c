//! `rds-sidecar wait`: until clients can be served.

use std::time::Duration;

use config::Server;
use hyper::Method;
use hyper::StatusCode;
use tokio::time::Instant;
use tokio::time::sleep;

use super::admin_port::AdminPort;
use super::admin_port::AskError;
use super::error::CommandError;

/// Between two probes. Short, because a pipeline waits.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// For one probe.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// Probes `/readiness` until it says 200, for `limit` at most. A sidecar that is not running yet is waited
/// for like one that is not ready yet. The error repeats what the last probe said is missing.
pub async fn wait(server: &Server, limit: Duration) -> Result<(), CommandError> {
    let port = AdminPort::of(server)?;
    let deadline = Instant::now() + limit;
    let mut missing = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match port
            .ask(Method::GET, "/readiness", left.min(PROBE_WITHIN))
            .await
        {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
            Ok(answer) => missing = Some(answer.reason()),
            // The last probe has little time left; what the one before it said is worth more.
            Err(AskError::TimedOut(_)) if missing.is_some() => (),
            Err(error) => missing = Some(error.to_string()),
        }
        if Instant::now() + PROBE_EVERY >= deadline {
            return Err(CommandError::NotReady {
                after: limit,
                reason: missing.unwrap_or_default(),
            });
        }
        sleep(PROBE_EVERY).await;
    }
}
