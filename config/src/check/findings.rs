//! What the checks find: problems, warnings, and every effective value.

use crate::effective::Effective;
use crate::effective::MASK;
use crate::effective::Shown;
use crate::layers::Setting;
use crate::layers::Settings;
use crate::options::Kind;
use crate::options::Preset;
use crate::options::Spec;
use crate::origin::Origin;
use crate::problem::Problem;
use crate::problem::Wrong;

/// Grows while the checks run.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) origins: Vec<Effective>,
}

/// The layers in which one section's options are looked up, highest first.
pub(crate) struct Scope<'a> {
    pub(crate) stack: Vec<&'a Settings>,
    /// Index of the database, for options of one.
    pub(crate) database: Option<usize>,
}

impl<'a> Scope<'a> {
    /// The value of the highest layer that has one.
    pub(crate) fn find(&self, spec: &Spec) -> Option<&'a Setting> {
        self.stack.iter().find_map(|settings| settings.find(spec))
    }
}

impl Findings {
    /// The value of an option that has a default. None only where the text is wrong, which is a problem then.
    pub(crate) fn value<T>(
        &mut self,
        scope: &Scope<'_>,
        spec: &'static Spec,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let (text, origin) = match (scope.find(spec), spec.default) {
            (Some(setting), _) => (setting.text.as_str(), setting.origin.clone()),
            (None, Preset::Value(text)) => (text, Origin::Default),
            (None, Preset::Unset(meaning)) => {
                self.record(scope, spec, Shown::Unset(meaning), Origin::Default);
                return None;
            }
        };
        match parse(text) {
            Ok(value) => {
                self.record(scope, spec, shown(spec, text), origin);
                Some(value)
            }
            Err(wrong) => {
                self.problems.push(wrong.at(origin));
                None
            }
        }
    }

    /// Notes a value that holds.
    pub(crate) fn record(
        &mut self,
        scope: &Scope<'_>,
        spec: &'static Spec,
        value: Shown,
        origin: Origin,
    ) {
        self.origins.push(Effective {
            spec,
            database: scope.database,
            value,
            origin,
        });
    }

    /// Refuses an option that later versions have, unless it says what this version does anyway.
    pub(crate) fn not_yet(&mut self, scope: &Scope<'_>, spec: &'static Spec) {
        if let Some(setting) = scope.find(spec)
            && !matches!(spec.default, Preset::Value(text) if text == setting.text)
        {
            self.problems.push(
                not_built(spec.key)
                    .try_instead("leave it out")
                    .at(&setting.origin),
            );
        }
    }
}

/// The text of every "not yet".
pub(crate) fn not_built(what: &str) -> Wrong {
    Wrong::new(format!("{what} is not built yet in this version"))
}

/// A value as TOML.
pub(crate) fn shown(spec: &Spec, text: &str) -> Shown {
    Shown::Toml(match spec.kind {
        Kind::Secret => quoted(MASK),
        Kind::Count => text
            .parse()
            .map_or_else(|_| text.to_owned(), |number: u32| number.to_string()),
        Kind::Switch => text.to_owned(),
        Kind::List(_) => {
            let items: Vec<_> = text.split_whitespace().map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::ClientTls => match text.split_once(',') {
            Some((cert, key)) => format!("{{ cert = {}, key = {} }}", quoted(cert), quoted(key)),
            None => quoted(text),
        },
        Kind::Choice(_) | Kind::Duration | Kind::DurationOrOff | Kind::Path | Kind::Text(_) => {
            quoted(text)
        }
    })
}

pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
