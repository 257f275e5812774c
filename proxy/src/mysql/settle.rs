//! After a client is gone: brings its server to rest, or says that it cannot be used again (protocol.md C.6). When in
//! doubt, the connection is closed.
//!
//! A transaction that is still open is no matter here: COM_RESET_CONNECTION rolls it back.

use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::relay::Relay;
use super::tracker::Standing;

/// A client that said goodbye meant its statements to run: they get this long to end by themselves.
const GRACE_AFTER_GOODBYE: Duration = Duration::from_secs(10);
/// A client that vanished gets what a short statement needs. MySQL itself would let even a long one finish, holding
/// its locks; a job that was killed must not.
const GRACE_AFTER_LOSS: Duration = Duration::from_millis(500);
/// After a KILL QUERY the server has this long to come to rest.
const REST_TIME_MAX: Duration = Duration::from_secs(5);

/// How a session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The client sent COM_QUIT.
    Goodbye,
    /// The client vanished or was thrown out.
    Loss,
}

/// What runs on the server, as something that can be stopped.
pub trait Stop: Sync {
    /// KILL QUERY; returns when the server has heard. Errors are for the log.
    fn stop(&self) -> impl Future<Output = ()> + Send;

    /// Lets nobody stop anything here any more, and waits until those under way are done: a late KILL would hit the
    /// next client's statement.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Brings the server to rest: `true` when it is, and may be reset; `false`: close it.
pub async fn settle<S, V>(relay: &mut Relay, server: &mut S, victim: &V, farewell: Farewell) -> bool
where
    S: AsyncRead + Unpin,
    V: Stop,
{
    let rested = bring_to_rest(relay, server, victim, farewell).await;
    victim.close().await;
    rested.is_some() && !relay.server_said_more() && relay.observer.is_poolable()
}

async fn bring_to_rest<S, V>(
    relay: &mut Relay,
    server: &mut S,
    victim: &V,
    farewell: Farewell,
) -> Option<()>
where
    S: AsyncRead + Unpin,
    V: Stop,
{
    if !relay.client_complete() {
        // Half a command is with the server: nothing can be said to it any more, but what runs can be stopped.
        if relay.observer.owes_reply() {
            victim.stop().await;
        }
        return None;
    }
    match relay.observer.standing() {
        Standing::Ready(_) => return Some(()),
        // Whatever is said now, the server takes for the rest of the file, or for its end: half a file would be
        // loaded, and perhaps committed. The broken connection is what rolls it back.
        Standing::File => return None,
        Standing::Busy => {}
    }
    let grace = match farewell {
        Farewell::Goodbye => GRACE_AFTER_GOODBYE,
        Farewell::Loss => GRACE_AFTER_LOSS,
    };
    if let Ok(rested) = timeout(grace, read_to_rest(relay, server)).await {
        return rested;
    }
    victim.stop().await;
    if let Ok(rested) = timeout(REST_TIME_MAX, read_to_rest(relay, server)).await {
        return rested;
    }
    // Several statements were in flight; the one that runs now goes with the connection.
    victim.stop().await;
    None
}

/// Reads and drops what the server still says. Cancel safe: what is not understood yet stays in the relay.
async fn read_to_rest<S>(relay: &mut Relay, server: &mut S) -> Option<()>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match relay.observer.standing() {
            Standing::Ready(_) => return Some(()),
            Standing::File => return None,
            Standing::Busy => {}
        }
        let read = server.read(&mut buffer).await.ok();
        let read = read.filter(|&read| read > 0)?;
        relay.swallow(buffer.get(..read)?);
    }
}

#[cfg(test)]
mod tests;
