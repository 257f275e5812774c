//! No secret in any log, `Debug`, state or error.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use secrecy::ExposeSecret;

use super::WEB;
use crate::fault::Fault;
use crate::identity::Identity;
use crate::identity::fixture::Hands;
use crate::identity::fixture::config;
use crate::identity::fixture::id_token;
use crate::identity::fixture::in_seconds;
use crate::identity::fixture::logged;
use crate::identity::fixture::scope;
use crate::identity::fixture::target;
use crate::identity::fixture::variable;
use crate::identity::scripted_sts::Answer;
use crate::identity::scripted_sts::SECRET_KEY;
use crate::identity::scripted_sts::SESSION_TOKEN;
use crate::identity::scripted_sts::ScriptedSts;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

fn assert_no_secret(text: &str, rds_token: &str) {
    let id_token = id_token("77");
    let signature = rds_token
        .split("X-Amz-Signature=")
        .nth(1)
        .unwrap()
        .get(..64)
        .unwrap();
    let mut secrets = vec![SECRET_KEY, SESSION_TOKEN, signature];
    // The header part is the same for every token of an issuer: no secret.
    secrets.extend(id_token.expose_secret().split('.').skip(1));
    for secret in secrets {
        if let Some(at) = text.find(secret) {
            let from = text[..at].rfind('\n').unwrap_or(0);
            panic!(
                "{secret} is in: {}",
                text.get(from..at + secret.len()).unwrap()
            );
        }
    }
}

#[test]
fn no_secret_is_logged_or_shown_at_any_level() {
    let mut shown = String::new();
    let mut token = String::new();
    let log = logged(|| {
        block_on(async {
            let sts = ScriptedSts::start([
                Answer::credentials(WEB, in_seconds(3_600)),
                Answer::credentials("AssumeRole", in_seconds(3_600)),
            ])
            .await;
            let (_, clock) = Hands::new();
            let mut config = config(&sts.url, variable());
            config.assume = vec!["arn:aws:iam::999999999999:role/db".to_owned()];
            let identity = Identity::new(&config, scope(), clock).unwrap();
            let rds_token = identity.rds_token(&target(), "app").await.unwrap();
            identity.push_id_token(id_token("77")).unwrap();
            let state = identity.subscribe();
            shown = format!("{identity:?} {:?} {rds_token:?} {config:?}", state.borrow());
            rds_token.expose_secret().clone_into(&mut token);
        });
    });
    assert!(log.contains("credentials obtained"), "the log is captured");
    assert_no_secret(&shown, &token);
    assert_no_secret(&log, &token);
}

#[test]
fn no_secret_is_in_an_error_even_when_sts_echoes_it() {
    let echo = Answer::error(
        400,
        "InvalidIdentityToken",
        &format!("bad token: {}", id_token("77").expose_secret()),
    );
    let mut shown = String::new();
    let log = logged(|| {
        block_on(async {
            let sts = ScriptedSts::start([echo]).await;
            let (_, clock) = Hands::new();
            let identity = Identity::new(&config(&sts.url, variable()), scope(), clock).unwrap();
            let error = identity.credentials().await.unwrap_err();
            shown = format!("{error} {error:?} {:?}", error.for_client());
        });
    });
    let any = format!("X-Amz-Signature={}", "0".repeat(64));
    assert!(shown.contains("bad token: [ID token]"), "{shown}");
    assert_no_secret(&shown, &any);
    assert_no_secret(&log, &any);
}
