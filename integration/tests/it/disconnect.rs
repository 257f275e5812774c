//! However a client leaves, the server it leaves behind is clean or closed (protocol.md E, 55 to 61 and 82).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::io::Write;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use rds_sandbox::Sidecar;
use tokio::time::Instant;

use crate::raw::Client;
use crate::scene;
use crate::scene::admin;
use crate::scene::sandbox;
use crate::scene::wait_for_running;

/// A client that must see a fresh session, whoever had its server before.
pub(crate) fn assert_clean(port: u16, application: &str) -> u32 {
    let mut next = Client::connect(port, "app", application);
    let answer = next.query(
        "SELECT current_setting('app.mark', true) IS NOT DISTINCT FROM NULL \
        OR current_setting('app.mark', true) = '', \
        (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors), \
        (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'), \
        (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)), \
        (SELECT count(*) FROM pg_listening_channels()), pg_backend_pid()",
    );
    assert!(answer.error.is_none(), "{answer:?}");
    assert_eq!(answer.status, Some('I'));
    assert_eq!(
        answer.rows[0][..6],
        ["t", "0", "0", "0", "0", "0"],
        "{answer:?}"
    );
    assert_eq!(answer.rows[0][6], next.key.pid.to_string());
    let pid = next.key.pid;
    next.goodbye();
    pid
}

/// A psql fed by hand; SIGKILL is what happens to it.
struct Psql(Child);

impl Psql {
    fn start(sidecar: &Sidecar, application: &str) -> Self {
        let target = format!(
            "{}&application_name={application}",
            sidecar.url("anybody", "app")
        );
        let child = Command::new("psql")
            .args(["-XAtq", "-d", &target])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn feed(&mut self, text: &str) {
        let stdin = self.0.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn killed_in_a_transaction_its_locks_are_free_within_a_second() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "2"]);
    let port = sidecar.port();
    let mut other = Client::connect(port, "app", "locks_other");
    other.run("CREATE TABLE killed_in_transaction (n int)");
    let mut psql = Psql::start(&sidecar, "locks_owner");
    psql.feed(
        "BEGIN; INSERT INTO killed_in_transaction VALUES (1); LOCK TABLE killed_in_transaction;\n",
    );
    scene::until(Duration::from_secs(20), "the lock is held", || {
        other.value(
            "SELECT count(*) FROM pg_locks WHERE relation = 'killed_in_transaction'::regclass \
             AND mode = 'AccessExclusiveLock' AND granted",
        ) == "1"
    });
    let killed = Instant::now();
    psql.kill();
    assert_eq!(
        other.value("SELECT count(*) FROM killed_in_transaction"),
        "0"
    );
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    assert_clean(port, "locks_owner");
    assert_eq!(
        scene::metric(&sidecar, "pool_dials_total", ""),
        2,
        "the server it left was rolled back and lent again"
    );
    other.run("DROP TABLE killed_in_transaction");
}

#[test]
fn killed_in_a_long_statement_it_is_cancelled_and_the_server_lent_again() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "2"]);
    let mut watcher = Client::connect(sidecar.port(), "app", "hour_watcher");
    let mut psql = Psql::start(&sidecar, "hour");
    psql.feed("SELECT pg_sleep(3600);\n");
    wait_for_running(&mut watcher, "hour", "SELECT pg_sleep");
    psql.kill();
    scene::until(Duration::from_secs(5), "the statement is cancelled", || {
        watcher.value(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hour' \
             AND state = 'active'",
        ) == "0"
    });
    assert_clean(sidecar.port(), "hour");
    assert_eq!(scene::metric(&sidecar, "pool_dials_total", ""), 2);
}

#[test]
fn killed_in_copy_nothing_is_loaded_and_the_server_lent_again() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "2"]);
    let mut watcher = Client::connect(sidecar.port(), "app", "copy_watcher");
    watcher.run("CREATE TABLE killed_in_copy (n int)");
    let mut psql = Psql::start(&sidecar, "copy_killed");
    psql.feed("COPY killed_in_copy FROM STDIN;\n1\n2\n3\n");
    wait_for_running(&mut watcher, "copy_killed", "COPY");
    psql.kill();
    assert_clean(sidecar.port(), "copy_killed");
    assert_eq!(watcher.value("SELECT count(*) FROM killed_in_copy"), "0");
    assert_eq!(scene::metric(&sidecar, "pool_dials_total", ""), 2);
    watcher.run("DROP TABLE killed_in_copy");
}

#[test]
fn killed_while_rows_stream_to_it_the_next_client_is_served() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    let mut client = Client::connect(sidecar.port(), "app", "streaming");
    client.ask("SELECT repeat('x', 1000) FROM generate_series(1, 100000000)");
    client.skip_to(b'D');
    client.reset();
    let left = Instant::now();
    assert_clean(sidecar.port(), "streaming");
    assert!(
        left.elapsed() < Duration::from_secs(10),
        "{:?}",
        left.elapsed()
    );
}

#[test]
fn an_idle_server_that_was_terminated_is_not_lent() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    for _ in 0..5 {
        let pid = assert_clean(sidecar.port(), "terminated_idle");
        admin(
            sandbox(),
            "app",
            &format!("SELECT pg_terminate_backend({pid}, 5000)"),
        );
        assert_ne!(assert_clean(sidecar.port(), "terminated_idle"), pid);
    }
}

#[test]
fn a_terminated_transaction_ends_as_it_does_on_a_direct_connection() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    let mut client = Client::connect(sidecar.port(), "app", "terminated");
    client.run("BEGIN");
    let pid = client.key.pid;
    admin(
        sandbox(),
        "app",
        &format!("SELECT pg_terminate_backend({pid}, 5000)"),
    );
    let last = client.answer();
    assert_eq!(last.sqlstate(), "57P01", "{last:?}");
    assert_eq!(last.status, None, "then the connection ends");
    assert_ne!(assert_clean(sidecar.port(), "terminated"), pid);
}

#[test]
fn a_database_can_be_dropped_as_soon_as_its_last_client_left() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let port = sidecar.port();
    let mut owner = Client::connect(port, "app", "dropper");
    for way in [
        "DROP DATABASE dropped",
        "CREATE DATABASE copied TEMPLATE dropped",
    ] {
        let made = owner.query("CREATE DATABASE dropped");
        assert!(made.error.is_none(), "{made:?}");
        for _ in 0..3 {
            let mut test = Client::connect(port, "dropped", "test_in_dropped");
            assert_eq!(test.value("SELECT current_database()"), "dropped");
            // As test frameworks do: no wait for the goodbye to be heard.
            test.send(b'X', b"");
            drop(test);
            let asked = Instant::now();
            let done = owner.query(way);
            assert!(done.error.is_none(), "{way}: {done:?}");
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "{way}: {:?}",
                asked.elapsed()
            );
            if way.starts_with("DROP") {
                owner.run("CREATE DATABASE dropped");
            } else {
                owner.run("DROP DATABASE copied");
            }
        }
        let dropped = owner.query("DROP DATABASE dropped");
        assert!(dropped.error.is_none(), "{dropped:?}");
    }
}

#[test]
fn what_alter_role_sets_is_seen_on_reconnect() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let port = sidecar.port();
    let seen = || Client::connect(port, "app", "altered").value("SHOW gin_pending_list_limit");
    assert_eq!(seen(), "4MB");
    let mut client = Client::connect(port, "app", "alterer");
    for (value, shown) in [("'6MB'", "6MB"), ("'7MB'", "7MB"), ("DEFAULT", "4MB")] {
        client.run(&format!(
            "ALTER ROLE iam_app SET gin_pending_list_limit TO {value}"
        ));
        assert_eq!(seen(), shown);
    }
}

#[test]
fn whatever_a_client_left_in_its_session_the_next_one_does_not_see() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    let port = sidecar.port();
    let first = assert_clean(port, "leftovers");
    for leave in [Client::goodbye, Client::vanish, Client::reset] {
        let mut client = Client::connect(port, "app", "leftovers");
        for sql in [
            "SET app.mark = 'left behind'",
            "SET search_path = pg_catalog",
            "PREPARE left_behind AS SELECT 1",
            "CREATE TEMP TABLE left_behind (n int)",
            "SELECT pg_advisory_lock(4711)",
            "LISTEN left_behind",
            "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
            "BEGIN",
            "SAVEPOINT left_behind",
            "SELECT 1/0",
        ] {
            client.query(sql);
        }
        leave(client);
        assert_eq!(assert_clean(port, "leftovers"), first);
    }
}
