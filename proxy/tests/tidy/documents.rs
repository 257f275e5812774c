//! Whether the documents are still true: links lead somewhere, every room states its invariant.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::files;
use crate::report;
use crate::root;

#[test]
fn every_relative_link_resolves() {
    let mut broken = Vec::new();
    for (path, text) in files("", "md") {
        for link in links(&text) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target_path = match target {
                "" => root().join(&path),
                _ => root().join(&path).parent().unwrap().join(target),
            };
            if !target_path.exists() {
                broken.push(format!("{}: `{link}` leads nowhere", path.display()));
            } else if !anchor.is_empty() && !anchors(&target_path).contains(anchor) {
                broken.push(format!("{}: `{link}`: no such heading", path.display()));
            }
        }
    }
    report(&broken);
}

#[test]
fn every_room_states_its_invariant() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut silent = Vec::new();
    for entry in fs::read_dir(root().join("proxy/src")).unwrap() {
        let room = entry
            .unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if room == "lib" {
            continue;
        }
        let row = architecture
            .lines()
            .find(|line| line.starts_with(&format!("| `{room}` |")));
        // | `room` | purpose | invariant |
        let cells: Vec<_> = row.unwrap_or("").split('|').map(str::trim).collect();
        if cells.len() != 5 || cells.iter().skip(2).take(2).any(|cell| cell.len() < 10) {
            silent.push(format!(
                "ARCHITECTURE.md: no row `| \\`{room}\\` | purpose | invariant |`"
            ));
        }
    }
    report(&silent);
}

#[test]
fn the_drawn_import_rules_name_only_rooms_that_exist() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let absent = rows.filter(|room| {
        let inside = |base: &str| {
            root().join(base).join(room).exists()
                || root().join(base).join(format!("{room}.rs")).exists()
        };
        !inside("proxy/src") && !inside("")
    });
    report(
        &absent
            .map(|room| format!("ARCHITECTURE.md: there is no `{room}`"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_variable_named_in_a_document_is_an_option() {
    let options = config::options::ALL.iter().filter(|spec| spec.built);
    let known: BTreeSet<String> = options.filter_map(|spec| spec.variable()).collect();
    let mut unknown = Vec::new();
    for (path, text) in files("", "md") {
        for rest in text.split(config::options::VARIABLE_PREFIX).skip(1) {
            let end = rest
                .find(|c: char| !c.is_ascii_uppercase() && c != '_')
                .unwrap_or(rest.len());
            let name = format!("{}{}", config::options::VARIABLE_PREFIX, &rest[..end]);
            // The bare prefix, as in `RDS_SIDECAR_*`, speaks of all of them.
            if end > 0 && !known.contains(&name) {
                unknown.push(format!(
                    "{}: `{name}` is not a variable of this version",
                    path.display()
                ));
            }
        }
    }
    report(&unknown);
}

/// Targets of inline links that are neither absolute nor in a code block.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let targets = prose
        .flat_map(|block| block.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// The anchors of a Markdown file's headings, made as GitLab and GitHub do: lower case, spaces to hyphens, no punctuation.
fn anchors(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}
