#![allow(clippy::unwrap_used, clippy::expect_used)]

use aws_credential_types::Credentials;
use rds_sandbox::aws::account::Role;
use rds_sandbox::aws::account::role_arn;
use rds_sandbox::aws::policy::Policy;
use rds_sandbox::clock;
use rds_sandbox::oidc::IdTokenRequest;
use rds_sandbox::oidc::Signing;
use serde_json::Value;
use serde_json::json;

use crate::support::assume;
use crate::support::aws_only;
use crate::support::credentials;
use crate::support::from_sts;
use crate::support::refusal;
use crate::support::sts;

fn with_claims(claims: Value) -> IdTokenRequest {
    IdTokenRequest {
        claims: claims.as_object().unwrap().clone(),
        ..IdTokenRequest::default()
    }
}

fn named(code: &str, message: &str) -> (u16, String, String) {
    let status = if code == "AccessDenied" { 403 } else { 400 };
    (status, code.to_owned(), message.to_owned())
}

const NOT_TRUSTED: &str = "Not authorized to perform sts:AssumeRoleWithWebIdentity";

#[tokio::test]
async fn a_good_token_gets_credentials_that_say_who_they_are() {
    let sandbox = aws_only();
    let before = clock::now();
    let answer = assume(&sandbox, "ci-tests", &IdTokenRequest::default())
        .duration_seconds(1_800)
        .send()
        .await
        .unwrap();
    assert_eq!(
        answer.subject_from_web_identity_token(),
        Some("project_path:acme/shop:ref_type:branch:ref:main")
    );
    assert_eq!(answer.audience(), Some("https://gitlab.example.com"));
    assert_eq!(
        answer.provider(),
        Some("arn:aws:iam::123456789012:oidc-provider/gitlab.example.com")
    );
    let arn = "arn:aws:sts::123456789012:assumed-role/ci-tests/gitlab-acme-shop-1010";
    assert_eq!(answer.assumed_role_user().unwrap().arn(), arn);

    let given = answer.credentials().unwrap();
    assert!(given.access_key_id().starts_with("ASIA") && given.access_key_id().len() == 20);
    assert_eq!(given.secret_access_key().len(), 40);
    assert_eq!(given.session_token().len(), 1_100);
    assert!((before + 1_800..=clock::now() + 1_800).contains(&given.expiration().secs()));

    let whoami = sts(&sandbox, Some(from_sts(given)))
        .get_caller_identity()
        .send()
        .await
        .unwrap();
    assert_eq!(
        (whoami.arn(), whoami.account()),
        (Some(arn), Some("123456789012"))
    );
}

#[tokio::test]
async fn the_trust_policy_decides() {
    let sandbox = aws_only();
    let other = with_claims(json!({ "project_path": "acme/payroll" }));
    assert_eq!(
        refusal(assume(&sandbox, "ci-tests", &other).send().await),
        named("AccessDenied", NOT_TRUSTED)
    );
    assert_eq!(
        refusal(assume(&sandbox, "ci-other-project", &other).send().await).0,
        200
    );
    let tag = with_claims(json!({ "ref_type": "tag", "ref": "v1.0" }));
    assert_eq!(
        refusal(assume(&sandbox, "ci-tests", &tag).send().await).0,
        200
    );
    let unknown = assume(&sandbox, "ci-test", &IdTokenRequest::default())
        .send()
        .await;
    assert_eq!(refusal(unknown), named("AccessDenied", NOT_TRUSTED));

    // The mistake of GitLab's forum: a wildcard in StringEquals.
    let trust = json!({ "Statement": { "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": { "Federated": "arn:aws:iam::123456789012:oidc-provider/gitlab.example.com" },
        "Condition": { "StringEquals": { "gitlab.example.com:sub": "project_path:acme/shop:*" } } } });
    sandbox
        .account()
        .put_role(Role::new("wildcard", trust, json!({ "Statement": [] })).unwrap());
    let refused = assume(&sandbox, "wildcard", &IdTokenRequest::default())
        .send()
        .await;
    assert_eq!(refusal(refused), named("AccessDenied", NOT_TRUSTED));
}

#[tokio::test]
async fn the_token_itself_is_judged() {
    let sandbox = aws_only();
    let invalid = |message: &str| named("InvalidIdentityToken", message);
    let ask = async |request: IdTokenRequest| {
        refusal(assume(&sandbox, "ci-tests", &request).send().await)
    };

    let audience = ask(with_claims(json!({ "aud": "https://gitlab.com" }))).await;
    assert_eq!(audience, invalid("Incorrect token audience"));
    let several = ask(with_claims(
        json!({ "aud": ["https://gitlab.com", "https://gitlab.example.com"] }),
    ))
    .await;
    assert_eq!(several.0, 200);
    let issuer = ask(with_claims(json!({ "iss": "https://gitlab.com" }))).await;
    assert_eq!(
        issuer,
        invalid("No OpenIDConnect provider found in your account for https://gitlab.com")
    );
    let forged = ask(IdTokenRequest {
        signature: Signing::Forged,
        ..IdTokenRequest::default()
    })
    .await;
    assert_eq!(forged, invalid("Token signature invalid"));
    let unknown_key = ask(IdTokenRequest {
        signature: Signing::UnknownKey,
        ..IdTokenRequest::default()
    })
    .await;
    let retrieve = "Couldn't retrieve verification key from your identity provider, please reference \
                    AssumeRoleWithWebIdentity documentation for requirements";
    assert_eq!(unknown_key, invalid(retrieve));
    let early = ask(with_claims(json!({ "nbf": clock::now() + 3_600 }))).await;
    assert_eq!(early, invalid("Token is not yet valid"));

    let old = ask(with_claims(json!({ "iat": clock::now() - 100_000 }))).await;
    assert_eq!((old.0, old.1.as_str()), (400, "ExpiredTokenException"));
    assert!(old.2.starts_with("Token too old: 10000"), "{}", old.2);
    let (earliest, expired) = (
        clock::now(),
        ask(IdTokenRequest {
            expires_in: Some(-60),
            ..Default::default()
        })
        .await,
    );
    let possible = (earliest..=clock::now()).map(|now| {
        let message = format!(
            "Token expired: current date/time {now} must be before the expiration date/time"
        );
        (now, message)
    });
    assert_eq!(
        (expired.0, expired.1.as_str()),
        (400, "ExpiredTokenException")
    );
    assert!(
        possible
            .into_iter()
            .any(|(_, message)| expired.2.starts_with(&message)),
        "{}",
        expired.2
    );

    let garbage = assume(&sandbox, "ci-tests", &IdTokenRequest::default())
        .web_identity_token("a.b.c")
        .send()
        .await;
    let message = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
    assert_eq!(refusal(garbage), invalid(message));
}

#[tokio::test]
async fn parameters_are_held_to_their_constraints() {
    let sandbox = aws_only();
    let ask = || assume(&sandbox, "ci-tests", &IdTokenRequest::default());
    let invalid = |message: &str| named("ValidationError", message);
    let constraint = |value: &str, at: &str, rule: &str| {
        let must =
            format!("Value '{value}' at '{at}' failed to satisfy constraint: Member must {rule}");
        invalid(&format!("1 validation error detected: {must}"))
    };
    let long = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    assert_eq!(
        refusal(ask().duration_seconds(3_601).send().await),
        invalid(long)
    );
    let wanted = constraint(
        "899",
        "durationSeconds",
        "have value greater than or equal to 900",
    );
    assert_eq!(refusal(ask().duration_seconds(899).send().await), wanted);
    let wanted = constraint(
        "43201",
        "durationSeconds",
        "have value less than or equal to 43200",
    );
    assert_eq!(refusal(ask().duration_seconds(43_201).send().await), wanted);
    let wanted = constraint(
        "a b",
        "roleSessionName",
        r"satisfy regular expression pattern: [\w+=,.@-]*",
    );
    assert_eq!(refusal(ask().role_session_name("a b").send().await), wanted);
    let wanted = constraint(
        "a",
        "roleSessionName",
        "have length greater than or equal to 2",
    );
    assert_eq!(refusal(ask().role_session_name("a").send().await), wanted);
    let wanted = named(
        "MalformedPolicyDocument",
        "This policy contains invalid Json",
    );
    assert_eq!(refusal(ask().policy("{").send().await), wanted);
    let wanted = named("MalformedPolicyDocument", "Syntax errors in policy.");
    assert_eq!(
        refusal(ask().policy("{\"Statment\":[]}").send().await),
        wanted
    );
    let wanted = constraint(
        "{\"Sid\":\"Ł\"}",
        "policy",
        r"satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]+",
    );
    assert_eq!(
        refusal(ask().policy("{\"Sid\":\"Ł\"}").send().await),
        wanted
    );
    let large = " ".repeat(2_049);
    let wanted = constraint(&large, "policy", "have length less than or equal to 2048");
    assert_eq!(refusal(ask().policy(&large).send().await), wanted);
}

#[tokio::test]
async fn a_signed_call_is_verified() {
    let sandbox = aws_only();
    let good = credentials(&sandbox, "ci-tests").await;
    let with = |id: &str, secret: &str, token: Option<&str>| {
        Credentials::new(id, secret, token.map(ToOwned::to_owned), None, "test")
    };
    let ask = async |credentials| {
        refusal(
            sts(&sandbox, Some(credentials))
                .get_caller_identity()
                .send()
                .await,
        )
    };
    let forbidden = |code: &str, message: &str| (403, code.to_owned(), message.to_owned());
    let unknown = forbidden(
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
    );

    let (id, secret, token) = (
        good.access_key_id(),
        good.secret_access_key(),
        good.session_token(),
    );
    assert_eq!(
        ask(with("ASIAAAAAAAAAAAAAAAAA", secret, token)).await,
        unknown
    );
    assert_eq!(ask(with(id, secret, Some("another"))).await, unknown);
    assert_eq!(ask(with(id, secret, None)).await, unknown);
    let mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS \
                    Secret Access Key and signing method. Consult the service documentation for details.";
    assert_eq!(
        ask(with(id, "wrong", token)).await,
        forbidden("SignatureDoesNotMatch", mismatch)
    );
    assert_eq!(ask(good.clone()).await.0, 200);
    assert_eq!(sandbox.expire_credentials(), 1);
    let expired = forbidden(
        "ExpiredToken",
        "The security token included in the request is expired",
    );
    assert_eq!(ask(good).await, expired);
}

#[tokio::test]
async fn roles_are_chained_as_far_as_policies_go() {
    let sandbox = aws_only();
    let first = credentials(&sandbox, "ci-tests").await;
    let chain = |credentials: Credentials, role: &str| {
        sts(&sandbox, Some(credentials))
            .assume_role()
            .role_arn(role_arn(role))
            .role_session_name("second")
    };
    let second = chain(first.clone(), "ci-chained").send().await.unwrap();
    let arn = "arn:aws:sts::123456789012:assumed-role/ci-chained/second";
    assert_eq!(second.assumed_role_user().unwrap().arn(), arn);

    let denied = |role: &str| {
        let who = "arn:aws:sts::123456789012:assumed-role/ci-tests/gitlab-acme-shop-1010";
        let what = format!(
            "is not authorized to perform: sts:AssumeRole on resource: {}",
            role_arn(role)
        );
        named("AccessDenied", &format!("User: {who} {what}"))
    };
    assert_eq!(
        refusal(chain(first.clone(), "ci-other-project").send().await),
        denied("ci-other-project")
    );
    assert_eq!(
        refusal(chain(first.clone(), "nobody").send().await),
        denied("nobody")
    );
    let hour = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
    let long = chain(first, "ci-chained")
        .duration_seconds(3_601)
        .send()
        .await;
    assert_eq!(refusal(long), named("ValidationError", hour));

    // A session policy without sts:AssumeRole ends the chain, though the trust policy names the role.
    let only =
        json!({ "Statement": { "Effect": "Allow", "Action": "rds-db:connect", "Resource": "*" } })
            .to_string();
    let scoped = assume(&sandbox, "ci-tests", &IdTokenRequest::default())
        .policy(only)
        .send()
        .await
        .unwrap();
    let scoped = chain(from_sts(scoped.credentials().unwrap()), "ci-chained")
        .send()
        .await;
    assert_eq!(refusal(scoped), denied("ci-chained"));
}

#[tokio::test]
async fn a_laptop_has_a_long_lived_key() {
    let sandbox = aws_only();
    let policy =
        json!({ "Statement": { "Effect": "Allow", "Action": "rds-db:connect", "Resource": "*" } });
    let key = sandbox
        .account()
        .create_access_key("dev", Policy::from_value(policy).unwrap());
    let credentials = Credentials::new(key.id, key.secret, None, None, "test");
    let whoami = sts(&sandbox, Some(credentials))
        .get_caller_identity()
        .send()
        .await
        .unwrap();
    assert_eq!(whoami.arn(), Some("arn:aws:iam::123456789012:user/dev"));
}
