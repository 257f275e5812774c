#![allow(clippy::unwrap_used)]

use config::Input;

use super::*;
use crate::identity::fixture::Hands;
use crate::identity::fixture::ROLE;
use crate::identity::fixture::id_token;
use crate::identity::fixture::in_seconds;
use crate::identity::scripted_sts::Answer;
use crate::identity::scripted_sts::ScriptedSts;

const URL: &str = "postgres://ci_app@mydb.abc.eu-west-1.rds.amazonaws.com:5432/app";

/// Runs the command as typed: exit code, stdout, stderr.
async fn typed(urls: &[&str], variables: &[(&str, &str)]) -> (u8, String, String) {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let input = Input {
        variables: variables.iter().map(pair).collect(),
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        ..Input::default()
    };
    let config = config::load(&input)
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .config;
    let (_, clock) = Hands::new();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&config, clock, &mut out, &mut err).await;
    (
        code,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

async fn with_sts(answer: Answer, url: &str) -> (u8, String, String) {
    let sts = ScriptedSts::start([answer]).await;
    let id_token = id_token("77");
    let variables = [
        ("AWS_ENDPOINT_URL_STS", sts.url.as_str()),
        ("RDS_SIDECAR_ROLE_ARN", ROLE),
        ("RDS_SIDECAR_ID_TOKEN", id_token.expose_secret()),
    ];
    typed(&[url], &variables).await
}

#[tokio::test]
async fn prints_one_token_and_a_newline() {
    let answer = Answer::credentials("AssumeRoleWithWebIdentity", in_seconds(3_600));
    let (code, out, err) = with_sts(answer, URL).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let line = out.strip_suffix('\n').unwrap();
    assert!(
        line.starts_with(
            "mydb.abc.eu-west-1.rds.amazonaws.com:5432/?Action=connect&DBUser=ci_app&"
        ),
        "{line}"
    );
    assert!(
        line.contains("%2Feu-west-1%2Frds-db%2Faws4_request&") && !line.contains('\n'),
        "{line}"
    );
}

#[tokio::test]
async fn a_refused_identity_is_77_and_explained_on_stderr() {
    let no = Answer::error(
        403,
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    );
    let (code, out, err) = with_sts(no, URL).await;
    assert_eq!((code, out.as_str()), (77, ""));
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(
        lines.first().unwrap(),
        &"rds-sidecar: STS refused this job's identity (AccessDenied)"
    );
    assert!(
        lines
            .get(1)
            .unwrap()
            .starts_with("  detail: STS says: Not authorized"),
        "{err}"
    );
    assert!(
        lines
            .get(2)
            .unwrap()
            .starts_with("  hint: the trust policy of arn:aws:iam::"),
        "{err}"
    );
    assert!(!err.contains(id_token("77").expose_secret()));
}

#[tokio::test]
async fn a_user_is_needed() {
    let (code, out, err) = with_sts(
        Answer::page(500, ""),
        "postgres://mydb.abc.eu-west-1.rds.amazonaws.com",
    )
    .await;
    assert_eq!((code, out.as_str()), (64, ""));
    assert_eq!(
        err,
        "rds-sidecar: a token is for one user, and the URL names none\n  \
         hint: write it into the URL: postgres://USER@HOST/DATABASE\n"
    );
}

#[tokio::test]
async fn two_databases_are_one_too_many() {
    let second = "mysql://ci_app@mydb2.abc.eu-west-1.rds.amazonaws.com";
    let (code, out, err) = typed(&[URL, second], &[("RDS_SIDECAR_ROLE_ARN", ROLE)]).await;
    assert_eq!((code, out.as_str()), (64, ""));
    assert!(
        err.starts_with("rds-sidecar: a token is for one database, 2 are configured\n"),
        "{err}"
    );
}

#[tokio::test]
async fn an_unknown_region_is_bad_configuration() {
    let (code, _, err) = with_sts(
        Answer::page(500, ""),
        "postgres://ci_app@127.0.0.1:6543/app",
    )
    .await;
    assert_eq!(code, 64);
    assert!(
        err.starts_with("rds-sidecar: the AWS region of 127.0.0.1:6543 is unknown\n"),
        "{err}"
    );
    assert!(err.contains("  hint: set region (AWS_REGION)"), "{err}");
}

#[tokio::test]
async fn an_sts_that_is_not_there_is_unavailable() {
    let (code, out, err) = with_sts(Answer::page(404, "nothing"), URL).await;
    assert_eq!((code, out.as_str()), (69, ""));
    assert!(
        err.starts_with("rds-sidecar: STS cannot be reached: what answered is not STS"),
        "{err}"
    );
}

#[tokio::test]
async fn no_identity_in_time_is_77_with_the_hint() {
    let url = format!("{URL}?connect_timeout=1s");
    let (code, _, err) = typed(&[&url], &[("RDS_SIDECAR_ROLE_ARN", ROLE)]).await;
    assert_eq!(code, 77);
    assert!(err.starts_with("rds-sidecar: no ID token: "), "{err}");
    assert!(err.contains("  hint: set RDS_SIDECAR_ID_TOKEN"), "{err}");
}
