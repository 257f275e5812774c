//! Text -> value, one function per kind. Each says what is wrong and what to write instead.

use std::path::PathBuf;
use std::time::Duration;

use crate::database::ClientTls;
use crate::problem::Wrong;
use crate::suggest;

/// Longest duration that makes sense for a sidecar; also keeps `Instant + Duration` far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `15s`, `1h30m`, `500ms`: whole numbers, each with a unit (ms, s, m, h, d), added up.
///
/// # Errors
/// A text of another shape, or more than 365 days.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::new("a duration needs a unit")
            .try_instead(format!("write `{text}s` for seconds")));
    }
    let malformed = || {
        Wrong::new(format!("`{text}` is not a duration")).try_instead(
            "write a whole number and a unit: 500ms, 15s, 5m, 2h, 1d, or several as in 1h30m",
        )
    };
    let mut total = Duration::ZERO;
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits).ok_or_else(malformed)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters).ok_or_else(malformed)?;
        let number: u64 = number.parse().map_err(|_| malformed())?;
        let milliseconds_each = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(malformed()),
        };
        let part = number
            .checked_mul(milliseconds_each)
            .map(Duration::from_millis);
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|sum| *sum <= DURATION_MAX)
            .ok_or_else(|| {
                Wrong::new(format!("`{text}` is too long"))
                    .try_instead("365d is the longest duration")
            })?;
        if after.is_empty() {
            return Ok(total);
        }
        rest = after;
    }
}

/// A duration that is not zero.
pub(crate) fn some_duration(text: &str) -> Result<Duration, Wrong> {
    match duration(text)? {
        Duration::ZERO => Err(Wrong::new("must be longer than zero")),
        duration => Ok(duration),
    }
}

/// A duration that is not zero; `off` is none.
pub(crate) fn duration_or_off(text: &str) -> Result<Option<Duration>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    match some_duration(text) {
        Ok(duration) => Ok(Some(duration)),
        Err(wrong) if duration(text).is_ok() => Err(wrong.try_instead("write `off` for no limit")),
        Err(wrong) => Err(wrong),
    }
}

/// A whole number of at least `least`. One million is far beyond what any RDS instance takes.
pub(crate) fn count(text: &str, least: u32) -> Result<u32, Wrong> {
    let number = text.parse().ok().filter(|number| *number <= 1_000_000);
    let number: u32 = number.ok_or_else(|| {
        Wrong::new(format!("`{text}` is not a whole number"))
            .try_instead(format!("write a number from {least} to 1000000"))
    })?;
    if number < least {
        return Err(Wrong::new(format!(
            "must be at least {least}, not {number}"
        )));
    }
    Ok(number)
}

/// `true` or `false`.
pub(crate) fn switch(text: &str) -> Result<bool, Wrong> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Wrong::new(format!("`{text}` is neither true nor false"))),
    }
}

/// One of `words`, as the value beside it.
pub(crate) fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let wrong = match known.as_slice() {
        [only] => {
            return Err(Wrong::new(format!("`{text}` is not known here"))
                .try_instead(format!("write `{only}`")));
        }
        _ => Wrong::new(format!("`{text}` is not one of {}", known.join(", "))),
    };
    Err(match suggest::nearest(text, known) {
        Some(word) => wrong.try_instead(format!("did you mean `{word}`?")),
        None => wrong,
    })
}

/// `off`, `self-signed` or `CERT,KEY`.
pub(crate) fn client_tls(text: &str) -> Result<ClientTls, Wrong> {
    match text {
        "off" => return Ok(ClientTls::Off),
        "self-signed" => return Ok(ClientTls::SelfSigned),
        _ => {}
    }
    match text.split_once(',') {
        Some((cert, key)) if !cert.is_empty() && !key.is_empty() && !key.contains(',') => {
            Ok(ClientTls::Files {
                cert: PathBuf::from(cert),
                key: PathBuf::from(key),
            })
        }
        _ => Err(
            Wrong::new(format!("`{text}` is not off, self-signed or CERT,KEY"))
                .try_instead("name two PEM files separated by one comma, such as tls.crt,tls.key"),
        ),
    }
}

/// The shape of an AWS region's name: `eu-west-1`, `us-gov-east-1`, `us-isob-east-1`.
pub(crate) fn region(text: &str) -> Result<String, Wrong> {
    let parts: Vec<_> = text.split('-').collect();
    let is_word =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts.split_last() {
        Some((last, words)) if words.len() >= 2 && words.iter().all(is_word) && is_number(last) => {
            Ok(text.to_owned())
        }
        _ => {
            let wrong = Wrong::new(format!("`{text}` is not the name of an AWS region"));
            let without_zone = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
            Err(if without_zone != text && region(without_zone).is_ok() {
                wrong.try_instead(format!(
                    "`{text}` is an availability zone; write `{without_zone}`"
                ))
            } else {
                wrong.try_instead("write a name such as `eu-west-1`")
            })
        }
    }
}

/// `arn:PARTITION:iam::ACCOUNT:role/NAME` (IAM User Guide, "IAM identifiers").
pub(crate) fn role_arn(text: &str) -> Result<String, Wrong> {
    let wrong = Wrong::new(format!("`{text}` is not the ARN of a role"));
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let ["arn", partition, service, "", account, resource] = parts.as_slice() else {
        return Err(wrong.try_instead("write arn:aws:iam::ACCOUNT:role/NAME"));
    };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if !is_account {
        return Err(wrong.try_instead("the account between `::` and `:` is 12 digits"));
    }
    let is_name = |c: char| c.is_ascii_graphic() && !c.is_whitespace();
    if let Some(rest) = resource.strip_prefix("assumed-role/") {
        let name = rest.split('/').next().unwrap_or_default();
        return Err(wrong.try_instead(format!(
            "this is a session of a role; the role is arn:{partition}:iam::{account}:role/{name}"
        )));
    }
    match resource.strip_prefix("role/") {
        Some(name)
            if *service == "iam"
                && partition.starts_with("aws")
                && !name.is_empty()
                && name.chars().all(is_name) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(wrong.try_instead(format!("write arn:aws:iam::{account}:role/NAME"))),
    }
}

/// Longest role session name STS takes (STS API reference, `RoleSessionName`).
pub(crate) const SESSION_NAME_BYTES_MAX: usize = 64;

/// A role session name: 2 to 64 of letters, digits and `_+=,.@-`.
pub(crate) fn session_name(text: &str) -> Result<String, Wrong> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if let Some(bad) = text.chars().find(|c| !legal(*c)) {
        return Err(
            Wrong::new(format!("a role session name may not hold {bad:?}"))
                .try_instead("use letters, digits and _ + = , . @ -"),
        );
    }
    if !(2..=SESSION_NAME_BYTES_MAX).contains(&text.len()) {
        return Err(Wrong::new(format!(
            "a role session name has 2 to 64 characters, not {}",
            text.len()
        )));
    }
    Ok(text.to_owned())
}

/// `DurationSeconds` of STS: 15 minutes to 12 hours, in seconds.
pub(crate) fn session_seconds(text: &str) -> Result<u32, Wrong> {
    let seconds = duration(text)?.as_secs();
    match u32::try_from(seconds) {
        Ok(seconds @ 900..=43_200) => Ok(seconds),
        _ => Err(Wrong::new(format!("`{text}` is outside what STS takes"))
            .try_instead("write 15m to 12h")),
    }
}

/// A filter in `RUST_LOG` syntax. A bare word that is no level is refused: it would mean "only this target",
/// and silence everything else.
pub(crate) fn log_filter(text: &str) -> Result<String, Wrong> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    for directive in text.split(',') {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level)
            .trim();
        let is_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
        if !is_level {
            let wrong = Wrong::new(format!("`{level}` is not a log level"));
            return Err(match suggest::nearest(level, LEVELS) {
                Some(word) => wrong.try_instead(format!("did you mean `{word}`?")),
                None => wrong.try_instead(
                    "write error, warn, info, debug, trace, or pairs as in info,rds_sidecar=debug",
                ),
            });
        }
    }
    Ok(text.to_owned())
}

/// The name of a database in logs and metrics.
pub(crate) fn name(text: &str) -> Result<String, Wrong> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && text.len() <= 63 && text.chars().all(legal) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("`{text}` cannot be a name"))
        .try_instead("use up to 63 letters, digits, _ and -, beginning with a letter or digit"))
}

/// The name of an environment variable.
pub(crate) fn variable_name(text: &str) -> Result<String, Wrong> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(legal) {
        return Ok(text.to_owned());
    }
    // Not quoted: the usual mistake is the token itself in this place.
    Err(Wrong::new("is not the name of a variable")
        .try_instead("write the name only, without `$`, not the token"))
}

#[cfg(test)]
mod tests;
