//! `docs/configuration.md` says what the table of options says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::env;
use std::fs;
use std::path::Path;

use config::Input;
use config::options;
use config::reference;

#[test]
fn the_page_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = reference::markdown();
    if env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/configuration.md is out of step; make it anew with:\n    \
         UPDATE_EXPECTED=1 cargo test -p rds-sidecar-config --test reference"
    );
}

#[test]
fn the_page_names_every_option_that_is_built_and_no_other() {
    let page = reference::markdown();
    for spec in options::ALL {
        let shown = format!("| `{}` |", spec.key);
        if spec.in_file() {
            assert_eq!(page.contains(&shown), spec.built, "{}", spec.name);
        }
        if let Some(variable) = spec.variable().filter(|_| spec.built) {
            assert!(page.contains(&format!("`{variable}`")), "{variable}");
        }
    }
}

#[test]
fn the_example_is_valid() {
    let page = reference::markdown();
    let example = page
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let input = Input {
        file: Some(("example".to_owned(), example.to_owned())),
        ..Input::default()
    };
    let loaded = config::load(&input).unwrap();
    assert_eq!(
        (loaded.config.databases.len(), loaded.warnings.len()),
        (2, 0)
    );
}
