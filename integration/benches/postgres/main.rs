//! `make bench`: rds-sidecar, Debian's PgBouncer and a direct connection on the same work, in one run.
//!
//! How and why it measures so: docs/benchmarks.md. Figures go to standard output as Markdown.
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
mod memory;
mod peer;
#[path = "../common/report.rs"]
mod report;
mod wire;

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
    // Every idle client of the memory cell holds a server connection of its own, and PgBouncer and the sidecar run in turn.
    let sandbox = Sandbox::start(&Options {
        max_connections: plan.idle_clients + 50,
        settings: vec![("autovacuum".to_owned(), "off".to_owned())],
        ..Options::default()
    })?;
    let lab = Lab::new(
        &sandbox,
        matches.get_one::<PathBuf>("sidecar").cloned(),
        plan.idle_clients,
    )?;
    lab.prepare()?;
    let mut report = Report::new(machine::describe(cpu, &lab.programs()?)?);
    for round in 1..=plan.rounds {
        for cell in plan.cells.iter().filter(|cell| round == 1 || cell.varies()) {
            for kind in &plan.kinds {
                eprintln!("round {round}/{}: {cell}, {kind}", plan.rounds);
                if let Some(sample) = cell.measure(&lab, *kind, plan.window)? {
                    report.add(cell, *kind, sample);
                }
            }
        }
    }
    println!("{}", report.markdown(&plan.cells, &plan.kinds));
    Ok(())
}

/// What to measure.
struct Plan {
    rounds: u32,
    window: Duration,
    idle_clients: u32,
    kinds: Vec<Kind>,
    cells: Vec<Cell>,
}

impl From<&ArgMatches> for Plan {
    fn from(matches: &ArgMatches) -> Self {
        let number = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or(1);
        let wanted: Vec<&String> = matches.get_many("cell").into_iter().flatten().collect();
        let is_wanted = |cell: &Cell| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|part| cell.to_string().contains(part.as_str()))
        };
        let left_out: Vec<&String> = matches.get_many("without").into_iter().flatten().collect();
        let idle_clients = number("idle-clients");
        Self {
            rounds: number("rounds"),
            window: Duration::from_secs(number("seconds").into()),
            idle_clients,
            kinds: Kind::ALL
                .into_iter()
                .filter(|kind| !left_out.contains(&&kind.to_string()))
                .collect(),
            cells: Cell::all(idle_clients)
                .into_iter()
                .filter(is_wanted)
                .collect(),
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
    let many = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::Append)
            .help(help)
    };
    Command::new("postgres")
        .about("Compare rds-sidecar, PgBouncer and a direct connection")
        .arg(number("rounds", "3", "Rounds, interleaved A B C, A B C"))
        .arg(number("seconds", "3", "Measured seconds of each load, after one second of warm-up"))
        .arg(number("idle-clients", "1000", "Clients of the memory cell"))
        .arg(many("cell", "Only cells whose name contains this; may be given again"))
        .arg(many("without", "Leave out `direct`, `PgBouncer` or `rds-sidecar`; may be given again"))
        .arg(Arg::new("sidecar").long("sidecar").value_parser(value_parser!(PathBuf)).help("The rds-sidecar to run"))
        // `cargo bench` adds this one.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}
