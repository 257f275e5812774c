#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::*;
use crate::identity::fixture::Hands;
use crate::identity::fixture::id_token;
use crate::identity::fixture::in_seconds;

fn job() -> GitlabJob {
    GitlabJob {
        job_id: "77".to_owned(),
        project_path: None,
        timeout_seconds: Some(3_600),
        id_token_was_empty: false,
    }
}

fn source(configured: IdTokenSource) -> (Hands, TokenSource) {
    let (hands, clock) = Hands::new();
    (hands, TokenSource::new(configured, Some(job()), clock))
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("job.jwt");
    (directory, path)
}

fn write(path: &Path, token: &SecretString) {
    std::fs::write(path, format!("{}\n", token.expose_secret())).unwrap();
}

#[tokio::test]
async fn a_file_is_polled_until_it_appears() {
    let (_directory, path) = file();
    let (_, source) = source(IdTokenSource::File(path.clone()));
    let source = Arc::new(source);
    let waiting = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.wait().await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    // An empty file is one that is being written.
    std::fs::write(&path, "").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    write(&path, &id_token("77"));
    let token = tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(token.claims.job_id.as_deref(), Some("77"));
}

#[tokio::test]
async fn a_half_written_file_is_looked_at_twice() {
    let (_directory, path) = file();
    let (_, source) = source(IdTokenSource::File(path.clone()));
    let whole = id_token("77");
    let half = whole.expose_secret().get(..100).unwrap();
    std::fs::write(&path, half).unwrap();
    let done = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        write(&path, &whole);
    };
    let (token, ()) = tokio::join!(source.wait(), done);
    assert!(token.is_ok(), "{token:?}");

    std::fs::write(&path, half).unwrap();
    let error = source.wait().await.unwrap_err();
    assert!(matches!(error, IdTokenError::NotJwt { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_is_read_anew_each_time() {
    let (_directory, path) = file();
    let (_, source) = source(IdTokenSource::File(path.clone()));
    assert!(source.now().await.unwrap().is_none());
    write(&path, &id_token("77"));
    let first = source.now().await.unwrap().unwrap();
    let later = id_token("77").expose_secret().replacen("eyJ", "eyJ9", 1);
    std::fs::write(&path, later).unwrap();
    let second = source.now().await.unwrap().unwrap();
    assert!(!same(&first, &second));
    std::fs::remove_file(&path).unwrap();
    assert!(source.now().await.unwrap().is_none());
}

#[tokio::test]
async fn a_file_of_another_job_is_refused_until_it_is_replaced() {
    let (_directory, path) = file();
    let (_, source) = source(IdTokenSource::File(path.clone()));
    write(&path, &id_token("76"));
    let error = source.wait().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ID token belongs to job 76, this is job 77"
    );
    write(&path, &id_token("77"));
    assert!(source.wait().await.is_ok());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_that_says_so() {
    let (directory, _) = file();
    let (_, source) = source(IdTokenSource::File(directory.path().to_path_buf()));
    let error = source.wait().await.unwrap_err();
    assert!(
        matches!(&error, IdTokenError::Unreadable { .. }),
        "{error:?}"
    );
    std::fs::write(directory.path().join("big"), "x".repeat(100_000)).unwrap();
    let (_, clock) = Hands::new();
    let big = TokenSource::new(
        IdTokenSource::File(directory.path().join("big")),
        None,
        clock,
    );
    assert_eq!(big.wait().await.unwrap_err(), IdTokenError::TooLong);
}

#[tokio::test]
async fn a_pushed_token_wakes_waiters_and_replaces_every_source() {
    let variable = IdTokenSource::Variable {
        name: "X".to_owned(),
        token: SecretString::from("nonsense"),
    };
    let (_directory, path) = file();
    for configured in [IdTokenSource::Pushed, IdTokenSource::File(path), variable] {
        let from_variable = matches!(configured, IdTokenSource::Variable { .. });
        let (_, source) = source(configured);
        let push = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            source.push(&id_token("77")).unwrap()
        };
        let (waited, claims) = tokio::join!(source.wait(), push);
        assert_eq!(
            waited.is_err(),
            from_variable,
            "a variable that is no token is an error at once"
        );
        assert_eq!(source.now().await.unwrap().unwrap().claims, claims);
    }
}

#[tokio::test]
async fn a_push_must_be_a_token_of_this_job_and_alive() {
    let (hands, source) = source(IdTokenSource::Pushed);
    assert!(matches!(
        source.push(&SecretString::from("x")).unwrap_err(),
        IdTokenError::NotJwt { .. }
    ));
    assert!(matches!(
        source.push(&id_token("76")).unwrap_err(),
        IdTokenError::OtherJob { .. }
    ));
    hands.forward(3_600);
    assert!(matches!(
        source.push(&id_token("77")).unwrap_err(),
        IdTokenError::Expired { .. }
    ));
    assert!(
        source.now().await.unwrap().is_none(),
        "what was refused is not kept"
    );
}

#[tokio::test]
async fn a_variable_that_has_expired_is_an_error_each_time_until_another_comes() {
    let (hands, source) = source(IdTokenSource::Variable {
        name: "X".to_owned(),
        token: id_token("75"),
    });
    assert!(
        source.wait().await.is_ok(),
        "a variable comes with the job: its job_id is not examined"
    );
    hands.forward(3_600);
    for _ in 0..2 {
        assert!(matches!(
            source.wait().await.unwrap_err(),
            IdTokenError::Expired { .. }
        ));
    }
    let renewed = crate::identity::fixture::jwt(&format!(
        r#"{{"iss":"i","sub":"s","aud":"a","exp":{}}}"#,
        in_seconds(7_200)
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
    ));
    source.push(&renewed).unwrap();
    assert!(source.wait().await.is_ok());
}

#[test]
fn a_missing_token_gets_the_hint_that_fits() {
    let missing = |configured: IdTokenSource, gitlab: Option<GitlabJob>| {
        let (_, clock) = Hands::new();
        let error = TokenSource::new(configured, gitlab, clock).missing();
        (error.to_string(), error.hint().unwrap())
    };
    let (what, hint) = missing(
        IdTokenSource::Pushed,
        Some(GitlabJob {
            id_token_was_empty: true,
            ..job()
        }),
    );
    assert_eq!(
        what,
        "no ID token: RDS_SIDECAR_ID_TOKEN is not set; waiting for PUT /identity"
    );
    assert!(
        hint.contains("runners before 19.3") && hint.contains("services:variables"),
        "{hint}"
    );
    let (what, hint) = missing(IdTokenSource::File("/builds/x.jwt".into()), Some(job()));
    assert_eq!(
        what,
        "no ID token: waiting for the file /builds/x.jwt or for PUT /identity"
    );
    assert!(hint.contains("id_tokens:"), "{hint}");
    let (_, hint) = missing(IdTokenSource::Pushed, None);
    assert!(hint.starts_with("set RDS_SIDECAR_ID_TOKEN"), "{hint}");
}

#[test]
fn a_token_that_ends_before_its_job_is_warned_about_once() {
    let warned = |timeout_seconds: u64| {
        let (_, clock) = Hands::new();
        let job = GitlabJob {
            timeout_seconds: Some(timeout_seconds),
            ..job()
        };
        let source = TokenSource::new(IdTokenSource::Pushed, Some(job), clock);
        crate::identity::fixture::logged(|| {
            source.push(&id_token("77")).unwrap();
            source.push(&id_token("77")).unwrap();
        })
    };
    assert_eq!(
        warned(3_600)
            .matches("expires before the job's timeout")
            .count(),
        0
    );
    assert_eq!(
        warned(7_200)
            .matches("expires before the job's timeout")
            .count(),
        1
    );
}
