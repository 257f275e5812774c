//! One request in, one answer out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::header;
use hyper::header::HeaderValue;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::access::Refusal;
use super::access::may_change;
use super::readiness::Readiness;

/// GitLab's ID tokens are 1 to 2 KiB; some providers put group lists into theirs.
const ID_TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Shorter bodies are no tokens but typing errors, and may occur in any sentence.
const SECRET_BYTES_MIN: usize = 16;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// OpenMetrics 1.0, "Overall Structure".
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) type Answer = Response<Full<Bytes>>;

/// What the admin port may see and do.
#[derive(Clone)]
pub struct Hooks {
    /// What the probes answer.
    pub readiness: watch::Receiver<Readiness>,
    /// Writes the metrics page; runs at each scrape, must not block.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Takes a pushed ID token: a few words about it for the log, or why it is refused. Neither may contain it.
    pub push_identity: Arc<dyn Fn(SecretString) -> Result<String, String> + Send + Sync>,
    /// Cancelled by `POST /quitquitquit`.
    pub quit: CancellationToken,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Identity,
    Liveness,
    Metrics,
    Quit,
    Readiness,
    Startup,
}

/// Every path, for the table and for the text of a 404.
const ROUTES: [(&str, Route); 6] = [
    ("/startup", Route::Startup),
    ("/readiness", Route::Readiness),
    ("/liveness", Route::Liveness),
    ("/metrics", Route::Metrics),
    ("/identity", Route::Identity),
    ("/quitquitquit", Route::Quit),
];

impl Route {
    fn of(path: &str) -> Option<Self> {
        ROUTES
            .iter()
            .find(|(known, _)| *known == path)
            .map(|(_, route)| *route)
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Identity => "PUT",
            Self::Liveness | Self::Metrics | Self::Readiness | Self::Startup => "GET, HEAD",
            Self::Quit => "POST",
        }
    }

    fn accepts(self, method: &Method) -> bool {
        self.allow()
            .split(", ")
            .any(|allowed| allowed == method.as_str())
    }
}

/// Answers one request of `peer`. `token` opens the calls that change something to peers that are not loopback.
pub(super) async fn answer<B>(
    request: Request<B>,
    peer: SocketAddr,
    hooks: &Hooks,
    token: Option<&SecretString>,
) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(route) = Route::of(request.uri().path()) else {
        let paths: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
        return text(
            StatusCode::NOT_FOUND,
            format!("not found; there are: {}\n", paths.join(" ")),
        );
    };
    if !route.accepts(request.method()) {
        let mut answer = text(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("use {}\n", route.allow()),
        );
        answer
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static(route.allow()));
        return answer;
    }
    let wants_json = accepts_json(request.headers());
    match route {
        Route::Startup => startup(&hooks.readiness.borrow(), wants_json),
        Route::Readiness => readiness(&hooks.readiness.borrow(), wants_json),
        Route::Liveness if wants_json => {
            reply(StatusCode::OK, JSON, "{\"alive\":true}\n".to_owned())
        }
        Route::Liveness => text(StatusCode::OK, "alive\n".to_owned()),
        Route::Metrics => reply(StatusCode::OK, OPENMETRICS, (hooks.metrics)()),
        Route::Identity | Route::Quit => match may_change(peer, request.headers(), token) {
            Err(refusal) => refused(peer, refusal),
            Ok(()) if route == Route::Quit => quit(peer, hooks),
            Ok(()) => push_identity(request, peer, hooks).await,
        },
    }
}

fn startup(readiness: &Readiness, wants_json: bool) -> Answer {
    let (status, word) = if readiness.is_started() {
        (StatusCode::OK, "started\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "starting: ports are not open yet\n",
        )
    };
    if wants_json {
        json(status, readiness)
    } else {
        text(status, word.to_owned())
    }
}

fn readiness(readiness: &Readiness, wants_json: bool) -> Answer {
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if wants_json {
        json(status, readiness)
    } else {
        text(status, readiness.to_string())
    }
}

fn quit(peer: SocketAddr, hooks: &Hooks) -> Answer {
    tracing::info!(%peer, "stop requested over HTTP");
    hooks.quit.cancel();
    text(StatusCode::OK, "stopping\n".to_owned())
}

async fn push_identity<B>(request: Request<B>, peer: SocketAddr, hooks: &Hooks) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = match timeout(
        BODY_WITHIN,
        Limited::new(request.into_body(), ID_TOKEN_BYTES_MAX).collect(),
    )
    .await
    {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let limit = format!("an ID token has at most {ID_TOKEN_BYTES_MAX} bytes\n");
            return text(StatusCode::PAYLOAD_TOO_LARGE, limit);
        }
        Ok(Err(_)) => {
            return text(
                StatusCode::BAD_REQUEST,
                "the body was cut short\n".to_owned(),
            );
        }
        Err(_elapsed) => {
            return text(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time\n".to_owned(),
            );
        }
    };
    match accept_token(&body, hooks) {
        Ok(about) => {
            tracing::info!(%peer, %about, "identity pushed");
            bare(StatusCode::NO_CONTENT)
        }
        Err(reason) => {
            tracing::warn!(%peer, %reason, "pushed identity refused");
            text(StatusCode::BAD_REQUEST, format!("{reason}\n"))
        }
    }
}

/// Hands a pushed token on. What comes back never contains it, whatever the hook says.
fn accept_token(body: &[u8], hooks: &Hooks) -> Result<String, String> {
    let token = std::str::from_utf8(body)
        .map_err(|_| "an ID token is text; the body is not".to_owned())?
        .trim();
    if token.is_empty() {
        return Err(
            "the body is empty: send the ID token, for example curl --data-binary \"$ID_TOKEN\""
                .to_owned(),
        );
    }
    let hide = |told: String| {
        let shows = token.len() >= SECRET_BYTES_MIN && told.contains(token);
        if shows {
            "(withheld: it would show the token)".to_owned()
        } else {
            told
        }
    };
    (hooks.push_identity)(SecretString::from(token))
        .map(hide)
        .map_err(hide)
}

fn refused(peer: SocketAddr, refusal: Refusal) -> Answer {
    tracing::warn!(%peer, ?refusal, "admin request refused");
    let (status, why) = match refusal {
        Refusal::LoopbackOnly => (
            StatusCode::FORBIDDEN,
            "only from loopback, or with a token: set RDS_SIDECAR_ADMIN_TOKEN and send \
             Authorization: Bearer TOKEN\n",
        ),
        Refusal::WebPage => (StatusCode::FORBIDDEN, "not from a web page\n"),
        Refusal::WrongToken => (
            StatusCode::UNAUTHORIZED,
            "send Authorization: Bearer TOKEN with the value of RDS_SIDECAR_ADMIN_TOKEN\n",
        ),
    };
    let mut answer = text(status, why.to_owned());
    if status == StatusCode::UNAUTHORIZED {
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

fn accepts_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(JSON))
}

fn json(status: StatusCode, readiness: &Readiness) -> Answer {
    reply(status, JSON, format!("{}\n", readiness.json()))
}

fn text(status: StatusCode, body: String) -> Answer {
    reply(status, TEXT, body)
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = bare(status);
    *answer.body_mut() = Full::from(body);
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn bare(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    answer
}
