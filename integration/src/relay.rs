//! A TCP relay in front of a database, for those who ask for trouble. Normal traffic does not pass here.

use std::io;
use std::net::SocketAddr;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::net::tcp::WriteHalf;
use tokio::sync::watch;

use crate::faults::Faults;
use crate::faults::RelayFaults;
use crate::world::World;

const CHUNK_BYTES: usize = 16 << 10;

enum Greeting {
    Drop,
    Reset,
    Serve,
}

/// Relays to `server` until the runtime stops. `listener` is non-blocking.
pub(crate) async fn serve(
    listener: StdTcpListener,
    server: SocketAddr,
    world: Arc<World>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        match world.change_faults(|faults| greet(&mut faults.relay)) {
            Greeting::Drop => drop(client),
            Greeting::Reset => reset(&client),
            Greeting::Serve => {
                let (faults, cuts) = (world.watch_faults(), world.watch_cuts());
                tokio::spawn(async move {
                    if let Err(error) = relay(client, server, faults, cuts).await {
                        tracing::debug!("relay: {error}");
                    }
                });
            }
        }
    }
}

fn greet(faults: &mut RelayFaults) -> Greeting {
    if faults.reset_next > 0 {
        faults.reset_next -= 1;
        Greeting::Reset
    } else if faults.drop_next > 0 {
        faults.drop_next -= 1;
        Greeting::Drop
    } else {
        Greeting::Serve
    }
}

async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    faults: watch::Receiver<Faults>,
    mut cuts: watch::Receiver<u64>,
) -> io::Result<()> {
    let delay = faults.borrow().relay.connect_delay_ms;
    tokio::time::sleep(Duration::from_millis(delay)).await;
    pass_through_hole(&mut faults.clone()).await;
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // Borrowed halves: dropping owned ones would send FIN ahead of RST.
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let budget = faults.borrow().relay.reset_after_bytes;
    let finished = tokio::select! {
        both = async {
            tokio::try_join!(
                copy(&mut from_client, &mut to_server, faults.clone(), None),
                copy(&mut from_server, &mut to_client, faults, budget),
            )
        } => both.is_ok(),
        _ = cuts.changed() => false,
    };
    if !finished {
        reset(&client);
        reset(&server);
    }
    Ok(())
}

/// Copies until end-of-file. Fails when `budget` bytes have passed.
async fn copy(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut faults: watch::Receiver<Faults>,
    budget: Option<u64>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = budget.unwrap_or(u64::MAX);
    loop {
        let count = from.read(&mut chunk).await?;
        let delay = faults.borrow().relay.chunk_delay_ms;
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        pass_through_hole(&mut faults).await;
        let allowed = usize::try_from(left).map_or(count, |left| count.min(left));
        to.write_all(chunk.get(..allowed).unwrap_or_default())
            .await?;
        left = left.saturating_sub(count as u64);
        if count == 0 {
            return to.shutdown().await;
        }
        if left == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}

/// Waits while there is a black hole.
async fn pass_through_hole(faults: &mut watch::Receiver<Faults>) {
    // An error means that the world is gone, and this task with it.
    let _ = faults.wait_for(|faults| !faults.relay.black_hole).await;
}

/// The peer gets RST instead of FIN when the stream is dropped.
fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!("relay: set_linger: {error}");
    }
}
