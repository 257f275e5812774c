//! What the tests of this room share: a clock moved by hand, ID tokens, configuration, the log.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use config::Endpoint;
use config::IdTokenSource;
use config::identity::GitlabJob;
use parking_lot::Mutex;
use secrecy::SecretString;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::clock::Clock;
use crate::identity::Login;
use crate::identity::Scope;
use crate::identity::SignTarget;

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/ci-tests";
/// 2026-11-23T00:00:00Z.
const NOW: u64 = 1_795_392_000;

/// A wall clock to be moved by hand.
#[derive(Clone)]
pub(crate) struct Hands(Arc<Mutex<SystemTime>>);

impl Hands {
    pub(crate) fn new() -> (Self, Clock) {
        let hands = Self(Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(NOW))));
        let read = hands.clone();
        (hands, Clock::new(move || *read.0.lock()))
    }

    pub(crate) fn forward(&self, seconds: u64) {
        *self.0.lock() += Duration::from_secs(seconds);
    }

    pub(crate) fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

pub(crate) fn in_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW + seconds)
}

/// An ID token of job 77 that expires an hour from `NOW`.
pub(crate) fn id_token(job: &str) -> SecretString {
    jwt(&format!(
        r#"{{"iss":"https://gitlab.com","sub":"project_path:g/p:ref_type:branch:ref:main","aud":"https://gitlab.com",
            "exp":{},"iat":{NOW},"job_id":"{job}","project_path":"g/p","ref":"main"}}"#,
        NOW + 3_600
    ))
}

pub(crate) fn variable() -> IdTokenSource {
    IdTokenSource::Variable {
        name: "RDS_SIDECAR_ID_TOKEN".to_owned(),
        token: id_token("77"),
    }
}

pub(crate) fn config(sts: &str, id_token: IdTokenSource) -> config::Identity {
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

pub(crate) fn scope() -> Scope {
    Scope {
        logins: vec![Login {
            region: Some("eu-west-1".to_owned()),
            user: Some("app".to_owned()),
        }],
    }
}

pub(crate) fn target() -> SignTarget {
    let host = "mydb.abc.eu-west-1.rds.amazonaws.com".to_owned();
    SignTarget {
        endpoint: Endpoint { host, port: 5432 },
        region: "eu-west-1".to_owned(),
    }
}

/// A JWT with these claims; its signature is none.
pub(crate) fn jwt(claims: &str) -> SecretString {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    SecretString::from(format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256"}"#),
        part(claims),
        part("signature")
    ))
}

/// What is logged while `work` is done on this thread: everything of ours, and of the dependencies what
/// `telemetry` lets pass at most.
pub(crate) fn logged<T>(work: impl FnOnce() -> T) -> String {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let writer = sink.clone();
    let filter = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("rds_sidecar", LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    tracing::subscriber::with_default(subscriber, work);
    let bytes = sink.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}
