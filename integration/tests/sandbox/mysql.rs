//! MariaDB and MySQL as RDS sets them up. Every test runs against both; MySQL is left out, loudly, where it
//! cannot be had.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use rds_sandbox::Certificate;
use rds_sandbox::Flavor;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::judge::Verdict;
use rds_sandbox::servers::mysql;
use rds_sandbox::servers::mysqld::ADMIN_PASSWORD;
use rds_sandbox::servers::mysqld::HOST;

use crate::support::Target;
use crate::support::credentials;
use crate::support::mariadb;
use crate::support::rds_token;
use crate::support::run_mariadb;

const DENIED: &str = "ERROR 1045 (28000): Access denied for user";

/// The flavors that can be had here.
fn flavors() -> &'static [Flavor] {
    static FOUND: OnceLock<Vec<Flavor>> = OnceLock::new();
    FOUND.get_or_init(|| match mysql::ensure_installed() {
        Ok(()) => vec![Flavor::MariaDb, Flavor::MySql],
        Err(error) => {
            // Not through the macros, whose output cargo hides when a test passes.
            let line = format!("\nSKIPPED: all tests against MySQL 9: {error:#}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            vec![Flavor::MariaDb]
        }
    })
}

fn shared() -> impl Iterator<Item = (Flavor, &'static Sandbox)> {
    static MARIADB: OnceLock<Sandbox> = OnceLock::new();
    static MYSQL: OnceLock<Sandbox> = OnceLock::new();
    flavors().iter().map(|flavor| {
        let sandbox = match flavor {
            Flavor::MariaDb => &MARIADB,
            Flavor::MySql => &MYSQL,
        };
        let start = || Sandbox::start(&Options::mysql(*flavor)).unwrap();
        (*flavor, sandbox.get_or_init(start))
    })
}

/// Logs in as `user` with `token`; the client's outcome and the judge's verdict on this very token.
fn login(sandbox: &Sandbox, user: &str, token: &str) -> (Result<String, String>, Verdict) {
    // Tests share the sandbox: only one at a time may expect the newest verdict to be its own.
    static ONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let _one = ONE.lock();
    let before = sandbox.verdicts().len();
    let port = sandbox.mysql().unwrap().port();
    let outcome = mariadb(sandbox, port, user, token, "SELECT CURRENT_USER()");
    let verdicts = sandbox.verdicts();
    assert_eq!(verdicts.len(), before + 1);
    (outcome, verdicts.last().unwrap().clone())
}

fn assert_refused(sandbox: &Sandbox, user: &str, token: &str, reason: &str) {
    let (outcome, verdict) = login(sandbox, user, token);
    let words = format!("{DENIED} '{user}'@'127.0.0.1' (using password: YES)");
    assert_eq!(outcome, Err(words));
    assert_eq!(verdict.reason.as_deref(), Some(reason));
    assert!(!verdict.accepted);
}

#[tokio::test]
async fn a_good_token_logs_in() {
    for (flavor, sandbox) in shared() {
        let token = rds_token(&credentials(sandbox, "ci-tests").await, &Target::mysql());
        let (outcome, verdict) = login(sandbox, "iam_app", &token);
        assert_eq!(outcome, Ok("iam_app@%".to_owned()), "{flavor:?}");
        let principal = "arn:aws:sts::123456789012:assumed-role/ci-tests/gitlab-acme-shop-1010";
        assert_eq!(verdict.principal.as_deref(), Some(principal));
    }
}

#[tokio::test]
async fn a_token_is_refused_for_each_reason() {
    for (_, sandbox) in shared() {
        let credentials = credentials(sandbox, "ci-tests").await;
        let token = |change: fn(&mut Target)| {
            let mut target = Target::mysql();
            change(&mut target);
            rds_token(&credentials, &target)
        };
        let real = format!("{HOST}:3306");
        // PostgreSQL's judge and MySQL's are not the same.
        let postgres = Target::default().endpoint;
        assert_refused(
            sandbox,
            "iam_app",
            &rds_token(&credentials, &Target::default()),
            &format!("signed for endpoint {postgres}, but this is {real}"),
        );
        assert_refused(
            sandbox,
            "iam_other",
            &token(|_| {}),
            "signed for user iam_app, but the login is by iam_other",
        );
        assert_refused(
            sandbox,
            "iam_app",
            &token(|target| target.region = "us-east-1".into()),
            "signed for region us-east-1, but this is eu-west-1",
        );
        assert_refused(
            sandbox,
            "iam_app",
            &token(|target| target.expires = 901),
            "X-Amz-Expires is 901, not 1 to 900",
        );
        let tampered = token(|_| {}).replace("X-Amz-Expires=900", "X-Amz-Expires=899");
        assert_refused(
            sandbox,
            "iam_app",
            &tampered,
            "the signature does not match",
        );
        assert_refused(
            sandbox,
            "iam_app",
            "password",
            "not an RDS token: there is no \"/?\" in it",
        );
        let old = token(|target| target.at -= Duration::from_secs(1_000));
        let (outcome, verdict) = login(sandbox, "iam_app", &old);
        assert!(outcome.unwrap_err().starts_with(DENIED));
        assert!(verdict.reason.unwrap().starts_with("the token expired 10"));
    }
}

#[tokio::test]
async fn policies_decide_who_may_connect() {
    let resource = "arn:aws:rds-db:eu-west-1:123456789012:dbuser:db-SANDBOXMYSQLABCDEFGHIJKLMN";
    let session = "gitlab-acme-shop-1010";
    for (_, sandbox) in shared() {
        for (role, user) in [("ci-no-database", "iam_app"), ("ci-tests", "iam_other")] {
            let target = Target {
                user: user.into(),
                ..Target::mysql()
            };
            let token = rds_token(&credentials(sandbox, role).await, &target);
            let arn = format!("arn:aws:sts::123456789012:assumed-role/{role}/{session}");
            let reason = format!("{arn} is not allowed rds-db:connect on {resource}/{user}");
            assert_refused(sandbox, user, &token, &reason);
        }
    }
}

#[tokio::test]
async fn the_longest_session_tokens_pass() {
    for flavor in flavors() {
        let sandbox = Sandbox::start(&Options::mysql(*flavor)).unwrap();
        sandbox.set_faults(rds_sandbox::faults::Faults {
            session_token_chars: Some(40_000),
            ..Default::default()
        });
        let token = rds_token(&credentials(&sandbox, "ci-tests").await, &Target::mysql());
        assert!(token.len() > 40_000);
        let (outcome, _) = login(&sandbox, "iam_app", &token);
        assert_eq!(outcome, Ok("iam_app@%".to_owned()), "{flavor:?}");
        sandbox.expire_credentials();
        let (outcome, verdict) = login(&sandbox, "iam_app", &token);
        assert!(outcome.is_err());
        assert!(verdict.reason.unwrap().contains(" expired "));
    }
}

#[test]
fn password_users_are_those_of_the_engine() {
    for (flavor, sandbox) in shared() {
        let users: &[&str] = match flavor {
            Flavor::MariaDb => &["my_native"],
            Flavor::MySql => &["my_sha2", "my_sha256"],
        };
        let port = sandbox.mysql().unwrap().port();
        let run = |user: &str, password: &str| {
            mariadb(sandbox, port, user, password, "SELECT CURRENT_USER()")
        };
        for user in users {
            let right = run(user, &format!("{user}_password"));
            assert_eq!(right, Ok(format!("{user}@%")));
            let refused = format!("{DENIED} '{user}'@'127.0.0.1' (using password:");
            assert_eq!(run(user, "wrong"), Err(format!("{refused} YES)")));
            assert_eq!(run(user, ""), Err(format!("{refused} NO)")));
        }
        let unknown = run("nobody", "x").unwrap_err();
        assert_eq!(
            unknown,
            format!("{DENIED} 'nobody'@'127.0.0.1' (using password: YES)")
        );
        assert!(run("root", "").is_err(), "root is RDS's own");
        let settings = "SELECT @@max_connections, @@require_secure_transport, @@local_infile";
        let admin = mariadb(sandbox, port, "admin", ADMIN_PASSWORD, settings);
        assert_eq!(admin, Ok("100\t1\t1".to_owned()));
    }
}

#[tokio::test]
async fn nobody_gets_in_without_tls() {
    for (_, sandbox) in shared() {
        let token = rds_token(&credentials(sandbox, "ci-tests").await, &Target::mysql());
        let port = sandbox.mysql().unwrap().port();
        for (user, password) in [("iam_app", token.as_str()), ("admin", ADMIN_PASSWORD)] {
            let refused = run_mariadb(port, user, password, &["--skip-ssl"], "SELECT 1");
            assert!(refused.is_err(), "{user}");
        }
    }
}

#[test]
fn certificates_are_bad_on_request() {
    for (flavor, sandbox) in shared() {
        let outcome = |name: &str, certificate| {
            let options = Options {
                certificate,
                ..Options::mysql(flavor)
            };
            let server = sandbox.start_mysql(name, flavor, &options).unwrap();
            mariadb(sandbox, server.port(), "admin", ADMIN_PASSWORD, "SELECT 1")
        };
        let plain = outcome("plain", Certificate::None).unwrap_err();
        assert!(plain.contains("SSL"), "{plain}");
        if flavor == Flavor::MySql {
            continue; // Only that is done differently there.
        }
        let unknown = outcome("unknown-ca", Certificate::UnknownCa).unwrap_err();
        assert!(unknown.contains("certificate"), "{unknown}");
        let expired = outcome("expired", Certificate::Expired).unwrap_err();
        assert!(expired.contains("expired"), "{expired}");
        assert_eq!(outcome("good", Certificate::Good), Ok("1".to_owned()));
    }
}

#[test]
fn a_killed_or_restarted_server_keeps_port_and_data() {
    for flavor in flavors() {
        let mut sandbox = Sandbox::start(&Options::mysql(*flavor)).unwrap();
        let port = sandbox.mysql().unwrap().port();
        let run =
            |sandbox: &Sandbox, sql: &str| mariadb(sandbox, port, "admin", ADMIN_PASSWORD, sql);
        let made = run(
            &sandbox,
            "CREATE TABLE kept (i int); INSERT INTO kept VALUES (1)",
        );
        assert_eq!(made, Ok(String::new()));
        sandbox.mysql_mut().unwrap().restart().unwrap();
        assert_eq!(run(&sandbox, "SELECT i FROM kept"), Ok("1".to_owned()));
        sandbox.mysql_mut().unwrap().kill();
        let gone = run(&sandbox, "SELECT 1").unwrap_err();
        assert!(
            gone.starts_with("ERROR 2002 (HY000): Can't connect"),
            "{gone}"
        );
        sandbox.mysql_mut().unwrap().restart().unwrap();
        assert_eq!(
            run(&sandbox, "SELECT COUNT(*) FROM kept"),
            Ok("1".to_owned())
        );
    }
}
