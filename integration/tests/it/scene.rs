//! What the end-to-end tests of cancelling, leaving, pooling, refusing and stopping share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::process::Command;
use std::process::Output;
use std::sync::OnceLock;
use std::time::Duration;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::sidecar::SidecarOptions;
use tokio::time::Instant;

use crate::raw::Client;

/// One sandbox for all tests that leave it as it was; the guard stops it when the test process ends.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SHARED: OnceLock<Sandbox> = OnceLock::new();
    SHARED.get_or_init(|| {
        Sandbox::start(&Options {
            max_connections: 200,
            ..Options::default()
        })
        .unwrap()
    })
}

/// A sandbox of one's own.
pub(crate) fn own(options: &Options) -> Sandbox {
    Sandbox::start(options).unwrap()
}

/// A sidecar in front of `sandbox` with these further arguments.
pub(crate) fn sidecar(sandbox: &Sandbox, args: &[&str]) -> Sidecar {
    sidecar_env(sandbox, args, &[])
}

/// The same with further variables; an empty value takes one away.
pub(crate) fn sidecar_env(sandbox: &Sandbox, args: &[&str], env: &[(&str, &str)]) -> Sidecar {
    Sidecar::start(sandbox, &options(args, env)).unwrap()
}

pub(crate) fn options(args: &[&str], env: &[(&str, &str)]) -> SidecarOptions {
    SidecarOptions {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..SidecarOptions::default()
    }
}

/// A statement of the superuser, straight to the server; one line a row, columns separated by `|`.
pub(crate) fn admin(sandbox: &Sandbox, database: &str, sql: &str) -> String {
    let url = sandbox.postgres_admin_url(database).unwrap();
    let output = psql(&url, &["-c", sql]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sql}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// libpq's own client.
pub(crate) fn psql(target: &str, args: &[&str]) -> Output {
    Command::new("psql")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", target])
        .args(args)
        .env("PGCONNECT_TIMEOUT", "60")
        .output()
        .unwrap()
}

/// Checks often until it holds; says what it waits for when it never does.
#[track_caller]
pub(crate) fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many server sessions carry this `application_name`.
pub(crate) fn sessions(watcher: &mut Client, application: &str) -> usize {
    let sql =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{application}'");
    // Inside a transaction the view would stay as it was at first sight.
    watcher.run("SELECT pg_stat_clear_snapshot()");
    watcher.value(&sql).parse().unwrap()
}

/// Waits until a session of this `application_name` runs a statement that begins like this.
pub(crate) fn wait_for_running(watcher: &mut Client, application: &str, statement: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{application}' \
         AND state = 'active' AND query LIKE '{statement}%'"
    );
    until(Duration::from_secs(20), statement, || {
        watcher.value(&sql) != "0"
    });
}

/// One figure of `/metrics`, all of whose labels are in `labels`.
pub(crate) fn metric(sidecar: &Sidecar, name: &str, labels: &str) -> u64 {
    let (status, page) = sidecar.admin("GET", "/metrics", "").unwrap();
    assert_eq!(status, 200);
    let wanted = format!("rds_sidecar_{name}");
    let line = page
        .lines()
        .find(|line| line.starts_with(&wanted) && line.contains(labels))
        .unwrap_or_else(|| panic!("no {wanted} with {labels} in\n{page}"));
    let (_, figure) = line.rsplit_once(' ').unwrap();
    // Figures are written as floats where they may be.
    figure.parse::<f64>().unwrap().round() as u64
}

/// Connections of the pool in this state.
pub(crate) fn pooled(sidecar: &Sidecar, state: &str) -> u64 {
    metric(sidecar, "pool_connections{", &format!("state=\"{state}\""))
}
