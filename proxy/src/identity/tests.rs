//! The whole way from an ID token to an RDS token, against a scripted STS.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use config::IdTokenSource;
use secrecy::ExposeSecret;

use super::*;
use crate::fault::Fault;
use crate::identity::fixture::Hands;
use crate::identity::fixture::ROLE;
use crate::identity::fixture::config;
use crate::identity::fixture::id_token;
use crate::identity::fixture::in_seconds;
use crate::identity::fixture::jwt;
use crate::identity::fixture::scope;
use crate::identity::fixture::target;
use crate::identity::fixture::variable;
use crate::identity::refusal::Cause;
use crate::identity::scripted_sts::Answer;
use crate::identity::scripted_sts::SESSION_TOKEN;
use crate::identity::scripted_sts::ScriptedSts;

mod secrets;

const WEB: &str = "AssumeRoleWithWebIdentity";

#[tokio::test]
async fn an_id_token_becomes_an_rds_token() {
    let sts = ScriptedSts::start([Answer::credentials(WEB, in_seconds(3_600))]).await;
    let (_, clock) = Hands::new();
    let identity = Identity::new(&config(&sts.url, variable()), scope(), clock).unwrap();
    let token = identity.rds_token(&target(), "app").await.unwrap();
    let token = token.expose_secret();
    assert!(
        token.starts_with("mydb.abc.eu-west-1.rds.amazonaws.com:5432/?Action=connect&DBUser=app&"),
        "{token}"
    );
    assert!(
        token.contains("X-Amz-Expires=900") && token.contains(SESSION_TOKEN),
        "{token}"
    );

    assert_eq!(sts.parameter(0, "Action").as_deref(), Some(WEB));
    assert_eq!(sts.parameter(0, "RoleArn").as_deref(), Some(ROLE));
    assert_eq!(
        sts.parameter(0, "RoleSessionName").as_deref(),
        Some("gitlab-g-p-77")
    );
    assert_eq!(
        sts.parameter(0, "WebIdentityToken").as_deref(),
        Some(id_token("77").expose_secret())
    );
    assert_eq!(sts.parameter(0, "DurationSeconds"), None);
    assert_eq!(sts.parameter(0, "Policy"), scope().session_policy(ROLE));

    identity.rds_token(&target(), "app").await.unwrap();
    assert_eq!(sts.calls(), 1);
    assert_eq!(
        identity.counters(),
        Counters {
            refreshes: 1,
            refresh_failures: 0,
            rds_tokens: 2
        }
    );
}

#[tokio::test]
async fn a_refusal_explains_itself_to_the_client() {
    let no = Answer::error(
        403,
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    );
    let sts = ScriptedSts::start([no]).await;
    let (_, clock) = Hands::new();
    let identity = Identity::new(&config(&sts.url, variable()), scope(), clock).unwrap();
    let error = identity.credentials().await.unwrap_err();
    assert!(
        matches!(&error, IdentityError::Refused(refusal) if refusal.cause == Cause::TrustPolicy),
        "{error:?}"
    );
    let told = error.for_client();
    assert_eq!(told.sqlstate, "28000");
    assert_eq!(
        told.message,
        "rds-sidecar: STS refused this job's identity (AccessDenied)"
    );
    assert_eq!(
        told.detail.as_deref(),
        Some(
            "STS says: Not authorized to perform sts:AssumeRoleWithWebIdentity; \
             role_arn=arn:aws:iam::123456789012:role/ci-tests; the ID token has iss=https://gitlab.com \
             sub=project_path:g/p:ref_type:branch:ref:main aud=https://gitlab.com exp=2026-11-23T01:00:00Z; \
             request id 4d4c31e5-dead-beef-1111-222233334444"
        )
    );
    assert_eq!(
        told.hint.as_deref(),
        Some(
            "the trust policy of arn:aws:iam::123456789012:role/ci-tests must have \"Principal\": {\"Federated\": \
             \"arn:aws:iam::123456789012:oidc-provider/gitlab.com\"} and \"Condition\": {\"StringEquals\": \
             {\"gitlab.com:aud\": \"https://gitlab.com\", \"gitlab.com:sub\": \
             \"project_path:g/p:ref_type:branch:ref:main\"}} (StringLike for patterns with *); the role must exist"
        )
    );
    assert_eq!(sts.calls(), 1, "the SDK must not repeat a refusal");
}

/// An identity that learns its token from a file, and that file.
async fn from_file(
    sts: &ScriptedSts,
) -> (tempfile::TempDir, std::path::PathBuf, Hands, Arc<Identity>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("job.jwt");
    let (hands, clock) = Hands::new();
    let identity = Identity::new(
        &config(&sts.url, IdTokenSource::File(path.clone())),
        scope(),
        clock,
    )
    .unwrap();
    (directory, path, hands, identity)
}

fn no() -> Answer {
    Answer::error(
        403,
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    )
}

fn yes(seconds: u64) -> Answer {
    Answer::credentials(WEB, in_seconds(seconds))
}

#[tokio::test]
async fn a_hundred_clients_of_a_refused_identity_are_one_call() {
    let sts = ScriptedSts::start([no()]).await;
    let (_, clock) = Hands::new();
    let identity = Identity::new(&config(&sts.url, variable()), scope(), clock).unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let identity = Arc::clone(&identity);
        clients.spawn(async move { identity.rds_token(&target(), "app").await.unwrap_err() });
    }
    for error in clients.join_all().await {
        assert!(matches!(error, IdentityError::Refused(_)), "{error:?}");
    }
    assert_eq!(sts.calls(), 1);
    assert!(matches!(
        *identity.subscribe().borrow(),
        IdentityState::Failed { .. }
    ));
}

#[tokio::test]
async fn a_push_after_a_refusal_is_tried_at_once() {
    let sts = ScriptedSts::start([no(), yes(3_600)]).await;
    let (_, clock) = Hands::new();
    let identity = Identity::new(&config(&sts.url, variable()), scope(), clock).unwrap();
    identity.credentials().await.unwrap_err();
    let claims = identity.push_id_token(id_token("77")).unwrap();
    assert_eq!(claims.job_id.as_deref(), Some("77"));
    identity.credentials().await.unwrap();
    assert_eq!(sts.calls(), 2);
}

#[tokio::test]
async fn another_token_in_the_file_ends_the_memory_of_a_refusal() {
    let sts = ScriptedSts::start([no(), yes(3_600)]).await;
    let (_directory, path, _, identity) = from_file(&sts).await;
    std::fs::write(&path, id_token("77").expose_secret()).unwrap();
    identity.credentials().await.unwrap_err();
    identity.credentials().await.unwrap_err();
    assert_eq!(sts.calls(), 1);
    let exp = in_seconds(3_600)
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let other = jwt(&format!(
        r#"{{"iss":"i","sub":"other","aud":"a","exp":{exp},"job_id":"77"}}"#
    ));
    std::fs::write(&path, other.expose_secret()).unwrap();
    identity.credentials().await.unwrap();
    assert_eq!(sts.calls(), 2);
    assert_eq!(
        sts.parameter(1, "WebIdentityToken").as_deref(),
        Some(other.expose_secret())
    );
}

#[tokio::test]
async fn another_token_in_the_file_is_noticed_without_any_client() {
    let sts = ScriptedSts::start([no()]).await;
    let (_directory, path, _, identity) = from_file(&sts).await;
    std::fs::write(&path, id_token("77").expose_secret()).unwrap();
    identity.credentials().await.unwrap_err();
    identity.sleep(Duration::from_secs(3_600)).await;
    assert!(
        identity.cache.refused_token().is_some(),
        "the same token remains refused"
    );
    std::fs::write(
        &path,
        jwt(r#"{"iss":"i","sub":"s","aud":"a","exp":9999999999}"#).expose_secret(),
    )
    .unwrap();
    identity.sleep(Duration::from_secs(3_600)).await;
    assert!(identity.cache.refused_token().is_none());
}

#[tokio::test]
async fn a_client_is_held_until_the_token_comes() {
    let sts = ScriptedSts::start([yes(3_600)]).await;
    let (_directory, path, _, identity) = from_file(&sts).await;
    let limit = Duration::from_millis(300);
    assert!(
        tokio::time::timeout(limit, identity.credentials())
            .await
            .is_err()
    );
    let error = identity.timed_out(limit);
    assert!(
        matches!(&error, IdentityError::NoIdToken { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("job.jwt"), "{error}");
    assert_eq!(error.for_client().sqlstate, "28000");
    assert!(
        matches!(&*identity.subscribe().borrow(), IdentityState::Waiting { awaited } if awaited.contains("job.jwt"))
    );
    assert_eq!(sts.calls(), 0);

    let write = async { std::fs::write(&path, id_token("77").expose_secret()).unwrap() };
    let (credentials, ()) = tokio::join!(identity.credentials(), write);
    credentials.unwrap();
    let IdentityState::Ready(ready) = identity.subscribe().borrow().clone() else {
        panic!("not ready")
    };
    assert_eq!(ready.expires_at, Some(in_seconds(3_600)));
    assert_eq!(ready.claims.unwrap().project_path.as_deref(), Some("g/p"));
}

#[tokio::test]
async fn credentials_near_their_end_serve_while_no_token_is_there() {
    let sts = ScriptedSts::start([yes(3_600)]).await;
    let (_directory, path, hands, identity) = from_file(&sts).await;
    std::fs::write(&path, id_token("77").expose_secret()).unwrap();
    identity.credentials().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    hands.forward(3_580);
    identity.credentials().await.unwrap();
    let token = identity.rds_token(&target(), "app").await.unwrap();
    assert!(
        token.expose_secret().contains("X-Amz-Expires=20&"),
        "what is left of the credentials"
    );
    assert_eq!(sts.calls(), 1);
}

#[tokio::test]
async fn keep_fresh_fetches_renews_and_survives_refusals() {
    let sts = ScriptedSts::start([no(), yes(3_600)]).await;
    let (hands, clock) = Hands::new();
    let identity = Identity::new(&config(&sts.url, variable()), scope(), clock).unwrap();
    let mut state = identity.subscribe();
    let keeper = tokio::spawn(Arc::clone(&identity).keep_fresh());
    let ready = |state: &IdentityState| matches!(state, IdentityState::Ready(_));
    state
        .wait_for(|state| matches!(state, IdentityState::Failed { .. }))
        .await
        .unwrap();
    // The refusal is remembered for a second, then tried again without any client.
    tokio::time::timeout(Duration::from_secs(5), state.wait_for(ready))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sts.calls(), 2);

    sts.answer([yes(7_200)]);
    hands.forward(2_600);
    identity.cache.supersede();
    let renewed = |state: &IdentityState| matches!(state, IdentityState::Ready(Ready { expires_at, .. }) if *expires_at == Some(in_seconds(7_200)));
    tokio::time::timeout(Duration::from_secs(5), state.wait_for(renewed))
        .await
        .unwrap()
        .unwrap();
    keeper.abort();
}

#[tokio::test]
async fn the_region_may_be_learned_from_a_database() {
    let (_, clock) = Hands::new();
    let mut config = config("", variable());
    config.region = None;
    config.sts_endpoint = None;
    let scope = Scope {
        logins: vec![Login {
            region: None,
            user: None,
        }],
    };
    let identity = Identity::new(&config, scope, clock).unwrap();
    let error = identity.credentials().await.unwrap_err();
    assert_eq!(error, IdentityError::RegionUnknown);
    assert_eq!(error.for_client().sqlstate, "F0000");
    identity.learn_region("eu-north-1");
    identity.learn_region("us-east-1");
    assert_eq!(
        identity.region.get().map(String::as_str),
        Some("eu-north-1")
    );
}

#[tokio::test]
async fn the_first_known_region_of_the_scope_is_where_sts_is_asked() {
    let (_, clock) = Hands::new();
    let login = |region: Option<&str>| Login {
        region: region.map(str::to_owned),
        user: None,
    };
    let scope = Scope {
        logins: vec![
            login(None),
            login(Some("eu-north-1")),
            login(Some("us-east-1")),
        ],
    };
    let mut config = config("http://127.0.0.1:1", variable());
    let identity = Identity::new(&config, scope.clone(), clock.clone()).unwrap();
    assert_eq!(
        identity.region.get().map(String::as_str),
        Some("eu-west-1"),
        "configured"
    );
    config.region = None;
    let identity = Identity::new(&config, scope, clock).unwrap();
    assert_eq!(
        identity.region.get().map(String::as_str),
        Some("eu-north-1")
    );
}

#[tokio::test]
async fn a_pushed_token_is_of_no_use_without_a_role() {
    let (_, clock) = Hands::new();
    let mut config = config("http://127.0.0.1:1", IdTokenSource::Pushed);
    config.role_arn = None;
    let identity = Identity::new(&config, Scope::default(), clock).unwrap();
    assert_eq!(
        identity.push_id_token(id_token("77")).unwrap_err(),
        IdTokenError::NoRole
    );
}
