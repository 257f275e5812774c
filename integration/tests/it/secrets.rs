//! No secret leaves the process but towards whom it is for: looked for by their real values in everything that can
//! be read from outside, at the most talkative log level, in both formats, through successes and failures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::process::Command;
use std::time::Duration;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::aws::policy::Policy;
use rds_sandbox::client;
use rds_sandbox::faults::Faults;
use rds_sandbox::faults::LoginFault;
use rds_sandbox::faults::StsFault;
use rds_sandbox::oidc::IdTokenRequest;
use rds_sandbox::servers::postgres::RESOURCE_ID;
use rds_sandbox::sidecar::built_binary;
use rustix::process::Signal;

use crate::raw::Client;
use crate::raw::Stream;
use crate::scene;

const ADMIN_TOKEN: &str = "admin-token-Kq8vW2xZ4rT6yU1p";
const CLIENT_PASSWORD: &str = "client-password-Nf3gH7jL9mB5cX2d";
const WRONG_PASSWORD: &str = "wrong-password-Ty6uI8oP1aS3dF5g";
const SOON: Duration = Duration::from_secs(20);

/// Shorter pieces occur by chance.
const PIECE_CHARS: usize = 12;

/// Secrets by name, cut into pieces that are looked for one by one: a log line may hold a part, or one half
/// percent-encoded.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 8, "{name} is too short to be looked for");
        self.0.push((name.to_owned(), secret.to_owned()));
        for run in secret.split(|c: char| !c.is_ascii_alphanumeric()) {
            let bytes = run.as_bytes();
            for piece in bytes.windows(PIECE_CHARS).step_by(PIECE_CHARS / 2) {
                let piece = String::from_utf8(piece.to_vec()).unwrap();
                self.0.push((name.to_owned(), piece));
            }
        }
    }

    /// Claims may be shown, so of an ID token only what is not claims in clear text is secret.
    fn add_jwt(&mut self, name: &str, jwt: &str) {
        for part in jwt.split('.').skip(1) {
            self.add(name, part);
        }
    }

    /// What an RDS token says openly is no secret: endpoint, user, region, access key id.
    fn add_rds_token(&mut self, token: &str) {
        for parameter in ["X-Amz-Security-Token=", "X-Amz-Signature="] {
            let (_, rest) = token.split_once(parameter).expect("a signed token");
            let value = rest.split('&').next().unwrap();
            self.add(parameter, &percent_decoded(value));
        }
    }

    #[track_caller]
    fn assert_none_in(&self, place: &str, text: &str) {
        for (name, piece) in &self.0 {
            assert!(
                !text.contains(piece.as_str()),
                "{place} holds {name} ({piece:?}):\n{}",
                text.lines()
                    .find(|line| line.contains(piece.as_str()))
                    .unwrap_or(text)
            );
        }
    }
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

/// Everything that was shown, by place.
#[derive(Default)]
struct Shown(Vec<(String, String)>);

impl Shown {
    fn pages(&mut self, sidecar: &Sidecar) {
        for page in [
            "/metrics",
            "/readiness",
            "/startup",
            "/liveness",
            "/status",
            "/",
        ] {
            let (_, body) = sidecar.admin("GET", page, "").unwrap();
            self.0.push((page.to_owned(), body));
        }
    }

    fn refused(&mut self, sidecar: &Sidecar, database: &str, password: &str) {
        let url = sidecar.url("anybody", database);
        let output = Command::new("psql")
            .args(["-XAtqc", "SELECT 1", &url])
            .env("PGPASSWORD", password)
            .output()
            .unwrap();
        assert!(!output.status.success());
        self.0.push((
            "psql".to_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }

    fn config(&mut self, sandbox: &Sandbox, args: &[&str], env: &[(&str, &str)]) {
        let output = Command::new(built_binary().unwrap())
            .arg("config")
            .args(args)
            .env_clear()
            .envs(sandbox.env().unwrap())
            .envs(env.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        self.0.push((
            "rds-sidecar config".to_owned(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        ));
        self.0.push((
            "rds-sidecar config, stderr".to_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }

    fn end(&mut self, mut sidecar: Sidecar) {
        self.pages(&sidecar);
        sidecar.signal(Signal::TERM).unwrap();
        sidecar.wait(SOON).unwrap();
        let log = sidecar.log();
        assert!(log.contains("stopped"), "the log is complete: {log}");
        assert!(
            log.contains("TRACE") || log.contains("DEBUG"),
            "the log is talkative: {log}"
        );
        self.0.push(("the log".to_owned(), log));
    }
}

fn login(sidecar: &Sidecar) {
    let mut client = Client::connect(sidecar.port(), "app", "secrets");
    client.run("SELECT 1");
    client.goodbye();
}

/// A job's whole life: logins, refusals of STS and of the database, a pushed token, the end.
fn job(sandbox: &Sandbox, format: &str, secrets: &mut Secrets, shown: &mut Shown) {
    let pushed = sandbox
        .id_token(&IdTokenRequest {
            expires_in: Some(1_234),
            ..IdTokenRequest::default()
        })
        .unwrap();
    let id_token = sandbox.id_token(&IdTokenRequest::default()).unwrap();
    let env = [
        ("RDS_SIDECAR_ID_TOKEN", id_token.as_str()),
        ("RDS_SIDECAR_ADMIN_TOKEN", ADMIN_TOKEN),
        // What makes the SDK print whole answers of STS.
        ("LOG_SENSITIVE_BODIES", "true"),
    ];
    let args = ["--log", format, "--log-level", "trace,aws_sigv4=info"];
    let sidecar = scene::sidecar_env(sandbox, &args, &env);
    secrets.add_jwt("the ID token", &id_token);
    secrets.add_jwt("the pushed ID token", &pushed);
    secrets.add("the admin token", ADMIN_TOKEN);
    login(&sidecar);
    shown.pages(&sidecar);
    let (_, answer) = sidecar.admin("PUT", "/identity", &pushed).unwrap();
    shown.0.push(("PUT /identity".to_owned(), answer));
    let (status, answer) = sidecar.admin("PUT", "/identity", &pushed[..200]).unwrap();
    assert_eq!(status, 400);
    shown.0.push(("PUT /identity, cut".to_owned(), answer));
    let other = "Authorization: Bearer not-the-token\r\nOrigin: http://example.com";
    let (status, answer) = put_with_header(&sidecar, other, &pushed);
    assert_eq!(status, 403, "{answer}");
    shown
        .0
        .push(("PUT /identity, forbidden".to_owned(), answer));
    sandbox.expire_credentials();
    for login in [LoginFault::Throttling, LoginFault::InternalError] {
        sandbox.set_faults(Faults {
            login: Some(login),
            sts: Some(StsFault::AccessDenied),
            ..Faults::default()
        });
        shown.refused(&sidecar, "postgres", "any");
    }
    shown.pages(&sidecar);
    sandbox.set_faults(Faults::default());
    shown.refused(&sidecar, "no_such_database", "any");
    shown.config(sandbox, &args, &env);
    shown.end(sidecar);
}

fn put_with_header(sidecar: &Sidecar, header: &str, body: &str) -> (u16, String) {
    // The header rides on the path: the little client of the sandbox knows no headers.
    let path = format!("/identity HTTP/1.0\r\n{header}\r\nX-Rest:");
    client::request(&sidecar.admin_address(), "PUT", &path, body).unwrap()
}

/// A fixed password upstream, and one that clients must know.
fn passwords(sandbox: &Sandbox, format: &str, secrets: &mut Secrets, shown: &mut Shown) {
    let env = [
        ("RDS_SIDECAR_PASSWORD", "pw_app_password"),
        ("RDS_SIDECAR_CLIENT_PASSWORD", CLIENT_PASSWORD),
    ];
    let port = sandbox.postgres().unwrap().port();
    let url = Sandbox::sidecar_url(port).replace("iam_app", "pw_app");
    let mut args = vec![
        "--log",
        format,
        "--log-level",
        "trace",
        "--auth",
        "password",
    ];
    args.extend(["--client-auth", "password", &url]);
    let sidecar = scene::sidecar_env(sandbox, &args, &env);
    let output = Command::new("psql")
        .args(["-XAtqc", "SELECT 1", &sidecar.url("anybody", "app")])
        .env("PGPASSWORD", CLIENT_PASSWORD)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    secrets.add("the upstream password", "pw_app_password");
    secrets.add("the client password", CLIENT_PASSWORD);
    secrets.add("a wrong client password", WRONG_PASSWORD);
    shown.refused(&sidecar, "app", WRONG_PASSWORD);
    shown.config(sandbox, &args, &env);
    shown.end(sidecar);
    // And one that the server refuses.
    let env = [("RDS_SIDECAR_PASSWORD", WRONG_PASSWORD)];
    let sidecar = scene::sidecar_env(sandbox, &args[..6], &env);
    shown.refused(&sidecar, "app", "any");
    shown.end(sidecar);
}

/// A developer's long-lived key, by AWS's default chain.
fn laptop(sandbox: &Sandbox, format: &str, shown: &mut Shown) {
    let resource = format!("arn:aws:rds-db:eu-west-1:123456789012:dbuser:{RESOURCE_ID}/iam_app");
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "rds-db:connect", "Resource": resource}]});
    let policy = Policy::from_value(policy).unwrap();
    let key = sandbox.account().create_access_key("dev", policy);
    let env = [
        ("RDS_SIDECAR_ROLE_ARN", ""),
        ("RDS_SIDECAR_ID_TOKEN", ""),
        ("AWS_ACCESS_KEY_ID", key.id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", key.secret.as_str()),
    ];
    let args = ["--log", format, "--log-level", "trace"];
    let sidecar = scene::sidecar_env(sandbox, &args, &env);
    login(&sidecar);
    let refused = Client::try_connect(Stream::plain(sidecar.port()), "no_such", "secrets");
    assert!(refused.is_err());
    shown.end(sidecar);
}

#[test]
fn nothing_that_can_be_read_from_outside_holds_a_secret() {
    let sandbox = scene::own(&Options::default());
    let (mut secrets, mut shown) = (Secrets::default(), Shown::default());
    for format in ["text", "json"] {
        job(&sandbox, format, &mut secrets, &mut shown);
        passwords(&sandbox, format, &mut secrets, &mut shown);
        laptop(&sandbox, format, &mut shown);
    }
    let keys = sandbox.account().keys();
    assert!(keys.len() >= 4, "{} keys", keys.len());
    for key in keys {
        secrets.add("a secret access key", &key.secret);
        if let Some(token) = &key.session_token {
            secrets.add("an STS session token", token);
        }
    }
    let tokens = sandbox.rds_tokens();
    assert!(tokens.len() >= 4, "{} RDS tokens", tokens.len());
    for token in tokens
        .iter()
        .filter(|token| token.contains("X-Amz-Security-Token="))
    {
        secrets.add_rds_token(token);
    }
    for (place, text) in &shown.0 {
        secrets.assert_none_in(place, text);
    }
}

/// The search above finds what it looks for.
#[test]
fn a_leak_would_be_found() {
    let mut secrets = Secrets::default();
    secrets.add("a secret", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    for leak in [
        "key=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "half of it: K7MDENG+bPxRfiCYEXAMPLEKEY",
        "encoded: wJalrXUtnFEMI%2FK7MDENG%2BbPxRfiCYEXAMPLEKEY",
    ] {
        let found = std::panic::catch_unwind(|| secrets.assert_none_in("a test", leak));
        assert!(found.is_err(), "{leak}");
    }
    secrets.assert_none_in("a test", "wJalrX... is shown cut short");
}
