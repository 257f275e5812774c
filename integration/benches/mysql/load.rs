//! sysbench's scripts, and what they cost the proxy.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::machine;
use crate::peer::Peer;
use crate::report::Sample;

const CONNECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/mysql/connect.lua");
/// Rows in sysbench's table.
const ROWS: &str = "10000";

/// How many ask what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// What is asked.
    pub script: Script,
    /// Whether by prepared statements.
    pub prepared: bool,
    /// Connections, all busy.
    pub clients: u32,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Script {
    /// One row by its key, each time over a connection of its own.
    Connect,
    /// One row by its key.
    PointSelect,
    /// BEGIN, fourteen selects of one to a hundred rows, COMMIT.
    ReadOnly,
}

impl Script {
    fn name(self) -> &'static str {
        match self {
            Self::Connect => CONNECT,
            Self::PointSelect => "oltp_point_select",
            Self::ReadOnly => "oltp_read_only",
        }
    }
}

/// Makes sysbench's table.
pub fn prepare(peer: &Peer) -> Result<()> {
    let mut command = sysbench(peer, Script::PointSelect);
    said(command.arg("prepare"), peer).map(drop)
}

/// Runs the script for as long as `window`, from the first connection to the last. Those are few, and in no figure to
/// be seen; the proxy's connections to the server are warm after the first of them.
pub fn run(peer: &Peer, load: Load, window: Duration) -> Result<Sample> {
    let mut command = sysbench(peer, load.script);
    command
        .arg(format!("--threads={}", load.clients))
        .arg(format!("--time={}", window.as_secs()))
        .args(["--percentile=99", "--report-interval=0"]);
    if !load.prepared {
        command.arg("--db-ps-mode=disable");
    }
    let proxy = peer.cpu()?;
    let server = machine::cpu_with_threads(peer.server_pid)?;
    let report = said(command.arg("run"), peer)?;
    let queries = match load.script {
        Script::Connect => number(&report, "transactions:")?,
        Script::PointSelect | Script::ReadOnly => number(&report, "total:")?,
    };
    ensure!(queries >= 1.0, "sysbench did nothing\n{report}");
    let took = number(&report, "total time:")?;
    let each = |before: Duration, after: Duration| (after - before).div_f64(queries);
    Ok(Sample {
        proxy_cpu: proxy
            .zip(peer.cpu()?)
            .map(|(before, after)| each(before, after)),
        server_cpu: Some(each(server, machine::cpu_with_threads(peer.server_pid)?)),
        figures: vec![
            ("per second", queries / took),
            (
                "p99 of a transaction, ms",
                number(&report, "99th percentile:")?,
            ),
        ],
    })
}

fn sysbench(peer: &Peer, script: Script) -> Command {
    let mut command = Command::new("sysbench");
    command
        .arg(script.name())
        .arg("--db-driver=mysql")
        .args(peer.sysbench())
        .current_dir(&peer.folder);
    if script != Script::Connect {
        command.arg(format!("--table-size={ROWS}"));
    }
    command
}

fn said(command: &mut Command, peer: &Peer) -> Result<String> {
    let output = command
        .output()
        .context("run sysbench\n    apt-get install sysbench")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let log = peer.log();
    ensure!(
        output.status.success(),
        "{command:?} failed\n{said}{errors}{log}"
    );
    Ok(said)
}

/// The first number after `name` in sysbench's report: `    total:      12345`, `total time:     3.0003s`.
fn number(report: &str, name: &str) -> Result<f64> {
    let line = report
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    let number = word.and_then(|word| word.trim_end_matches('s').parse().ok());
    number.with_context(|| format!("sysbench's report has no {name}\n{report}"))
}
