//! A server that goes and comes, credentials that end: sessions that are open go on, new ones find their way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::time::Duration;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::faults::Faults;
use rds_sandbox::oidc::IdTokenRequest;
use rds_sandbox::servers::postgres::HOST;
use rds_sandbox::sidecar::SidecarOptions;
use tokio::time::Instant;

use crate::session::Session;
use crate::support::PASSWORD;
use crate::support::World;
use crate::support::iam_sidecar;
use crate::support::world;
use crate::wire::Message;
use crate::wire::Wire;
use crate::wire::startup;

const ANYBODY: &[(&str, &str)] = &[("user", "anybody"), ("database", "app")];

fn refusal(sidecar: &Sidecar, parameters: &[(&str, &str)]) -> Message {
    let session = Session::login(Wire::tcp(sidecar.port()), &startup(0, parameters), "");
    session.err().expect("a refusal")
}

#[test]
fn a_server_that_is_down_is_named_and_found_again() {
    // Holds the port, so that nobody else gets it; a bound socket that does not listen refuses.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    held.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let port = held.local_addr().unwrap().as_socket().unwrap().port();
    let url = format!(
        "postgres://127.0.0.1:{port}/app?sign_host={HOST}:5432&auth=password&connect_timeout=2s"
    );
    let env = [
        ("RDS_SIDECAR_DATABASES", url.as_str()),
        ("RDS_SIDECAR_PASSWORD", PASSWORD),
    ];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let sidecar = Sidecar::start(
        &world().sandbox,
        &SidecarOptions {
            env,
            ..SidecarOptions::default()
        },
    )
    .unwrap();
    let began = Instant::now();
    let words = refusal(&sidecar, World::PARAMETERS).words();
    assert!(
        words.starts_with("S=FATAL C=08") && words.contains(&format!("127.0.0.1:{port}")),
        "{words}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    held.listen(10).unwrap();
    forward(held.into(), world().sandbox.postgres().unwrap().port());
    assert_eq!(
        Session::open(sidecar.port(), World::PARAMETERS).value("SELECT 'back'"),
        "back"
    );
}

/// Joins every connection to `listener` with one to `port`, as long as the test runs.
fn forward(listener: TcpListener, port: u16) {
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (
                client.unwrap(),
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(),
            );
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || io::copy(&mut from, &mut to));
            }
        }
    });
}

#[test]
fn a_restart_of_the_server() {
    let mut sandbox = Sandbox::start(&Options::default()).unwrap();
    let sidecar = iam_sidecar(&sandbox);
    let mut held = Session::open(sidecar.port(), ANYBODY);
    let idle = Session::open(sidecar.port(), ANYBODY);
    drop(idle);
    sandbox.postgres_mut().unwrap().restart().unwrap();
    let end = held.try_until(b'Z');
    assert!(end[0].words().starts_with("S=FATAL C=57P01 "), "{}", end[0]);
    assert_eq!(
        Session::open(sidecar.port(), ANYBODY).value("SELECT current_user"),
        "iam_app"
    );
}

#[test]
fn credentials_that_end_are_replaced_under_open_sessions() {
    let sandbox = Sandbox::start(&Options::default()).unwrap();
    sandbox.set_faults(Faults {
        session_token_chars: Some(4_000),
        ..Faults::default()
    });
    let sidecar = iam_sidecar(&sandbox);
    let mut old = Session::open(sidecar.port(), ANYBODY);
    assert!(sandbox.expire_credentials() > 0);
    let mut new = Session::open(sidecar.port(), ANYBODY);
    assert_eq!(
        new.value("SELECT current_user"),
        "iam_app",
        "one refusal, one refresh, one more try"
    );
    assert_eq!(old.value("SELECT 1"), "1");
    let verdicts: Vec<_> = sandbox
        .verdicts()
        .iter()
        .map(|verdict| verdict.accepted)
        .collect();
    assert_eq!(verdicts, [true, false, true]);
    assert_eq!(sandbox.sts_calls().len(), 2);
}

#[test]
fn an_identity_pushed_later_serves_new_sessions() {
    let sandbox = Sandbox::start(&Options::default()).unwrap();
    let sidecar = iam_sidecar(&sandbox);
    let mut old = Session::open(sidecar.port(), ANYBODY);
    let token = sandbox.id_token(&IdTokenRequest::default()).unwrap();
    let (status, answer) = sidecar.admin("PUT", "/identity", &token).unwrap();
    assert_eq!(status, 204, "{answer}");
    sandbox.expire_credentials();
    assert_eq!(
        Session::open(sidecar.port(), ANYBODY).value("SELECT current_user"),
        "iam_app"
    );
    assert_eq!(old.value("SELECT 1"), "1");
}

#[test]
fn a_changed_password_does_not_touch_open_sessions() {
    let world = world();
    let admin = |sql: &str| {
        let url = world.sandbox.postgres_admin_url("app").unwrap();
        crate::drivers::psql(&url, &[], sql).unwrap();
    };
    admin("CREATE ROLE changing LOGIN PASSWORD 'one'");
    let start = |password| {
        crate::support::sidecar_for(
            &world.sandbox,
            "changing@",
            &[],
            &[("RDS_SIDECAR_PASSWORD", password)],
        )
    };
    let sidecar = start("one");
    let mut old = Session::open(sidecar.port(), ANYBODY);
    admin("ALTER ROLE changing PASSWORD 'two'");
    assert_eq!(old.value("SELECT current_user"), "changing");
    let words = refusal(&sidecar, ANYBODY).words();
    assert_eq!(
        words,
        "S=FATAL C=28P01 M=password authentication failed for user \"changing\""
    );
    let with_the_new_one = start("two");
    assert_eq!(
        Session::open(with_the_new_one.port(), ANYBODY).value("SELECT current_user"),
        "changing"
    );
}
