#![allow(clippy::unwrap_used)]

use std::time::Duration;
use std::time::UNIX_EPOCH;

use super::*;

const ROLE: &str = "arn:aws:iam::123456789012:role/team/ci-tests";

fn refusal(code: &str, message: &str, chained: bool) -> Refusal {
    Refusal {
        cause: Cause::of(code, message, chained),
        code: code.to_owned(),
        message: message.to_owned(),
        request_id: None,
        role_arn: ROLE.to_owned(),
        claims: (!chained).then(|| Claims {
            iss: "https://gitlab.example.com".to_owned(),
            sub: "project_path:g/p:ref_type:branch:ref:main".to_owned(),
            aud: vec!["https://aud.example.com".to_owned()],
            exp: UNIX_EPOCH + Duration::from_secs(1_724_709_600),
            iat: None,
            job_id: None,
            project_path: None,
            git_ref: None,
        }),
        session_seconds: Some(7_200),
    }
}

/// Code, STS's own words, the sentence a client gets, a part of the hint.
const SEEN: &[[&str; 4]] = &[
    [
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        "STS refused this job's identity (AccessDenied)",
        r#""Condition": {"StringEquals": {"gitlab.example.com:aud": "https://aud.example.com", "gitlab.example.com:sub": "#,
    ],
    [
        "InvalidIdentityToken",
        "Couldn't retrieve verification key from your identity provider, please reference \
         AssumeRoleWithWebIdentity documentation for requirements",
        "STS could not fetch the identity provider's keys (InvalidIdentityToken)",
        "https://gitlab.example.com/.well-known/openid-configuration",
    ],
    [
        "InvalidIdentityToken",
        "Incorrect token audience",
        "STS refused the ID token's audience (InvalidIdentityToken)",
        "aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn \
         arn:aws:iam::123456789012:oidc-provider/gitlab.example.com --client-id https://aud.example.com",
    ],
    [
        "InvalidIdentityToken",
        "No OpenIDConnect provider found in your account for https://gitlab.example.com",
        "the AWS account has no identity provider for this issuer (InvalidIdentityToken)",
        "aws iam create-open-id-connect-provider --url https://gitlab.example.com --client-id-list \
         https://aud.example.com",
    ],
    [
        "InvalidIdentityToken",
        "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint",
        "STS does not trust the identity provider's certificate (InvalidIdentityToken)",
        "update-open-id-connect-provider-thumbprint",
    ],
    [
        "InvalidIdentityToken",
        "The ID Token provided is not a valid JWT.",
        "STS could not validate the ID token (InvalidIdentityToken)",
        "oidc-provider/gitlab.example.com",
    ],
    [
        "ExpiredTokenException",
        "Token expired: current date/time 1624482533 must be before the expiration date/time1624482335",
        "STS refused the ID token: it has expired (ExpiredTokenException)",
        "raise the timeout",
    ],
    [
        "ExpiredTokenException",
        "Token too old: 441398",
        "STS refused the ID token: it was issued too long ago (ExpiredTokenException)",
        "PUT /identity",
    ],
    [
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        "STS refused the length of the session: the role does not allow it (ValidationError)",
        "session_duration (asked: 7200 s), or raise the role's: aws iam update-role --role-name ci-tests",
    ],
    [
        "ValidationError",
        "1 validation error detected: Value 'x' at 'roleArn' failed to satisfy constraint",
        "STS refused the request as malformed (ValidationError)",
        "check role_arn",
    ],
    [
        "IDPCommunicationError",
        "",
        "STS could not reach the identity provider (IDPCommunicationError)",
        "reachable",
    ],
    [
        "IDPRejectedClaim",
        "",
        "the identity provider rejected this job's identity (IDPRejectedClaim)",
        "issuer",
    ],
    [
        "MalformedPolicyDocument",
        "",
        "STS could not read the session policy (MalformedPolicyDocument)",
        "scope_down",
    ],
    [
        "PackedPolicyTooLarge",
        "",
        "STS found the session policy too large (PackedPolicyTooLarge)",
        "scope_down",
    ],
    [
        "RegionDisabledException",
        "",
        "STS is switched off in this region for the AWS account (RegionDisabledException)",
        "activate STS",
    ],
    [
        "Throttling",
        "Rate exceeded",
        "STS is throttling requests (Throttling)",
        "tried again",
    ],
    [
        "ServiceUnavailable",
        "",
        "STS is unavailable (ServiceUnavailable)",
        "tried again",
    ],
    [
        "SomethingNew",
        "",
        "STS answered with an error (SomethingNew)",
        "role_arn",
    ],
];

#[test]
fn every_message_of_sts_has_its_sentence_and_hint() {
    for [code, message, sentence, hint] in SEEN {
        let refusal = refusal(code, message, false);
        assert_eq!(refusal.to_string(), *sentence);
        assert!(refusal.hint().contains(hint), "{code}: {}", refusal.hint());
        assert!(
            refusal.detail().contains(message),
            "{code}: {}",
            refusal.detail()
        );
        assert!(
            refusal.detail().contains("sub=project_path:g/p"),
            "{code}: {}",
            refusal.detail()
        );
    }
}

#[test]
fn a_refused_link_of_a_chain_names_the_role() {
    let message =
        "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: sts:AssumeRole";
    let refusal = refusal("AccessDenied", message, true);
    assert_eq!(refusal.cause, Cause::ChainForbidden);
    assert_eq!(
        refusal.to_string(),
        "STS refused to assume the next role (AccessDenied)"
    );
    assert!(refusal.hint().contains(ROLE), "{}", refusal.hint());
}

#[test]
fn only_what_mends_itself_is_tried_again() {
    for (code, message, retry) in [
        ("AccessDenied", "", Retry::Never),
        (
            "InvalidIdentityToken",
            "Incorrect token audience",
            Retry::Never,
        ),
        (
            "InvalidIdentityToken",
            "Couldn't retrieve verification key from your identity provider",
            Retry::Later,
        ),
        ("IDPCommunicationError", "", Retry::Later),
        ("Throttling", "", Retry::Later),
        ("InternalFailure", "", Retry::Later),
    ] {
        assert_eq!(
            refusal(code, message, false).retry(),
            retry,
            "{code} {message}"
        );
    }
}

#[test]
fn claims_in_a_command_to_paste_cannot_become_commands() {
    let mut refusal = refusal("InvalidIdentityToken", "Incorrect token audience", false);
    if let Some(claims) = &mut refusal.claims {
        claims.aud = vec!["x; it's $(reboot)".to_owned()];
    }
    let hint = refusal.hint();
    assert!(
        hint.contains(r"--client-id 'x; it'\''s $(reboot)', or set"),
        "{hint}"
    );
}
