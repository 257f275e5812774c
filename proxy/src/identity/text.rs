//! Small texts for messages: instants, foreign words.

use std::time::SystemTime;

use aws_sdk_sts::primitives::DateTime;
use aws_sdk_sts::primitives::DateTimeFormat;

/// Longest foreign word shown, in characters.
const SHOWN_CHARS_MAX: usize = 500;

/// An instant as `2026-11-23T04:48:00Z`, whole seconds.
pub(super) fn time(at: SystemTime) -> String {
    let at = DateTime::from_secs(DateTime::from(at).secs());
    at.fmt(DateTimeFormat::DateTime)
        .unwrap_or_else(|_| "an instant out of range".to_owned())
}

/// Foreign text made safe for one line of a log or an error message.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(SHOWN_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
