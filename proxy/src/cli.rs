//! What may be typed: the commands, and flags made from the one table of options.

mod grammar;
mod help;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::time::Duration;

use clap::ArgMatches;
use clap_complete::Shell;
use config::Databases;
use config::Input;
use config::Problem;
use config::options;
use config::options::Spec;

/// Exit code of bad usage and bad configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// A configuration file larger than this is not one.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The file that is read when none is named and it is there.
const DEFAULT_FILE: &str = "rds-sidecar.toml";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print a completion script; see [`completion`].
    Completion {
        /// For this shell.
        shell: Shell,
    },
    /// Print the effective configuration.
    Config {
        /// Only say whether it is valid.
        check: bool,
    },
    /// One probe of the running sidecar.
    Healthcheck,
    /// Serve.
    Run,
    /// Stop the running sidecar gracefully.
    Stop,
    /// Print one RDS IAM token for the only database of the configuration.
    Token {
        /// Its URL, as typed.
        url: String,
    },
    /// Wait until the running sidecar is ready.
    Wait {
        /// For this long at most.
        timeout: Duration,
    },
}

/// A command and the options typed with it. No `Debug`: it may hold secrets.
pub struct Invocation {
    /// What to do.
    pub command: Command,
    flags: Vec<(&'static Spec, String)>,
    urls: Vec<String>,
}

/// What to print instead of doing anything: help, the version, or what is wrong with the usage.
#[derive(Debug)]
pub struct Answer {
    /// The text, with its newline.
    pub text: String,
    /// 0, then the text belongs on standard output; or [`EXIT_USAGE`], then on standard error.
    pub exit_code: u8,
}

/// Reads the command line; the first argument is the program's name.
///
/// # Errors
/// An [`Answer`], where help or the version is asked for or the usage is wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Answer> {
    let matches = grammar::command()
        .try_get_matches_from(arguments)
        .map_err(|error| Answer {
            text: error.render().to_string(),
            exit_code: if error.use_stderr() { EXIT_USAGE } else { 0 },
        })?;
    let mut flags = flags_of(&matches);
    let mut urls = urls_of(&matches);
    let mut command = Command::Run;
    if let Some((name, below)) = matches.subcommand() {
        // Options may stand on either side of the command; those after it win.
        let after = flags_of(below);
        flags.retain(|(spec, _)| !after.iter().any(|(other, _)| other.name == spec.name));
        flags.extend(after);
        urls.extend(urls_of(below));
        command = subcommand(name, below);
    }
    if let Command::Token { url } = &command {
        urls = vec![url.clone()];
    }
    mistyped_command(&urls)?;
    Ok(Invocation {
        command,
        flags,
        urls,
    })
}

impl Invocation {
    /// Everything that was typed, with the environment and the text of the configuration file.
    ///
    /// # Errors
    /// A file that cannot be read, a variable that is not UTF-8.
    pub fn input(
        self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Input, Vec<Problem>> {
        let mut problems = Vec::new();
        let variables = variables(environment, &mut problems);
        let named = self
            .flags
            .iter()
            .find(|(spec, _)| spec.name == options::CONFIG.name);
        let named = named.map(|(_, path)| ("--config", path.as_str()));
        let variable = variables
            .get("RDS_SIDECAR_CONFIG")
            .filter(|path| !path.is_empty());
        let file = match named.or(variable.map(|path| ("RDS_SIDECAR_CONFIG", path.as_str()))) {
            Some((place, path)) => read(path)
                .map(Some)
                .map_err(|error| (place.to_owned(), path.to_owned(), error)),
            None => match read(DEFAULT_FILE) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                read => read
                    .map(Some)
                    .map_err(|error| (DEFAULT_FILE.to_owned(), DEFAULT_FILE.to_owned(), error)),
            },
        };
        let file = file.unwrap_or_else(|(at, path, error)| {
            problems.push(Problem {
                at,
                what: format!("cannot read `{path}`: {error}"),
                suggestion: None,
            });
            None
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let databases = match self.command {
            Command::Config { .. } | Command::Run => Databases::Served,
            Command::Token { .. } => Databases::Named,
            Command::Completion { .. }
            | Command::Healthcheck
            | Command::Stop
            | Command::Wait { .. } => Databases::Optional,
        };
        Ok(Input {
            flags: self.flags,
            variables,
            file,
            urls: self.urls,
            databases,
        })
    }
}

/// The completion script for `shell`.
pub fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut grammar::command(), "rds-sidecar", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn subcommand(name: &str, matches: &ArgMatches) -> Command {
    match name {
        "completion" => match matches.get_one::<Shell>("shell") {
            Some(shell) => Command::Completion { shell: *shell },
            None => Command::Run,
        },
        "config" => Command::Config {
            check: matches.get_flag("check"),
        },
        "healthcheck" => Command::Healthcheck,
        "stop" => Command::Stop,
        "token" => Command::Token {
            url: urls_of(matches).pop().unwrap_or_default(),
        },
        "wait" => Command::Wait {
            timeout: matches.get_one("timeout").copied().unwrap_or_default(),
        },
        _ => Command::Run,
    }
}

fn flags_of(matches: &ArgMatches) -> Vec<(&'static Spec, String)> {
    let mut flags = Vec::new();
    for spec in options::ALL {
        if let Ok(Some(values)) = matches.try_get_many::<String>(spec.name) {
            let values: Vec<&str> = values.map(String::as_str).collect();
            flags.push((*spec, values.join(" ")));
        }
    }
    flags
}

fn urls_of(matches: &ArgMatches) -> Vec<String> {
    match matches.try_get_many::<String>(grammar::URLS) {
        Ok(Some(urls)) => urls.cloned().collect(),
        Ok(None) | Err(_) => Vec::new(),
    }
}

/// `rds-sidecar tokn` reads as a URL to clap; the user meant a command.
fn mistyped_command(urls: &[String]) -> Result<(), Answer> {
    let Some(word) = urls.first() else {
        return Ok(());
    };
    let is_word =
        !word.is_empty() && word.len() <= 16 && word.bytes().all(|byte| byte.is_ascii_lowercase());
    if !is_word {
        return Ok(());
    }
    let names: Vec<String> = grammar::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let near = config::suggest::nearest(word, names.iter().map(String::as_str));
    let tip = near
        .map(|name| format!("\n  tip: a similar command exists: '{name}'\n"))
        .unwrap_or_default();
    Err(Answer {
        text: format!(
            "error: '{word}' is neither a command nor a database URL\n{tip}\nCommands: {}\nA URL: \
             postgres://USER@HOST:5432/DB\n\nFor more information, try '--help'.\n",
            names.join(", ")
        ),
        exit_code: EXIT_USAGE,
    })
}

fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                variables.insert(name, value);
            }
            Err(_) if name.starts_with(options::VARIABLE_PREFIX) => {
                problems.push(Problem {
                    at: name,
                    what: "is not UTF-8".to_owned(),
                    suggestion: None,
                });
            }
            // Somebody else's: as good as absent.
            Err(_) => {}
        }
    }
    variables
}

fn read(path: &str) -> io::Result<(String, String)> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "more than 1 MiB",
        ));
    }
    Ok((path.to_owned(), text))
}

#[cfg(test)]
mod tests;
