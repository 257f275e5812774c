//! The whole way from an ID token to an RDS token, against a scripted STS.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use config::Endpoint;
use config::IdTokenSource;
use config::identity::GitlabJob;
use parking_lot::Mutex;
use secrecy::ExposeSecret;

use super::*;
use crate::fault::Fault;
use crate::identity::id_token::tests::jwt;
use crate::identity::refusal::Cause;
use crate::identity::scripted_sts::Answer;
use crate::identity::scripted_sts::SECRET_KEY;
use crate::identity::scripted_sts::SESSION_TOKEN;
use crate::identity::scripted_sts::ScriptedSts;

pub(super) const ROLE: &str = "arn:aws:iam::123456789012:role/ci-tests";
const WEB: &str = "AssumeRoleWithWebIdentity";
/// 2026-11-23T00:00:00Z.
const NOW: u64 = 1_795_392_000;

/// A wall clock to be moved by hand.
#[derive(Clone)]
pub(super) struct Hands(Arc<Mutex<SystemTime>>);

impl Hands {
    pub(super) fn new() -> (Self, Clock) {
        let hands = Self(Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(NOW))));
        let read = hands.clone();
        (hands, Clock::new(move || *read.0.lock()))
    }

    pub(super) fn forward(&self, seconds: u64) {
        *self.0.lock() += Duration::from_secs(seconds);
    }

    pub(super) fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

pub(super) fn in_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW + seconds)
}

/// An ID token of job 77 that expires an hour from `NOW`.
pub(super) fn id_token(job: &str) -> SecretString {
    jwt(&format!(
        r#"{{"iss":"https://gitlab.com","sub":"project_path:g/p:ref_type:branch:ref:main","aud":"https://gitlab.com",
            "exp":{},"iat":{NOW},"job_id":"{job}","project_path":"g/p","ref":"main"}}"#,
        NOW + 3_600
    ))
}

fn variable() -> IdTokenSource {
    IdTokenSource::Variable {
        name: "RDS_SIDECAR_ID_TOKEN".to_owned(),
        token: id_token("77"),
    }
}

pub(super) fn config(sts: &str, id_token: IdTokenSource) -> config::Identity {
    config::Identity {
        role_arn: Some(ROLE.to_owned()),
        assume: Vec::new(),
        id_token,
        region: Some("eu-west-1".to_owned()),
        session_name: "gitlab-g-p-77".to_owned(),
        session_seconds: None,
        scope_down: true,
        profile: None,
        sts_endpoint: Some(sts.to_owned()),
        aws_ca_bundle: None,
        gitlab: Some(GitlabJob {
            job_id: "77".to_owned(),
            project_path: Some("g/p".to_owned()),
            timeout_seconds: Some(3_600),
            id_token_was_empty: false,
        }),
    }
}

fn scope() -> Scope {
    Scope {
        logins: vec![Login {
            region: Some("eu-west-1".to_owned()),
            user: Some("app".to_owned()),
        }],
    }
}

fn target() -> SignTarget {
    let host = "mydb.abc.eu-west-1.rds.amazonaws.com".to_owned();
    SignTarget {
        endpoint: Endpoint { host, port: 5432 },
        region: "eu-west-1".to_owned(),
    }
}

#[tokio::test]
async fn an_id_token_becomes_an_rds_token() {
    let sts = ScriptedSts::start([Answer::credentials(WEB, in_seconds(3_600))]).await;
    let (_, clock) = Hands::new();
    let identity = Identity::new(&config(&sts.url, variable()), &scope(), clock).unwrap();
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
    let identity = Identity::new(&config(&sts.url, variable()), &scope(), clock).unwrap();
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
