//! Logs on stderr.
//!
//! Invariant: no secret in any log, whatever level is asked for. Our own crate never logs one. Its
//! dependencies do at `trace`: `aws-sigv4` prints the session token of every RDS token it signs, the AWS
//! profile reader prints values it replaces, and with `LOG_SENSITIVE_BODIES=true` in the environment the SDK
//! prints whole answers of STS. So dependencies are never shown below `info`.

use std::fmt;
use std::fmt::Write;
use std::io;
use std::io::IsTerminal;

use config::LogFormat;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;

#[cfg(test)]
mod tests;

/// What our own events carry as target: the crate's name, and module paths below it.
const OURS: &str = "rds_sidecar";
/// The most a dependency may say when nobody asked about it by name.
const DEPENDENCIES_DEFAULT: LevelFilter = LevelFilter::WARN;
/// The most a dependency may say at all.
const DEPENDENCIES_MAX: LevelFilter = LevelFilter::INFO;

/// Whether ANSI colours may be written to a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Yes, if stderr is a terminal.
    Auto,
    /// No: `NO_COLOR` is set and not empty (<https://no-color.org>).
    Never,
}

/// Sends this process's events to stderr from now on.
///
/// `filter` is a level (`off error warn info debug trace`), or `TARGET=LEVEL` for a part, or several of them
/// separated by commas; the longest target that matches decides.
pub fn init(format: LogFormat, filter: &str, colour: Colour) -> Result<(), TelemetryError> {
    let targets = parse(filter)?;
    let ansi = colour == Colour::Auto && io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(format, targets, ansi, io::stderr))
        .map_err(|_| TelemetryError::AlreadySet)
}

/// Says what is wrong with a filter, before anything else is started.
pub fn check_filter(filter: &str) -> Result<(), FilterError> {
    parse(filter).map(|_| ())
}

fn subscriber<W>(
    format: LogFormat,
    targets: Targets,
    ansi: bool,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A failed write must not be reported with `eprintln!`, which panics when stderr is gone.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => Box::new(lines.with_ansi(false).json().flatten_event(true)),
        LogFormat::Text => {
            let fields = debug_fn(write_field).delimited(" ");
            Box::new(lines.with_ansi(ansi).compact().fmt_fields(fields))
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(targets))
}

/// Writes one field. tracing-subscriber escapes messages, but not values recorded with `%`, and a database
/// user may be called anything: line breaks would forge lines, escape sequences command the terminal.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Printable(writer), "{value:?}")
}

/// Passes text on with control characters escaped.
struct Printable<'a, 'w>(&'a mut Writer<'w>);

impl Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let plain = part.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            for control in part.chars().filter(|each| each.is_control()) {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Reads a filter and keeps dependencies quiet.
fn parse(filter: &str) -> Result<Targets, FilterError> {
    let mut ours = LevelFilter::INFO;
    let mut named = Vec::new();
    for directive in filter
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
    {
        match directive.split_once('=') {
            None => ours = level(directive, directive)?,
            Some((target, text)) => {
                let target = target.trim();
                let level = level(directive, text.trim())?;
                check_target(directive, target, level)?;
                named.push((target.to_owned(), level));
            }
        }
    }
    Ok(Targets::new()
        .with_default(ours.min(DEPENDENCIES_DEFAULT))
        .with_target(OURS, ours)
        .with_targets(named))
}

fn level(directive: &str, text: &str) -> Result<LevelFilter, FilterError> {
    // Only the names: LevelFilter also reads digits.
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    let text = text.to_ascii_lowercase();
    let unknown = || FilterError {
        directive: directive.to_owned(),
        problem: FilterProblem::UnknownLevel,
    };
    if known.contains(&text.as_str()) {
        text.parse().map_err(|_| unknown())
    } else {
        Err(unknown())
    }
}

fn check_target(directive: &str, target: &str, level: LevelFilter) -> Result<(), FilterError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let problem = if target.is_empty() || !target.bytes().all(plain) {
        FilterProblem::NotATarget
    } else if !target.starts_with(OURS) && level > DEPENDENCIES_MAX {
        FilterProblem::TooTalkative
    } else {
        return Ok(());
    };
    Err(FilterError {
        directive: directive.to_owned(),
        problem,
    })
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A subscriber was installed before: our own bug.
    #[error("logging is set up already")]
    AlreadySet,
    /// The filter makes no sense.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// What is wrong with a log filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The part of the filter that is wrong.
    pub directive: String,
    /// What is wrong with it.
    pub problem: FilterProblem,
}

/// What is wrong with one part of a log filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterProblem {
    /// Not a module path.
    NotATarget,
    /// A dependency below `info`.
    TooTalkative,
    /// Not a level.
    UnknownLevel,
}

impl FilterError {
    /// What to write instead.
    pub fn suggestion(&self) -> &'static str {
        match self.problem {
            FilterProblem::NotATarget => "write TARGET=LEVEL, for example rds_sidecar::pool=debug",
            FilterProblem::TooTalkative => {
                "info is the most it may say; debug and trace are for rds_sidecar and its modules"
            }
            FilterProblem::UnknownLevel => "levels are off, error, warn, info, debug and trace",
        }
    }
}

impl std::error::Error for FilterError {}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directive = &self.directive;
        match self.problem {
            FilterProblem::NotATarget => write!(f, "`{directive}` names no log target"),
            FilterProblem::TooTalkative => {
                write!(
                    f,
                    "`{directive}` would log a dependency's requests, tokens included"
                )
            }
            FilterProblem::UnknownLevel => write!(f, "`{directive}` is not a log level"),
        }
    }
}
