//! `docs/configuration.md`, made from the table of options.

use std::fmt::Write as _;

use crate::options;
use crate::options::Section;
use crate::options::Spec;

/// The whole page, in Markdown.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (section, title) in SECTIONS {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "\n## {title}\n\n{}\n", preamble(section));
        page.push_str("| key | flag and variable | default | meaning |\n|---|---|---|---|\n");
        for spec in options::ALL
            .iter()
            .filter(|spec| spec.section == section && spec.built)
        {
            page.push_str(&row(spec));
        }
    }
    page.push_str(CLOSING);
    page
}

const SECTIONS: [(Section, &str); 5] = [
    (Section::Identity, "`[identity]`"),
    (Section::Database, "`[[database]]`"),
    (Section::Pool, "`[database.pool]`"),
    (Section::Server, "`[server]`"),
    (Section::Outside, "Outside the file"),
];

fn preamble(section: Section) -> &'static str {
    match section {
        Section::Database => {
            "One section for each database. Flags and variables hold for every database; the same keys in the query of a URL \
             hold for that one and win over everything else."
        }
        Section::Identity => "Who this process is.",
        Section::Outside => "These have no key.",
        Section::Pool => {
            "Stands after the `[[database]]` it belongs to. Its keys may stand in the query of a URL too."
        }
        Section::Server => "The process itself.",
    }
}

fn row(spec: &Spec) -> String {
    let key = if spec.in_file() {
        format!("`{}`", spec.key)
    } else {
        "-".to_owned()
    };
    let flag = spec
        .flag()
        .map(|flag| format!("`{flag} {}`", spec.kind.placeholder().replace('|', "\\|")));
    let variable = spec.variable().map(|name| format!("`{name}`"));
    let aws = spec.aws.iter().map(|name| format!("`{name}`"));
    let ways: Vec<String> = flag.into_iter().chain(variable).chain(aws).collect();
    let ways = if ways.is_empty() {
        "-".to_owned()
    } else {
        ways.join("<br>")
    };
    let default = match spec.default {
        options::Preset::Unset(meaning) => meaning.to_owned(),
        options::Preset::Value(text) => format!("`{text}`"),
    };
    format!("| {key} | {ways} | {default} | {} |\n", spec.help)
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from config/src/options/table.rs: UPDATE_EXPECTED=1 cargo test -p rds-sidecar-config --test reference -->

Every option can be given as a flag, as a variable and as a key in `rds-sidecar.toml`; it means the same everywhere, and
where it is given more than once the first of these wins:

1. the query of a database URL, for that database;
2. a flag;
3. a variable that begins with `RDS_SIDECAR_`;
4. AWS's own variable, where there is one that says the same;
5. the file;
6. what GitLab's variables say about the job;
7. the default.

An empty variable counts as absent. Unknown keys, and unknown variables that begin with `RDS_SIDECAR_`, are errors; all
problems are reported at once and the process ends with code 64. `rds-sidecar config` prints every effective value and
where it came from, with secrets masked; `rds-sidecar config --check` only says whether the configuration is valid.

The file is the one that `--config` or `RDS_SIDECAR_CONFIG` names, else `rds-sidecar.toml` in the working directory if it
is there.

## Databases

A database is named by a URL:

```text
postgres://[USER@]HOST[:PORT][/DB][?KEY=VALUE&...]
mysql://[USER@]HOST[:PORT][/DB][?KEY=VALUE&...]
```

`postgresql` and `mariadb` are other names of the two. USER is the upstream user, whatever the client says; without it
the client's user passes through. DB serves clients that name no database, or one that is named like their user
and does not exist: what libpq names where it was told none. Special characters are percent-encoded (`@` is `%40`), an
IPv6 address stands in brackets. The keys are those of `[[database]]` and `[database.pool]`.

The list of databases comes from the first of these that names any: URL arguments, `RDS_SIDECAR_DATABASES` (URLs
separated by white space), the `[[database]]` sections of the file.

## Values

A duration is a whole number and a unit, or several: `500ms`, `15s`, `5m`, `1h30m`, `1d`. A list is an array of texts in
the file, and separated by white space elsewhere; its flag may be repeated. A flag of kind `true|false` means `true` when
it stands alone; `--scope-down=false` turns it off. A secret in a flag or a URL argument is visible to every user of the
machine; a warning says so.
";

const CLOSING: &str = "
## The ID token

It is looked for in this order: the variable that `id_token_env` names, `RDS_SIDECAR_ID_TOKEN`, `id_token_file` (polled
until it appears), and what is sent to `PUT /identity` of the admin server, which replaces any of them later.

## In GitLab

Where `CI_JOB_ID` is set, `id_token_file`, `session_name` and `server.max_lifetime` have defaults of their own, made from
`CI_BUILDS_DIR`, `CI_JOB_ID`, `CI_PROJECT_PATH` and `CI_JOB_TIMEOUT`. Runners before 19.3 empty an ID token that is named
under `services: variables:`; set `RDS_SIDECAR_ID_TOKEN` in the job's own `variables:` instead.

## An example

```toml
[identity]
role_arn = \"arn:aws:iam::123456789012:role/ci-tests\"

[[database]]
url = \"postgres://ci_app@mydb.abc123.eu-west-1.rds.amazonaws.com:5432/app\"

[database.pool]
max_connections = 20

[[database]]
name = \"reports\"
url = \"postgres://ci_ro@reports.abc123.eu-west-1.rds.amazonaws.com/reports?connect_timeout=30s\"
listen = \":5433\"

[server]
log = \"json\"
```
";
