//! The unix sockets on which database servers ask the judge (the protocol is in `pam/pam_rds_iam.c` and
//! `plugin/aws_auth_plugin.c`). Each endpoint has its own.

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
use tokio::time::timeout;

use crate::judge::Database;
use crate::world::World;

/// PostgreSQL itself takes passwords up to 65,535 bytes.
const TOKEN_BYTES_MAX: usize = 65_536;
const HEADER_BYTES_MAX: u64 = 64;
const USER_BYTES_MAX: usize = 256;
const QUESTION_SECONDS_MAX: u64 = 5;

/// Answers for `database` until the runtime stops. `listener` is non-blocking.
pub(crate) async fn serve(
    listener: StdUnixListener,
    database: Database,
    world: Arc<World>,
) -> Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let database = Arc::new(database);
    loop {
        let (stream, _) = listener.accept().await?;
        let (database, world) = (Arc::clone(&database), Arc::clone(&world));
        tokio::spawn(async move {
            if let Err(error) = answer(BufReader::new(stream), &database, &world).await {
                tracing::warn!("judge socket: {error:#}");
            }
        });
    }
}

async fn answer(
    mut stream: BufReader<UnixStream>,
    database: &Database,
    world: &World,
) -> Result<()> {
    let limit = Duration::from_secs(QUESTION_SECONDS_MAX);
    let question = timeout(limit, read_question(&mut stream)).await;
    let (user, token) = question.context("no question in time")??;
    tokio::time::sleep(Duration::from_millis(world.faults().login_delay_ms)).await;
    let accepted = world.judge(database, &user, &token);
    stream
        .write_all(if accepted { b"OK\n" } else { b"NO\n" })
        .await?;
    Ok(())
}

async fn read_question(stream: &mut BufReader<UnixStream>) -> Result<(String, String)> {
    let mut header = String::new();
    (&mut *stream)
        .take(HEADER_BYTES_MAX)
        .read_line(&mut header)
        .await?;
    let lengths = header.trim_end().split_once(' ');
    let (user, token) = lengths.context("the header is not two lengths")?;
    let (user, token): (usize, usize) = (user.parse()?, token.parse()?);
    ensure!(
        user <= USER_BYTES_MAX && token <= TOKEN_BYTES_MAX,
        "user or token is too long"
    );
    Ok((
        read_text(stream, user).await?,
        read_text(stream, token).await?,
    ))
}

async fn read_text(stream: &mut BufReader<UnixStream>, length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
