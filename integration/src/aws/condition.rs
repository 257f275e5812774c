//! IAM's condition operators, as far as they are known here.

use anyhow::Result;
use anyhow::bail;

use crate::aws::pattern::like;

/// A condition operator, with its set prefix and `IfExists`.
pub(super) struct Operator {
    compare: fn(&str, &str) -> bool,
    negated: bool,
    if_exists: bool,
    every_value: bool,
}

impl Operator {
    /// Reads `StringLike`, `ForAnyValue:StringEquals`, `ArnLikeIfExists`...
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (every_value, rest) = match text.split_once(':') {
            None => (false, text),
            Some(("ForAnyValue", rest)) => (false, rest),
            Some(("ForAllValues", rest)) => (true, rest),
            Some((set, _)) => bail!("unknown set operator {set:?}"),
        };
        let (if_exists, base) = match rest.strip_suffix("IfExists") {
            Some(base) => (true, base),
            None => (false, rest),
        };
        let (compare, negated): (fn(&str, &str) -> bool, bool) = match base {
            "StringEquals" | "ArnEquals" => (|pattern, value| pattern == value, false),
            "StringNotEquals" => (|pattern, value| pattern == value, true),
            "StringEqualsIgnoreCase" => {
                (|pattern, value| pattern.eq_ignore_ascii_case(value), false)
            }
            "StringNotEqualsIgnoreCase" => {
                (|pattern, value| pattern.eq_ignore_ascii_case(value), true)
            }
            "StringLike" | "ArnLike" => (like, false),
            "StringNotLike" => (like, true),
            other => bail!("condition operator {other:?} is not known to the sandbox"),
        };
        Ok(Self {
            compare,
            negated,
            if_exists,
            every_value,
        })
    }

    /// Whether the key's values (none: the request has no such key) satisfy it.
    pub(super) fn holds(&self, found: Option<&[String]>, wanted: &[String]) -> bool {
        let Some(values) = found else {
            return self.negated || self.if_exists || self.every_value;
        };
        let matches = |value: &String| wanted.iter().any(|pattern| (self.compare)(pattern, value));
        match (self.every_value, self.negated) {
            (true, false) => values.iter().all(matches),
            (true, true) => !values.iter().any(matches),
            (false, false) => values.iter().any(matches),
            (false, true) => !values.iter().any(matches),
        }
    }
}
