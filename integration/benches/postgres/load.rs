//! pgbench's point selects, and what they cost the proxy within a window.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Result;
use anyhow::ensure;

use crate::machine;
use crate::peer::Peer;
use crate::report::Sample;

const WARM_UP: Duration = Duration::from_secs(1);
/// pgbench goes on for this long after the window, so that its end is not in it.
const AFTER: Duration = Duration::from_millis(500);

/// How many ask how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// Which messages carry a query.
    pub protocol: Protocol,
    /// Connections, all busy.
    pub clients: u32,
}

/// Which messages carry a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Query.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync.
    Extended,
}

impl Protocol {
    /// As pgbench's `--protocol` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Extended => "extended",
            Self::Simple => "simple",
        }
    }
}

/// Point selects over connections that stay.
pub fn queries(peer: &Peer, load: Load, window: Duration) -> Result<Sample> {
    let clients = load.clients.to_string();
    let (sample, mut latencies) = run(peer, &["-M", load.protocol.name(), "-c", &clients], window)?;
    latencies.sort_unstable();
    let mut figures = sample.figures.clone();
    figures.push(("p50, us", percentile(&latencies, 50)));
    figures.push(("p99, us", percentile(&latencies, 99)));
    Ok(Sample { figures, ..sample })
}

/// Point selects, each over a connection of its own; the proxies' server connections are warm.
pub fn connections(peer: &Peer, window: Duration) -> Result<Sample> {
    run(peer, &["-C"], window).map(|(sample, _)| sample)
}

/// Runs pgbench, looks at the clocks at both ends of the window, and counts the transactions that ended within.
fn run(peer: &Peer, arguments: &[&str], window: Duration) -> Result<(Sample, Vec<u64>)> {
    let logs = Logs::new(peer)?;
    let seconds = (WARM_UP + window + AFTER).as_secs_f64().ceil().to_string();
    let mut command = peer.client("pgbench");
    command
        .args(["-n", "-S", "-l", "-T", &seconds, "--log-prefix"])
        .arg(logs.folder.join("log"));
    let mut pgbench = command
        .args(arguments)
        .arg(&peer.connection)
        .stdout(Stdio::null())
        .spawn()?;
    std::thread::sleep(WARM_UP);
    let before = Reading::take(peer)?;
    std::thread::sleep(window);
    let after = Reading::take(peer)?;
    wait(&mut pgbench, peer)?;
    let latencies = logs.latencies(&before, &after)?;
    ensure!(
        !latencies.is_empty(),
        "pgbench did nothing within the window"
    );
    let count = u32::try_from(latencies.len())?;
    let took = after.at.saturating_sub(before.at).as_secs_f64();
    let sample = Sample {
        proxy_cpu: after
            .proxy
            .zip(before.proxy)
            .map(|(after, before)| (after - before) / count),
        server_cpu: Some((after.server - before.server) / count),
        figures: vec![("per second", f64::from(count) / took)],
    };
    Ok((sample, latencies))
}

fn wait(pgbench: &mut Child, peer: &Peer) -> Result<()> {
    let status = pgbench.wait()?;
    ensure!(
        status.success(),
        "pgbench failed ({status})\n{}",
        peer.log()
    );
    Ok(())
}

/// CPU time used by both at one instant.
struct Reading {
    at: Duration,
    proxy: Option<Duration>,
    server: Duration,
}

impl Reading {
    #[allow(
        clippy::disallowed_methods,
        reason = "pgbench's log says when in wall-clock time"
    )]
    fn take(peer: &Peer) -> Result<Self> {
        let server = machine::cpu_with_children(peer.server_pid)?;
        let proxy = peer.cpu()?;
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(Self { at, proxy, server })
    }
}

/// pgbench's log files, in a folder of their own that goes away.
struct Logs {
    folder: PathBuf,
}

impl Logs {
    fn new(peer: &Peer) -> Result<Self> {
        let folder = peer.folder.join("pgbench");
        fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    /// Latencies in microseconds of the transactions that ended between the two readings.
    fn latencies(&self, from: &Reading, to: &Reading) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            for line in fs::read_to_string(entry?.path())?.lines() {
                // client, transaction, latency in us, script, end in s, and its us
                let fields: Vec<u64> = line
                    .split(' ')
                    .map_while(|field| field.parse().ok())
                    .collect();
                let [_, _, latency, _, seconds, micros, ..] = fields.as_slice() else {
                    anyhow::bail!("pgbench's log has another form: {line}");
                };
                let end = Duration::from_secs(*seconds) + Duration::from_micros(*micros);
                if end > from.at && end <= to.at {
                    found.push(*latency);
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted
        .get(at)
        .and_then(|value| u32::try_from(*value).ok())
        .map_or(f64::NAN, f64::from)
}
