//! What may be linked in. The lists are `deny.toml`'s, so that cargo-deny and this test cannot disagree;
//! this test runs where cargo-deny is not installed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::report;
use crate::root;

/// Crates of which exactly one version may be linked: two would mean two TLS stacks or two runtimes.
const ONCE: &[&str] = &["ring", "rustls", "tokio", "tokio-rustls", "rustls-webpki"];
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn banned_crates_stay_out() {
    let locked = locked();
    let banned = deny()["bans"]["deny"].as_array().unwrap().clone();
    assert!(!banned.is_empty());
    let names = banned.iter().map(|ban| ban["crate"].as_str().unwrap());
    let found = names.filter(|name| locked.contains_key(*name));
    report(&found.map(|name| format!("Cargo.lock: `{name}` is banned by deny.toml; `cargo tree -i {name}` says who brings it")).collect::<Vec<_>>());
}

#[test]
fn one_version_of_what_must_be_one() {
    let locked = locked();
    let several = ONCE.iter().filter_map(|name| {
        let versions = locked.get(*name).map_or(&[][..], Vec::as_slice);
        (versions.len() != 1)
            .then(|| format!("Cargo.lock: {name}: {versions:?}, want exactly one version"))
    });
    report(&several.collect::<Vec<_>>());
}

#[test]
fn every_licence_is_one_we_accept_and_every_source_is_crates_io() {
    let deny = deny();
    let allowed: BTreeSet<String> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap().to_owned())
        .collect();
    let mut wrong = Vec::new();
    for package in packages() {
        let (name, licence) = (
            package["name"].as_str().unwrap(),
            package["license"].as_str().unwrap_or(""),
        );
        if !accepts(licence, &allowed) {
            wrong.push(format!(
                "{name}: licence `{licence}` is not among deny.toml's"
            ));
        }
        match package["source"].as_str() {
            None | Some(CRATES_IO) => {}
            Some(other) => wrong.push(format!("{name}: comes from {other}")),
        }
    }
    report(&wrong);
}

#[test]
fn licence_expressions_are_read_right() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
        .map(str::to_owned)
        .into();
    for good in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "(MIT OR GPL-3.0) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception OR X",
    ] {
        assert!(accepts(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT AND GPL-3.0) OR X",
        "MIT AND (X OR Y)",
        "MIT WITH X",
    ] {
        assert!(!accepts(bad, &allowed), "{bad}");
    }
}

/// Whether an SPDX expression can be satisfied with allowed licences alone.
fn accepts(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut tokens: Vec<&str> = spaced.split_whitespace().rev().collect();
    any_of(&mut tokens, allowed) && tokens.is_empty()
}

fn any_of(tokens: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut good = all_of(tokens, allowed);
    while tokens.pop_if(|token| *token == "OR").is_some() {
        good |= all_of(tokens, allowed);
    }
    good
}

fn all_of(tokens: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut good = one(tokens, allowed);
    while tokens.pop_if(|token| *token == "AND").is_some() {
        good &= one(tokens, allowed);
    }
    good
}

fn one(tokens: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let Some(first) = tokens.pop() else {
        return false;
    };
    if first == "(" {
        let good = any_of(tokens, allowed);
        return tokens.pop() == Some(")") && good;
    }
    let mut licence = first.to_owned();
    if tokens.pop_if(|token| *token == "WITH").is_some() {
        licence = format!("{licence} WITH {}", tokens.pop().unwrap_or(""));
    }
    allowed.contains(&licence)
}

fn deny() -> toml::Table {
    fs::read_to_string(root().join("deny.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

/// Versions by name, from Cargo.lock: every platform and feature, so a ban holds everywhere.
fn locked() -> BTreeMap<String, Vec<String>> {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let field = |key: &str| package[key].as_str().unwrap().to_owned();
        versions
            .entry(field("name"))
            .or_default()
            .push(field("version"));
    }
    versions
}

/// Every package that a Linux build links or runs, as `cargo metadata` describes it.
fn packages() -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}
