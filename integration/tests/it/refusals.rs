//! What users meet when something is wrong: its own words, in the place where they look, and a way out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod commands;
mod identity;
mod upstream;

use rds_sandbox::Sidecar;

use crate::scene;

/// psql's own output, which is all a failing test job shows.
pub(crate) fn psql_refused(sidecar: &Sidecar) -> String {
    let output = scene::psql(&sidecar.url("anybody", "app"), &["-c", "SELECT 1"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// All of `parts` stand in `text`, in any order.
#[track_caller]
pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}
