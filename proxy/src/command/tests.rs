//! Commands against a running admin port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::config::LogFormat;
use ::config::Server;
use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::admin;
use crate::admin::Condition;
use crate::admin::Hooks;
use crate::admin::Readiness;
use crate::admin::Stage;

const SOON: Duration = Duration::from_millis(300);

fn server(admin: Option<SocketAddr>) -> Server {
    Server {
        admin,
        admin_token: None,
        log: LogFormat::Text,
        log_level: "info".to_owned(),
        shutdown_grace: Duration::from_secs(10),
        max_lifetime: None,
        exit_when_idle: None,
    }
}

fn readiness(stage: Stage, identity: Condition) -> Readiness {
    Readiness {
        stage,
        identity,
        databases: vec![("app".to_owned(), Condition::Ready("reachable".to_owned()))],
    }
}

fn waiting() -> Condition {
    Condition::NotReady("waiting for an ID token".to_owned())
}

fn there() -> Condition {
    Condition::Ready("credentials until 12:34:56".to_owned())
}

/// An admin port on `listener` that closes when asked to quit, after `grace`.
fn serve(listener: TcpListener, grace: Duration) -> watch::Sender<Readiness> {
    let (sender, readiness) = watch::channel(readiness(Stage::Starting, waiting()));
    let quit = CancellationToken::new();
    let shutdown = CancellationToken::new();
    let hooks = Hooks {
        readiness,
        metrics: Arc::new(String::new),
        push_identity: Arc::new(|_| Err("not here".to_owned())),
        quit: quit.clone(),
    };
    tokio::spawn(admin::serve(listener, hooks, None, shutdown.clone()));
    tokio::spawn(async move {
        quit.cancelled().await;
        sleep(grace).await;
        shutdown.cancel();
    });
    sender
}

async fn listen() -> (TcpListener, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, server(Some(address)))
}

/// A port on which nobody listens.
async fn free_port() -> Server {
    let (listener, server) = listen().await;
    drop(listener);
    server
}

#[tokio::test]
async fn wait_ends_when_everything_is_ready() {
    let (listener, server) = listen().await;
    let state = serve(listener, Duration::ZERO);
    let waiter = tokio::spawn(async move { wait(&server, Duration::from_secs(20)).await });
    sleep(Duration::from_millis(50)).await;
    assert!(!waiter.is_finished());
    state.send_replace(readiness(Stage::Serving, there()));
    assert_eq!(
        timeout(Duration::from_secs(10), waiter)
            .await
            .unwrap()
            .unwrap(),
        Ok(())
    );
}

#[tokio::test]
async fn wait_repeats_what_was_missing() {
    let (listener, server) = listen().await;
    let _state = serve(listener, Duration::ZERO);
    let error = wait(&server, SOON).await.unwrap_err();
    let expected = "not ready after 300ms: process: starting; identity: waiting for an ID token; \
                    database app: reachable";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.exit_code(), 69);
}

#[tokio::test]
async fn wait_waits_for_a_process_that_is_not_there_yet() {
    let server = free_port().await;
    let error = wait(&server, SOON).await.unwrap_err();
    let address = server.admin.unwrap();
    let expected =
        format!("not ready after 300ms: nothing answers at {address}: connection refused");
    assert_eq!(error.to_string(), expected);

    let late = server.clone();
    let waiter = tokio::spawn(async move { wait(&late, Duration::from_secs(20)).await });
    sleep(Duration::from_millis(150)).await;
    let state = serve(TcpListener::bind(address).await.unwrap(), Duration::ZERO);
    state.send_replace(readiness(Stage::Serving, there()));
    assert_eq!(
        timeout(Duration::from_secs(10), waiter)
            .await
            .unwrap()
            .unwrap(),
        Ok(())
    );
}

#[tokio::test]
async fn healthcheck_is_about_open_ports_not_about_identity() {
    let (listener, server) = listen().await;
    let state = serve(listener, Duration::ZERO);
    let error = healthcheck(&server).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "unhealthy: starting: ports are not open yet"
    );
    assert_eq!(error.exit_code(), 1);
    state.send_replace(readiness(Stage::Serving, waiting()));
    assert_eq!(healthcheck(&server).await, Ok(()));
}

#[tokio::test]
async fn healthcheck_fails_with_one_whatever_is_wrong() {
    assert_eq!(
        healthcheck(&free_port().await)
            .await
            .unwrap_err()
            .exit_code(),
        1
    );
    assert_eq!(healthcheck(&server(None)).await.unwrap_err().exit_code(), 1);
}

#[tokio::test]
async fn stop_returns_when_the_port_is_closed() {
    let (listener, server) = listen().await;
    let _state = serve(listener, Duration::from_millis(200));
    assert_eq!(stop(&server, Duration::from_secs(20)).await, Ok(()));
    let error = stop(&server, SOON).await.unwrap_err();
    assert!(matches!(error, CommandError::NobodyThere { .. }), "{error}");
    assert_eq!(error.exit_code(), 69);
}

#[tokio::test]
async fn stop_says_when_it_is_still_running() {
    let (listener, server) = listen().await;
    let address = server.admin.unwrap();
    let _state = serve(listener, Duration::from_secs(3600));
    let error = stop(&server, SOON).await.unwrap_err();
    assert_eq!(
        error,
        CommandError::StillRunning {
            address,
            after: SOON
        }
    );
}

/// Answers every connection with `answer`; returns the first request it got.
async fn answer_with(listener: TcpListener, answer: &'static [u8]) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    stream.write_all(answer).await.unwrap();
    String::from_utf8(request).unwrap()
}

#[tokio::test]
async fn stop_sends_the_token_and_shows_a_refusal() {
    let (listener, mut server) = listen().await;
    server.admin_token = Some(SecretString::from("secret"));
    let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 10\r\n\r\nwrong one\n";
    let (stopped, request) = tokio::join!(stop(&server, SOON), answer_with(listener, answer));
    assert!(
        request.starts_with("POST /quitquitquit HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("authorization: Bearer secret\r\n"),
        "{request}"
    );
    assert_eq!(
        stopped.unwrap_err().to_string(),
        "not stopped: the answer was 401 Unauthorized: wrong one"
    );
}

#[tokio::test]
async fn another_program_on_the_port_is_told_apart() {
    let (listener, server) = listen().await;
    let (checked, _) = tokio::join!(
        healthcheck(&server),
        answer_with(listener, b"220 smtp.example\r\n")
    );
    let address = server.admin.unwrap();
    let expected = format!("unhealthy: {address} answers, but not as rds-sidecar does");
    assert_eq!(checked.unwrap_err().to_string(), expected);
}

#[tokio::test]
async fn an_admin_port_that_is_off_or_unknown_is_a_matter_of_configuration() {
    let off = wait(&server(None), SOON).await.unwrap_err();
    assert_eq!(off.exit_code(), 64);
    assert_eq!(off, CommandError::AdminOff);
    let unknown = stop(&server(Some("127.0.0.1:0".parse().unwrap())), SOON)
        .await
        .unwrap_err();
    assert_eq!(unknown.exit_code(), 64);
    assert_eq!(unknown, CommandError::AdminPortUnknown);
}

#[tokio::test]
async fn a_sidecar_on_all_addresses_is_found_on_loopback() {
    let (listener, server) = listen().await;
    let state = serve(listener, Duration::ZERO);
    state.send_replace(readiness(Stage::Serving, there()));
    let port = server.admin.unwrap().port();
    let everywhere = Server {
        admin: Some(SocketAddr::from(([0, 0, 0, 0], port))),
        ..server
    };
    assert_eq!(wait(&everywhere, Duration::from_secs(10)).await, Ok(()));
}
