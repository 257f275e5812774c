#![allow(clippy::unwrap_used)]

use super::*;
use crate::identity::fixture::jwt;

const GITLAB: &str = r#"{"iss":"https://gitlab.com","sub":"project_path:g/p:ref_type:branch:ref:main",
    "aud":"https://gitlab.com","exp":1724709600,"iat":1724706000,"nbf":1724705995,"job_id":"77",
    "project_path":"g/p","ref":"main","user_email":"private@example.com"}"#;

#[test]
fn the_claims_of_a_gitlab_token_are_read() {
    let token = IdToken::decode(&jwt(GITLAB)).unwrap();
    let claims = &token.claims;
    assert_eq!(claims.iss, "https://gitlab.com");
    assert_eq!(claims.aud, ["https://gitlab.com"]);
    assert_eq!(claims.job_id.as_deref(), Some("77"));
    assert_eq!(claims.project_path.as_deref(), Some("g/p"));
    assert_eq!(claims.git_ref.as_deref(), Some("main"));
    assert_eq!(
        claims.to_string(),
        "iss=https://gitlab.com sub=project_path:g/p:ref_type:branch:ref:main aud=https://gitlab.com \
         exp=2024-08-26T22:00:00Z"
    );
}

#[test]
fn audiences_may_be_many_and_ids_may_be_numbers() {
    let token = IdToken::decode(&jwt(
        r#"{"iss":"i","sub":"s","aud":["a","b"],"exp":1.5,"job_id":77}"#,
    ))
    .unwrap();
    assert_eq!(token.claims.aud, ["a", "b"]);
    assert_eq!(token.claims.job_id.as_deref(), Some("77"));
    assert_eq!(token.claims.exp, UNIX_EPOCH + Duration::from_millis(1_500));
}

#[test]
fn white_space_around_a_token_is_ignored() {
    let token = SecretString::from(format!("\n {}\r\n", jwt(GITLAB).expose_secret()));
    assert_eq!(
        IdToken::decode(&token).unwrap().text.expose_secret(),
        jwt(GITLAB).expose_secret()
    );
}

#[test]
fn what_is_no_token_is_refused_and_never_quoted() {
    let of = |text: &str| IdToken::decode(&SecretString::from(text)).unwrap_err();
    assert_eq!(of(" \n"), IdTokenError::Empty);
    assert_eq!(of(&"x".repeat(20_001)), IdTokenError::TooLong);
    for text in [
        "hunter2",
        "hunter2.hunter2",
        "a.b.c.d.e",
        "hunter2.!!!.x",
        ".e30.x",
        "x.e30.",
        "x.W10.y",
        "x.aHVudGVyMg.y",
    ] {
        let error = of(text);
        assert!(
            matches!(error, IdTokenError::NotJwt { .. }),
            "{text}: {error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    assert_eq!(of("x.e30.y"), IdTokenError::ClaimMissing { claim: "iss" });
    for (claims, claim) in [
        (r#"{"iss":"i","aud":"a","exp":1}"#, "sub"),
        (r#"{"iss":"i","sub":"s","exp":1}"#, "aud"),
        (r#"{"iss":"i","sub":"s","aud":[],"exp":1}"#, "aud"),
        (r#"{"iss":"i","sub":"s","aud":"a"}"#, "exp"),
        (r#"{"iss":"i","sub":"s","aud":"a","exp":-1}"#, "exp"),
        (r#"{"iss":"i","sub":"s","aud":"a","exp":1e300}"#, "exp"),
    ] {
        assert_eq!(
            IdToken::decode(&jwt(claims)).unwrap_err(),
            IdTokenError::ClaimMissing { claim },
            "{claims}"
        );
    }
}

#[test]
fn a_token_is_valid_until_exp() {
    let token = IdToken::decode(&jwt(GITLAB)).unwrap();
    let exp = UNIX_EPOCH + Duration::from_secs(1_724_709_600);
    assert_eq!(token.check_life(exp - Duration::from_secs(1)), Ok(()));
    let error = token.check_life(exp).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ID token expired at 2024-08-26T22:00:00Z"
    );
}

#[test]
fn a_token_of_another_job_is_refused() {
    let token = IdToken::decode(&jwt(GITLAB)).unwrap();
    assert_eq!(token.check_job("77"), Ok(()));
    assert_eq!(
        token.check_job("78").unwrap_err().to_string(),
        "the ID token belongs to job 77, this is job 78"
    );
    let elsewhere = IdToken::decode(&jwt(r#"{"iss":"i","sub":"s","aud":"a","exp":1}"#)).unwrap();
    assert_eq!(elsewhere.check_job("78"), Ok(()));
}

#[test]
fn debug_shows_claims_only() {
    let secret = jwt(GITLAB);
    let shown = format!("{:?}", IdToken::decode(&secret).unwrap());
    assert!(shown.contains("project_path:g/p"));
    for part in secret.expose_secret().split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
    assert!(!shown.contains("private@example.com"));
}

#[test]
fn control_characters_in_claims_do_not_reach_a_log() {
    let token = IdToken::decode(&jwt(
        r#"{"iss":"i\u001b[2J\n","sub":"s","aud":"a","exp":1}"#,
    ))
    .unwrap();
    assert_eq!(token.claims.iss, "i [2J ");
}
