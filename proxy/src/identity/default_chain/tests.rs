//! The chain reads the process's environment, so each case is a process: this test binary once more, asked
//! for one test that prints what the chain answers.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use super::*;
use crate::identity::http;
use crate::identity::scripted_sts::Answer;
use crate::identity::scripted_sts::ScriptedSts;

const SECRET: &str = "a-secret-that-must-not-be-shown";

#[test]
#[ignore = "run by the tests below, each with an environment of its own"]
fn print_what_the_chain_answers() {
    let work = async {
        let chain = DefaultChain::new(None, http::client(None, None).unwrap());
        match chain.credentials(None).await {
            Ok(credentials) => println!("CHAIN {} ", credentials.access_key_id()),
            Err(error) => println!(
                "CHAIN {error}; {}; {}",
                error.detail().unwrap(),
                error.hint().unwrap()
            ),
        }
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

fn answer(home: &Path, variables: &[(&str, &str)]) -> String {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("identity::default_chain::tests::print_what_the_chain_answers")
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    let line = out.lines().find_map(|line| line.split_once("CHAIN "));
    line.unwrap_or_else(|| panic!("{out}")).1.to_owned()
}

fn home(config: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/config"), config).unwrap();
    home
}

#[test]
fn keys_in_the_environment_are_used() {
    let home = home("");
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDENV"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ];
    assert!(answer(home.path(), &variables).starts_with("AKIDENV "));
}

#[test]
fn a_profiles_process_is_run() {
    let home = home(
        "[profile dev]\nregion = eu-west-1\ncredential_process = echo '{\"Version\": 1, \"AccessKeyId\": \"AKIDPROC\", \
         \"SecretAccessKey\": \"x\", \"SessionToken\": \"y\", \"Expiration\": \"2099-01-01T00:00:00Z\"}'\n",
    );
    assert!(answer(home.path(), &[("AWS_PROFILE", "dev")]).starts_with("AKIDPROC "));
}

#[test]
fn what_a_profiles_process_complains_about_is_not_repeated() {
    let home = home(&format!(
        "[profile dev]\ncredential_process = sh -c 'echo {SECRET} >&2; exit 3'\n"
    ));
    let said = answer(home.path(), &[("AWS_PROFILE", "dev")]);
    assert!(said.starts_with("no AWS credentials; "), "{said}");
    assert!(
        said.contains("external process exited with code exit status: 3"),
        "{said}"
    );
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn an_sso_profile_without_a_login_gets_the_command_to_type() {
    let home = home(
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\nregion = eu-west-1\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\n",
    );
    let said = answer(home.path(), &[("AWS_PROFILE", "dev")]);
    assert!(said.starts_with("no AWS credentials; "), "{said}");
    assert!(said.ends_with("; aws sso login"), "{said}");
}

#[test]
fn a_machine_without_any_credentials_says_so_at_once() {
    let home = home("");
    let begun = tokio::time::Instant::now();
    let said = answer(home.path(), &[]);
    assert!(said.starts_with("no AWS credentials; "), "{said}");
    assert!(said.contains("aws sso login, AWS_PROFILE"), "{said}");
    // IMDS is switched off here, and nobody asks it for a region either: that would take seconds.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_container_without_credentials_in_the_environment_is_asked() {
    let body = r#"{"AccessKeyId": "AKIDBOX", "SecretAccessKey": "x", "Token": "y", "Expiration": "2099-01-01T00:00:00Z"}"#;
    let server = ScriptedSts::start([Answer::page(200, body)]).await;
    let url = format!("{}/credentials", server.url);
    let said = tokio::task::spawn_blocking(move || {
        answer(
            home("").path(),
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)],
        )
    });
    assert!(said.await.unwrap().starts_with("AKIDBOX "));
}
