//! Real requests over real sockets.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// A running admin port and what its hooks were given.
struct Admin {
    address: SocketAddr,
    readiness: watch::Sender<Readiness>,
    pushed: Arc<Mutex<Vec<String>>>,
    quit: CancellationToken,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

fn starting() -> Readiness {
    Readiness {
        stage: Stage::Starting,
        identity: Condition::NotReady("waiting for an ID token".to_owned()),
        databases: vec![(
            "app".to_owned(),
            Condition::NotReady("not tried yet".to_owned()),
        )],
    }
}

fn ready() -> Readiness {
    Readiness {
        stage: Stage::Serving,
        identity: Condition::Ready("credentials until 12:34:56".to_owned()),
        databases: vec![("app".to_owned(), Condition::Ready("reachable".to_owned()))],
    }
}

async fn start(token: Option<&str>) -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, receiver) = watch::channel(starting());
    let pushed = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&pushed);
    let quit = CancellationToken::new();
    let shutdown = CancellationToken::new();
    let hooks = Hooks {
        readiness: receiver,
        metrics: Arc::new(|| Metrics::new("0.1.0").page()),
        push_identity: Arc::new(move |token| match token.expose_secret() {
            "good.token.signature" => {
                taken.lock().push(token.expose_secret().to_owned());
                Ok("sub project_path:group/project".to_owned())
            }
            bad => Err(format!("not a JWT: {bad}")),
        }),
        quit: quit.clone(),
    };
    let task = tokio::spawn(serve(
        listener,
        hooks,
        token.map(SecretString::from),
        shutdown.clone(),
    ));
    Admin {
        address,
        readiness,
        pushed,
        quit,
        shutdown,
        task,
    }
}

impl Admin {
    /// Sends bytes, closes the sending side, returns all that comes back.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        stream.write_all(request).await.ok();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(30), stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .ok();
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
             {headers}\r\n{body}"
        );
        let answer = self.raw(request.as_bytes()).await;
        let status = answer
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no answer: {answer:?}"));
        (status.parse().unwrap(), answer)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "", "").await
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn probes_follow_the_readiness_value() {
    let admin = start(None).await;
    let (status, answer) = admin.get("/startup").await;
    assert_eq!(
        (status, body(&answer)),
        (503, "starting: ports are not open yet\n")
    );
    let (status, answer) = admin.get("/readiness").await;
    let expected = "not ready\nprocess: starting\nidentity: waiting for an ID token\ndatabase app: not tried yet\n";
    assert_eq!((status, body(&answer)), (503, expected));
    assert_eq!(admin.get("/liveness").await.0, 200);

    admin.readiness.send_replace(ready());
    let (status, answer) = admin.get("/startup").await;
    assert_eq!((status, body(&answer)), (200, "started\n"));
    let (status, answer) = admin.get("/readiness").await;
    let expected = "ready\nidentity: credentials until 12:34:56\ndatabase app: reachable\n";
    assert_eq!((status, body(&answer)), (200, expected));
    assert!(answer.contains("cache-control: no-store"), "{answer}");
}

#[tokio::test]
async fn probes_answer_json_when_asked() {
    let admin = start(None).await;
    let (status, answer) = admin
        .ask("GET", "/readiness", "Accept: application/json\r\n", "")
        .await;
    assert_eq!(status, 503);
    let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    let expected = serde_json::json!({
        "ready": false,
        "started": false,
        "stage": "starting",
        "identity": { "ready": false, "text": "waiting for an ID token" },
        "databases": [{ "name": "app", "ready": false, "text": "not tried yet" }],
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn metrics_carry_the_openmetrics_type() {
    let admin = start(None).await;
    let (status, answer) = admin.get("/metrics").await;
    assert_eq!(status, 200);
    let content_type =
        "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.contains(content_type), "{answer}");
    assert!(
        answer.contains("rds_sidecar_build_info{version=\"0.1.0\"} 1\n")
            && answer.ends_with("# EOF\n")
    );
}

#[tokio::test]
async fn head_has_headers_and_no_body() {
    let admin = start(None).await;
    let (status, answer) = admin.ask("HEAD", "/readiness", "", "").await;
    assert_eq!((status, body(&answer)), (503, ""));
    assert!(
        answer.contains("content-length: ") && !answer.contains("content-length: 0"),
        "{answer}"
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_say_what_there_is() {
    let admin = start(None).await;
    let (status, answer) = admin.get("/readyz").await;
    assert_eq!(status, 404);
    assert!(body(&answer).contains("/readiness"), "{answer}");
    for (method, path, allow) in [
        ("POST", "/readiness", "GET, HEAD"),
        ("GET", "/identity", "PUT"),
        ("GET", "/quitquitquit", "POST"),
        ("DELETE", "/metrics", "GET, HEAD"),
    ] {
        let (status, answer) = admin.ask(method, path, "", "").await;
        assert_eq!(status, 405, "{method} {path}");
        assert!(answer.contains(&format!("allow: {allow}\r\n")), "{answer}");
    }
    assert!(!admin.quit.is_cancelled());
}

#[tokio::test]
async fn a_pushed_token_is_trimmed_and_handed_on() {
    let admin = start(None).await;
    let (status, answer) = admin
        .ask("PUT", "/identity", "", "\n good.token.signature\n")
        .await;
    assert_eq!((status, body(&answer)), (204, ""));
    assert_eq!(*admin.pushed.lock(), ["good.token.signature"]);
}

#[tokio::test]
async fn a_refused_token_is_not_echoed() {
    let admin = start(None).await;
    let (status, answer) = admin
        .ask("PUT", "/identity", "", "eyJhbGciOi.secret.signature")
        .await;
    assert_eq!(status, 400);
    assert!(!answer.contains("eyJhbGciOi"), "{answer}");
    let (status, answer) = admin.ask("PUT", "/identity", "", "oops").await;
    assert_eq!((status, body(&answer)), (400, "not a JWT: oops\n"));
    let (status, answer) = admin.ask("PUT", "/identity", "", " \n").await;
    assert_eq!(status, 400);
    assert!(body(&answer).starts_with("the body is empty"), "{answer}");
    assert!(admin.pushed.lock().is_empty());
}

#[tokio::test]
async fn a_body_that_is_no_token_is_bounded() {
    let admin = start(None).await;
    let (status, _) = admin
        .ask("PUT", "/identity", "", &"x".repeat(64 * 1024 + 1))
        .await;
    assert_eq!(status, 413);
    let mut chunked =
        b"PUT /identity HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..70 {
        write!(chunked, "400\r\n{}\r\n", "x".repeat(1024)).unwrap();
    }
    assert!(admin.raw(&chunked).await.starts_with("HTTP/1.1 413"));
    let binary = b"PUT /identity HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n\xff\xfe";
    assert!(admin.raw(binary).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn quit_is_for_loopback_but_not_for_web_pages() {
    let admin = start(Some("secret")).await;
    let (status, _) = admin
        .ask(
            "POST",
            "/quitquitquit",
            "Origin: https://evil.example\r\n",
            "",
        )
        .await;
    assert_eq!(status, 403);
    assert!(!admin.quit.is_cancelled());
    let (status, answer) = admin.ask("POST", "/quitquitquit", "", "").await;
    assert_eq!((status, body(&answer)), (200, "stopping\n"));
    assert!(admin.quit.is_cancelled());
}

#[tokio::test]
async fn malformed_requests_are_answered_or_dropped_and_hurt_nobody() {
    let admin = start(None).await;
    for request in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET /readiness HTTP/9.9\r\n\r\n",
        b"GET /readiness HTTP/1.1\r\nContent-Length: nine\r\n\r\n",
        b"GET /readiness HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f\r\n\r\n",
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000)).as_bytes(),
    ] {
        let answer = admin.raw(request).await;
        let accepted = answer.starts_with("HTTP/1.1 2") || answer.starts_with("HTTP/1.1 503");
        assert!(
            !accepted,
            "{:?}: {answer}",
            String::from_utf8_lossy(request)
        );
    }
    assert_eq!(admin.get("/liveness").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_finishes_its_request_is_dropped() {
    let admin = start(None).await;
    for begun in [&b""[..], b"GET /readiness HTTP/1.1\r\nHost:"] {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(60), stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let admin = start(None).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(admin.address).await.unwrap());
    }
    // A request on the last one proves that all before it were accepted.
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET /liveness HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(last.read(&mut [0; 512]).await.unwrap() > 0);

    let waiting = admin.get("/liveness");
    tokio::pin!(waiting);
    assert!(
        timeout(Duration::from_millis(100), waiting.as_mut())
            .await
            .is_err()
    );
    drop(idle.pop());
    assert_eq!(
        timeout(Duration::from_secs(5), waiting).await.unwrap().0,
        200
    );
}

#[tokio::test]
async fn shutdown_closes_the_port_and_idle_connections() {
    let admin = start(None).await;
    let mut idle = TcpStream::connect(admin.address).await.unwrap();
    idle.write_all(b"GET /liveness HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 512]).await.unwrap() > 0);
    admin.shutdown.cancel();
    timeout(Duration::from_secs(5), admin.task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(idle.read(&mut [0; 512]).await.unwrap(), 0);
    assert!(TcpStream::connect(admin.address).await.is_err());
}
