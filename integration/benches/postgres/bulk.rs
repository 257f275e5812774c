//! 1 GB through COPY, in rows of 1,000 bytes; nothing is stored on either side.

use std::io::Write;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tokio::time::Instant;

use crate::machine;
use crate::peer::Peer;
use crate::report::Sample;

const ROWS: u32 = 1_000_000;
const GIGABYTES: f64 = 1.0;
const ROWS_PER_WRITE: usize = 1_000;

/// Which way the rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the client.
    Out,
    /// To the server.
    In,
}

/// Copies once. The connection is new; its making is in the figures, and small against a gigabyte.
pub fn copy(peer: &Peer, direction: Direction) -> Result<Sample> {
    let before = (peer.cpu()?, machine::cpu_with_children(peer.server_pid)?);
    let took = match direction {
        Direction::Out => copy_out(peer)?,
        Direction::In => copy_in(peer)?,
    };
    let proxy_cpu = peer
        .cpu()?
        .zip(before.0)
        .map(|(after, before)| after - before);
    let server_cpu = machine::cpu_with_children(peer.server_pid)? - before.1;
    let mut figures = vec![("MB/s", GIGABYTES * 1e3 / took.as_secs_f64())];
    if let Some(pid) = peer.pid {
        figures.push((
            "peak memory, MB (RSS)",
            machine::peak_rss_kib(pid)? / 1024.0,
        ));
    }
    Ok(Sample {
        proxy_cpu,
        server_cpu: Some(server_cpu),
        figures,
    })
}

fn copy_out(peer: &Peer) -> Result<Duration> {
    let copy = format!("copy (select repeat('x', 999) from generate_series(1, {ROWS})) to stdout");
    let began = Instant::now();
    let status = psql(peer, &copy).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "COPY out failed\n{}", peer.log());
    Ok(began.elapsed())
}

fn copy_in(peer: &Peer) -> Result<Duration> {
    let rows = [vec![b'x'; 999], vec![b'\n']]
        .concat()
        .repeat(ROWS_PER_WRITE);
    let began = Instant::now();
    // The server reads and checks every row and keeps none.
    let mut child = psql(peer, "copy bench_sink from stdin where false")
        .stdin(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("psql has no stdin")?;
    for _ in 0..ROWS / u32::try_from(ROWS_PER_WRITE)? {
        stdin.write_all(&rows)?;
    }
    drop(stdin);
    ensure!(child.wait()?.success(), "COPY in failed\n{}", peer.log());
    Ok(began.elapsed())
}

fn psql(peer: &Peer, statement: &str) -> Command {
    let mut command = peer.client("psql");
    command.args([
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        statement,
        &peer.connection,
    ]);
    command
}
