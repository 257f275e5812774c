//! The command line as clap sees it: commands, and one flag for each option of the table.

use clap::Arg;
use clap::ArgAction;
use clap::value_parser;
use clap_complete::Shell;
use config::options;
use config::options::Kind;
use config::options::Section;
use config::options::Spec;

use super::help;

/// The whole command line, for parsing, help and completion.
pub(super) fn command() -> clap::Command {
    let all: Vec<&'static Spec> = options::ALL.to_vec();
    let admin_only = [&options::CONFIG, &options::ADMIN, &options::ADMIN_TOKEN];
    let with = |command: clap::Command, specs: &[&'static Spec]| {
        command.args(specs.iter().filter_map(|spec| arg(spec)))
    };
    let sub = |name: &'static str, about: &'static str| clap::Command::new(name).about(about);
    let token_url = Arg::new(URLS)
        .value_name("URL")
        .required(true)
        .help(help::TOKEN_URL);
    let check = Arg::new("check")
        .long("check")
        .action(ArgAction::SetTrue)
        .help(help::CHECK);
    let timeout = Arg::new("timeout")
        .long("timeout")
        .value_name("DURATION")
        .default_value("30s")
        .value_parser(|text: &str| config::parse::duration(text).map_err(|wrong| wrong.what))
        .help("Give up after this");
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell))
        .help("The shell");
    with(clap::Command::new("rds-sidecar"), &all)
        .version(env!("CARGO_PKG_VERSION"))
        .about(help::ABOUT)
        .after_help(help::SHORT_END)
        .after_long_help(help::long_end())
        .override_usage(
            "rds-sidecar [run] [OPTIONS] [URL...]\n       rds-sidecar COMMAND [OPTIONS]",
        )
        .subcommand_precedence_over_arg(true)
        .disable_help_subcommand(true)
        .arg(url_arg())
        .subcommand(with(sub("run", "Serve; the default"), &all).arg(url_arg()))
        .subcommand(
            with(
                sub("token", "Print one RDS IAM token, for psql and friends"),
                &all,
            )
            .arg(token_url),
        )
        .subcommand(
            with(
                sub("wait", "Wait until the running sidecar is ready"),
                &admin_only,
            )
            .arg(timeout),
        )
        .subcommand(with(
            sub("healthcheck", "Probe the running sidecar once"),
            &admin_only,
        ))
        .subcommand(with(
            sub("stop", "Stop the running sidecar gracefully"),
            &admin_only,
        ))
        .subcommand(
            with(sub("config", help::CONFIG), &all)
                .arg(check)
                .arg(url_arg()),
        )
        .subcommand(sub("completion", "Print a completion script for a shell").arg(shell))
}

/// Id of the positional URLs.
pub(super) const URLS: &str = "url-argument";

fn url_arg() -> Arg {
    Arg::new(URLS)
        .value_name("URL")
        .action(ArgAction::Append)
        .help(help::URL)
        .long_help(help::URL_LONG)
}

/// The flag of an option, where it has one.
fn arg(spec: &'static Spec) -> Option<Arg> {
    let flag = spec.flag()?;
    let arg = Arg::new(spec.name)
        .long(flag.trim_start_matches('-').to_owned())
        .value_name(spec.kind.placeholder())
        .hide(!spec.built)
        .help_heading(heading(spec.section))
        .help(spec.help.trim_end_matches('.'))
        .long_help(help::long(spec));
    Some(match spec.kind {
        Kind::List(_) => arg.action(ArgAction::Append),
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Kind::Choice(_)
        | Kind::ClientTls
        | Kind::Count
        | Kind::Duration
        | Kind::DurationOrOff
        | Kind::Path
        | Kind::Secret
        | Kind::Text(_) => arg,
    })
}

/// None: among clap's own, `--help` and `--version`.
fn heading(section: Section) -> Option<&'static str> {
    match section {
        Section::Database => Some("Databases"),
        Section::Identity => Some("Identity"),
        Section::Outside => None,
        Section::Pool => Some("Pool"),
        Section::Server => Some("Server"),
    }
}
