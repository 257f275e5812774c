//! A result of 1 GB, in rows of 1,000 bytes; nothing is stored on either side.

use std::process::Stdio;

use anyhow::Result;
use anyhow::ensure;
use tokio::time::Instant;

use crate::machine;
use crate::peer::Peer;
use crate::report::Sample;

const SQL: &str = "SELECT REPEAT('x', 996) FROM seq_1_to_1000000";
const GIGABYTES: f64 = 1.0;

/// Fetches it once. The connection is new; its making is in the figures, and small against a gigabyte.
pub fn result(peer: &Peer) -> Result<Sample> {
    let proxy = peer.cpu()?;
    let server = machine::cpu_with_threads(peer.server_pid)?;
    let began = Instant::now();
    // Unbuffered, so that the client takes rows as they come.
    let status = peer
        .client("mariadb")
        .args(["-NB", "--quick", "-e", SQL, "app"])
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the query failed\n{}", peer.log());
    let took = began.elapsed();
    let mut figures = vec![("MB/s", GIGABYTES * 1e3 / took.as_secs_f64())];
    if let Some(pid) = peer.pid {
        let peak = machine::peak_rss_kib(pid)? / 1024.0;
        figures.push(("peak memory, MB (RSS)", peak));
    }
    Ok(Sample {
        proxy_cpu: peer.cpu()?.zip(proxy).map(|(after, before)| after - before),
        server_cpu: Some(machine::cpu_with_threads(peer.server_pid)? - server),
        figures,
    })
}
