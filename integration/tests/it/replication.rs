//! Replication connections: passed through, never shared, and refused where RDS would refuse them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rds_sandbox::Options;
use rds_sandbox::Sidecar;

use crate::drivers::programs;
use crate::session::Session;
use crate::support::iam_sidecar;
use crate::support::sidecar_at;
use crate::support::sidecar_for;
use crate::support::world;
use crate::wire::Wire;
use crate::wire::copy_done;
use crate::wire::message;
use crate::wire::query;
use crate::wire::startup;

const PASSWORD: (&str, &str) = ("RDS_SIDECAR_PASSWORD", "pw_replica_password");

fn replica_sidecar() -> Sidecar {
    sidecar_for(
        &world().sandbox,
        "pw_replica@",
        &["max_connections=5"],
        &[PASSWORD],
    )
}

fn open(sidecar: &Sidecar, replication: &str) -> Session {
    Session::open(
        sidecar.port(),
        &[
            ("user", "anybody"),
            ("database", "app"),
            ("replication", replication),
        ],
    )
}

fn run(program: &str, sidecar: &Sidecar, args: &[&str]) {
    let output = Command::new(programs().join(program))
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &sidecar.port().to_string(),
            "-U",
            "anybody",
            "--no-password",
        ])
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn folder(name: &str) -> PathBuf {
    world().sandbox.work_dir().path().join(name)
}

#[test]
fn streams_until_the_client_has_enough() {
    let sidecar = replica_sidecar();
    let mut session = open(&sidecar, "database");
    assert_eq!(session.value("SELECT current_database()"), "app");
    let system = session.query("IDENTIFY_SYSTEM");
    let position = system
        .iter()
        .find(|message| message.tag == b'D')
        .unwrap()
        .row()[2]
        .clone()
        .unwrap();
    session.send(&[query(&format!(
        "START_REPLICATION PHYSICAL {position} TIMELINE 1"
    ))]);
    session.until(b'W');
    // Standby status update: nothing written yet, please answer.
    session.send(&[message(b'd', &[&b"r"[..], &[0; 32], &[1]].concat())]);
    let keepalive = session.until(b'd');
    assert!(b"kw".contains(&keepalive.last().unwrap().body[0]));
    session.send(&[copy_done()]);
    session.until(b'c');
    session.ready();
    assert_eq!(
        session.value("SHOW wal_level"),
        "replica",
        "an ordinary session again"
    );
}

#[test]
fn is_never_lent_twice() {
    let sidecar = replica_sidecar();
    let mut pids = Vec::new();
    for replication in ["true", "database", "database", "off", "off"] {
        let mut session = open(&sidecar, replication);
        session.query("SELECT 1");
        session.send(&[crate::wire::terminate()]);
        session.try_until(b'Z');
        pids.push(session.pid);
    }
    let distinct: std::collections::HashSet<_> = pids[..4].iter().collect();
    assert_eq!(distinct.len(), 4, "{pids:?}");
    assert_eq!(pids[3], pids[4], "replication=off is an ordinary session");
}

#[test]
fn a_base_backup_and_then_wal_as_it_is_written() {
    let sidecar = replica_sidecar();
    let target = folder("backup");
    run(
        "pg_basebackup",
        &sidecar,
        &[
            "-D",
            target.to_str().unwrap(),
            "-X",
            "stream",
            "--checkpoint=fast",
        ],
    );
    let verified = Command::new(programs().join("pg_verifybackup"))
        .arg(&target)
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    // In one test: the end of a backup begins a new segment, and WAL is received by the segment.
    receive_wal(&sidecar);
}

fn receive_wal(sidecar: &Sidecar) {
    let target = folder("wal");
    fs::create_dir(&target).unwrap();
    let mut session = open(sidecar, "off");
    session.query("SELECT pg_logical_emit_message(true, 'test', 'something to receive')");
    // One byte less than there is, so that nobody has to write more.
    let end = session.value("SELECT pg_current_wal_insert_lsn() - 1");
    let args = [
        "-D",
        target.to_str().unwrap(),
        "--endpos",
        &end,
        "--no-loop",
        "--no-sync",
    ];
    run("pg_receivewal", sidecar, &args);
    let segments = fs::read_dir(&target).unwrap().count();
    assert!(segments > 0, "a segment of WAL was received");
}

#[test]
fn changes_as_a_subscriber_sees_them() {
    let sandbox = &world().sandbox;
    let settings = vec![("wal_level".to_owned(), "logical".to_owned())];
    let server = sandbox
        .start_postgres(
            "logical",
            &Options {
                settings,
                ..Options::default()
            },
        )
        .unwrap();
    let sidecar = sidecar_at(sandbox, server.port(), "pw_replica@", &[], &[PASSWORD]);
    let slot = ["-d", "app", "--slot", "subscriber"];
    run(
        "pg_recvlogical",
        &sidecar,
        &[&slot[..], &["--create-slot", "--plugin", "test_decoding"]].concat(),
    );
    let mut session = open(&sidecar, "off");
    session.query("SELECT pg_logical_emit_message(true, 'test', 'a change')");
    let end = session.value("SELECT pg_current_wal_insert_lsn()");
    let file = folder("changes.txt");
    let start = [
        "--start",
        "--no-loop",
        "--endpos",
        &end,
        "-f",
        file.to_str().unwrap(),
    ];
    run("pg_recvlogical", &sidecar, &[&slot[..], &start].concat());
    let changes = fs::read_to_string(&file).unwrap();
    assert!(changes.contains("content:a change"), "{changes}");
    run(
        "pg_recvlogical",
        &sidecar,
        &[&slot[..], &["--drop-slot"]].concat(),
    );
}

#[test]
fn iam_cannot_replicate() {
    let sidecar = iam_sidecar(&world().sandbox);
    for replication in ["true", "database"] {
        let parameters = [("user", "anybody"), ("replication", replication)];
        let refused = Session::login(Wire::tcp(sidecar.port()), &startup(0, &parameters), "");
        let words = refused.err().unwrap().words();
        assert!(
            words.starts_with(
                "S=FATAL C=0A000 M=rds-sidecar: IAM authentication cannot be used for replication connections D="
            ) && words.contains("H=use auth = \"password\""),
            "{words}"
        );
    }
}
