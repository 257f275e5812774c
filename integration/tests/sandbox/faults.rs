#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::client;
use rds_sandbox::faults::Faults;
use rds_sandbox::faults::LoginFault;
use rds_sandbox::faults::RelayFaults;
use rds_sandbox::oidc::IdTokenRequest;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::support::Target;
use crate::support::assume;
use crate::support::aws_only;
use crate::support::credentials;
use crate::support::psql;
use crate::support::rds_token;
use crate::support::refusal;

fn control(sandbox: &Sandbox, method: &str, path: &str, body: Value) -> (u16, String) {
    let address = sandbox.url().replace("http://", "");
    client::request(
        &address,
        method,
        &format!("/_sandbox/{path}"),
        &body.to_string(),
    )
    .unwrap()
}

#[tokio::test]
async fn sts_says_what_it_is_told_to_say() {
    let sandbox = aws_only();
    let retrieve = "Couldn't retrieve verification key from your identity provider, please reference \
                    AssumeRoleWithWebIdentity documentation for requirements";
    let thumbprint =
        "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint";
    let missing = "No OpenIDConnect provider found in your account for https://gitlab.example.com";
    let cases = [
        (
            "access-denied",
            403,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        ),
        ("no-provider", 400, "InvalidIdentityToken", missing),
        ("thumbprint", 400, "InvalidIdentityToken", thumbprint),
        ("jwks-unreachable", 400, "InvalidIdentityToken", retrieve),
        ("throttling", 400, "Throttling", "Rate exceeded"),
        (
            "server-error",
            500,
            "InternalFailure",
            "The request processing has failed because of an unknown error.",
        ),
        (
            "unavailable",
            503,
            "ServiceUnavailable",
            "The request has failed due to a temporary failure of the server.",
        ),
    ];
    for (fault, status, code, message) in cases {
        assert_eq!(
            control(
                &sandbox,
                "POST",
                "faults",
                json!({ "sts": fault, "sts_calls": 2 })
            )
            .0,
            200
        );
        for _ in 0..2 {
            let refused = refusal(
                assume(&sandbox, "ci-tests", &IdTokenRequest::default())
                    .send()
                    .await,
            );
            assert_eq!(refused, (status, code.to_owned(), message.to_owned()));
        }
        let good = refusal(
            assume(&sandbox, "ci-tests", &IdTokenRequest::default())
                .send()
                .await,
        );
        assert_eq!(good.0, 200, "{fault} ends after two calls");
    }
    let calls = sandbox.sts_calls();
    assert_eq!(calls.len(), 3 * cases.len());
    assert_eq!(calls.first().unwrap().outcome, "AccessDenied");
    assert_eq!(calls.last().unwrap().outcome, "ok");
    assert_eq!(
        calls.last().unwrap().session.as_deref(),
        Some("gitlab-acme-shop-1010")
    );
}

#[tokio::test]
async fn sts_is_slow_and_generous_on_request() {
    let sandbox = aws_only();
    sandbox.set_faults(Faults {
        sts_delay_ms: 300,
        session_token_chars: Some(12_000),
        ..Faults::default()
    });
    let started = Instant::now();
    let key = credentials(&sandbox, "ci-tests").await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(key.session_token().unwrap().len(), 12_000);
}

#[test]
fn the_control_interface_refuses_what_it_does_not_know() {
    let sandbox = aws_only();
    let (status, text) = control(&sandbox, "POST", "faults", json!({ "stss": "throttling" }));
    assert_eq!(status, 400);
    assert!(
        text.starts_with("unknown field `stss`, expected one of `sts`"),
        "{text}"
    );
    let (status, text) = control(&sandbox, "POST", "faults", json!({ "sts": "denied" }));
    assert_eq!(status, 400);
    assert!(
        text.starts_with("unknown variant `denied`, expected one of `access-denied`"),
        "{text}"
    );
    let (status, text) = control(
        &sandbox,
        "POST",
        "faults",
        json!({ "session_token_chars": 5 }),
    );
    assert_eq!(
        (status, text.as_str()),
        (400, "session_token_chars is 100 to 40000, not 5\n")
    );
    let unknown = control(&sandbox, "GET", "verdict", json!({}));
    assert_eq!(
        unknown,
        (404, "the sandbox has no GET /_sandbox/verdict\n".to_owned())
    );
    assert_eq!(sandbox.faults(), Faults::default());

    control(
        &sandbox,
        "POST",
        "faults",
        json!({ "relay": { "reset_next": 2 }, "sts_delay_ms": 1 }),
    );
    control(
        &sandbox,
        "POST",
        "faults",
        json!({ "relay": { "black_hole": true } }),
    );
    let relay = RelayFaults {
        reset_next: 2,
        black_hole: true,
        ..RelayFaults::default()
    };
    assert_eq!(
        sandbox.faults(),
        Faults {
            sts_delay_ms: 1,
            relay,
            ..Faults::default()
        }
    );
    control(&sandbox, "DELETE", "faults", json!({}));
    assert_eq!(sandbox.faults(), Faults::default());
}

#[tokio::test]
async fn a_role_and_a_key_can_be_made_over_http() {
    let sandbox = aws_only();
    let provider = "arn:aws:iam::123456789012:oidc-provider/gitlab.example.com";
    let role = json!({
        "trust_policy": { "Statement": { "Effect": "Allow", "Principal": { "Federated": provider },
            "Action": "sts:AssumeRoleWithWebIdentity" } },
        "permission_policy": { "Statement": [] },
        "max_session_duration": 7_200,
    });
    assert_eq!(control(&sandbox, "PUT", "roles/mine", role).0, 200);
    let long = assume(&sandbox, "mine", &IdTokenRequest::default())
        .duration_seconds(7_200)
        .send()
        .await;
    assert_eq!(refusal(long).0, 200);
    let policy = json!({ "user": "dev", "policy": { "Statement": { "Effect": "Allow", "Action": "*", "Resource": "*" } } });
    let (status, key) = control(&sandbox, "POST", "access-keys", policy);
    assert_eq!(status, 200);
    assert!(
        serde_json::from_str::<Value>(&key).unwrap()["AccessKeyId"]
            .as_str()
            .unwrap()
            .starts_with("AKIA")
    );
}

/// SSLRequest; PostgreSQL answers `S`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

async fn dial(sandbox: &Sandbox) -> TcpStream {
    try_dial(sandbox).await.unwrap()
}

async fn try_dial(sandbox: &Sandbox) -> std::io::Result<TcpStream> {
    TcpStream::connect(("127.0.0.1", sandbox.relay_port().unwrap())).await
}

/// What comes back for an SSLRequest: a byte, end-of-file or an error.
async fn probe(stream: &mut TcpStream) -> std::io::Result<Option<u8>> {
    stream.write_all(&SSL_REQUEST).await?;
    let mut byte = [0];
    Ok((stream.read(&mut byte).await? == 1).then_some(byte[0]))
}

#[tokio::test]
async fn the_relay_makes_trouble() {
    let sandbox = Sandbox::start(&Options::default()).unwrap();
    let relay = |relay: RelayFaults| {
        sandbox.set_faults(Faults {
            relay,
            ..Faults::default()
        })
    };
    let short = Duration::from_millis(300);

    assert_eq!(probe(&mut dial(&sandbox).await).await.unwrap(), Some(b'S'));

    relay(RelayFaults {
        reset_next: 1,
        drop_next: 1,
        ..RelayFaults::default()
    });
    // The reset may come before connect() has returned.
    let error = match try_dial(&sandbox).await {
        Ok(mut stream) => stream.read(&mut [0]).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut stream = dial(&sandbox).await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(probe(&mut dial(&sandbox).await).await.unwrap(), Some(b'S'));

    let mut stream = dial(&sandbox).await;
    relay(RelayFaults {
        black_hole: true,
        ..RelayFaults::default()
    });
    assert!(
        timeout(short, probe(&mut stream)).await.is_err(),
        "nothing passes"
    );
    relay(RelayFaults::default());
    assert_eq!(
        timeout(short, stream.read_u8()).await.unwrap().unwrap(),
        b'S'
    );

    sandbox.cut_connections();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_relay_is_slow_and_cuts_short() {
    let sandbox = Sandbox::start(&Options::default()).unwrap();
    let relay = |relay: RelayFaults| {
        sandbox.set_faults(Faults {
            relay,
            ..Faults::default()
        })
    };

    relay(RelayFaults {
        reset_after_bytes: Some(1),
        ..RelayFaults::default()
    });
    let mut stream = dial(&sandbox).await;
    let first = probe(&mut stream).await;
    let second = stream.read(&mut [0]).await;
    assert!(first.is_err() || second.is_err(), "{first:?} {second:?}");

    relay(RelayFaults {
        connect_delay_ms: 300,
        chunk_delay_ms: 100,
        ..RelayFaults::default()
    });
    let started = Instant::now();
    assert_eq!(probe(&mut dial(&sandbox).await).await.unwrap(), Some(b'S'));
    assert!(
        started.elapsed() >= Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn logins_go_through_the_relay_and_fail_on_request() {
    let sandbox = Sandbox::start(&Options::default()).unwrap();
    let token = rds_token(&credentials(&sandbox, "ci-tests").await, &Target::default());
    let port = sandbox.relay_port().unwrap();
    assert_eq!(
        psql(&sandbox, port, "iam_app", &token),
        Ok("iam_app".to_owned())
    );
    sandbox.set_faults(Faults {
        login_delay_ms: 300,
        ..Faults::default()
    });
    let started = Instant::now();
    assert_eq!(
        psql(&sandbox, port, "iam_app", &token),
        Ok("iam_app".to_owned())
    );
    assert!(started.elapsed() >= Duration::from_millis(300));
    sandbox.set_faults(Faults {
        login: Some(LoginFault::Throttling),
        ..Faults::default()
    });
    let refused = psql(&sandbox, port, "iam_app", &token);
    assert_eq!(
        refused,
        Err("FATAL:  PAM authentication failed for user \"iam_app\"".to_owned())
    );
    let log = "[ERROR] Failed to authorize the connection request for user iam_app due to IAM DB authentication \
               throttling. (Status Code: 429, Error Code: ThrottlingException)";
    assert_eq!(
        sandbox.verdicts().last().unwrap().rds_log.as_deref(),
        Some(log)
    );
}
