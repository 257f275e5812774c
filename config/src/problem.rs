//! One thing that is wrong with what was asked for.

use std::fmt;

/// One thing that is wrong: where, what, and what to write instead. Warnings have the same shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place: `rds-sidecar.toml:7 database[0].pool.mode`, `RDS_SIDECAR_MODE`, `--mode`.
    pub at: String,
    /// What is wrong, lower case, no period.
    pub what: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n    {suggestion}")?;
        }
        Ok(())
    }
}

/// Why a text is not a value of its kind; becomes a [`Problem`] once its place is known.
///
/// Never holds a secret: the parsers quote the text only where it cannot be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong, lower case, no period.
    pub what: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            suggestion: None,
        }
    }

    pub(crate) fn try_instead(self, suggestion: impl Into<String>) -> Self {
        Self {
            suggestion: Some(suggestion.into()),
            ..self
        }
    }

    pub(crate) fn at(self, place: impl fmt::Display) -> Problem {
        Problem {
            at: place.to_string(),
            what: self.what,
            suggestion: self.suggestion,
        }
    }
}
