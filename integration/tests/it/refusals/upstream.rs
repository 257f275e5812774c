//! The database server: not there, silent, not who it should be, or unwilling.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::time::Duration;

use rds_sandbox::Certificate;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::faults::Faults;
use rds_sandbox::faults::RelayFaults;
use rds_sandbox::servers::free_port;
use rds_sandbox::servers::postgres::HOST;

use super::assert_says;
use super::psql_refused;
use crate::raw::Client;
use crate::raw::Stream;
use crate::scene;
use crate::scene::sandbox;

fn towards(url: &str) -> Sidecar {
    scene::sidecar(sandbox(), &["--connect-timeout", "2s", url])
}

#[test]
fn a_closed_port_is_named_and_recovered_from() {
    let port = free_port().unwrap();
    let sidecar = towards(&Sandbox::sidecar_url(port));
    assert_says(
        &psql_refused(&sidecar),
        &[
            &format!("FATAL:  rds-sidecar: cannot reach 127.0.0.1:{port}: connection refused"),
            "HINT:  the host is there but nothing listens on port",
        ],
    );
    let (status, reason) = sidecar.admin("GET", "/readiness", "").unwrap();
    assert_eq!(status, 503);
    assert_says(&reason, &["connection refused"]);
}

#[test]
fn a_black_hole_is_named_within_connect_timeout_and_recovered_from() {
    let sandbox = scene::own(&Options {
        through_relay: true,
        ..Options::default()
    });
    sandbox.set_faults(Faults {
        relay: RelayFaults {
            black_hole: true,
            ..RelayFaults::default()
        },
        ..Faults::default()
    });
    let sidecar = scene::sidecar(&sandbox, &["--connect-timeout", "1s"]);
    let port = sandbox.relay_port().unwrap();
    assert_says(
        &psql_refused(&sidecar),
        &[
            &format!("FATAL:  rds-sidecar: no connection to 127.0.0.1:{port} within 1s"),
            "HINT:  raise connect_timeout",
        ],
    );
    sandbox.set_faults(Faults::default());
    scene::until(Duration::from_secs(10), "the hole is filled", || {
        Client::try_connect(Stream::plain(sidecar.port()), "app", "recovered").is_ok()
    });
}

#[test]
fn connections_that_are_reset_or_dropped_are_named_and_recovered_from() {
    let sandbox = scene::own(&Options {
        through_relay: true,
        ..Options::default()
    });
    let faults = [
        RelayFaults {
            reset_next: 1,
            ..RelayFaults::default()
        },
        RelayFaults {
            drop_next: 1,
            ..RelayFaults::default()
        },
        RelayFaults {
            reset_after_bytes: Some(100),
            ..RelayFaults::default()
        },
    ];
    for relay in faults {
        sandbox.set_faults(Faults {
            relay: relay.clone(),
            ..Faults::default()
        });
        let sidecar = scene::sidecar(&sandbox, &[]);
        let words = psql_refused(&sidecar);
        assert_says(&words, &["FATAL:  rds-sidecar: "]);
        assert!(
            ["broke during", "closed the connection", "onnection reset"]
                .iter()
                .any(|end| words.contains(end)),
            "{relay:?}: {words}"
        );
        sandbox.set_faults(Faults::default());
        Client::connect(sidecar.port(), "app", "recovered").goodbye();
    }
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let url = "postgres://iam_app@no-such-host.invalid:5432/app";
    let sidecar = scene::sidecar(
        sandbox(),
        &["--region", "eu-west-1", "--connect-timeout", "5s", url],
    );
    assert_says(
        &psql_refused(&sidecar),
        &[
            "rds-sidecar: the host no-such-host.invalid cannot be resolved",
            "HINT:  check the host in the database's URL",
        ],
    );
}

#[test]
fn a_region_that_no_name_tells_is_never_guessed() {
    let port = sandbox().postgres().unwrap().port();
    let sidecar = towards(&format!("postgres://iam_app@127.0.0.1:{port}/app"));
    assert_says(&psql_refused(&sidecar), &["region", "HINT:  set region"]);
}

#[test]
fn a_server_that_is_not_proven_gets_no_token() {
    let cases: [(Certificate, &str, &[&str]); 4] = [
        (
            Certificate::None,
            "does not offer TLS",
            &["the server answered N to the TLS request"],
        ),
        (
            Certificate::OtherName,
            &format!("the certificate presented is not for {HOST}"),
            &["the certificate is for another-pg.cabc123xyz456.eu-west-1.rds.amazonaws.com"],
        ),
        (
            Certificate::UnknownCa,
            &format!("the certificate of {HOST} is signed by an unknown authority"),
            &["issued by", "A CA nobody knows", "tls_ca_file"],
        ),
        (
            Certificate::Expired,
            &format!("the certificate of {HOST} ended at "),
            &["this machine's clock says"],
        ),
    ];
    for (certificate, message, more) in cases {
        let options = Options {
            certificate,
            ..Options::default()
        };
        let server = sandbox()
            .start_postgres(&format!("{certificate:?}").to_lowercase(), &options)
            .unwrap();
        let sidecar = towards(&Sandbox::sidecar_url(server.port()));
        let words = psql_refused(&sidecar);
        assert_says(
            &words,
            &["FATAL:  rds-sidecar: ", message, "DETAIL:", "HINT:"],
        );
        assert_says(&words, more);
        assert!(
            !server.log().contains("iam_app@"),
            "{certificate:?}: a login was tried\n{}",
            server.log()
        );
    }
}

#[test]
fn a_user_without_rds_iam_is_told_the_grant() {
    let port = sandbox().postgres().unwrap().port();
    let sidecar = towards(&Sandbox::sidecar_url(port).replace("iam_app", "pw_app"));
    assert_says(
        &psql_refused(&sidecar),
        &[
            "does not accept IAM tokens for user pw_app: it asks for SCRAM-SHA-256",
            "GRANT rds_iam TO \"pw_app\"",
        ],
    );
}

#[test]
fn a_user_that_no_policy_names_gets_the_servers_words_and_our_explanation() {
    let port = sandbox().postgres().unwrap().port();
    let sidecar = towards(&Sandbox::sidecar_url(port).replace("iam_app", "iam_other"));
    assert_says(
        &psql_refused(&sidecar),
        &[
            "FATAL:  PAM authentication failed for user \"iam_other\"",
            &format!(
                "DETAIL:  rds-sidecar logged in with an IAM token signed for {HOST}:5432 in eu-west-1, user iam_other"
            ),
            "HINT:  the role needs rds-db:connect",
        ],
    );
}

#[test]
fn the_servers_own_refusals_pass_unchanged() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let refused = |database: &str| {
        let outcome = Client::try_connect(Stream::plain(sidecar.port()), database, "unchanged");
        outcome.err().expect("let in")
    };
    let missing = refused("no_such_database");
    assert_eq!(
        (&*missing.severity, &*missing.sqlstate, &*missing.message),
        (
            "FATAL",
            "3D000",
            "database \"no_such_database\" does not exist"
        )
    );
    assert_eq!((&*missing.detail, &*missing.hint), ("", ""));
}
