//! One thing that is wrong with what was asked for.

use std::fmt;

/// One thing that is wrong: where, what, and what to write instead.
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
