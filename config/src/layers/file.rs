//! `rds-sidecar.toml` -> settings with line numbers, collecting every unknown key and wrong type.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::Entry;
use super::Setting;
use super::Settings;
use super::names;
use crate::options;
use crate::options::Kind;
use crate::options::Section;
use crate::options::Spec;
use crate::origin::Origin;
use crate::problem::Problem;
use crate::problem::Wrong;

/// What the file holds.
#[derive(Default)]
pub(crate) struct File {
    /// `[identity]` and `[server]`.
    pub(crate) settings: Settings,
    pub(crate) databases: Vec<Entry>,
}

/// Reads the file into `file`. False: it is not TOML, and keys are missing.
pub(crate) fn read(name: &str, text: &str, file: &mut File, problems: &mut Vec<Problem>) -> bool {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        name,
        text,
        file,
        problems: Vec::new(),
    };
    for error in &errors {
        // Its Display quotes the line, which may hold a password; the message alone does not.
        let line = reader.line(error.span().map_or(0, |span| span.start));
        let message = error.message().lines().next().unwrap_or_default();
        reader.problem(
            line,
            Problem {
                at: format!("{name}:{line}"),
                what: message.to_owned(),
                suggestion: None,
            },
        );
    }
    if errors.is_empty() {
        reader.root(root.get_ref());
    }
    // Tables are walked in the order of their keys; people read in the order of lines.
    let mut found = reader.problems;
    found.sort_by_key(|(line, _)| *line);
    problems.extend(found.into_iter().map(|(_, problem)| problem));
    errors.is_empty()
}

type Key<'i> = Spanned<Cow<'i, str>>;
type Value<'i> = Spanned<DeValue<'i>>;

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    file: &'a mut File,
    problems: Vec<(usize, Problem)>,
}

impl Reader<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            match key.get_ref().as_ref() {
                "database" => self.databases(key, value),
                section @ ("identity" | "server") => {
                    let section_id = if section == "identity" {
                        Section::Identity
                    } else {
                        Section::Server
                    };
                    let Some(table) = value.get_ref().as_table() else {
                        self.wrong(
                            key,
                            section,
                            Wrong::new("must be a section")
                                .try_instead(format!("write [{section}]")),
                        );
                        continue;
                    };
                    let mut settings = std::mem::take(&mut self.file.settings);
                    for (key, value) in table {
                        self.option(section_id, (key, value), section, &mut settings);
                    }
                    self.file.settings = settings;
                }
                other => {
                    let path = shown_key(other);
                    self.wrong(key, &path, names::unknown_section(other));
                }
            }
        }
    }

    fn databases(&mut self, key: &Key<'_>, value: &Value<'_>) {
        let wrong = || {
            Wrong::new("must be a list of sections")
                .try_instead("write [[database]] with two brackets")
        };
        let Some(array) = value.get_ref().as_array() else {
            return self.wrong(key, "database", wrong());
        };
        for (index, value) in array.iter().enumerate() {
            match value.get_ref().as_table() {
                Some(table) => self.database(index, value, table),
                None => self.wrong(key, "database", wrong()),
            }
        }
    }

    fn database(&mut self, index: usize, value: &Value<'_>, table: &DeTable<'_>) {
        let path = format!("database[{index}]");
        let origin = self.origin(value.span().start, path.clone());
        let mut entry = Entry {
            origin,
            url: None,
            query: Settings::default(),
            keys: Settings::default(),
        };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "pool" => {
                    let path = format!("{path}.pool");
                    let Some(pool) = value.get_ref().as_table() else {
                        let wrong = Wrong::new("must be a section")
                            .try_instead("write [database.pool] after its [[database]]");
                        self.wrong(key, &path, wrong);
                        continue;
                    };
                    for (key, value) in pool {
                        self.option(Section::Pool, (key, value), &path, &mut entry.keys);
                    }
                }
                _ => self.option(Section::Database, (key, value), &path, &mut entry.keys),
            }
        }
        self.url(&mut entry);
        self.file.databases.push(entry);
    }

    fn url(&mut self, entry: &mut Entry) {
        let line = self.origin_line(&entry.origin);
        let mut problems = Vec::new();
        match entry.keys.0.remove(options::URL.name) {
            Some(setting) => {
                let place = std::mem::replace(&mut entry.origin, setting.origin);
                super::set_url(entry, &setting.text, &mut problems);
                if entry.url.is_none() {
                    entry.origin = place;
                }
            }
            None if table_said_url(&self.problems, &entry.origin) => {}
            None => problems.push(
                Wrong::new("`url` is missing")
                    .try_instead("write url = \"postgres://USER@HOST:5432/DB\"")
                    .at(&entry.origin),
            ),
        }
        self.problems
            .extend(problems.into_iter().map(|problem| (line, problem)));
    }

    fn option(
        &mut self,
        section: Section,
        (key, value): (&Key<'_>, &Value<'_>),
        path: &str,
        into: &mut Settings,
    ) {
        let name = key.get_ref().as_ref();
        let path = format!("{path}.{}", shown_key(name));
        let Some(spec) = names::in_section(section).find(|spec| spec.key == name) else {
            return self.wrong(key, &path, names::unknown_key(section, name));
        };
        match text_of(spec, value.get_ref()) {
            Ok(text) => {
                let origin = self.origin(key.span().start, path);
                let mut problems = Vec::new();
                into.put(spec, Setting { text, origin }, &mut problems);
                let line = self.line(key.span().start);
                self.problems
                    .extend(problems.into_iter().map(|problem| (line, problem)));
            }
            Err(wrong) => self.wrong(key, &path, wrong),
        }
    }

    fn wrong(&mut self, key: &Key<'_>, path: &str, wrong: Wrong) {
        let line = self.line(key.span().start);
        let origin = self.origin(key.span().start, path.to_owned());
        self.problem(line, wrong.at(origin));
    }

    fn problem(&mut self, line: usize, problem: Problem) {
        self.problems.push((line, problem));
    }

    fn origin(&self, offset: usize, path: String) -> Origin {
        Origin::File {
            line: format!("{}:{}", self.name, self.line(offset)),
            path,
        }
    }

    fn origin_line(&self, origin: &Origin) -> usize {
        match origin {
            Origin::File { line, .. } => line
                .rsplit(':')
                .next()
                .and_then(|line| line.parse().ok())
                .unwrap_or(0),
            Origin::Argument(_)
            | Origin::Aws(_)
            | Origin::Default
            | Origin::Flag(_)
            | Origin::Gitlab(_)
            | Origin::Variable(_) => 0,
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self
            .text
            .as_bytes()
            .get(..offset)
            .unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// True where the entry has a `url` of the wrong type, which is a problem already.
fn table_said_url(problems: &[(usize, Problem)], entry: &Origin) -> bool {
    let Origin::File { path, .. } = entry else {
        return false;
    };
    problems
        .iter()
        .any(|(_, problem)| problem.at.ends_with(&format!(" {path}.url")))
}

/// Keys may be quoted texts with anything in them: shown as TOML would write them.
fn shown_key(key: &str) -> String {
    let is_bare = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_bare {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

/// The value as it would be typed in a flag.
fn text_of(spec: &Spec, value: &DeValue<'_>) -> Result<String, Wrong> {
    let found = |expected: &str| {
        Wrong::new(format!(
            "must be {expected}, not {}",
            article(value.type_str())
        ))
    };
    match (spec.kind, value) {
        (Kind::Count, DeValue::Integer(number)) if number.radix() == 10 => {
            Ok(number.as_str().replace('_', ""))
        }
        (Kind::Count, DeValue::String(text)) if text.parse::<u32>().is_ok() => {
            Err(found("a number")
                .try_instead(format!("write {} = {text} without quotes", spec.key)))
        }
        (Kind::Count, _) => Err(found("a number")),
        (Kind::Switch, DeValue::Boolean(on)) => Ok(on.to_string()),
        (Kind::Switch, _) => Err(found("true or false")),
        (Kind::List(_), DeValue::Array(items)) => {
            let texts: Option<Vec<&str>> =
                items.iter().map(|item| item.get_ref().as_str()).collect();
            texts
                .map(|texts| texts.join(" "))
                .ok_or_else(|| Wrong::new("must be a list of texts"))
        }
        (Kind::List(_), _) => {
            Err(found("a list of texts").try_instead(format!("write {} = [\"...\"]", spec.key)))
        }
        (Kind::ClientTls, DeValue::Table(table)) => {
            let part = |key: &str| table.get(key).and_then(|value| value.get_ref().as_str());
            match (part("cert"), part("key"), table.len()) {
                (Some(cert), Some(key), 2) => Ok(format!("{cert},{key}")),
                _ => Err(Wrong::new("needs a certificate and a key")
                    .try_instead("write { cert = \"FILE\", key = \"FILE\" }")),
            }
        }
        (Kind::Duration | Kind::DurationOrOff, DeValue::Integer(number)) => {
            Err(found("a text")
                .try_instead(format!("write {} = \"{number}s\" for seconds", spec.key)))
        }
        (_, DeValue::String(text)) => Ok(text.clone().into_owned()),
        _ => Err(found("a text")),
    }
}

fn article(kind: &str) -> String {
    match kind {
        "string" => "a text".to_owned(),
        "integer" | "array" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}
