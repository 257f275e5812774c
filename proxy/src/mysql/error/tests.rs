//! What each refusal means, and what the client is told.

use super::*;

fn refused_with(code: u16, message: &str, by_token: bool) -> BackendError {
    BackendError::Refused {
        endpoint: "db:3306".into(),
        said: Arc::new(Said {
            code,
            sqlstate: "28000".into(),
            message: message.into(),
        }),
        token_for: by_token.then(|| "real:3306 in eu-west-1, user u".into()),
    }
}

#[test]
fn limits_are_waited_out_and_counted_resources_are_not() {
    let retry = |code: u16, message: &str| refused_with(code, message, false).retry();
    assert_eq!(retry(1040, "Too many connections"), Retry::LimitReached);
    assert_eq!(
        retry(
            1203,
            "User u already has more than 'max_user_connections' active connections"
        ),
        Retry::LimitReached
    );
    let exceeded =
        |what: &str| format!("User 'u' has exceeded the '{what}' resource (current value: 1)");
    assert_eq!(
        retry(1226, &exceeded("max_user_connections")),
        Retry::LimitReached
    );
    assert_eq!(
        retry(1226, &exceeded("max_connections_per_hour")),
        Retry::Never
    );
    assert_eq!(retry(1129, "Host 'h' is blocked"), Retry::Never);
    assert_eq!(retry(1053, "Server shutdown in progress"), Retry::Later);
    assert_eq!(retry(1049, "Unknown database 'x'"), Retry::Never);
}

#[test]
fn a_refused_token_is_tried_once_more_and_explained() {
    let text = "Access denied for user 'u'@'h' (using password: YES)";
    assert_eq!(refused_with(1045, text, false).retry(), Retry::Never);
    let error = refused_with(1045, text, true);
    assert_eq!(error.retry(), Retry::WithFreshCredentials);
    let told = error.for_client();
    assert_eq!(told.message, text);
    assert!(told.detail.unwrap().contains("signed for real:3306"));
    assert!(told.hint.unwrap().contains("rds-db:connect"));
}

#[test]
fn a_token_nobody_asked_for_is_told_the_statement_to_run() {
    let text = "Access denied for user 'u'@'h' (using password: NO)";
    let hint = refused_with(1045, text, true).for_client().hint.unwrap();
    assert!(
        hint.contains("ALTER USER 'u'@'%' IDENTIFIED WITH AWSAuthenticationPlugin"),
        "{hint}"
    );
}

#[test]
fn the_servers_words_pass_unchanged() {
    let told = refused_with(1049, "Unknown database 'x'", true).for_client();
    assert_eq!(told.message, "Unknown database 'x'");
    assert_eq!((told.detail, told.hint), (None, None));
}

#[test]
fn errors_of_before_the_handshake_response_have_no_sqlstate() {
    let payload = b"\xff\x10\x04Too many connections";
    let said = Said::new(&ErrPacket::parse(payload).unwrap());
    assert_eq!((said.code, said.sqlstate.as_str()), (1040, "08004"));
    let payload = b"\xff\x69\x04Host 'h' is blocked";
    let said = Said::new(&ErrPacket::parse(payload).unwrap());
    assert_eq!((said.code, said.sqlstate.as_str()), (1129, "HY000"));
}
