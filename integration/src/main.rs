//! `rds-sandbox`: the sandbox from the command line.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;
use clap::builder::PossibleValuesParser;
use clap::value_parser;
use rds_sandbox::Certificate;
use rds_sandbox::Flavor;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::client;
use rds_sandbox::servers::pam;
use serde_json::Value;
use serde_json::json;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const CERTIFICATES: [(&str, Certificate); 5] = [
    ("good", Certificate::Good),
    ("expired", Certificate::Expired),
    ("other-name", Certificate::OtherName),
    ("unknown-ca", Certificate::UnknownCa),
    ("none", Certificate::None),
];

const FLAVORS: [(&str, Flavor); 2] = [("mariadb", Flavor::MariaDb), ("mysql", Flavor::MySql)];

fn main() -> ExitCode {
    log_to_stderr();
    let matches = cli().get_matches();
    let done = match matches.subcommand() {
        Some(("up", matches)) => up(matches),
        Some(("id-token", matches)) => id_token(matches),
        Some(("install", _)) => pam::ensure_installed(),
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::debug!("{error:?}");
            let _ = writeln!(std::io::stderr(), "rds-sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `RUST_LOG` in the form of `tracing_subscriber::filter::Targets`: `info`, `rds_sandbox=debug`.
fn log_to_stderr() {
    #[allow(clippy::disallowed_methods, reason = "main.rs reads the environment")]
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let wanted = Some(wanted)
        .filter(|text| !text.is_empty())
        .and_then(|text| text.parse().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(Level::WARN));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(layer)
        .with(filter)
        .init();
}

fn cli() -> Command {
    Command::new("rds-sandbox")
        .about("A real RDS look-alike on one machine")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            up_command(),
            id_token_command(),
            Command::new("install").about("Install the PAM module (root, once)"),
        ])
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .action(ArgAction::SetTrue)
}

fn option(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help)
}

fn up_command() -> Command {
    let certificates = PossibleValuesParser::new(CERTIFICATES.map(|(name, _)| name));
    Command::new("up")
        .about("Start emulated AWS and real databases; stop them all on SIGTERM or Ctrl-C")
        .arg(flag(
            "postgres",
            "Start PostgreSQL (the default without --mysql)",
        ))
        .arg(
            option("mysql", "Start MariaDB, or MySQL from Debian unstable")
                .value_name("SERVER")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("mariadb")
                .value_parser(PossibleValuesParser::new(FLAVORS.map(|(name, _)| name))),
        )
        .arg(option("env-file", "Write shell variables here").value_parser(value_parser!(PathBuf)))
        .arg(
            option("max-connections", "The servers' max_connections")
                .default_value("100")
                .value_parser(value_parser!(u32).range(10..=10_000)),
        )
        .arg(
            option("dir", "Folder for the work directory [default: /var/tmp]")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            option("certificate", "What the servers show")
                .default_value("good")
                .value_parser(certificates),
        )
        .arg(flag(
            "relay",
            "Point RDS_SIDECAR_DATABASES at the fault relay",
        ))
}

fn id_token_command() -> Command {
    Command::new("id-token")
        .about("Print an ID token of the running sandbox")
        .arg(
            option("url", "The sandbox's URL")
                .env("SANDBOX_URL")
                .required(true),
        )
        .arg(option("sub", "The sub claim"))
        .arg(option("aud", "The aud claim"))
        .arg(
            option("claim", "Any other claim")
                .value_name("NAME=VALUE")
                .action(ArgAction::Append)
                .value_parser(|text: &str| {
                    text.contains('=')
                        .then(|| text.to_owned())
                        .ok_or("not NAME=VALUE")
                }),
        )
        .arg(
            option("expires-in", "Seconds of life; negative: already over")
                .default_value("3600")
                .allow_negative_numbers(true)
                .value_parser(value_parser!(i64)),
        )
}

fn up(matches: &ArgMatches) -> Result<()> {
    let mysql = one_of(FLAVORS, matches, "mysql");
    let options = Options {
        dir: matches.get_one::<PathBuf>("dir").cloned(),
        postgres: matches.get_flag("postgres") || mysql.is_none(),
        mysql,
        max_connections: matches.get_one("max-connections").copied().unwrap_or(100),
        certificate: one_of(CERTIFICATES, matches, "certificate").context("no certificate")?,
        through_relay: matches.get_flag("relay"),
        ..Options::default()
    };
    let env_file = matches.get_one::<PathBuf>("env-file");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let sandbox = Sandbox::start(&options)?;
        let variables = shell_variables(&sandbox.env()?);
        let mut stdout = std::io::stdout();
        match env_file {
            Some(path) => write_private(path, &variables)?,
            None => stdout.write_all(variables.as_bytes())?,
        }
        writeln!(stdout, "ready")?;
        stdout.flush()?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        drop(sandbox);
        if let Some(path) = env_file {
            // What it says is no longer true.
            fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    })
}

/// What the word given for `option` stands for.
fn one_of<T, const N: usize>(
    known: [(&str, T); N],
    matches: &ArgMatches,
    option: &str,
) -> Option<T> {
    let wanted = matches.get_one::<String>(option)?;
    let found = known.into_iter().find(|(name, _)| name == wanted);
    found.map(|(_, meaning)| meaning)
}

fn id_token(matches: &ArgMatches) -> Result<()> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let mut claims = serde_json::Map::new();
    for name in ["sub", "aud"] {
        claims.extend(text(name).map(|value| (name.to_owned(), Value::from(value))));
    }
    for claim in matches.get_many::<String>("claim").into_iter().flatten() {
        let (name, value) = claim.split_once('=').context("not NAME=VALUE")?;
        claims.insert(name.to_owned(), value.into());
    }
    let body = json!({ "claims": claims, "expires_in": matches.get_one::<i64>("expires-in") });
    let url = text("url").unwrap_or_default();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let (status, answer) =
        client::request(address, "POST", "/_sandbox/id-token", &body.to_string())?;
    ensure!(status == 200, "the sandbox answered {status}: {answer}");
    let answer: Value = serde_json::from_str(&answer)?;
    let token = answer
        .get("id_token")
        .and_then(Value::as_str)
        .context("the sandbox sent no id_token")?;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(())
}

fn shell_variables(variables: &[(String, String)]) -> String {
    let line = |(name, value): &(String, String)| {
        format!("export {name}='{}'\n", value.replace('\'', r"'\''"))
    };
    variables.iter().map(line).collect()
}

/// Whole or not at all, and for the owner's eyes: it holds an ID token and a password.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut name = path
        .file_name()
        .with_context(|| format!("{} names no file", path.display()))?
        .to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(name);
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .with_context(|| format!("write {}", draft.display()))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&draft, path).with_context(|| format!("write {}", path.display()))
}
