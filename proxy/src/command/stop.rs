//! `rds-sidecar stop`: asks the running sidecar to stop and waits until it has.

use std::time::Duration;

use config::Server;
use hyper::Method;
use hyper::StatusCode;
use tokio::time::Instant;
use tokio::time::sleep;

use super::admin_port::AdminPort;
use super::admin_port::AskError;
use super::error::CommandError;

/// For the request itself.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks whether it is gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Posts `/quitquitquit`, then waits up to `limit` until the admin port, which closes last, is closed.
/// `limit` should exceed the running sidecar's `shutdown_grace`.
pub async fn stop(server: &Server, limit: Duration) -> Result<(), CommandError> {
    let port = AdminPort::of(server)?;
    let deadline = Instant::now() + limit;
    match port
        .ask(Method::POST, "/quitquitquit", ASK_WITHIN.min(limit))
        .await
    {
        Ok(answer) if answer.status == StatusCode::OK => (),
        Ok(answer) => {
            return Err(CommandError::Refused {
                reason: answer.reason(),
            });
        }
        Err(error @ AskError::Nobody { .. }) => {
            return Err(CommandError::NobodyThere {
                reason: error.to_string(),
            });
        }
        // It may have stopped before its answer was read: see whether it closes.
        Err(AskError::Broken(_) | AskError::TimedOut(_)) => (),
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if port.is_closed(left.max(LOOK_EVERY)).await {
            return Ok(());
        }
        if left.is_zero() {
            return Err(CommandError::StillRunning {
                address: port.address(),
                after: limit,
            });
        }
        sleep(LOOK_EVERY).await;
    }
}
