#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::client;
use rds_sandbox::servers::mysqld::ADMIN_PASSWORD;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::Target;
use crate::support::credentials;
use crate::support::psql;
use crate::support::rds_token;
use crate::support::run_mariadb;
use crate::support::run_psql;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rds-sandbox");

/// `rds-sandbox up`, ready.
struct Up {
    child: Child,
    env_file: PathBuf,
    folder: PathBuf,
}

impl Up {
    fn start(name: &str, more: &[&str]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("rds-sandbox-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let env_file = folder.join("it's.env");
        let mut child = Command::new(PROGRAM)
            .args(["up", "--postgres", "--max-connections", "23", "--env-file"])
            .arg(&env_file)
            .arg("--dir")
            .arg(&folder)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self {
            child,
            env_file,
            folder,
        }
    }

    /// What a shell that sources the file makes of a variable.
    fn variable(&self, name: &str) -> String {
        let script = format!(". \"$1\"; printf %s \"${name}\"");
        let output = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(&self.env_file)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn work_dirs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    }

    fn postgres_pid(&self) -> u32 {
        let file = self
            .work_dirs()
            .first()
            .unwrap()
            .join("postgres/postmaster.pid");
        fs::read_to_string(file)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    fn assert_gone(&self, postgres: u32) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.work_dirs().is_empty() || runs(postgres) {
            assert!(
                Instant::now() < deadline,
                "left behind: {:?}, postgres {}",
                self.work_dirs(),
                runs(postgres)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Already gone in some tests.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn runs(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn sigterm_stops_and_removes_everything() {
    let mut up = Up::start("term", &[]);
    assert_eq!(
        fs::metadata(&up.env_file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        up.variable("RDS_SIDECAR_ROLE_ARN"),
        "arn:aws:iam::123456789012:role/ci-tests"
    );
    assert_eq!(up.variable("AWS_EC2_METADATA_DISABLED"), "true");
    assert!(Path::new(&up.variable("RDS_SIDECAR_TLS_CA_FILE")).exists());
    assert_eq!(
        run_psql(
            &up.variable("SANDBOX_POSTGRES_URL"),
            "",
            "SHOW max_connections"
        ),
        Ok("23".to_owned())
    );
    let address = up.variable("AWS_ENDPOINT_URL").replace("http://", "");
    let (status, state) = client::request(&address, "GET", "/_sandbox/state", "").unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Value>(&state).unwrap()["issuer"],
        "https://gitlab.example.com"
    );

    let postgres = up.postgres_pid();
    assert!(runs(postgres));
    kill_process(Pid::from_child(&up.child), Signal::TERM).unwrap();
    assert!(up.child.wait().unwrap().success());
    assert!(!runs(postgres));
    assert_eq!(up.work_dirs(), Vec::<PathBuf>::new());
    assert!(!up.env_file.exists());
}

#[test]
fn a_killed_sandbox_leaves_nothing_behind() {
    let mut up = Up::start("kill", &[]);
    let postgres = up.postgres_pid();
    assert!(runs(postgres));
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    up.assert_gone(postgres);
}

#[test]
fn id_tokens_come_from_the_command_line() {
    let up = Up::start("id-token", &[]);
    let mint = |arguments: &[&str]| {
        let url = up.variable("SANDBOX_URL");
        let output = Command::new(PROGRAM)
            .arg("id-token")
            .args(arguments)
            .env("SANDBOX_URL", url)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let claims = |token: &str| {
        use base64::Engine;
        let payload = token.split('.').nth(1).unwrap();
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap();
        serde_json::from_slice::<Value>(&json).unwrap()
    };
    let plain = claims(&mint(&[]));
    assert_eq!(
        plain["sub"],
        "project_path:acme/shop:ref_type:branch:ref:main"
    );
    assert_eq!(
        plain["exp"].as_i64().unwrap() - plain["iat"].as_i64().unwrap(),
        3_600
    );
    assert_eq!(
        plain["nbf"].as_i64().unwrap() - plain["iat"].as_i64().unwrap(),
        -5
    );
    for name in [
        "job_id",
        "ref_protected",
        "environment",
        "pipeline_source",
        "user_login",
        "jti",
        "namespace_path",
    ] {
        assert!(plain[name].is_string(), "{name}");
    }
    let other = claims(&mint(&[
        "--sub",
        "s",
        "--aud",
        "a",
        "--claim",
        "job_id=7",
        "--expires-in",
        "-60",
    ]));
    assert_eq!(
        (&other["sub"], &other["aud"], &other["job_id"]),
        (&"s".into(), &"a".into(), &"7".into())
    );
    assert_eq!(
        other["exp"].as_i64().unwrap() - other["iat"].as_i64().unwrap(),
        -60
    );
}

#[test]
fn relay_and_certificate_are_options() {
    let up = Up::start("options", &["--relay", "--certificate", "none"]);
    let databases = up.variable("RDS_SIDECAR_DATABASES");
    assert_eq!(databases, up.variable("SANDBOX_RELAY_DATABASES"));
    assert!(!up.variable("SANDBOX_POSTGRES_URL").is_empty());
    let refused = run_psql(&up.variable("SANDBOX_POSTGRES_URL"), "", "SELECT 1");
    assert_eq!(
        refused,
        Err("server does not support SSL, but SSL was required".to_owned())
    );
}

#[test]
fn both_engines_live_in_one_sandbox() {
    let mut up = Up::start("both", &["--mysql"]);
    let databases = up.variable("RDS_SIDECAR_DATABASES");
    let (postgres, mysql) = databases.split_once(' ').unwrap();
    assert!(postgres.starts_with("postgres://iam_app@127.0.0.1:"));
    let signed = "/app?sign_host=sandbox-my.cabc123xyz456.eu-west-1.rds.amazonaws.com:3306";
    let port = mysql.strip_prefix("mysql://iam_app@127.0.0.1:").unwrap();
    let port = port.strip_suffix(signed).unwrap();
    let admin = format!("mysql://admin:{ADMIN_PASSWORD}@127.0.0.1:{port}/app");
    assert_eq!(up.variable("SANDBOX_MYSQL_URL"), admin);
    let relayed = up.variable("SANDBOX_RELAY_DATABASES");
    assert_eq!(relayed.split(' ').count(), 2);
    assert_ne!(relayed, databases);
    let tls = format!("--ssl-ca={}", up.variable("RDS_SIDECAR_TLS_CA_FILE"));
    let limit = run_mariadb(
        port.parse().unwrap(),
        "admin",
        ADMIN_PASSWORD,
        &[&tls],
        "SELECT @@max_connections",
    );
    assert_eq!(limit, Ok("23".to_owned()));

    let pid_file = up.work_dirs().first().unwrap().join("mysql/server.pid");
    let mysql: u32 = fs::read_to_string(pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(runs(mysql));
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    up.assert_gone(mysql);
}

#[tokio::test]
async fn two_sandboxes_do_not_know_each_other() {
    let (one, two) = (
        Sandbox::start(&Options::default()).unwrap(),
        Sandbox::start(&Options::default()).unwrap(),
    );
    let key = credentials(&one, "ci-tests").await;
    let token = rds_token(&key, &Target::default());
    assert_eq!(
        psql(&one, one.postgres().unwrap().port(), "iam_app", &token),
        Ok("iam_app".to_owned())
    );
    let refused = psql(&two, two.postgres().unwrap().port(), "iam_app", &token);
    assert_eq!(
        refused,
        Err("FATAL:  PAM authentication failed for user \"iam_app\"".to_owned())
    );
    let reason = format!("access key {} is unknown", key.access_key_id());
    assert_eq!(two.verdicts().last().unwrap().reason, Some(reason));
    let folder = one.work_dir().path().to_owned();
    drop(one);
    assert!(!folder.exists());
}

#[test]
fn a_restarted_server_keeps_port_and_data() {
    let mut sandbox = Sandbox::start(&Options::default()).unwrap();
    let admin = sandbox.postgres_admin_url("app").unwrap();
    assert_eq!(
        run_psql(&admin, "", "CREATE TABLE kept (i int)"),
        Ok(String::new())
    );
    let mut session = Command::new("psql")
        .args(["-XAtc", "SELECT pg_sleep(30)", &admin])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    while run_psql(&admin, "", sleeping) != Ok("1".to_owned()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    sandbox.postgres_mut().unwrap().restart().unwrap();
    let mut error = String::new();
    std::io::Read::read_to_string(&mut session.stderr.take().unwrap(), &mut error).unwrap();
    assert!(
        error.starts_with("FATAL:  terminating connection due to administrator command"),
        "{error}"
    );
    session.wait().unwrap();
    let again = sandbox
        .start_postgres("postgres", &Options::default())
        .unwrap_err();
    assert_eq!(
        again.to_string(),
        "there is or was a server named \"postgres\" in this sandbox"
    );
    assert_eq!(
        run_psql(&admin, "", "SELECT count(*) FROM kept"),
        Ok("0".to_owned())
    );
}
