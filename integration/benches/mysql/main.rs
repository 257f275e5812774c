//! `make bench`, second half: rds-sidecar, HAProxy that only forwards TCP, and a direct connection to MariaDB on the
//! same work, in one run.
//!
//! HAProxy is the floor: it looks into nothing, and leaves TLS to the client. How and why it measures so:
//! docs/benchmarks.md. Figures go to standard output as Markdown.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's output is its purpose"
)]
#![allow(unreachable_pub, reason = "a program: nothing is outside")]

mod bulk;
mod cells;
mod load;
#[path = "../common/machine.rs"]
#[allow(dead_code, reason = "each benchmark needs its part")]
mod machine;
mod peer;
#[path = "../common/report.rs"]
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;
use clap::value_parser;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;

use crate::cells::Cell;
use crate::peer::Kind;
use crate::peer::Lab;
use crate::report::Report;

fn main() -> Result<()> {
    let matches = cli().get_matches();
    let plan = Plan::from(&matches);
    let cpu = machine::pin()?;
    let sandbox = Sandbox::start(&Options {
        postgres: false,
        ..Options::default()
    })?;
    let sidecar = matches.get_one::<PathBuf>("sidecar");
    let lab = Lab::new(&sandbox, sidecar.cloned())?;
    lab.prepare()?;
    let mut report = Report::new(machine::describe(cpu, &lab.programs()?)?);
    for round in 1..=plan.rounds {
        for cell in &plan.cells {
            for kind in Kind::ALL {
                eprintln!("round {round}/{}: {cell}, {kind}", plan.rounds);
                report.add(cell, kind, cell.measure(&lab, kind, plan.window)?);
            }
        }
    }
    println!("{}", report.markdown(&plan.cells, &Kind::ALL));
    Ok(())
}

/// What to measure.
struct Plan {
    rounds: u32,
    window: Duration,
    cells: Vec<Cell>,
}

impl From<&ArgMatches> for Plan {
    fn from(matches: &ArgMatches) -> Self {
        let number = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or(1);
        let wanted: Vec<&String> = matches.get_many("cell").into_iter().flatten().collect();
        let is_wanted = |cell: &Cell| {
            let name = cell.to_string();
            wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
        };
        Self {
            rounds: number("rounds"),
            window: Duration::from_secs(number("seconds").into()),
            cells: Cell::all().into_iter().filter(is_wanted).collect(),
        }
    }
}

fn cli() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .default_value(default)
            .value_parser(value_parser!(u32).range(1..))
            .help(help)
    };
    Command::new("mysql")
        .about("Compare rds-sidecar, HAProxy and a direct connection before MariaDB")
        .arg(number("rounds", "3", "Rounds, interleaved A B C, A B C"))
        .arg(number("seconds", "3", "Seconds of each load"))
        .arg(
            Arg::new("cell")
                .long("cell")
                .action(ArgAction::Append)
                .help("Only cells whose name contains this; may be given again"),
        )
        .arg(
            Arg::new("sidecar")
                .long("sidecar")
                .value_parser(value_parser!(PathBuf))
                .help("The rds-sidecar to run"),
        )
        // `cargo bench` adds this one.
        .arg(
            Arg::new("bench")
                .long("bench")
                .action(ArgAction::SetTrue)
                .hide(true),
        )
}
