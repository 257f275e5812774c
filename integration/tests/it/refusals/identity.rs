//! No identity, a late one, an old one, one that STS refuses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::time::Duration;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::faults::Faults;
use rds_sandbox::faults::StsFault;
use rds_sandbox::oidc::IdTokenRequest;

use super::assert_says;
use super::psql_refused;
use crate::raw::Client;
use crate::raw::Stream;
use crate::scene;
use crate::scene::sandbox;

const NO_TOKEN: [(&str, &str); 1] = [("RDS_SIDECAR_ID_TOKEN", "")];

fn token(expires_in: i64) -> String {
    sandbox()
        .id_token(&IdTokenRequest {
            expires_in: Some(expires_in),
            ..IdTokenRequest::default()
        })
        .unwrap()
}

#[test]
fn without_a_token_clients_are_held_for_connect_timeout_and_told_how_to_hand_one_in() {
    let sidecar = scene::sidecar_env(sandbox(), &["--connect-timeout", "1s"], &NO_TOKEN);
    assert_eq!(sidecar.admin("GET", "/startup", "").unwrap().0, 200);
    let (status, reason) = sidecar.admin("GET", "/readiness", "").unwrap();
    assert_eq!(status, 503);
    assert_says(&reason, &["PUT /identity"]);
    let words = psql_refused(&sidecar);
    assert_says(
        &words,
        &["FATAL:  rds-sidecar: no ID token", "HINT:", "PUT /identity"],
    );
}

#[test]
fn a_pushed_token_releases_who_waits() {
    let sidecar = scene::sidecar_env(sandbox(), &[], &NO_TOKEN);
    let mut waiting: Vec<_> = (0..3)
        .map(|_| Client::begin(Stream::plain(sidecar.port()), "app", "pushed"))
        .collect();
    scene::until(Duration::from_secs(10), "all wait", || {
        scene::metric(&sidecar, "pool_waiting_clients", "") == 3
    });
    let (status, said) = sidecar.admin("PUT", "/identity", "not a token").unwrap();
    assert_eq!(status, 400, "{said}");
    let (status, said) = sidecar.admin("PUT", "/identity", &token(600)).unwrap();
    assert_eq!(status, 204, "{said}");
    for client in &mut waiting {
        client.finish_login().unwrap();
    }
    assert_eq!(sidecar.admin("GET", "/readiness", "").unwrap().0, 200);
}

#[test]
fn a_token_file_that_appears_later_releases_who_waits() {
    let file = sandbox().work_dir().path().join("late.jwt");
    let sidecar = scene::sidecar_env(
        sandbox(),
        &["--id-token-file", &file.display().to_string()],
        &NO_TOKEN,
    );
    let mut waiting = Client::begin(Stream::plain(sidecar.port()), "app", "late_file");
    scene::until(Duration::from_secs(10), "it waits", || {
        scene::metric(&sidecar, "pool_waiting_clients", "") == 1
    });
    // As a shell's `>` does: first empty, then full.
    fs::write(&file, "").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    fs::write(&file, token(600) + "\n").unwrap();
    waiting.finish_login().unwrap();
}

#[test]
fn an_expired_token_is_named_and_a_fresh_one_mends_it() {
    let expired = token(-60);
    let sidecar = scene::sidecar_env(
        sandbox(),
        &[],
        &[("RDS_SIDECAR_ID_TOKEN", expired.as_str())],
    );
    let words = psql_refused(&sidecar);
    assert_says(
        &words,
        &[
            "FATAL:  rds-sidecar: ",
            "expired",
            "DETAIL:  the ID token has iss=https://gitlab.example.com sub=",
            "HINT:  an ID token is made when the job starts",
            "PUT /identity",
        ],
    );
    let (status, said) = sidecar.admin("PUT", "/identity", &token(600)).unwrap();
    assert_eq!(status, 204, "{said}");
    Client::connect(sidecar.port(), "app", "mended").goodbye();
}

/// What psql prints for each refusal of STS: message, then what its HINT says to do.
const REFUSALS: [(StsFault, &str, &str); 9] = [
    (
        StsFault::AccessDenied,
        "STS refused this job's identity (AccessDenied)",
        "the trust policy of arn:aws:iam::123456789012:role/ci-tests must have",
    ),
    (
        StsFault::IdpCommunication,
        "STS could not reach the identity provider (IDPCommunicationError)",
        "must be reachable from AWS's network",
    ),
    (
        StsFault::JwksUnreachable,
        "STS could not fetch the identity provider's keys (InvalidIdentityToken)",
        "must be reachable from AWS's network",
    ),
    (
        StsFault::NoProvider,
        "the AWS account has no identity provider for this issuer (InvalidIdentityToken)",
        "aws iam create-open-id-connect-provider --url https://gitlab.example.com",
    ),
    (
        StsFault::RegionDisabled,
        "STS is switched off in this region for the AWS account (RegionDisabledException)",
        "activate STS in this region",
    ),
    (
        StsFault::ServerError,
        "STS is unavailable (InternalFailure)",
        "it is tried again by itself",
    ),
    (
        StsFault::Thumbprint,
        "STS does not trust the identity provider's certificate (InvalidIdentityToken)",
        "aws iam update-open-id-connect-provider-thumbprint",
    ),
    (
        StsFault::Throttling,
        "STS is throttling requests (Throttling)",
        "it is tried again by itself",
    ),
    (
        StsFault::Unavailable,
        "STS is unavailable (ServiceUnavailable)",
        "it is tried again by itself",
    ),
];

/// And all of them pass without a restart when STS says yes again.
#[test]
fn each_refusal_of_sts_has_its_own_words_and_all_are_recovered_from() {
    let sandbox = scene::own(&Options::default());
    for (fault, message, hint) in REFUSALS {
        sandbox.set_faults(Faults {
            sts: Some(fault),
            ..Faults::default()
        });
        let sidecar = scene::sidecar(&sandbox, &["--connect-timeout", "4s"]);
        let words = psql_refused(&sidecar);
        assert_says(
            &words,
            &[
                &format!("FATAL:  rds-sidecar: {message}"),
                "DETAIL:  STS says: ",
                "role_arn=arn:aws:iam::123456789012:role/ci-tests",
                "sub=project_path:acme/shop:ref_type:branch:ref:main",
                "HINT:  ",
                hint,
            ],
        );
        assert_eq!(sidecar.admin("GET", "/readiness", "").unwrap().0, 503);
        sandbox.set_faults(Faults::default());
        scene::until(Duration::from_secs(20), message, || {
            Client::try_connect(Stream::plain(sidecar.port()), "app", "recovered").is_ok()
        });
        assert_eq!(sidecar.admin("GET", "/readiness", "").unwrap().0, 200);
    }
}

/// Not a fault on request: the emulated STS judges these tokens and roles itself.
#[test]
fn what_sts_really_judges_is_told_too() {
    let forged = request(|request| request.signature = rds_sandbox::oidc::Signing::Forged);
    let other_audience = request(|request| {
        request
            .claims
            .insert("aud".into(), "https://elsewhere.example.com".into());
    });
    let ours = sandbox().id_token(&IdTokenRequest::default()).unwrap();
    let cases = [
        (
            &forged,
            "ci-tests",
            "STS could not validate the ID token (InvalidIdentityToken)",
        ),
        (
            &other_audience,
            "ci-tests",
            "STS refused the ID token's audience (InvalidIdentityToken)",
        ),
        (
            &ours,
            "ci-other-project",
            "STS refused this job's identity (AccessDenied)",
        ),
        (
            &ours,
            "no-such-role",
            "STS refused this job's identity (AccessDenied)",
        ),
    ];
    for (token, role, message) in cases {
        let role = format!("arn:aws:iam::123456789012:role/{role}");
        let sidecar = scene::sidecar_env(
            sandbox(),
            &[],
            &[
                ("RDS_SIDECAR_ID_TOKEN", token.as_str()),
                ("RDS_SIDECAR_ROLE_ARN", &role),
            ],
        );
        assert_says(
            &psql_refused(&sidecar),
            &[message, "DETAIL:", "HINT:", &role],
        );
    }
}

fn request(change: impl FnOnce(&mut IdTokenRequest)) -> String {
    let mut request = IdTokenRequest::default();
    change(&mut request);
    sandbox().id_token(&request).unwrap()
}

#[test]
fn a_silent_sts_is_named_within_connect_timeout_and_recovered_from() {
    let sandbox = Sandbox::start(&Options::default()).unwrap();
    sandbox.set_faults(Faults {
        sts_delay_ms: 30_000,
        ..Faults::default()
    });
    let sidecar = scene::sidecar(&sandbox, &["--connect-timeout", "1s"]);
    assert_says(
        &psql_refused(&sidecar),
        &["rds-sidecar: no AWS credentials within 1 s", "HINT:"],
    );
    sandbox.set_faults(Faults::default());
    scene::until(Duration::from_secs(45), "STS answers again", || {
        Client::try_connect(Stream::plain(sidecar.port()), "app", "recovered").is_ok()
    });
}

#[test]
fn nobody_at_the_sts_endpoint_is_named() {
    let sidecar = scene::sidecar_env(
        sandbox(),
        &["--connect-timeout", "2s"],
        &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")],
    );
    assert_says(
        &psql_refused(&sidecar),
        &["STS cannot be reached", "127.0.0.1:1", "AWS_ENDPOINT_URL"],
    );
}
