//! How the process ends, and what is left of it: nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rds_sandbox::Sidecar;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::raw::Client;
use crate::raw::Stream;
use crate::scene;
use crate::scene::sandbox;
use crate::scene::until;

const SOON: Duration = Duration::from_secs(20);

/// A session of another sidecar, to look at the server with.
fn watcher() -> (Sidecar, Client) {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let client = Client::connect(sidecar.port(), "app", "shutdown_watcher");
    (sidecar, client)
}

fn assert_nothing_left(watcher: &mut Client, application: &str) {
    until(SOON, "no backend is left", || {
        scene::sessions(watcher, application) == 0
    });
}

#[test]
fn sigterm_lets_a_transaction_finish_and_ends_the_idle() {
    let (_watching, mut watcher) = watcher();
    let mut sidecar = scene::sidecar(sandbox(), &["--shutdown-grace", "30s"]);
    let port = sidecar.port();
    let mut idle = Client::connect(port, "app", "sigterm");
    let mut open = Client::connect(port, "app", "sigterm");
    let mut running = Client::connect(port, "app", "sigterm");
    Client::connect(port, "app", "sigterm").goodbye();
    open.run("BEGIN");
    open.run("CREATE TABLE finished_in_grace (n int)");
    running.ask("SELECT pg_sleep(0.7), 'to the end'");
    sidecar.signal(Signal::TERM).unwrap();
    let told = idle.answer();
    assert_eq!((told.sqlstate(), told.status), ("57P01", None), "{told:?}");
    assert!(
        told.error.unwrap().message.contains("shutting down"),
        "who closes it"
    );
    until(SOON, "no new clients", || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    let (status, reason) = sidecar.admin("GET", "/readiness", "").unwrap();
    assert_eq!(status, 503, "{reason}");
    let finished = running.answer();
    assert_eq!(finished.rows[0][1], "to the end");
    assert_eq!(running.answer().sqlstate(), "57P01");
    assert_eq!(
        open.query("INSERT INTO finished_in_grace VALUES (1)")
            .status,
        Some('T')
    );
    assert_eq!(open.query("COMMIT").tags, ["COMMIT"]);
    assert_eq!(open.answer().sqlstate(), "57P01");
    let status = sidecar.wait(SOON).unwrap();
    assert_eq!(status.code(), Some(0), "{}", sidecar.log());
    assert_eq!(watcher.value("SELECT count(*) FROM finished_in_grace"), "1");
    watcher.run("DROP TABLE finished_in_grace");
    assert_nothing_left(&mut watcher, "sigterm");
}

#[test]
fn when_the_grace_is_over_what_runs_is_ended() {
    let (_watching, mut watcher) = watcher();
    let mut sidecar = scene::sidecar(sandbox(), &["--shutdown-grace", "500ms"]);
    let mut open = Client::connect(sidecar.port(), "app", "grace");
    let mut running = Client::connect(sidecar.port(), "app", "grace");
    open.run("BEGIN");
    open.run("CREATE TABLE not_finished_in_grace (n int)");
    running.ask("SELECT pg_sleep(600)");
    scene::wait_for_running(&mut watcher, "grace", "SELECT pg_sleep");
    let asked = Instant::now();
    let status = sidecar.stop(SOON).unwrap();
    assert_eq!(status.code(), Some(0), "{}", sidecar.log());
    let took = asked.elapsed();
    assert!(
        (Duration::from_millis(500)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    assert!(
        sidecar.log().contains("shutdown_grace is over"),
        "{}",
        sidecar.log()
    );
    for client in [&mut open, &mut running] {
        assert_eq!(client.answer().status, None, "the connection ended");
    }
    assert_nothing_left(&mut watcher, "grace");
    assert_eq!(
        watcher.value("SELECT to_regclass('not_finished_in_grace') IS NULL"),
        "t"
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let mut sidecar = scene::sidecar(sandbox(), &["--shutdown-grace", "10m"]);
        let mut open = Client::connect(sidecar.port(), "app", "second_signal");
        open.run("BEGIN");
        sidecar.signal(first).unwrap();
        sidecar.wait_for_log("shutting down", SOON).unwrap();
        assert_eq!(open.value("SELECT 'still here'"), "still here");
        let asked = Instant::now();
        sidecar.signal(second).unwrap();
        let status = sidecar.wait(SOON).unwrap();
        assert_eq!(status.code(), Some(0), "{}", sidecar.log());
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "{:?}",
            asked.elapsed()
        );
    }
    let (_watching, mut watcher) = watcher();
    assert_nothing_left(&mut watcher, "second_signal");
}

#[test]
fn clients_that_wait_for_a_connection_are_told() {
    let mut sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    let mut holder = Client::connect(sidecar.port(), "app", "waiting_at_end");
    let mut waiting = Client::begin(Stream::plain(sidecar.port()), "app", "waiting_at_end");
    until(SOON, "a client waits", || {
        scene::metric(&sidecar, "pool_waiting_clients", "") == 1
    });
    let status = sidecar.stop(SOON).unwrap();
    assert_eq!(status.code(), Some(0));
    for said in [
        waiting.finish_login().unwrap_err(),
        holder.answer().error.unwrap(),
    ] {
        assert_eq!(said.sqlstate, "57P01", "{said:?}");
        assert!(said.message.contains("shutting down"), "{said:?}");
    }
}

#[test]
fn the_socket_file_goes_with_the_process() {
    let socket = sandbox().work_dir().path().join(".s.PGSQL.5432");
    let listen = format!("unix:{}", socket.display());
    // The later flag holds.
    let mut options = scene::options(&[], &[]);
    let url = format!(
        "{}&listen={listen}",
        rds_sandbox::Sandbox::sidecar_url(sandbox().postgres().unwrap().port())
    );
    options.args.push(url);
    let mut sidecar = Sidecar::start(sandbox(), &options).unwrap();
    UnixStream::connect(&socket).unwrap();
    let target = format!(
        "host={} user=anybody dbname=app",
        socket.parent().unwrap().display()
    );
    let output = scene::psql(&target, &["-c", "SELECT 'over a socket'"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "over a socket",
        "{output:?}"
    );
    assert_eq!(sidecar.stop(SOON).unwrap().code(), Some(0));
    assert!(fs::symlink_metadata(&socket).is_err(), "it is still there");
    // One that was killed leaves its file; the next one takes it over.
    let sidecar = Sidecar::start(sandbox(), &options).unwrap();
    drop(sidecar);
    assert!(fs::symlink_metadata(&socket).is_ok());
    let mut sidecar = Sidecar::start(sandbox(), &options).unwrap();
    UnixStream::connect(&socket).unwrap();
    sidecar.stop(SOON).unwrap();
}

#[test]
fn asked_over_http() {
    let (_watching, mut watcher) = watcher();
    let mut sidecar = scene::sidecar(sandbox(), &[]);
    let mut idle = Client::connect(sidecar.port(), "app", "quitquitquit");
    assert_eq!(
        sidecar.admin("GET", "/quitquitquit", "").unwrap().0,
        405,
        "a look ends nothing"
    );
    assert_eq!(sidecar.admin("POST", "/quitquitquit", "").unwrap().0, 200);
    assert_eq!(idle.answer().sqlstate(), "57P01");
    assert_eq!(sidecar.wait(SOON).unwrap().code(), Some(0));
    assert_nothing_left(&mut watcher, "quitquitquit");
}

#[test]
fn max_lifetime_ends_it_with_its_clients() {
    let mut sidecar = scene::sidecar(sandbox(), &["--server-max-lifetime", "2s"]);
    let began = Instant::now();
    let mut idle = Client::connect(sidecar.port(), "app", "server_max_lifetime");
    assert_eq!(idle.value("SELECT 1"), "1");
    assert_eq!(idle.answer().sqlstate(), "57P01");
    assert_eq!(sidecar.wait(SOON).unwrap().code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(
        sidecar.log().contains("max_lifetime reached"),
        "{}",
        sidecar.log()
    );
}

#[test]
fn exit_when_idle_waits_for_the_first_client_and_for_the_last() {
    let mut sidecar = scene::sidecar(sandbox(), &["--exit-when-idle", "300ms"]);
    drop(Stream::plain(sidecar.port()));
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(
        sidecar.admin("GET", "/startup", "").unwrap().0,
        200,
        "nobody was there yet; a probe is nobody"
    );
    let mut client = Client::connect(sidecar.port(), "app", "exit_when_idle");
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(client.value("SELECT 1"), "1", "as long as it is connected");
    client.goodbye();
    assert_eq!(sidecar.wait(SOON).unwrap().code(), Some(0));
    assert!(
        sidecar.log().contains("exit_when_idle reached"),
        "{}",
        sidecar.log()
    );
}
