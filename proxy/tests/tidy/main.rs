//! Checks on the source itself: who may import whom, how long a file may grow, which dependencies may come in,
//! whether the documents are still true. Each failure names its file and line.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]

mod dependencies;
mod documents;
mod rooms;
mod text;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Every file with this extension in or below a directory of the workspace, with its text, paths relative to the root.
/// Build output and what begins with a dot are not looked at.
fn files(below: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(&root().join(below), extension, &mut found);
    found.sort();
    found
}

fn collect(dir: &Path, extension: &str, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|it| it == extension) {
            let relative = path.strip_prefix(root()).unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push((relative, text));
        }
    }
}

/// The workspace's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Fails with all problems at once, one a line.
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}
