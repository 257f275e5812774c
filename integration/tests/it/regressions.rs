//! What other people's test suites found (docs/compatibility.md).
#![allow(clippy::unwrap_used)]

use std::process::Command;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::sidecar::SidecarOptions;

/// What `psql` prints as this user in this database, or what it complains about.
fn psql(sidecar: &Sidecar, user: &str, database: &str, statement: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args(["-XAtq", "-h", "127.0.0.1", "-U", user, "-d", database])
        .args(["-p", &sidecar.port().to_string(), "-c", statement])
        .env("PGCONNECT_TIMEOUT", "20")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// porsager/postgres: libpq names the user's database where it is told none, but somebody may mean it, as everybody
/// does who says `postgres`. It was taken for none, and the session was in another database than the one asked for.
#[test]
fn a_database_named_like_the_user_is_that_database() {
    let sandbox = Sandbox::start(&Options::default()).unwrap();
    let sidecar = Sidecar::start(&sandbox, &SidecarOptions::default()).unwrap();
    let here = "SELECT current_database()";
    let in_database = |name: &str| psql(&sidecar, name, name, here);
    assert_eq!(in_database("postgres").unwrap(), "postgres");
    assert_eq!(in_database("somebody").unwrap(), "app");
    let missing = psql(&sidecar, "somebody", "nowhere", here).unwrap_err();
    assert!(
        missing.contains("database \"nowhere\" does not exist"),
        "{missing}"
    );
    // The connection that fell back to `app` must not be lent to whom `somebody` now means a database.
    psql(&sidecar, "postgres", "postgres", "CREATE DATABASE somebody").unwrap();
    assert_eq!(in_database("somebody").unwrap(), "somebody");
    psql(&sidecar, "postgres", "postgres", "DROP DATABASE somebody").unwrap();
    assert_eq!(in_database("somebody").unwrap(), "app");
}
