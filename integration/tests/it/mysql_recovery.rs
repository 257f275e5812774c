//! MySQL servers that restart, crash and hang up, passwords upstream, and the sidecar's own end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use rds_sandbox::Flavor;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::sidecar::SidecarOptions;
use rustix::process::Signal;

use crate::mysql_wire::anybody;
use crate::mysql_wire::error;
use crate::mysql_wire::session;
use crate::mysql_world::admin;
use crate::mysql_world::mariadb;
use crate::mysql_world::sidecar;
use crate::mysql_world::url;
use crate::mysql_world::worlds;

const LIMIT: Duration = Duration::from_secs(15);

/// What MariaDB's client says to one statement.
fn ask(port: u16, sql: &str) -> Result<String, String> {
    let output = mariadb(port).args(["-e", sql]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

#[test]
fn passwords_are_told_by_every_plugin() {
    for world in worlds() {
        let users: &[&str] = match world.flavor {
            Flavor::MariaDb => &["my_native"],
            // caching_sha2_password asks for the password itself first, and for a proof once it knows it.
            Flavor::MySql => &["my_sha2", "my_sha2", "my_sha256"],
        };
        let port = world.sandbox.mysql().unwrap().port();
        for user in users {
            let url = format!(
                "mysql://{user}@127.0.0.1:{port}/app?auth=password&connects_per_second=1000"
            );
            let password = format!("{user}_password");
            let right = sidecar(&world.sandbox, &url, &[("RDS_SIDECAR_PASSWORD", &password)]);
            let current = ask(right.port(), "SELECT CURRENT_USER()");
            assert_eq!(current, Ok(format!("{user}@%")), "{}", right.log());
            let held = session(right.port(), &anybody());
            let second = ask(right.port(), "SELECT CURRENT_USER()");
            assert_eq!(
                second,
                Ok(format!("{user}@%")),
                "a second login\n{}",
                right.log()
            );
            drop(held);
            assert!(!right.log().contains(&password));

            let wrong = sidecar(
                &world.sandbox,
                &url,
                &[("RDS_SIDECAR_PASSWORD", "not-it-at-all")],
            );
            let refused = ask(wrong.port(), "SELECT 1").unwrap_err();
            let words = format!("ERROR 1045 (28000): Access denied for user '{user}'@");
            assert!(refused.starts_with(&words), "{refused}");
            assert!(!wrong.log().contains("not-it-at-all"));
        }
    }
}

#[test]
fn a_restarted_server_is_found_again() {
    let mut sandbox = Sandbox::start(&Options::mysql(Flavor::MariaDb)).unwrap();
    let sidecar = sidecar(&sandbox, &url(&sandbox, ""), &[]);
    let mut open = session(sidecar.port(), &anybody());
    // Two connections: one is used, one lies in the pool.
    assert_eq!(ask(sidecar.port(), "SELECT 1"), Ok("1".to_owned()));
    sandbox.mysql_mut().unwrap().restart().unwrap();
    assert_eq!(
        ask(sidecar.port(), "SELECT 2"),
        Ok("2".to_owned()),
        "{}",
        sidecar.log()
    );
    // The server's own last word is passed on, if it had one; then the connection ends as a direct one would.
    while let Some(packet) = open.packet() {
        assert!(error(&packet).is_some(), "{packet:?}");
    }

    sandbox.mysql_mut().unwrap().kill();
    let down = ask(sidecar.port(), "SELECT 3").unwrap_err();
    assert!(
        down.contains("rds-sidecar") && down.contains("refused"),
        "{down}"
    );
    sandbox.mysql_mut().unwrap().restart().unwrap();
    assert_eq!(
        ask(sidecar.port(), "SELECT 4"),
        Ok("4".to_owned()),
        "{}",
        sidecar.log()
    );
}

#[test]
fn a_pooled_connection_that_was_killed_is_not_lent() {
    let sandbox = Sandbox::start(&Options::mysql(Flavor::MariaDb)).unwrap();
    let sidecar = sidecar(&sandbox, &url(&sandbox, ""), &[]);
    for _ in 0..5 {
        let id = ask(sidecar.port(), "SELECT CONNECTION_ID()").unwrap();
        admin(&sandbox, &format!("KILL {id}"));
        let next = ask(sidecar.port(), "SELECT CONNECTION_ID()");
        assert_ne!(next, Ok(id));
        assert!(next.is_ok(), "{next:?}\n{}", sidecar.log());
    }
}

#[test]
fn what_outlives_the_grace_is_stopped_at_the_server_too() {
    let sandbox = Sandbox::start(&Options::mysql(Flavor::MariaDb)).unwrap();
    let options = SidecarOptions {
        args: vec!["--shutdown-grace".into(), "300ms".into()],
        ..SidecarOptions::default()
    };
    let mut sidecar = Sidecar::start(&sandbox, &options).unwrap();
    let mut busy = session(sidecar.port(), &anybody());
    let running = std::thread::spawn(move || busy.row("SELECT SLEEP(600)"));
    let running_now =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'";
    while admin(&sandbox, running_now) != "1" {
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = sidecar.stop(LIMIT).unwrap();
    assert!(status.success(), "{status}\n{}", sidecar.log());
    assert!(running.join().is_err(), "its connection was closed");
    assert_eq!(admin(&sandbox, running_now), "0");
}

#[test]
fn it_stops_when_it_is_told_to() {
    let sandbox = Sandbox::start(&Options::mysql(Flavor::MariaDb)).unwrap();
    let mut sidecar = Sidecar::start(&sandbox, &SidecarOptions::default()).unwrap();
    let mut idle = session(sidecar.port(), &anybody());
    assert_eq!(idle.row("SELECT 1"), ["1"]);
    let mut busy = session(sidecar.port(), &anybody());
    let running = std::thread::spawn(move || busy.row("SELECT SLEEP(2)"));
    let running_now =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'";
    while admin(&sandbox, running_now) != "1" {
        std::thread::sleep(Duration::from_millis(10));
    }
    sidecar.signal(Signal::TERM).unwrap();
    assert_eq!(running.join().unwrap(), ["0"], "what runs may end");
    let status = sidecar.wait(LIMIT).unwrap();
    assert!(status.success(), "{status}\n{}", sidecar.log());
    while let Some(packet) = idle.packet() {
        assert_eq!(error(&packet).map(|(code, _, _)| code), Some(1053));
    }
    let left = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'iam_app'";
    assert_eq!(admin(&sandbox, left), "0");
}
