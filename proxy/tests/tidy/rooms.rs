//! Who may import whom. The table is ARCHITECTURE.md's import table as data.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::files;
use crate::report;
use crate::root;

/// Each room of `proxy/src`, and the rooms it may name. `fault`, `clock` and the `config` crate are open to all but
/// those listed in [`CLOSED`].
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("admin", &[]),
    (
        "app",
        &[
            "admin",
            "identity",
            "mysql",
            "net",
            "pool",
            "postgres",
            "session",
            "telemetry",
            "tls",
            "wire",
        ],
    ),
    ("cli", &[]),
    ("clock", &[]),
    ("command", EVERYTHING),
    ("fault", &[]),
    ("identity", &[]),
    ("lib", EVERYTHING),
    ("main", EVERYTHING),
    (
        "mysql",
        &["identity", "net", "pool", "session", "tls", "wire"],
    ),
    ("net", &[]),
    ("pool", &[]),
    (
        "postgres",
        &["identity", "net", "pool", "session", "tls", "wire"],
    ),
    ("session", &["net", "tls"]),
    ("telemetry", &[]),
    ("tls", &[]),
    ("wire", &[]),
];
const EVERYTHING: &[&str] = &[
    "admin",
    "app",
    "cli",
    "command",
    "identity",
    "mysql",
    "net",
    "pool",
    "postgres",
    "session",
    "telemetry",
    "tls",
    "wire",
];

/// Vocabulary every room may use.
const OPEN: &[&str] = &["clock", "fault"];
/// Rooms that may not even use that, nor the `config` crate.
const CLOSED: &[&str] = &["clock", "fault", "wire"];

/// What each part of the workspace must not mention outside its tests, and why.
const MUST_NOT_MENTION: &[(&str, &[&str], &str)] = &[
    (
        "config/src",
        &[
            "std::env",
            "std::fs",
            "std::net::Tcp",
            "std::time::Instant",
            "SystemTime",
            "tokio",
            "aws_sdk",
            "aws_types",
        ],
        "config does no I/O",
    ),
    (
        "proxy/src",
        &["rds_sandbox"],
        "the product must not know its test bed",
    ),
    (
        "proxy/src/pool",
        &["TcpStream", "UnixStream", "SystemTime"],
        "the pool knows no sockets and no wall clock",
    ),
    (
        "proxy/src/wire",
        &["async ", "std::io", "tokio", "tracing"],
        "wire does no I/O",
    ),
];

/// What each crate's Cargo.toml must not ask for.
const MUST_NOT_DEPEND: &[(&str, &[&str])] = &[
    ("config", &["anyhow", "aws-", "hyper", "rustls", "tokio"]),
    ("proxy", &["anyhow", "rds-sandbox"]),
];

#[test]
fn rooms_import_downwards_only() {
    let mut wrong = Vec::new();
    for (path, text) in files("proxy/src", "rs") {
        let room = room(&path);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!(
                "{}: room `{room}` has no row in MAY_IMPORT",
                path.display()
            ));
            continue;
        };
        for (number, line) in code(&text) {
            for used in named_rooms(line, &path) {
                let open = OPEN.contains(&used) && !CLOSED.contains(&room);
                if used != room && !open && !allowed.contains(&used) {
                    wrong.push(format!(
                        "{}:{number}: {room} may not import {used}",
                        path.display()
                    ));
                }
            }
            if CLOSED.contains(&room) && line.contains("config::") {
                wrong.push(format!(
                    "{}:{number}: {room} may not import config",
                    path.display()
                ));
            }
        }
    }
    report(&wrong);
}

#[test]
fn every_row_of_the_import_table_is_a_room() {
    let present: BTreeSet<String> = files("proxy/src", "rs")
        .iter()
        .map(|(path, _)| room(path).to_owned())
        .collect();
    let absent = MAY_IMPORT
        .iter()
        .filter(|(name, _)| !present.contains(*name));
    report(
        &absent
            .map(|(name, _)| format!("MAY_IMPORT: there is no room `{name}`"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn parts_do_not_mention_what_they_must_not_know() {
    let mut wrong = Vec::new();
    for (part, words, why) in MUST_NOT_MENTION {
        for (path, text) in files(part, "rs") {
            for (number, line) in code(&text) {
                for word in words.iter().filter(|word| line.contains(**word)) {
                    wrong.push(format!("{}:{number}: `{word}`: {why}", path.display()));
                }
            }
        }
    }
    report(&wrong);
}

#[test]
fn crates_do_not_depend_on_what_they_must_not_know() {
    let mut wrong = Vec::new();
    for (name, banned) in MUST_NOT_DEPEND {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let asked = manifest.get(section).and_then(|it| it.as_table());
            for dependency in asked.into_iter().flat_map(|table| table.keys()) {
                if banned.iter().any(|prefix| dependency.starts_with(prefix)) {
                    wrong.push(format!("{name}/Cargo.toml: [{section}] {dependency}"));
                }
            }
        }
    }
    report(&wrong);
}

/// The room a file of `proxy/src` belongs to: its directory, or its own name.
fn room(path: &Path) -> &str {
    let first = path
        .strip_prefix("proxy/src")
        .unwrap()
        .iter()
        .next()
        .unwrap();
    Path::new(first).file_stem().unwrap().to_str().unwrap()
}

/// Rooms that a line names, as `crate::room` or, from a room's own top file, as `super::room`.
fn named_rooms<'a>(line: &'a str, path: &Path) -> Vec<&'a str> {
    let is_room = |word: &&str| MAY_IMPORT.iter().any(|(name, _)| name == word);
    let by_crate = line.split("crate::").skip(1).map(first_word);
    let depth = path.strip_prefix("proxy/src").unwrap().iter().count();
    let top = depth == 1 || (depth == 2 && path.ends_with("mod.rs"));
    let by_super = line
        .split("super::")
        .skip(1)
        .map(first_word)
        .filter(|_| top && !line.starts_with(' '));
    by_crate.chain(by_super).filter(is_room).collect()
}

fn first_word(rest: &str) -> &str {
    rest.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or("")
}

/// Lines of code with their numbers: no comments, and nothing from the inline test module on.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    lines
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}
