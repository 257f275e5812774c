//! The shape of a source file: its length, its imports, and words that must not stay behind.

use crate::files;
use crate::report;

/// A file fits a sitting.
const FILE_LINES_MAX: usize = 400;

/// Words that must not stay behind, with what is wrong with them. Split so that this file does not name them.
const LEFTOVERS: &[(&str, &str, &str)] = &[
    ("todo", "!(", "build it, or refuse it with an error"),
    (
        "unimplemented",
        "!(",
        "build it, or refuse it with an error",
    ),
    ("dbg", "!(", "left from debugging"),
    ("#[ign", "ore", "a test that does not run proves nothing"),
    (
        "crate::",
        "{",
        "one import a line: the import table is read line by line",
    ),
    ("FIX", "ME", "mend it, or open an issue"),
];

const PARTS: &[&str] = &["config", "proxy", "integration"];

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for (path, text) in PARTS.iter().flat_map(|part| files(part, "rs")) {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            long.push(format!(
                "{}: {lines} lines, at most {FILE_LINES_MAX}: split it by meaning",
                path.display()
            ));
        }
    }
    report(&long);
}

#[test]
fn nothing_is_left_behind() {
    let mut found = Vec::new();
    for (path, text) in PARTS.iter().flat_map(|part| files(part, "rs")) {
        for (number, line) in text.lines().enumerate() {
            for (head, tail, why) in LEFTOVERS {
                if line.contains(&format!("{head}{tail}")) {
                    found.push(format!(
                        "{}:{}: `{head}{tail}`: {why}",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    report(&found);
}

#[test]
fn rust_files_import_one_thing_a_line() {
    let mut found = Vec::new();
    for (path, text) in PARTS.iter().flat_map(|part| files(part, "rs")) {
        for (number, line) in text.lines().enumerate() {
            let import = line
                .trim_start()
                .trim_start_matches("pub ")
                .trim_start_matches("pub(crate) ");
            if import.starts_with("use ") && import.contains('{') {
                found.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    report(&found);
}
