//! What reaches the log, and above all what does not.

use std::io;
use std::iter;
use std::sync::Arc;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use aws_sdk_sts::config::BehaviorVersion;
use aws_sdk_sts::config::Credentials;
use aws_sdk_sts::config::Region;
use aws_sigv4::http_request::SignableBody;
use aws_sigv4::http_request::SignableRequest;
use aws_sigv4::http_request::SignatureLocation;
use aws_sigv4::http_request::SigningSettings;
use aws_sigv4::http_request::sign;
use aws_sigv4::sign::v4;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tracing::Level;
use tracing::subscriber::with_default;

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What `write` logs under this filter.
fn logged(format: LogFormat, filter: &str, write: impl FnOnce()) -> String {
    let captured = Captured::default();
    with_default(
        subscriber(format, parse(filter).unwrap(), false, captured.clone()),
        write,
    );
    captured.text()
}

fn talk() {
    tracing::trace!(target: "rds_sidecar::pool", "ours at trace");
    tracing::info!(target: "rds_sidecar::pool", "ours at info");
    tracing::trace!(target: "aws_smithy_runtime::client", "theirs at trace");
    tracing::debug!(target: "hyper::proto", "theirs at debug");
    tracing::info!(target: "rustls", "theirs at info");
    tracing::warn!(target: "rustls", "theirs at warn");
}

#[test]
fn a_level_is_for_us_and_dependencies_stay_quiet() {
    let trace = logged(LogFormat::Text, "trace", talk);
    assert!(
        trace.contains("ours at trace") && trace.contains("theirs at warn"),
        "{trace}"
    );
    for hidden in ["theirs at trace", "theirs at debug", "theirs at info"] {
        assert!(!trace.contains(hidden), "{trace}");
    }
    let info = logged(LogFormat::Text, "info", talk);
    assert!(
        info.contains("ours at info") && !info.contains("ours at trace"),
        "{info}"
    );
    let error = logged(LogFormat::Text, "error", talk);
    assert_eq!(error, "");
}

#[test]
fn a_named_target_wins_over_the_level() {
    let log = logged(
        LogFormat::Text,
        "warn, rds_sidecar::pool=TRACE, rustls=info",
        talk,
    );
    assert!(
        log.contains("ours at trace") && log.contains("theirs at info"),
        "{log}"
    );
    let log = logged(LogFormat::Text, "rustls=off", talk);
    assert!(
        log.contains("ours at info") && !log.contains("theirs at warn"),
        "{log}"
    );
}

#[test]
fn no_filter_lets_a_dependency_below_info() {
    for filter in [
        "hyper=trace",
        "aws_smithy_runtime::client=debug",
        "aws=trace",
        "rds=trace",
        "h2=debug",
    ] {
        let error = check_filter(filter).unwrap_err();
        assert_eq!(error.problem, FilterProblem::TooTalkative, "{filter}");
        assert_eq!(
            error.to_string(),
            format!("`{filter}` would log a dependency's requests, tokens included")
        );
    }
}

#[test]
fn typing_errors_are_found() {
    let unknown = [
        "verbose",
        "inof",
        "rds_sidecar",
        "hyper",
        "5",
        "rds_sidecar=",
        "rds_sidecar=loud",
        "info;debug",
    ];
    for filter in unknown {
        assert_eq!(
            check_filter(filter).unwrap_err().problem,
            FilterProblem::UnknownLevel,
            "{filter}"
        );
    }
    for filter in ["=debug", "rds-sidecar=debug", "rds_sidecar[span]=debug"] {
        assert_eq!(
            check_filter(filter).unwrap_err().problem,
            FilterProblem::NotATarget,
            "{filter}"
        );
    }
    for filter in [
        "",
        "off",
        "INFO",
        " debug , ",
        "warn,rds_sidecar::pool=trace,hyper=info",
    ] {
        assert_eq!(check_filter(filter), Ok(()), "{filter}");
    }
}

#[test]
fn json_is_one_object_a_line() {
    let log = logged(LogFormat::Json, "info", || {
        tracing::event!(target: "rds_sidecar::pool", Level::INFO, waited_ms = 7, "lease \"opened\"");
        tracing::event!(target: "rds_sidecar::pool", Level::WARN, "second");
    });
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["message"], "lease \"opened\"");
    assert_eq!(lines[0]["waited_ms"], 7);
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[0]["target"], "rds_sidecar::pool");
}

#[test]
fn a_peer_cannot_command_the_terminal_or_forge_a_line() {
    let log = logged(LogFormat::Text, "info", || {
        let user = "\x1b[2J\x1b]0;owned\x07\nINFO forged";
        tracing::event!(target: "rds_sidecar::postgres", Level::INFO, %user, "client refused");
        tracing::event!(target: "rds_sidecar::postgres", Level::INFO, "client {user} refused");
    });
    assert!(!log.contains('\x1b') && !log.contains('\x07'), "{log:?}");
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(
        log.contains(r"user=\u{1b}[2J\u{1b}]0;owned\u{7}\nINFO forged"),
        "{log}"
    );
}

/// Credentials of a first role, and those of the second one it assumes.
const FIRST: [&str; 2] = [
    "SECRET-KEY-OF-THE-FIRST-ROLE",
    "SECRET-TOKEN-OF-THE-FIRST-ROLE",
];
const SECOND: [&str; 2] = [
    "SECRET-KEY-OF-THE-SECOND-ROLE",
    "SECRET-TOKEN-OF-THE-SECOND-ROLE",
];

/// Answers one AssumeRole as STS does.
async fn answer_as_sts(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !String::from_utf8_lossy(&request).contains("RoleSessionName=test") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    let [key, token] = SECOND;
    let body = format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIASECOND</AccessKeyId>\
         <SecretAccessKey>{key}</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration>\
         </Credentials></AssumeRoleResult></AssumeRoleResponse>"
    );
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Asks a scripted STS for the next role of a chain, with the real SDK.
fn assume_role() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [key, token] = FIRST.map(str::to_owned);
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new(
                "ASIAFIRST",
                key,
                Some(token),
                None,
                "test",
            ))
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let call = aws_sdk_sts::Client::from_conf(config)
            .assume_role()
            .role_arn("arn:aws:iam::123456789012:role/ci")
            .role_session_name("test")
            .send();
        let (assumed, ()) = tokio::join!(call, answer_as_sts(listener));
        assert_eq!(
            assumed.unwrap().credentials.unwrap().secret_access_key,
            SECOND[0]
        );
    });
}

/// Signs a request by its query, as RDS tokens are made.
fn sign_by_query() {
    let [key, token] = FIRST.map(str::to_owned);
    let identity = Credentials::new("ASIAFIRST", key, Some(token), None, "test").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(900));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("rds-db")
        .time(UNIX_EPOCH)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let url = "https://mydb.abc123.eu-west-1.rds.amazonaws.com:5432/?Action=connect&DBUser=app";
    let body = SignableBody::Bytes(b"");
    let request = SignableRequest::new("GET", url, iter::empty(), body).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    assert!(
        instructions
            .params()
            .iter()
            .any(|(_, value)| value == FIRST[1])
    );
}

fn use_aws() {
    assume_role();
    sign_by_query();
}

#[test]
fn aws_libraries_show_no_secret_at_trace() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let log = logged(format, "trace", use_aws);
        for secret in FIRST.into_iter().chain(SECOND) {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

/// The reason for the rule above, and the proof that its test could fail.
#[test]
fn aws_libraries_left_alone_show_the_session_token() {
    let captured = Captured::default();
    let everything = Targets::new().with_default(LevelFilter::TRACE);
    with_default(
        subscriber(LogFormat::Text, everything, false, captured.clone()),
        use_aws,
    );
    assert!(captured.text().contains(FIRST[1]));
}
