//! After a client is gone: brings its server to rest, or says that it cannot be used again (protocol.md A.7,
//! "Disconnects"). When in doubt, the connection is closed.

use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::cancel::Victim;
use super::relay::Relay;
use super::tracker::Standing;
use super::wire::status::Transaction;
use crate::wire::length_prefixed;
use crate::wire::put_cstr;

/// A client that said goodbye meant its statements to run: they get this long to end by themselves.
const GRACE_AFTER_GOODBYE: Duration = Duration::from_secs(10);
/// A client that vanished gets what a short statement needs. PostgreSQL itself would let even a long one finish,
/// holding its locks; a job that was killed must not.
const GRACE_AFTER_LOSS: Duration = Duration::from_millis(500);
/// After a cancel request the server has this long to come to rest.
const REST_TIME_MAX: Duration = Duration::from_secs(5);

/// How a session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The client sent Terminate.
    Goodbye,
    /// The client vanished or was thrown out.
    Loss,
}

/// A server at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// A transaction is still open.
    InTransaction,
    /// Nothing is open.
    Idle,
}

/// Brings the server to rest; `None`: close it. When `over` is ready nothing is waited for: what runs is stopped.
pub async fn settle<S>(
    relay: &mut Relay,
    server: &mut S,
    victim: &Victim,
    (farewell, over): (Farewell, impl Future<Output = ()>),
) -> Option<Rest>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !relay.client_complete() {
        // Half a message is with the server: nothing can be said to it any more, but what runs can be stopped.
        if relay.observer.tracker.owes_reply() {
            victim.cancel().await;
        }
        victim.gate.close().await;
        return None;
    }
    let settled = bring_to_rest(relay, server, victim, (farewell, over)).await;
    victim.gate.close().await;
    settled?;
    match relay.observer.tracker.standing() {
        Standing::Ready(Transaction::Idle) => Some(Rest::Idle),
        Standing::Ready(Transaction::Failed | Transaction::Open) => Some(Rest::InTransaction),
        Standing::Busy | Standing::CopyIn => None,
    }
}

async fn bring_to_rest<S>(
    relay: &mut Relay,
    server: &mut S,
    victim: &Victim,
    (farewell, over): (Farewell, impl Future<Output = ()>),
) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if matches!(relay.observer.tracker.standing(), Standing::Ready(_)) {
        return Some(());
    }
    if relay.observer.tracker.is_lost() {
        return give_up(victim, farewell).await;
    }
    // Also where no COPY was announced yet: a client that pipelines may have asked for one, and a server that reads
    // COPY rows ignores Sync. Elsewhere the server ignores CopyFail.
    let mut fail = vec![b'f'];
    length_prefixed(&mut fail, |out| put_cstr(out, "the client is gone"));
    send(relay, server, b'f', &fail).await?;
    // Ends whatever extended messages wait for; one ready more to wait for, otherwise.
    send(relay, server, b'S', b"S\0\0\0\x04").await?;
    let grace = match farewell {
        Farewell::Goodbye => GRACE_AFTER_GOODBYE,
        Farewell::Loss => GRACE_AFTER_LOSS,
    };
    tokio::select! {
        rested = timeout(grace, read_to_rest(relay, server)) => match rested {
            Ok(None) if relay.observer.tracker.is_lost() => return give_up(victim, farewell).await,
            Ok(rested) => return rested,
            Err(_elapsed) => {}
        },
        () = over => {}
    }
    victim.cancel().await;
    if let Ok(rested) = timeout(REST_TIME_MAX, read_to_rest(relay, server)).await {
        return rested;
    }
    // Several statements were in flight; the one that runs now goes with the connection.
    victim.cancel().await;
    None
}

/// Nobody can tell any more when this server will be at rest, so it is not waited for. Who said goodbye has their
/// statements run to their end on a connection that is closed behind them; what a lost client runs is stopped.
async fn give_up(victim: &Victim, farewell: Farewell) -> Option<()> {
    if farewell == Farewell::Loss {
        victim.cancel().await;
    }
    None
}

async fn send<S>(relay: &mut Relay, server: &mut S, tag: u8, message: &[u8]) -> Option<()>
where
    S: AsyncWrite + Unpin,
{
    relay.observer.tracker.client(tag);
    let sent = async {
        server.write_all(message).await?;
        server.flush().await
    };
    timeout(REST_TIME_MAX, sent).await.ok()?.ok()
}

/// Reads and drops what the server still says. Cancel safe: what is not understood yet stays in the relay.
async fn read_to_rest<S>(relay: &mut Relay, server: &mut S) -> Option<()>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = vec![0; 16 * 1024];
    while !matches!(relay.observer.tracker.standing(), Standing::Ready(_)) {
        if relay.observer.tracker.is_lost() {
            return None;
        }
        let read = server
            .read(&mut buffer)
            .await
            .ok()
            .filter(|&read| read > 0)?;
        relay.swallow(buffer.get(..read)?)?;
    }
    Some(())
}
