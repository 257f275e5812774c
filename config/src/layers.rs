//! What was typed: flags, variables, file, URLs. Still text, each with its place.

mod file;
mod names;

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use crate::Input;
use crate::options;
use crate::options::Kind;
use crate::options::Spec;
use crate::origin::Origin;
use crate::problem::Problem;
use crate::problem::Wrong;
use crate::url;
use crate::url::DatabaseUrl;

/// One value as typed. No `Debug`: it may be a secret.
pub(crate) struct Setting {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Values of one layer, by the name of the option.
#[derive(Default)]
pub(crate) struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    pub(crate) fn find(&self, spec: &Spec) -> Option<&Setting> {
        self.0.get(spec.name)
    }

    /// Takes a value in, unless it is empty or holds a control character.
    fn put(&mut self, spec: &'static Spec, setting: Setting, problems: &mut Vec<Problem>) {
        if setting.text.is_empty() && !matches!(spec.kind, Kind::List(_)) {
            problems.push(
                Wrong::new("is empty")
                    .try_instead("leave it out, or give it a value")
                    .at(&setting.origin),
            );
        } else if setting.text.contains(char::is_control)
            && !matches!(spec.kind, Kind::Secret | Kind::List(_))
        {
            problems.push(Wrong::new("holds a control character").at(&setting.origin));
        } else {
            self.0.insert(spec.name, setting);
        }
    }
}

/// One database as typed.
pub(crate) struct Entry {
    /// Where the entry begins; its URL's place.
    pub(crate) origin: Origin,
    /// None: a `[[database]]` without `url`, or a URL that is wrong (already a problem).
    pub(crate) url: Option<DatabaseUrl>,
    /// The URL's own query, and its password: the most specific of all.
    pub(crate) query: Settings,
    /// The keys of `[[database]]` and `[database.pool]`.
    pub(crate) keys: Settings,
}

/// Every layer.
pub(crate) struct Layers<'a> {
    pub(crate) flags: Settings,
    /// `RDS_SIDECAR_*`.
    pub(crate) variables: Settings,
    /// AWS's own.
    pub(crate) aws: Settings,
    /// `[identity]` and `[server]`.
    pub(crate) file: Settings,
    /// From the highest layer that names any.
    pub(crate) databases: Vec<Entry>,
    /// The whole environment.
    pub(crate) environment: &'a BTreeMap<String, String>,
}

impl<'a> Layers<'a> {
    /// Sorts `input` into layers. The second value is false where the file is not TOML: then keys are missing
    /// that the user did write, and looking further would only make up problems.
    pub(crate) fn read(
        input: &'a Input,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Problem>,
    ) -> (Self, bool) {
        let mut flags = Settings::default();
        for (spec, text) in &input.flags {
            let origin = Origin::Flag(spec.flag().unwrap_or_default());
            flags.put(
                spec,
                Setting {
                    text: text.clone(),
                    origin,
                },
                problems,
            );
        }
        let mut file = file::File::default();
        let mut readable = true;
        if let Some((name, text)) = &input.file {
            readable = file::read(name, text, &mut file, problems);
        }
        let (variables, aws) = variables(&input.variables, problems);
        let mut layers = Self {
            flags,
            variables,
            aws,
            file: file.settings,
            databases: file.databases,
            environment: &input.variables,
        };
        layers.check_variable_names(problems);
        layers.replace_databases(&input.urls, problems, warnings);
        (layers, readable)
    }

    /// The layers that hold for the whole process, highest first.
    pub(crate) fn process(&self) -> Vec<&Settings> {
        vec![&self.flags, &self.variables, &self.aws, &self.file]
    }

    /// The layers that hold for one database, highest first.
    pub(crate) fn of_database<'b>(&'b self, entry: &'b Entry) -> Vec<&'b Settings> {
        vec![
            &entry.query,
            &self.flags,
            &self.variables,
            &self.aws,
            &entry.keys,
        ]
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    fn replace_databases(
        &mut self,
        urls: &[String],
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Problem>,
    ) {
        let from_variable = self.variables.find(&options::DATABASES);
        let (named_by, entries): (_, Vec<Entry>) = if !urls.is_empty() {
            let number = |index: usize| Origin::Argument(format!("URL argument {}", index + 1));
            (
                "URL arguments",
                urls.iter()
                    .enumerate()
                    .map(|(index, text)| entry(text, number(index), problems))
                    .collect(),
            )
        } else if let Some(setting) = from_variable {
            let place =
                |index: usize| Origin::Variable(format!("RDS_SIDECAR_DATABASES URL {}", index + 1));
            let texts = setting.text.split_whitespace().enumerate();
            (
                "RDS_SIDECAR_DATABASES",
                texts
                    .map(|(index, text)| entry(text, place(index), problems))
                    .collect(),
            )
        } else {
            return;
        };
        if let Some(Entry {
            origin: Origin::File { line, .. },
            ..
        }) = self.databases.first()
        {
            let count = self.databases.len();
            warnings.push(Problem {
                at: line.clone(),
                what: format!(
                    "{count} [[database]] of this file not served: {named_by} name the databases"
                ),
                suggestion: None,
            });
        }
        self.databases = entries;
    }

    fn check_variable_names(&self, problems: &mut Vec<Problem>) {
        let stack = self.process();
        let named = stack
            .iter()
            .find_map(|settings| settings.find(&options::ID_TOKEN_ENV));
        for (name, value) in self
            .environment
            .iter()
            .filter(|(_, value)| !value.is_empty())
        {
            if named.is_none_or(|setting| setting.text != *name) {
                problems.extend(names::unknown_variable(name, value));
            }
        }
    }
}

/// Our variables and AWS's, the empty ones left out.
fn variables(
    environment: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> (Settings, Settings) {
    let (mut ours, mut aws) = (Settings::default(), Settings::default());
    let given = |name: &str| {
        // Trimmed: web forms and YAML blocks leave a newline at the end of a value.
        let text = environment.get(name)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    for spec in options::ALL {
        if let Some(name) = spec.variable()
            && let Some(text) = given(&name)
            && !names::is_link(&name, &text)
        {
            ours.put(
                spec,
                Setting {
                    text,
                    origin: Origin::Variable(name),
                },
                problems,
            );
        }
        if let Some((name, text)) = spec.aws.iter().find_map(|name| Some((*name, given(name)?))) {
            aws.put(
                spec,
                Setting {
                    text,
                    origin: Origin::Aws(name),
                },
                problems,
            );
        }
    }
    (ours, aws)
}

/// One database named by a URL alone.
fn entry(text: &str, origin: Origin, problems: &mut Vec<Problem>) -> Entry {
    let mut entry = Entry {
        origin,
        url: None,
        query: Settings::default(),
        keys: Settings::default(),
    };
    set_url(&mut entry, text, problems);
    entry
}

/// Reads `text` as the URL of `entry`, found at the entry's origin.
fn set_url(entry: &mut Entry, text: &str, problems: &mut Vec<Problem>) {
    let url = match url::parse(text) {
        Ok(url) => url,
        Err(wrong) => return problems.push(wrong.at(&entry.origin)),
    };
    if let Some(password) = &url.password {
        let setting = Setting {
            text: password.expose_secret().to_owned(),
            origin: entry.origin.key("password"),
        };
        entry.query.put(&options::PASSWORD, setting, problems);
    }
    for (key, text) in &url.query {
        match options::ALL
            .iter()
            .find(|spec| spec.in_url() && spec.key == key)
        {
            Some(spec) if entry.query.find(spec).is_some() => {
                problems.push(Wrong::new(format!("`{key}` is given twice")).at(&entry.origin));
            }
            Some(spec) => {
                let setting = Setting {
                    text: text.clone(),
                    origin: entry.origin.key(key),
                };
                entry.query.put(spec, setting, problems);
            }
            None => problems.push(names::unknown_url_key(key).at(&entry.origin)),
        }
    }
    entry.url = Some(url);
}
