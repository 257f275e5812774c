//! Samples to tables: medians over the rounds, the proxies' CPU time normalised by the server's.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fmt::Write;
use std::time::Duration;

/// The unit of bulk work, whose CPU time is given in seconds.
pub const GIGABYTE: &str = "GB";

/// One kind of work, which every peer does in turn.
pub trait Work: Copy + Ord + Display {
    /// What the proxy's CPU time is counted by.
    fn unit(&self) -> &'static str;
}

/// Who stands between client and server.
pub trait Contender: Copy + Ord + Display {
    /// We.
    const OURS: Self;
    /// Whom we are compared with.
    const THEIRS: Self;
}

/// What one peer did in one round.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// CPU time per unit of work (query, connection, GB), of the proxy.
    pub proxy_cpu: Option<Duration>,
    /// CPU time per unit of work, of the server.
    pub server_cpu: Option<Duration>,
    /// Further figures by name, in the order of the report.
    pub figures: Vec<(&'static str, f64)>,
}

/// All samples of a run.
pub struct Report<Cell, Kind> {
    machine: String,
    samples: BTreeMap<(Cell, Kind), Vec<Sample>>,
}

/// A median, and by how much the rounds differ: (most - least) / median.
#[derive(Debug, Clone, Copy)]
struct Figure {
    median: f64,
    spread: f64,
}

impl<Cell: Work, Kind: Contender> Report<Cell, Kind> {
    /// An empty one.
    pub fn new(machine: String) -> Self {
        Self {
            machine,
            samples: BTreeMap::new(),
        }
    }

    /// Takes one round's sample.
    pub fn add(&mut self, cell: &Cell, kind: Kind, sample: Sample) {
        self.samples.entry((*cell, kind)).or_default().push(sample);
    }

    /// One table: a line per figure, a column per peer, and ours divided by theirs.
    pub fn markdown(&self, cells: &[Cell], kinds: &[Kind]) -> String {
        let mut out = format!("{}\n\n| work | figure |", self.machine);
        for kind in kinds {
            let _ = write!(out, " {kind} |");
        }
        let _ = writeln!(
            out,
            " {} / {} |\n|---|---|{}---:|",
            Kind::OURS,
            Kind::THEIRS,
            "---:|".repeat(kinds.len())
        );
        for cell in cells {
            self.cell(*cell, kinds, &mut out);
        }
        out + "\nMedians over the rounds; ± is half of what the rounds differ by, where that is 5 % or more.\n"
    }

    fn cell(&self, cell: Cell, kinds: &[Kind], out: &mut String) {
        let cpu_name = match cell.unit() {
            GIGABYTE => "proxy CPU, s/GB".to_owned(),
            unit => format!("proxy CPU, us/{unit}"),
        };
        line(out, &format!("{cell} | **{cpu_name}**"), kinds, |kind| {
            self.cpu(cell, kind)
        });
        for name in self.names(cell) {
            line(out, &format!("{cell} | {name}"), kinds, |kind| {
                self.named(cell, kind, name)
            });
        }
    }

    /// The proxy's CPU time divided by the server's in the same window, times the best the server showed in this cell:
    /// the work is equal, so the server's figure is the yardstick of how fast the host was just then.
    fn cpu(&self, cell: Cell, kind: Kind) -> Option<Figure> {
        let of_cell = self
            .samples
            .iter()
            .filter(|((of, _), _)| *of == cell)
            .flat_map(|(_, samples)| samples);
        let best = of_cell.filter_map(|sample| sample.server_cpu).min()?;
        let scale = if cell.unit() == GIGABYTE { 1.0 } else { 1e6 };
        let values = self.of(cell, kind).filter_map(|sample| {
            let ratio = seconds(sample.proxy_cpu?) / seconds(sample.server_cpu?);
            Some(ratio * seconds(best) * scale)
        });
        figure(values.collect())
    }

    fn named(&self, cell: Cell, kind: Kind, name: &str) -> Option<Figure> {
        let figures = self.of(cell, kind).flat_map(|sample| &sample.figures);
        figure(
            figures
                .filter(|(of, _)| *of == name)
                .map(|(_, value)| *value)
                .collect(),
        )
    }

    fn names(&self, cell: Cell) -> Vec<&'static str> {
        let mut names = Vec::new();
        for (_, samples) in self.samples.iter().filter(|((of, _), _)| *of == cell) {
            for (name, _) in samples.iter().flat_map(|sample| &sample.figures) {
                if !names.contains(name) {
                    names.push(*name);
                }
            }
        }
        names
    }

    fn of(&self, cell: Cell, kind: Kind) -> impl Iterator<Item = &Sample> {
        self.samples.get(&(cell, kind)).into_iter().flatten()
    }
}

/// One line of the table; none where no peer has the figure.
fn line<Kind: Contender>(
    out: &mut String,
    title: &str,
    kinds: &[Kind],
    value: impl Fn(Kind) -> Option<Figure>,
) {
    if kinds.iter().all(|kind| value(*kind).is_none()) {
        return;
    }
    let _ = write!(out, "| {title} |");
    for kind in kinds {
        let _ = write!(out, " {} |", value(*kind).map_or("-".to_owned(), shown));
    }
    let ratio = value(Kind::OURS)
        .zip(value(Kind::THEIRS))
        .map(|(ours, theirs)| ours.median / theirs.median);
    let _ = writeln!(
        out,
        " {} |",
        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
    );
}

fn figure(mut values: Vec<f64>) -> Option<Figure> {
    values.sort_by(f64::total_cmp);
    let (least, most) = (values.first()?, values.last()?);
    let median = (values.get((values.len() - 1) / 2)? + values.get(values.len() / 2)?) / 2.0;
    Some(Figure {
        median,
        spread: (most - least) / median,
    })
}

fn shown(figure: Figure) -> String {
    let digits = match figure.median {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let median = format!("{:.digits$}", figure.median);
    if figure.spread >= 0.05 {
        format!("{median} ± {:.0} %", figure.spread * 50.0)
    } else {
        median
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
