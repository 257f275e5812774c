//! Wall-clock time in the forms AWS writes it.

use time::OffsetDateTime;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const AMZ_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
const ISO_8601: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// Seconds since 1970.
pub fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Reads `20260102T030405Z`.
pub fn parse_amz_date(text: &str) -> Option<i64> {
    PrimitiveDateTime::parse(text, AMZ_DATE)
        .ok()
        .map(|at| at.assume_utc().unix_timestamp())
}

/// Writes `2026-01-02T03:04:05Z`.
pub fn iso_8601(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp(at)
        .ok()
        .and_then(|at| at.format(ISO_8601).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".into())
}
