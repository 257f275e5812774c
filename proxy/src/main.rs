//! `rds-sidecar`: what was typed, to an exit code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use config::Config;
use config::Problem;
use rds_sidecar::app;
use rds_sidecar::cli;
use rds_sidecar::cli::Command;
use rds_sidecar::clock::Clock;
use rds_sidecar::command;
use rds_sidecar::command::CommandError;
use rds_sidecar::telemetry;
use rds_sidecar::telemetry::Colour;

/// `stop` waits this much longer than `shutdown_grace`: for the closing itself.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// Our bug (`EX_SOFTWARE` of sysexits.h).
const EXIT_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let colour = colour(&environment);
    match cli::parse(std::env::args_os()) {
        Err(answer) if answer.exit_code == 0 => out(&answer.text),
        Err(answer) => fail(answer.exit_code, &answer.text),
        Ok(invocation) => match invocation.command.clone() {
            Command::Completion { shell } => out(&cli::completion(shell)),
            command => match load(invocation, environment) {
                Ok(loaded) => dispatch(&command, loaded, colour),
                Err(problems) => fail(cli::EXIT_USAGE, &command::config::problems(&problems)),
            },
        },
    }
}

fn load(
    invocation: cli::Invocation,
    environment: Vec<(OsString, OsString)>,
) -> Result<config::Loaded, Vec<Problem>> {
    let input = invocation.input(environment.into_iter().collect::<BTreeMap<_, _>>())?;
    let loaded = config::load(&input)?;
    telemetry::check_filter(&loaded.config.server.log_level).map_err(|error| {
        vec![Problem {
            at: "server.log_level".into(),
            what: error.to_string(),
            suggestion: Some(error.suggestion().into()),
        }]
    })?;
    Ok(loaded)
}

fn dispatch(command: &Command, loaded: config::Loaded, colour: Colour) -> ExitCode {
    if !matches!(command, Command::Token { .. }) {
        for warning in &loaded.warnings {
            err(&format!("rds-sidecar: warning: {warning}\n"));
        }
    }
    match command {
        Command::Config { check: true } => return out(command::config::VALID),
        Command::Config { check: false } => return out(&command::config::render(&loaded)),
        _ => {}
    }
    let config = loaded.config;
    let filter = match command {
        // Its answer goes into a variable, and the terminal shows the rest: nothing, unless more was asked for.
        Command::Token { .. } if config.server.log_level == "info" => "warn",
        _ => &config.server.log_level,
    };
    if let Err(error) = telemetry::init(config.server.log, filter, colour) {
        return fail(EXIT_SOFTWARE, &format!("rds-sidecar: {error}\n"));
    }
    // One thread: a sidecar serves one job, and a second worker costs more than it gives (docs/benchmarks.md).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(perform(command, config)),
        Err(error) => fail(
            EXIT_SOFTWARE,
            &format!("rds-sidecar: cannot start: {error}\n"),
        ),
    }
}

async fn perform(command: &Command, config: Config) -> ExitCode {
    let server = &config.server;
    match command {
        Command::Run => match app::run(config, Clock::system()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let hint = error
                    .hint()
                    .map(|hint| format!("    {hint}\n"))
                    .unwrap_or_default();
                fail(error.exit_code(), &format!("rds-sidecar: {error}\n{hint}"))
            }
        },
        Command::Token { .. } => {
            let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
            command::token::run(&config, Clock::system(), &mut out, &mut err)
                .await
                .into()
        }
        Command::Wait { timeout } => outcome(command::wait(server, *timeout).await),
        Command::Healthcheck => outcome(command::healthcheck(server).await),
        Command::Stop => outcome(command::stop(server, server.shutdown_grace + STOP_MARGIN).await),
        // Answered before a runtime was needed.
        Command::Completion { .. } | Command::Config { .. } => ExitCode::SUCCESS,
    }
}

fn outcome(result: Result<(), CommandError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.exit_code(), &format!("rds-sidecar: {error}\n")),
    }
}

/// <https://no-color.org>
fn colour(environment: &[(OsString, OsString)]) -> Colour {
    let asked = environment
        .iter()
        .any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    if asked { Colour::Never } else { Colour::Auto }
}

fn out(text: &str) -> ExitCode {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that is gone wants no message either.
        Err(_) => ExitCode::FAILURE,
    }
}

fn err(text: &str) {
    // Nowhere left to complain to.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn fail(code: u8, text: &str) -> ExitCode {
    err(text);
    ExitCode::from(code)
}
