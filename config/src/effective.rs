//! Effective values, ready to be shown.

use crate::options::Spec;
use crate::origin::Origin;

/// What stands for a secret wherever one would be shown.
pub const MASK: &str = "******";

/// One option with the value that holds.
#[derive(Debug, Clone)]
pub struct Effective {
    /// Which option.
    pub spec: &'static Spec,
    /// For options of a database: its place in [`Config::databases`](crate::Config::databases).
    pub database: Option<usize>,
    /// The value, never a secret.
    pub value: Shown,
    /// Where it came from.
    pub origin: Origin,
}

/// A value as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A TOML value: `"text"`, `10`, `true`, `["a", "b"]`; a secret is [`MASK`] in quotes.
    Toml(String),
    /// Not set; what that means.
    Unset(&'static str),
}
