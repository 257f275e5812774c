//! `rds-sidecar token` without a role: the AWS default chain, each case with an environment of its own.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const URL: &str = "postgres://ci_app@mydb.abc123.eu-west-1.rds.amazonaws.com:5432/app";
const SECRET: &str = "a-secret-that-must-not-be-shown";

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn token(home: &Path, variables: &[(&str, &str)]) -> Said {
    let done = Command::new(env!("CARGO_BIN_EXE_rds-sidecar"))
        .args(["token", URL])
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said {
        code: done.status.code(),
        out: text(done.stdout),
        err: text(done.stderr),
    }
}

fn home(config: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/config"), config).unwrap();
    home
}

/// The token is signed with the key of this name, for the region in the endpoint's name.
fn assert_signed_with(said: &Said, key: &str) {
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains(&format!("&X-Amz-Credential={key}%2F")),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("%2Feu-west-1%2Frds-db%2Faws4_request&"),
        "{}",
        said.out
    );
}

#[test]
fn keys_in_the_environment_are_used() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDENV"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ];
    let said = token(home("").path(), &variables);
    assert_signed_with(&said, "AKIDENV");
    assert!(!format!("{}{}", said.out, said.err).contains(SECRET));
}

#[test]
fn a_profiles_process_is_run() {
    let home = home(
        "[profile dev]\ncredential_process = echo '{\"Version\": 1, \"AccessKeyId\": \"AKIDPROC\", \
         \"SecretAccessKey\": \"x\", \"SessionToken\": \"y\", \"Expiration\": \"2099-01-01T00:00:00Z\"}'\n",
    );
    assert_signed_with(&token(home.path(), &[("AWS_PROFILE", "dev")]), "AKIDPROC");
}

#[test]
fn what_a_profiles_process_complains_about_is_not_repeated() {
    let home = home(&format!(
        "[profile dev]\ncredential_process = sh -c 'echo {SECRET} >&2; exit 3'\n"
    ));
    let said = token(
        home.path(),
        &[("AWS_PROFILE", "dev"), ("RDS_SIDECAR_LOG_LEVEL", "trace")],
    );
    assert_eq!((said.code, said.out.as_str()), (Some(77), ""));
    assert!(
        said.err.contains("no AWS credentials in profile \"dev\""),
        "{}",
        said.err
    );
    assert!(
        said.err
            .contains("external process exited with code exit status: 3"),
        "{}",
        said.err
    );
    assert!(!said.err.contains(SECRET), "{}", said.err);
}

#[test]
fn an_sso_profile_without_a_login_gets_the_command_to_type() {
    let home = home(
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\nregion = eu-west-1\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\n",
    );
    let said = token(home.path(), &[("AWS_PROFILE", "dev")]);
    assert_eq!(said.code, Some(77));
    assert!(
        said.err.contains("hint: aws sso login --profile dev\n"),
        "{}",
        said.err
    );
}

#[test]
fn a_machine_without_any_credentials_says_so() {
    let said = token(home("").path(), &[]);
    assert_eq!((said.code, said.out.as_str()), (Some(77), ""));
    assert!(
        said.err.contains("rds-sidecar: no AWS credentials\n"),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("aws sso login, AWS_PROFILE"),
        "{}",
        said.err
    );
}

#[test]
fn a_container_is_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/credentials", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut asked = [0; 4_096];
        let length = stream.read(&mut asked).unwrap();
        let body = r#"{"AccessKeyId": "AKIDBOX", "SecretAccessKey": "x", "Token": "y", "Expiration": "2099-01-01T00:00:00Z"}"#;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        String::from_utf8_lossy(asked.get(..length).unwrap()).into_owned()
    });
    let said = token(
        home("").path(),
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)],
    );
    assert_signed_with(&said, "AKIDBOX");
    assert!(server.join().unwrap().starts_with("GET /credentials "));
}
