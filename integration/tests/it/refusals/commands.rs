//! Exit codes and words of the commands, and of a start that cannot work.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::process::Output;
use std::time::Duration;

use rds_sandbox::Sidecar;
use rds_sandbox::servers::free_port;
use rds_sandbox::servers::postgres::HOST;
use rds_sandbox::sidecar::built_binary;
use tokio::time::Instant;

use super::assert_says;
use crate::raw::Client;
use crate::scene;
use crate::scene::sandbox;

const SOON: Duration = Duration::from_secs(20);

/// Runs the binary to its end in the sandbox's environment, changed by `env` (an empty value takes one away).
fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(built_binary().unwrap());
    command
        .args(args)
        .current_dir("/")
        .env_clear()
        .envs(sandbox().env().unwrap());
    for (name, value) in env {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
    command.output().unwrap()
}

fn url() -> String {
    rds_sandbox::Sandbox::sidecar_url(sandbox().postgres().unwrap().port())
}

fn code_and_stderr(output: &Output) -> (i32, String) {
    (
        output.status.code().expect("ended by a signal"),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Starts a sidecar that must end by itself: exit code and all it said.
fn fails_to_start(args: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let mut sidecar = Sidecar::spawn(sandbox(), &scene::options(args, env)).unwrap();
    let status = sidecar.wait(SOON).unwrap();
    (status.code().expect("ended by a signal"), sidecar.log())
}

#[test]
fn bad_configuration_is_64_and_all_problems_at_once() {
    let (code, words) = fails_to_start(
        &["--max-connections", "none", "--idle-timeout", "1x"],
        &[
            ("RDS_SIDECAR_MAX_CONECTIONS", "5"),
            ("RDS_SIDECAR_LOG", "xml"),
        ],
    );
    assert_eq!(code, 64, "{words}");
    assert_says(
        &words,
        &[
            "--max-connections",
            "--idle-timeout",
            "RDS_SIDECAR_MAX_CONECTIONS",
            "RDS_SIDECAR_MAX_CONNECTIONS",
            "RDS_SIDECAR_LOG",
            "json",
        ],
    );
}

#[test]
fn a_log_filter_that_means_nothing_is_64() {
    let (code, words) = fails_to_start(&["--log-level", "loud=shouting"], &[]);
    assert_eq!(code, 64, "{words}");
    assert_says(&words, &["--log-level", "shouting"]);
}

#[test]
fn a_port_in_use_is_64_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // A key of the URL wins over the flag.
    let url = format!("{}&listen={address}", url());
    let (code, words) = fails_to_start(&[&url], &[]);
    assert_eq!(code, 64, "{words}");
    assert_says(&words, &[&address, "`listen` of database `postgres`"]);
}

#[test]
fn a_ca_file_that_cannot_be_read_is_64_and_named() {
    let folder = sandbox().work_dir().path();
    let no_pem = folder.join("no-pem.txt");
    fs::write(&no_pem, "this is no certificate").unwrap();
    for file in [folder.join("no-such-file.pem"), no_pem] {
        let file = file.display().to_string();
        let (code, words) = fails_to_start(&[], &[("RDS_SIDECAR_TLS_CA_FILE", file.as_str())]);
        assert_eq!(code, 64, "{words}");
        assert_says(&words, &[&file, "tls_ca_file"]);
    }
}

#[test]
fn the_token_commands_output_logs_in_directly() {
    let port = sandbox().postgres().unwrap().port();
    let output = run(&["token", &url()], &[]);
    assert_eq!(code_and_stderr(&output), (0, String::new()));
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(token.lines().count(), 1);
    let target = format!(
        "host={HOST} hostaddr=127.0.0.1 port={port} dbname=app user=iam_app sslmode=verify-full sslrootcert={}",
        sandbox().ca_file().display()
    );
    let direct = Command::new("psql")
        .args(["-XAtqc", "SELECT current_user", &target])
        .env("PGPASSWORD", token.trim_end())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&direct.stdout).trim(),
        "iam_app",
        "{direct:?}"
    );
}

#[test]
fn the_token_command_says_why_not() {
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    let refused = run(
        &["token", &url()],
        &[("RDS_SIDECAR_ROLE_ARN", &role("ci-other-project"))],
    );
    let (code, words) = code_and_stderr(&refused);
    assert_eq!((code, refused.stdout.len()), (77, 0), "{words}");
    assert_says(
        &words,
        &[
            "STS refused this job's identity (AccessDenied)",
            "detail:",
            "hint:",
        ],
    );
    let nobody = run(
        &["token", "--connect-timeout", "2s", &url()],
        &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")],
    );
    let (code, words) = code_and_stderr(&nobody);
    assert_eq!(code, 69, "{words}");
    assert_says(&words, &["STS cannot be reached"]);
    let no_user = run(&["token", &format!("postgres://{HOST}/app")], &[]);
    let (code, words) = code_and_stderr(&no_user);
    assert_eq!(code, 64, "{words}");
    assert_says(&words, &["the URL names none"]);
    let missing = run(
        &["token", "--connect-timeout", "1s", &url()],
        &[("RDS_SIDECAR_ID_TOKEN", "")],
    );
    let (code, words) = code_and_stderr(&missing);
    assert_eq!(code, 77, "{words}");
    assert_says(&words, &["no ID token"]);
}

#[test]
fn wait_and_healthcheck_tell_started_from_ready() {
    let admin = format!("127.0.0.1:{}", free_port().unwrap());
    let (code, words) = code_and_stderr(&run(&["healthcheck", "--admin", &admin], &[]));
    assert_eq!(code, 1, "{words}");
    let nobody = run(&["wait", "--timeout", "300ms", "--admin", &admin], &[]);
    let (code, words) = code_and_stderr(&nobody);
    assert_eq!(code, 69, "{words}");
    assert_says(&words, &["not ready after 300ms", &admin]);

    let waiting = scene::sidecar_env(sandbox(), &[], &[("RDS_SIDECAR_ID_TOKEN", "")]);
    let admin = waiting.admin_address();
    assert_eq!(
        code_and_stderr(&run(&["healthcheck", "--admin", &admin], &[])),
        (0, String::new()),
        "a sidecar that waits for its identity is healthy"
    );
    let not_ready = run(&["wait", "--timeout", "300ms", "--admin", &admin], &[]);
    let (code, words) = code_and_stderr(&not_ready);
    assert_eq!(code, 69, "{words}");
    assert_says(&words, &["PUT /identity"]);
    std::thread::scope(|threads| {
        let wait = threads.spawn(|| run(&["wait", "--timeout", "20s", "--admin", &admin], &[]));
        let token = sandbox().id_token(&Default::default()).unwrap();
        assert_eq!(waiting.admin("PUT", "/identity", &token).unwrap().0, 204);
        assert_eq!(code_and_stderr(&wait.join().unwrap()), (0, String::new()));
    });
}

#[test]
fn stop_returns_when_the_process_has_stopped() {
    let mut sidecar = scene::sidecar(sandbox(), &[]);
    let admin = sidecar.admin_address();
    let mut open = Client::connect(sidecar.port(), "app", "stopped");
    open.run("BEGIN");
    let stopping = Instant::now();
    std::thread::scope(|threads| {
        let stop = threads.spawn(|| run(&["stop", "--admin", &admin], &[]));
        std::thread::sleep(Duration::from_millis(500));
        assert!(!stop.is_finished(), "a transaction is open");
        open.run("COMMIT");
        assert_eq!(code_and_stderr(&stop.join().unwrap()), (0, String::new()));
    });
    assert!(
        stopping.elapsed() < Duration::from_secs(9),
        "{:?}",
        stopping.elapsed()
    );
    assert_eq!(sidecar.wait(SOON).unwrap().code(), Some(0));
    let (code, words) = code_and_stderr(&run(&["stop", "--admin", &admin], &[]));
    assert_eq!(code, 69, "{words}");
    assert_says(&words, &["is rds-sidecar running here"]);
}
