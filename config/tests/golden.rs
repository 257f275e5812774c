//! Bad input beside the exact message it must produce.
//!
//! A case is `tests/cases/NAME.txt`, with any of `NAME.toml` (the file), `NAME.env` (variables, one `NAME=VALUE`
//! a line) and `NAME.args` (flags and URLs, one a line). The text holds the problems, or the warnings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;

use config::Input;
use config::options;

/// Set to write the texts instead of comparing; then read the diff.
const UPDATE: &str = "UPDATE_EXPECTED";

#[test]
fn every_case_says_exactly_what_is_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        names.insert(
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert!(names.len() > 20, "the cases are gone");
    let mut wrong = Vec::new();
    for name in names {
        let expected_path = folder.join(format!("{name}.txt"));
        let actual = outcome(&input(&folder, &name));
        if env::var_os(UPDATE).is_some() {
            fs::write(&expected_path, &actual).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            wrong.push(format!(
                "{name}\n--- expected\n{expected}--- actual\n{actual}"
            ));
        }
    }
    let again = format!("{UPDATE}=1 cargo test -p rds-sidecar-config --test golden");
    assert!(
        wrong.is_empty(),
        "{}\nif that is meant: {again}",
        wrong.join("\n")
    );
}

fn input(folder: &Path, name: &str) -> Input {
    let read =
        |extension: &str| fs::read_to_string(folder.join(format!("{name}.{extension}"))).ok();
    let mut input = Input {
        file: read("toml").map(|text| ("rds-sidecar.toml".to_owned(), text)),
        ..Input::default()
    };
    for line in read("env").unwrap_or_default().lines() {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        input.variables.insert(name.to_owned(), value.to_owned());
    }
    for line in read("args").unwrap_or_default().lines() {
        if let Some((flag, value)) = line
            .strip_prefix("--")
            .and_then(|rest| rest.split_once('='))
        {
            let flag = format!("--{flag}");
            let spec = options::ALL
                .iter()
                .find(|spec| spec.flag().as_ref() == Some(&flag))
                .unwrap();
            input.flags.push((spec, value.to_owned()));
        } else {
            input.urls.push(line.to_owned());
        }
    }
    input
}

fn outcome(input: &Input) -> String {
    let (head, found) = match config::load(input) {
        Ok(loaded) => ("warnings\n", loaded.warnings),
        Err(problems) => ("problems\n", problems),
    };
    found.iter().fold(head.to_owned(), |text, problem| {
        format!("{text}{problem}\n")
    })
}
