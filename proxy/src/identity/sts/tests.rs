#![allow(clippy::unwrap_used)]

use secrecy::SecretString;

use super::*;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::identity::fixture::ROLE;
use crate::identity::fixture::id_token;
use crate::identity::fixture::in_seconds;
use crate::identity::http;
use crate::identity::scripted_sts::Answer;
use crate::identity::scripted_sts::SECRET_KEY;
use crate::identity::scripted_sts::SESSION_TOKEN;
use crate::identity::scripted_sts::ScriptedSts;

const WEB: &str = "AssumeRoleWithWebIdentity";
const DB_ROLE: &str = "arn:aws:iam::222222222222:role/db";
const LAST_ROLE: &str = "arn:aws:iam::333333333333:role/last";

fn asking(endpoint: &str) -> Sts {
    Sts {
        http: http::client(None, Some(endpoint)).unwrap(),
        endpoint: Some(endpoint.to_owned()),
        region: Some("eu-west-1".to_owned()),
        session_name: "job".to_owned(),
        session_seconds: None,
        chain: Vec::new(),
        policy: Some("{}".to_owned()),
    }
}

fn token() -> IdToken {
    IdToken::decode(&id_token("77")).unwrap()
}

async fn failure(answers: impl IntoIterator<Item = Answer>) -> (IdentityError, usize) {
    let server = ScriptedSts::start(answers).await;
    let error = asking(&server.url)
        .with_id_token(ROLE, &token())
        .await
        .unwrap_err();
    (error, server.calls())
}

fn cause(error: &IdentityError) -> Option<Cause> {
    match error {
        IdentityError::Refused(refusal) => Some(refusal.cause),
        _ => None,
    }
}

#[tokio::test]
async fn the_answer_becomes_credentials() {
    let server = ScriptedSts::start([Answer::credentials(WEB, in_seconds(3_600))]).await;
    let sts = Sts {
        session_seconds: Some(7_200),
        ..asking(&server.url)
    };
    let credentials = sts.with_id_token(ROLE, &token()).await.unwrap();
    assert_eq!(credentials.access_key_id(), "ASgeIAIOSFODNN7EXAMPLE");
    assert_eq!(credentials.secret_access_key(), SECRET_KEY);
    assert_eq!(credentials.session_token(), Some(SESSION_TOKEN));
    assert_eq!(credentials.expiry(), Some(in_seconds(3_600)));
    assert_eq!(
        server.parameter(0, "DurationSeconds").as_deref(),
        Some("7200")
    );
    assert_eq!(server.parameter(0, "Policy").as_deref(), Some("{}"));
}

#[tokio::test]
async fn a_chain_is_walked_and_only_its_last_link_is_narrowed() {
    let link = Answer::credentials("AssumeRole", in_seconds(3_600));
    let server = ScriptedSts::start([
        Answer::credentials(WEB, in_seconds(3_600)),
        link.clone(),
        link,
    ])
    .await;
    let chain = vec![DB_ROLE.to_owned(), LAST_ROLE.to_owned()];
    let sts = Sts {
        chain,
        session_seconds: Some(7_200),
        ..asking(&server.url)
    };
    sts.with_id_token(ROLE, &token()).await.unwrap();
    let of = |name: &str| {
        (0..3)
            .map(|call| server.parameter(call, name))
            .collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        of("Action"),
        [some(WEB), some("AssumeRole"), some("AssumeRole")]
    );
    assert_eq!(of("RoleArn"), [some(ROLE), some(DB_ROLE), some(LAST_ROLE)]);
    assert_eq!(of("Policy"), [None, None, some("{}")]);
    assert_eq!(
        of("DurationSeconds"),
        [some("7200"), some("3600"), some("3600")]
    );
    assert_eq!(of("WebIdentityToken").iter().flatten().count(), 1);
}

#[tokio::test]
async fn a_link_that_is_refused_is_named() {
    let no = Answer::error(
        403,
        "AccessDenied",
        "User: arn:aws:sts::1:assumed-role/ci-tests/job is not authorized",
    );
    let server = ScriptedSts::start([Answer::credentials(WEB, in_seconds(3_600)), no]).await;
    let sts = Sts {
        chain: vec![DB_ROLE.to_owned()],
        ..asking(&server.url)
    };
    let error = sts.with_id_token(ROLE, &token()).await.unwrap_err();
    assert_eq!(cause(&error), Some(Cause::ChainForbidden));
    assert!(error.detail().unwrap().contains(DB_ROLE), "{error:?}");
}

#[tokio::test]
async fn modelled_and_unmodelled_errors_keep_their_cause() {
    for (status, code, message, expected) in [
        (
            403,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
            Cause::TrustPolicy,
        ),
        (
            400,
            "InvalidIdentityToken",
            "Incorrect token audience",
            Cause::WrongAudience,
        ),
        (
            400,
            "ExpiredTokenException",
            "Token expired: current date/time 2 must be before 1",
            Cause::TokenExpired,
        ),
        (400, "IDPRejectedClaim", "revoked", Cause::IdpRejectedClaim),
        (400, "MalformedPolicyDocument", "x", Cause::PolicyMalformed),
        (400, "PackedPolicyTooLarge", "x", Cause::PolicyTooLarge),
        (403, "RegionDisabledException", "x", Cause::RegionDisabled),
        (
            400,
            "ValidationError",
            "The requested DurationSeconds exceeds",
            Cause::DurationTooLong,
        ),
    ] {
        let (error, calls) = failure([Answer::error(status, code, message)]).await;
        assert_eq!((cause(&error), calls), (Some(expected), 1), "{error:?}");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_a_few_times() {
    let down = || Answer::error(503, "ServiceUnavailable", "try later");
    let (error, calls) = failure([down()]).await;
    assert_eq!((cause(&error), calls), (Some(Cause::Unavailable), 3));
    let (error, calls) = failure([Answer::error(400, "Throttling", "Rate exceeded")]).await;
    assert_eq!((cause(&error), calls), (Some(Cause::Throttled), 3));
    assert_eq!(error.retry(), Retry::Later);

    let server = ScriptedSts::start([down(), Answer::credentials(WEB, in_seconds(3_600))]).await;
    asking(&server.url)
        .with_id_token(ROLE, &token())
        .await
        .unwrap();
    assert_eq!(server.calls(), 2);
}

#[tokio::test]
async fn what_is_not_sts_is_unreachable() {
    for page in [
        Answer::page(200, "<html>captive portal</html>"),
        Answer::page(404, "not here"),
    ] {
        let (error, _) = failure([page]).await;
        let IdentityError::Unreachable { reason, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(reason.starts_with("what answered is not STS"), "{reason}");
        assert_eq!(
            (error.for_client().sqlstate.as_ref(), error.retry()),
            ("08001", Retry::Later)
        );
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_says_where() {
    // Bound and dropped: nobody listens there now.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let error = asking(&endpoint)
        .with_id_token(ROLE, &token())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert_eq!(error.detail(), Some(format!("endpoint {endpoint}")));
}

#[tokio::test]
async fn an_endpoint_of_its_own_needs_no_region_but_a_chain_does() {
    let server = ScriptedSts::start([Answer::credentials(WEB, in_seconds(3_600))]).await;
    let sts = Sts {
        region: None,
        ..asking(&server.url)
    };
    sts.with_id_token(ROLE, &token()).await.unwrap();
    let sts = Sts {
        chain: vec![DB_ROLE.to_owned()],
        ..sts
    };
    assert_eq!(
        sts.with_id_token(ROLE, &token()).await.unwrap_err(),
        IdentityError::RegionUnknown
    );
}

#[tokio::test]
async fn the_ca_bundle_is_honoured_and_without_it_the_certificate_refused() {
    let (server, pem) = ScriptedSts::start_tls([Answer::credentials(WEB, in_seconds(3_600))]).await;
    let error = asking(&server.url)
        .with_id_token(ROLE, &token())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(error.hint().unwrap().contains("AWS_CA_BUNDLE"), "{error:?}");
    assert_eq!(
        server.calls(),
        0,
        "nothing was sent to a server that is not proven"
    );

    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), pem).unwrap();
    let http = http::client(Some(bundle.path()), Some(&server.url)).unwrap();
    let sts = Sts {
        http,
        ..asking(&server.url)
    };
    sts.with_id_token(ROLE, &token()).await.unwrap();
}

#[test]
fn debug_shows_no_token() {
    let secret = SecretString::from(token().text.expose_secret());
    let shown = format!("{:?} {:?}", token(), asking("http://127.0.0.1:1"));
    for part in secret.expose_secret().split('.').skip(1) {
        assert!(!shown.contains(part), "{shown}");
    }
}
