//! `rds-sidecar config`: every effective value, where it came from, secrets masked.

use std::fmt::Write as _;

use config::Effective;
use config::Loaded;
use config::Problem;
use config::effective::Shown;
use config::options::Section;

/// What `config --check` prints when nothing is wrong.
pub const VALID: &str = "configuration is valid\n";

/// The comment's column, where values leave room for it.
const COMMENT_COLUMN: usize = 44;

/// The effective configuration as a valid `rds-sidecar.toml` whose comments say where each value came from.
pub fn render(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut current = None;
    for effective in &loaded.origins {
        let place = (effective.spec.section, effective.database);
        if current != Some(place) {
            header(&mut text, effective.spec.section);
            current = Some(place);
        }
        line(&mut text, effective);
    }
    text
}

/// Problems as every command prints them on standard error.
pub fn problems(problems: &[Problem]) -> String {
    let count = problems.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("rds-sidecar: {count} problem{plural} in the configuration\n");
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{problem}");
    }
    text
}

fn header(text: &mut String, section: Section) {
    if !text.is_empty() {
        text.push('\n');
    }
    if section != Section::Outside {
        text.push_str(section.header());
        text.push('\n');
    }
}

fn line(text: &mut String, effective: &Effective) {
    let spec = effective.spec;
    let origin: String = effective
        .origin
        .comment()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let written = match &effective.value {
        Shown::Toml(value) if spec.section == Section::Outside => {
            format!("# {} = {value}, from {origin}", spec.key)
        }
        Shown::Toml(value) => {
            let assignment = format!("{} = {value}", spec.key);
            format!("{assignment:COMMENT_COLUMN$}  # {origin}")
        }
        Shown::Unset("none") => format!("# {} is not set", spec.key),
        Shown::Unset(meaning) => format!("# {} is not set: {meaning}", spec.key),
    };
    text.push_str(&written);
    text.push('\n');
}

#[cfg(test)]
mod tests;
