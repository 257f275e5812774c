//! The texts of `--help`.

use config::options;
use config::options::Preset;
use config::options::Spec;
use config::options::Ways;

pub(super) const ABOUT: &str = "\
A plain localhost database port in front of AWS RDS: applications connect with any user, any password and no TLS;
rds-sidecar logs in upstream over verified TLS with an identity that lives minutes.";

pub(super) const URL: &str =
    "Database to serve: postgres://[USER@]HOST[:PORT][/DB][?KEY=VALUE&...], or mysql://...";

pub(super) const URL_LONG: &str = "\
Database to serve: postgres://[USER@]HOST[:PORT][/DB][?KEY=VALUE&...], or mysql://...

USER logs in upstream whatever the client says; without it the client's user passes through. DB
serves clients that name no database. The keys are those of the sections Databases and Pool below,
in snake case, and hold for this database only: ?listen=:5433&max_connections=20. Special
characters are percent-encoded.

URL arguments replace the databases of RDS_SIDECAR_DATABASES, which replace those of the file.";

pub(super) const TOKEN_URL: &str =
    "Database the token is for: postgres://USER@HOST[:PORT] or mysql://USER@HOST[:PORT]";

pub(super) const CHECK: &str =
    "Print only whether the configuration is valid; exit with 64 where it is not";

pub(super) const CONFIG: &str =
    "Print the effective configuration, secrets masked, and where each value came from";

pub(super) const SHORT_END: &str =
    "`rds-sidecar --help` says more: variables, defaults, examples, exit codes.";

const EXAMPLES_AND_CODES: &str = "\
Examples:
  Serve one database on localhost:5432, as the role of this CI job:
    RDS_SIDECAR_ROLE_ARN=arn:aws:iam::123456789012:role/ci-tests \\
      rds-sidecar postgres://ci_app@mydb.abc123.eu-west-1.rds.amazonaws.com/app

  Two databases, on two ports:
    rds-sidecar postgres://app@A/app 'postgres://app@B/app?listen=:5433'

  See what holds, and why:
    rds-sidecar config

Exit codes:
  0   done
  64  bad usage or bad configuration
  69  the database or the running sidecar cannot be reached
  70  a bug in rds-sidecar
  77  the identity was refused";

/// The end of `--help`.
pub(super) fn long_end() -> String {
    let mut text = "Variables that have no flag:\n".to_owned();
    for spec in options::ALL
        .iter()
        .filter(|spec| spec.ways == Ways::Variable)
    {
        let name = spec.variable().unwrap_or_default();
        text.push_str(&format!(
            "  {name:22}  {}\n",
            spec.help.trim_end_matches('.')
        ));
    }
    format!("{text}\n{EXAMPLES_AND_CODES}")
}

/// The help of one option: what it does, how else it may be given, what holds without it.
pub(super) fn long(spec: &Spec) -> String {
    let mut ways: Vec<String> = spec.variable().into_iter().collect();
    ways.extend(spec.aws.iter().map(|name| (*name).to_owned()));
    if spec.in_file() {
        ways.push(format!("`{}` in {}", spec.key, spec.section.header()));
    }
    let default = match spec.default {
        Preset::Unset(meaning) => meaning,
        Preset::Value(text) => text,
    };
    format!(
        "{}\n\nAlso: {}\nDefault: {default}",
        spec.help,
        ways.join(", ")
    )
}
