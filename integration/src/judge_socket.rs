//! The unix socket on which database servers ask the judge (the protocol is in `pam/pam_rds_iam.c`).

use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::world::World;

/// PostgreSQL itself takes passwords up to 65,535 bytes.
const TOKEN_BYTES_MAX: usize = 65_536;
const USER_BYTES_MAX: usize = 256;
const QUESTION_SECONDS_MAX: u64 = 5;

/// Answers until the runtime stops. `listener` is non-blocking.
pub(crate) async fn serve(listener: StdUnixListener, world: Arc<World>) -> Result<()> {
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let limit = Duration::from_secs(QUESTION_SECONDS_MAX);
            match tokio::time::timeout(limit, answer(stream, &world)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("judge socket: {error:#}"),
                Err(_) => {
                    tracing::warn!("judge socket: no question within {QUESTION_SECONDS_MAX} s")
                }
            }
        });
    }
}

async fn answer(stream: UnixStream, world: &World) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut header = String::new();
    (&mut stream).take(64).read_line(&mut header).await?;
    let (user, token) = header
        .trim_end()
        .split_once(' ')
        .context("the header is not two lengths")?;
    let (user, token): (usize, usize) = (user.parse()?, token.parse()?);
    ensure!(
        user <= USER_BYTES_MAX && token <= TOKEN_BYTES_MAX,
        "user or token is too long"
    );
    let user = read_text(&mut stream, user).await?;
    let token = read_text(&mut stream, token).await?;
    let reply: &[u8] = if world.judge(&user, &token) {
        b"OK\n"
    } else {
        b"NO\n"
    };
    stream.write_all(reply).await?;
    Ok(())
}

async fn read_text(stream: &mut BufReader<UnixStream>, length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
