//! Cancelling a statement reaches the right session and never a later one (protocol.md E, 49 to 54).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rds_sandbox::Sidecar;
use rds_sandbox::pki::Authority;
use rds_sandbox::pki::Validity;
use rustix::process::Pid;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use crate::raw::CancelKey;
use crate::raw::Client;
use crate::raw::Stream;
use crate::raw::cancel;
use crate::scene;
use crate::scene::sandbox;
use crate::scene::wait_for_running;

/// Far longer than any test; whoever waits for it was not cancelled.
const FOR_EVER: &str = "SELECT pg_sleep(600)";

#[test]
fn stops_the_owners_statement_and_no_other() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let mut owner = Client::connect(sidecar.port(), "app", "cancel_owner");
    let mut other = Client::connect(sidecar.port(), "app", "cancel_other");
    let mut watcher = Client::connect(sidecar.port(), "app", "cancel_watcher");
    owner.ask(FOR_EVER);
    other.ask("SELECT pg_sleep(0.5), 'undisturbed'");
    wait_for_running(&mut watcher, "cancel_owner", "SELECT pg_sleep");
    cancel(Stream::plain(sidecar.port()), &owner.key);
    let stopped = owner.answer();
    assert_eq!(stopped.sqlstate(), "57014", "{stopped:?}");
    assert_eq!(stopped.status, Some('I'));
    assert_eq!(other.answer().rows[0][1], "undisturbed");
    assert_eq!(owner.value("SELECT 'goes on'"), "goes on");
}

#[test]
fn libpq_cancels_with_control_c() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let mut watcher = Client::connect(sidecar.port(), "app", "control_c_watcher");
    let psql = Command::new("psql")
        .args(["-XAtq", "-c", "SELECT pg_sleep(600)"])
        .arg(format!(
            "{}&application_name=control_c",
            sidecar.url("anybody", "app")
        ))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_running(&mut watcher, "control_c", "SELECT pg_sleep");
    rustix::process::kill_process(Pid::from_child(&psql), Signal::INT).unwrap();
    let ended = psql.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(
        words.contains("canceling statement due to user request"),
        "{words}"
    );
}

#[test]
fn a_wrong_key_stops_nothing() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let mut owner = Client::connect(sidecar.port(), "app", "wrong_key");
    let mut watcher = Client::connect(sidecar.port(), "app", "wrong_key_watcher");
    owner.ask("SELECT pg_sleep(1), 'finished'");
    wait_for_running(&mut watcher, "wrong_key", "SELECT pg_sleep");
    let right = owner.key.clone();
    let mut flipped = right.secret.clone();
    flipped[3] ^= 1;
    let secrets = [
        flipped,
        vec![0; 4],
        right.secret[..3].to_vec(),
        [&right.secret[..], &[0; 28]].concat(),
    ];
    for secret in secrets {
        cancel(
            Stream::plain(sidecar.port()),
            &CancelKey {
                pid: right.pid,
                secret,
            },
        );
    }
    let other_pid = CancelKey {
        pid: watcher.key.pid,
        secret: right.secret,
    };
    cancel(Stream::plain(sidecar.port()), &other_pid);
    assert_eq!(owner.answer().rows[0][1], "finished");
    assert_eq!(scene::metric(&sidecar, "cancels_total", ""), 0);
}

#[test]
fn an_idle_clients_next_statement_is_not_hit() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    let mut client = Client::connect(sidecar.port(), "app", "cancel_idle");
    for round in 0..30 {
        cancel(Stream::plain(sidecar.port()), &client.key);
        let answer = client.query("SELECT pg_sleep(0.002)");
        assert!(answer.error.is_none(), "round {round}: {answer:?}");
    }
    assert_eq!(scene::metric(&sidecar, "cancels_total", ""), 30);
}

#[test]
fn works_while_the_pool_is_exhausted() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    let watching = scene::sidecar(sandbox(), &[]);
    let mut owner = Client::connect(sidecar.port(), "app", "exhausted");
    let mut waiting = Client::begin(Stream::plain(sidecar.port()), "app", "exhausted");
    scene::until(Duration::from_secs(10), "a client waits", || {
        scene::metric(&sidecar, "pool_waiting_clients", "") == 1
    });
    owner.ask(FOR_EVER);
    let mut watcher = Client::connect(watching.port(), "app", "exhausted_watcher");
    wait_for_running(&mut watcher, "exhausted", "SELECT pg_sleep");
    cancel(Stream::plain(sidecar.port()), &owner.key);
    assert_eq!(owner.answer().sqlstate(), "57014");
    owner.goodbye();
    waiting.finish_login().unwrap();
}

/// PgBouncer's `test_cancel_race`: requests for a client that left must not hit who has its server now.
#[test]
fn a_hundred_late_requests_do_not_hit_the_servers_next_user() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    let port = sidecar.port();
    for round in 0..4 {
        let mut owner = Client::connect(port, "app", "cancel_race");
        let key = owner.key.clone();
        owner.ask("SELECT pg_sleep(0.02)");
        std::thread::scope(|threads| {
            for _ in 0..100 {
                threads.spawn(|| cancel(Stream::plain(port), &key));
            }
            // 57014 or its row: both are right, the requests race with the statement.
            assert!(owner.answer().status.is_some());
            owner.goodbye();
            let mut next = Client::connect(port, "app", "cancel_race");
            for statement in 0..40 {
                let answer = next.query("SELECT pg_sleep(0.003)");
                assert!(
                    answer.error.is_none(),
                    "round {round}, statement {statement}: {answer:?}"
                );
            }
            next.goodbye();
        });
    }
    assert_eq!(
        scene::metric(&sidecar, "pool_dials_total", ""),
        1,
        "one server served all"
    );
}

#[test]
fn over_tls_over_direct_tls_and_in_clear() {
    let (sidecar, tls) = tls_sidecar();
    let port = sidecar.port();
    let mut watcher = Client::connect(port, "app", "cancel_tls_watcher");
    let stream = Stream::tls(port, &tls, false);
    let mut owner = Client::try_connect(stream, "app", "cancel_tls").unwrap();
    let ways: [fn(u16, &Arc<rustls::ClientConfig>) -> Stream; 3] = [
        |port, tls| Stream::tls(port, tls, false),
        |port, tls| Stream::tls(port, tls, true),
        // libpq before 17 cancels in clear text whatever the session does.
        |port, _| Stream::plain(port),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        owner.ask(FOR_EVER);
        wait_for_running(&mut watcher, "cancel_tls", "SELECT pg_sleep");
        cancel(way(port, &tls), &owner.key);
        assert_eq!(owner.answer().sqlstate(), "57014", "way {number}");
    }
}

/// A sidecar that offers TLS with a certificate of our own making, and a client's view of it.
fn tls_sidecar() -> (Sidecar, Arc<rustls::ClientConfig>) {
    let authority = Authority::new("Applications trust this").unwrap();
    let leaf = authority
        .leaf(&["localhost", "127.0.0.1"], Validity::Current)
        .unwrap();
    let folder = sandbox().work_dir().path();
    let (cert, key) = (folder.join("front.crt"), folder.join("front.key"));
    fs::write(&cert, &leaf.certificate).unwrap();
    fs::write(&key, &leaf.key).unwrap();
    let files = format!("{},{}", cert.display(), key.display());
    let sidecar = scene::sidecar(sandbox(), &["--client-tls", &files]);
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (sidecar, Arc::new(config))
}

/// A statement that is cancelled stops at once, not at its end.
#[test]
fn is_quick() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let mut owner = Client::connect(sidecar.port(), "app", "cancel_quick");
    let mut watcher = Client::connect(sidecar.port(), "app", "cancel_quick_watcher");
    owner.ask(FOR_EVER);
    wait_for_running(&mut watcher, "cancel_quick", "SELECT pg_sleep");
    let asked = Instant::now();
    cancel(Stream::plain(sidecar.port()), &owner.key);
    assert_eq!(owner.answer().sqlstate(), "57014");
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
}
