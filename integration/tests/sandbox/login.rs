#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use aws_credential_types::Credentials;
use rds_sandbox::Certificate;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::aws::policy::Policy;
use rds_sandbox::faults::Faults;
use rds_sandbox::judge::Verdict;
use rds_sandbox::oidc::IdTokenRequest;
use rds_sandbox::servers::postgres::HOST;
use serde_json::json;

use crate::support::Target;
use crate::support::assume;
use crate::support::credentials;
use crate::support::from_sts;
use crate::support::psql;
use crate::support::rds_token;
use crate::support::run_psql;
use crate::support::shared;

const IAM_APP_ARN: &str =
    "arn:aws:rds-db:eu-west-1:123456789012:dbuser:db-SANDBOXPOSTGRESABCDEFGHIJK/iam_app";

/// Logs in as `user` with `token`; psql's outcome and the judge's verdict on this very token.
fn login(sandbox: &Sandbox, user: &str, token: &str) -> (Result<String, String>, Verdict) {
    // Tests share the sandbox: only one at a time may expect the newest verdict to be its own.
    static ONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let _one = ONE.lock();
    let before = sandbox.verdicts().len();
    let outcome = psql(sandbox, sandbox.postgres().unwrap().port(), user, token);
    let verdicts = sandbox.verdicts();
    assert_eq!(verdicts.len(), before + 1);
    (outcome, verdicts.last().unwrap().clone())
}

fn assert_refused(sandbox: &Sandbox, user: &str, token: &str, reason: &str) -> Verdict {
    let (outcome, verdict) = login(sandbox, user, token);
    assert_eq!(
        outcome,
        Err(format!(
            "FATAL:  PAM authentication failed for user \"{user}\""
        ))
    );
    assert_eq!(verdict.reason.as_deref(), Some(reason));
    assert!(!verdict.accepted);
    verdict
}

fn malformed(user: &str) -> Option<String> {
    Some(format!(
        "[ERROR] Failed to authenticate the connection request for user {user} because the provided token is \
         malformed or otherwise invalid. (Status Code: 400, Error Code: InvalidToken)"
    ))
}

#[tokio::test]
async fn a_good_token_logs_in() {
    let sandbox = shared();
    let credentials = credentials(sandbox, "ci-tests").await;
    let (outcome, verdict) = login(
        sandbox,
        "iam_app",
        &rds_token(&credentials, &Target::default()),
    );
    assert_eq!(outcome, Ok("iam_app".to_owned()));
    let principal = "arn:aws:sts::123456789012:assumed-role/ci-tests/gitlab-acme-shop-1010";
    assert_eq!(verdict.principal.as_deref(), Some(principal));
}

#[tokio::test]
async fn a_token_is_for_one_endpoint_user_region_and_service() {
    let sandbox = shared();
    let credentials = credentials(sandbox, "ci-tests").await;
    let token = |change: fn(&mut Target)| {
        let mut target = Target::default();
        change(&mut target);
        rds_token(&credentials, &target)
    };
    let real = format!("{HOST}:5432");
    let reason = format!("signed for endpoint mydb.example.com:5432, but this is {real}");
    let verdict = assert_refused(
        sandbox,
        "iam_app",
        &token(|target| target.endpoint = "mydb.example.com:5432".into()),
        &reason,
    );
    assert_eq!(verdict.rds_log, malformed("iam_app"));
    let reason = format!("signed for endpoint {HOST}:5433, but this is {real}");
    assert_refused(
        sandbox,
        "iam_app",
        &token(|target| target.endpoint = format!("{HOST}:5433")),
        &reason,
    );
    let reason = "signed for user IAM_APP, but the login is by iam_app";
    assert_refused(
        sandbox,
        "iam_app",
        &token(|target| target.user = "IAM_APP".into()),
        reason,
    );
    let reason = "signed for user iam_app, but the login is by iam_other";
    assert_refused(sandbox, "iam_other", &token(|_| {}), reason);
    let reason = "signed for region us-east-1, but this is eu-west-1";
    assert_refused(
        sandbox,
        "iam_app",
        &token(|target| target.region = "us-east-1".into()),
        reason,
    );
    let reason = "signed for service rds, not rds-db";
    assert_refused(
        sandbox,
        "iam_app",
        &token(|target| target.service = "rds".into()),
        reason,
    );
}

#[tokio::test]
async fn a_token_lives_fifteen_minutes() {
    let sandbox = shared();
    let credentials = credentials(sandbox, "ci-tests").await;
    let now = Target::default();
    let expired = Target {
        at: now.at - Duration::from_secs(1_000),
        ..now.clone()
    };
    let (outcome, verdict) = login(sandbox, "iam_app", &rds_token(&credentials, &expired));
    assert_eq!(
        outcome,
        Err("FATAL:  PAM authentication failed for user \"iam_app\"".to_owned())
    );
    let reason = verdict.reason.unwrap();
    // A busy machine takes a few seconds from signing to judging.
    assert!(reason.starts_with("the token expired 10"), "{reason}");
    let log = "[ERROR] Failed to authenticate the connection request for user iam_app because the token age is longer \
               than 15 minutes. (Status Code: 400, Error Code:ExpiredToken)";
    assert_eq!(verdict.rds_log.as_deref(), Some(log));
    let fresh = Target {
        at: now.at - Duration::from_secs(800),
        ..now.clone()
    };
    assert_eq!(
        login(sandbox, "iam_app", &rds_token(&credentials, &fresh)).0,
        Ok("iam_app".to_owned())
    );
    let long = Target {
        expires: 901,
        ..now
    };
    assert_refused(
        sandbox,
        "iam_app",
        &rds_token(&credentials, &long),
        "X-Amz-Expires is 901, not 1 to 900",
    );
}

#[tokio::test]
async fn a_token_is_as_good_as_its_signature_and_key() {
    let sandbox = shared();
    let credentials = credentials(sandbox, "ci-tests").await;
    let good = rds_token(&credentials, &Target::default());
    let tampered = good.replace("X-Amz-Expires=900", "X-Amz-Expires=899");
    assert_refused(
        sandbox,
        "iam_app",
        &tampered,
        "the signature does not match",
    );
    let (id, secret, token) = (
        credentials.access_key_id(),
        credentials.secret_access_key(),
        credentials.session_token(),
    );
    let with = |id: &str, secret: &str, token: Option<&str>| {
        let credentials = Credentials::new(id, secret, token.map(ToOwned::to_owned), None, "test");
        rds_token(&credentials, &Target::default())
    };
    assert_refused(
        sandbox,
        "iam_app",
        &with(id, "wrong", token),
        "the signature does not match",
    );
    let unknown = "access key ASIAAAAAAAAAAAAAAAAA is unknown";
    assert_refused(
        sandbox,
        "iam_app",
        &with("ASIAAAAAAAAAAAAAAAAA", secret, token),
        unknown,
    );
    let stranger = format!("the session token does not belong to access key {id}");
    assert_refused(
        sandbox,
        "iam_app",
        &with(id, secret, Some("another")),
        &stranger,
    );
    assert_refused(sandbox, "iam_app", &with(id, secret, None), &stranger);
    assert_refused(
        sandbox,
        "iam_app",
        &format!("https://{good}"),
        "the token carries a scheme; an RDS token begins with the host",
    );
    assert_refused(
        sandbox,
        "iam_app",
        "password",
        "not an RDS token: there is no \"/?\" in it",
    );
}

#[tokio::test]
async fn policies_decide_who_may_connect() {
    let sandbox = shared();
    let denied = credentials(sandbox, "ci-no-database").await;
    let arn = "arn:aws:sts::123456789012:assumed-role/ci-no-database/gitlab-acme-shop-1010";
    let reason = format!("{arn} is not allowed rds-db:connect on {IAM_APP_ARN}");
    let verdict = assert_refused(
        sandbox,
        "iam_app",
        &rds_token(&denied, &Target::default()),
        &reason,
    );
    let log = format!(
        "[ERROR] Failed to authorize the connection request for user iam_app because the IAM policy assumed by the \
         caller '{arn}' is not authorized to perform `rds-db:connect` on the DB instance. (Status Code: 403, Error \
         Code:NotAuthorized)"
    );
    assert_eq!(verdict.rds_log, Some(log));

    let other = rds_token(
        &credentials(sandbox, "ci-tests").await,
        &Target {
            user: "iam_other".into(),
            ..Target::default()
        },
    );
    let arn = "arn:aws:sts::123456789012:assumed-role/ci-tests/gitlab-acme-shop-1010";
    let reason = format!(
        "{arn} is not allowed rds-db:connect on {}",
        IAM_APP_ARN.replace("iam_app", "iam_other")
    );
    assert_refused(sandbox, "iam_other", &other, &reason);

    let scoped = async |resource: &str| {
        let policy = json!({ "Statement": { "Effect": "Allow", "Action": "rds-db:connect", "Resource": resource } });
        let asked =
            assume(sandbox, "ci-tests", &IdTokenRequest::default()).policy(policy.to_string());
        let credentials = from_sts(asked.send().await.unwrap().credentials().unwrap());
        rds_token(&credentials, &Target::default())
    };
    assert_eq!(
        login(
            sandbox,
            "iam_app",
            &scoped("arn:aws:rds-db:*:*:dbuser:*/iam_app").await
        )
        .0,
        Ok("iam_app".into())
    );
    let reason = format!("{arn} is not allowed rds-db:connect on {IAM_APP_ARN}");
    assert_refused(
        sandbox,
        "iam_app",
        &scoped("arn:aws:rds-db:*:*:dbuser:*/iam_other").await,
        &reason,
    );

    let policy =
        json!({ "Statement": { "Effect": "Allow", "Action": "rds-db:*", "Resource": "*" } });
    let key = sandbox
        .account()
        .create_access_key("dev", Policy::from_value(policy).unwrap());
    let laptop = Credentials::new(key.id, key.secret, None, None, "test");
    assert_eq!(
        login(sandbox, "iam_app", &rds_token(&laptop, &Target::default())).0,
        Ok("iam_app".into())
    );
}

#[tokio::test]
async fn the_longest_session_tokens_pass() {
    let sandbox = Sandbox::start(&Options::default()).unwrap();
    for chars in [12_000, 40_000] {
        sandbox.set_faults(Faults {
            session_token_chars: Some(chars),
            ..Faults::default()
        });
        let token = rds_token(&credentials(&sandbox, "ci-tests").await, &Target::default());
        assert!(token.len() > chars);
        assert_eq!(
            login(&sandbox, "iam_app", &token).0,
            Ok("iam_app".to_owned())
        );
    }
    let token = rds_token(&credentials(&sandbox, "ci-tests").await, &Target::default());
    sandbox.expire_credentials();
    let (outcome, verdict) = login(&sandbox, "iam_app", &token);
    assert!(outcome.is_err());
    assert!(verdict.reason.unwrap().contains(" expired "));
}

#[test]
fn passwords_and_plain_connections_are_as_on_rds() {
    let sandbox = shared();
    let port = sandbox.postgres().unwrap().port();
    assert_eq!(
        psql(sandbox, port, "pw_app", "pw_app_password"),
        Ok("pw_app".to_owned())
    );
    assert_eq!(
        psql(sandbox, port, "md5_app", "md5_app_password"),
        Ok("md5_app".to_owned())
    );
    let wrong = "FATAL:  password authentication failed for user \"pw_app\"";
    assert_eq!(
        psql(sandbox, port, "pw_app", "wrong"),
        Err(wrong.to_owned())
    );
    let plain = format!("host=127.0.0.1 port={port} dbname=app user=pw_app sslmode=disable");
    let rejected = "FATAL:  pg_hba.conf rejects connection for host \"127.0.0.1\", user \"pw_app\", database \"app\", \
                    no encryption";
    assert_eq!(
        run_psql(&plain, "pw_app_password", "SELECT 1"),
        Err(rejected.to_owned())
    );
    let admin = sandbox.postgres_admin_url("app").unwrap();
    let kinds = "SELECT string_agg(rolname || ' ' || left(rolpassword, 3), ',' ORDER BY rolname) FROM pg_authid \
                 WHERE rolname IN ('pw_app', 'md5_app')";
    assert_eq!(
        run_psql(&admin, "", kinds),
        Ok("md5_app md5,pw_app SCR".to_owned())
    );
    assert_eq!(
        run_psql(&admin, "", "SHOW max_connections"),
        Ok("100".to_owned())
    );
}

#[test]
fn certificates_are_bad_on_request() {
    let sandbox = shared();
    let outcome = |name: &str, certificate| {
        let options = Options {
            certificate,
            ..Options::default()
        };
        let server = sandbox.start_postgres(name, &options).unwrap();
        psql(sandbox, server.port(), "pw_app", "pw_app_password")
    };
    let failed = Err("SSL error: certificate verify failed".to_owned());
    assert_eq!(outcome("expired", Certificate::Expired), failed);
    assert_eq!(outcome("unknown-ca", Certificate::UnknownCa), failed);
    let other = format!(
        "server certificate for \"another-pg.cabc123xyz456.eu-west-1.rds.amazonaws.com\" does not match host name \
         \"{HOST}\""
    );
    assert_eq!(outcome("other-name", Certificate::OtherName), Err(other));
    let plain = Err("server does not support SSL, but SSL was required".to_owned());
    assert_eq!(outcome("plain", Certificate::None), plain);
    assert_eq!(outcome("good", Certificate::Good), Ok("pw_app".to_owned()));
}
