//! The one table of options: what each is called, in every layer, and what it does.
//!
//! Flags, help texts, variable look-up, did-you-mean and `docs/configuration.md` are all made from [`ALL`].

mod table;

pub use table::*;

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Unique name, in snake case: `role_arn`. Flag and variable are made from it.
    pub name: &'static str,
    /// Section of the file it belongs to.
    pub section: Section,
    /// Key in that section; differs from `name` only where two sections have the same key.
    pub key: &'static str,
    /// What a value looks like.
    pub kind: Kind,
    /// The layers it may be given in.
    pub ways: Ways,
    /// What holds when nobody says anything.
    pub default: Preset,
    /// AWS's own variables that say the same, the more specific first.
    pub aws: &'static [&'static str],
    /// False: known, but refused with "not in this version yet", and shown in no help.
    pub built: bool,
    /// One sentence, capitalised, with a period.
    pub help: &'static str,
}

impl Spec {
    /// `--role-arn`, where it has a flag.
    pub fn flag(&self) -> Option<String> {
        match self.ways {
            Ways::All | Ways::FlagAndVariable => Some(format!("--{}", self.name.replace('_', "-"))),
            Ways::Key | Ways::Variable => None,
        }
    }

    /// `RDS_SIDECAR_ROLE_ARN`, where it has a variable.
    pub fn variable(&self) -> Option<String> {
        match self.ways {
            Ways::All | Ways::FlagAndVariable | Ways::Variable => {
                Some(format!("{VARIABLE_PREFIX}{}", self.name.to_uppercase()))
            }
            Ways::Key => None,
        }
    }

    /// True where the file may hold it.
    pub fn in_file(&self) -> bool {
        matches!(self.ways, Ways::All | Ways::Key)
    }

    /// True where the query of a database URL may hold it.
    pub fn in_url(&self) -> bool {
        self.in_file()
            && self.name != URL.name
            && matches!(self.section, Section::Database | Section::Pool)
    }
}

/// Every variable of ours begins with this.
pub const VARIABLE_PREFIX: &str = "RDS_SIDECAR_";

/// Where an option lives in `rds-sidecar.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Not in the file: it says where the file is, or carries a token.
    Outside,
    /// `[identity]`
    Identity,
    /// `[[database]]`
    Database,
    /// `[database.pool]`
    Pool,
    /// `[server]`
    Server,
}

impl Section {
    /// Place in the file; the two sections of one database stand together.
    pub(crate) fn rank(self, database: Option<usize>) -> (u8, usize, u8) {
        match self {
            Self::Outside => (0, 0, 0),
            Self::Identity => (1, 0, 0),
            Self::Database => (2, database.unwrap_or(0), 0),
            Self::Pool => (2, database.unwrap_or(0), 1),
            Self::Server => (3, 0, 0),
        }
    }

    /// The header as written in the file.
    pub fn header(self) -> &'static str {
        match self {
            Self::Database => "[[database]]",
            Self::Identity => "[identity]",
            Self::Outside => "",
            Self::Pool => "[database.pool]",
            Self::Server => "[server]",
        }
    }
}

/// The layers an option may be given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    /// Flag, variable and key.
    All,
    /// Flag and variable, but no key: it is about the file itself.
    FlagAndVariable,
    /// Key only.
    Key,
    /// Variable only.
    Variable,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Count,
    /// `15s`, `1h30m`.
    Duration,
    /// A duration, or `off`.
    DurationOrOff,
    /// `off`, `self-signed`, or two files: `CERT,KEY` in a flag, `{ cert = "...", key = "..." }` in the file.
    ClientTls,
    /// Texts: an array in the file, separated by white space elsewhere. Holds the name of one in help.
    List(&'static str),
    /// A file.
    Path,
    /// A text that is never shown.
    Secret,
    /// `true` or `false`; a bare flag means `true`.
    Switch,
    /// Any text. Holds its name in help.
    Text(&'static str),
}

impl Kind {
    /// What stands for the value in help: `DURATION`.
    pub fn placeholder(self) -> String {
        match self {
            Self::Choice(words) => words.join("|"),
            Self::ClientTls => "off|self-signed|CERT,KEY".to_owned(),
            Self::Count => "NUMBER".to_owned(),
            Self::Duration => "DURATION".to_owned(),
            Self::DurationOrOff => "DURATION|off".to_owned(),
            Self::List(name) | Self::Text(name) => name.to_owned(),
            Self::Path => "FILE".to_owned(),
            Self::Secret => "SECRET".to_owned(),
            Self::Switch => "true|false".to_owned(),
        }
    }
}

/// What holds when nobody says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Nothing is set; this says what that means.
    Unset(&'static str),
    /// This text, read as if it had been typed.
    Value(&'static str),
}

impl Preset {
    /// As shown to users.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Unset(text) | Self::Value(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_flags_and_keys_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|spec| spec.name).collect();
        let keys: BTreeSet<_> = ALL.iter().map(|spec| (spec.section, spec.key)).collect();
        assert_eq!((names.len(), keys.len()), (ALL.len(), ALL.len()));
    }

    #[test]
    fn a_url_key_means_one_thing() {
        let keys: Vec<_> = ALL
            .iter()
            .filter(|spec| spec.in_url())
            .map(|spec| spec.key)
            .collect();
        assert_eq!(keys.len(), keys.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn help_is_one_sentence() {
        for spec in ALL {
            assert!(
                spec.help.ends_with('.') && spec.help.len() <= 160,
                "{}",
                spec.name
            );
        }
    }
}
