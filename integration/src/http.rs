//! One HTTP port for everything: the OIDC issuer's documents, STS, and the control interface.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;

use crate::aws::sts::Call;
use crate::control;
use crate::world::World;

const BODY_BYTES_MAX: usize = 1 << 20;

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Answer {
    /// 200 with JSON.
    pub(crate) fn json(value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
        Self {
            status: StatusCode::OK,
            content_type: "application/json",
            body,
        }
    }

    /// An error with one line of text.
    pub(crate) fn error(status: StatusCode, message: &str) -> Self {
        Self {
            status,
            content_type: "text/plain",
            body: format!("{message}\n"),
        }
    }
}

/// Answers until the runtime stops. `listener` is non-blocking; `base` is its URL.
pub(crate) async fn serve(listener: StdTcpListener, base: String, world: Arc<World>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let base: Arc<str> = base.into();
    loop {
        let (stream, _) = listener.accept().await?;
        let (world, base) = (Arc::clone(&world), Arc::clone(&base));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (world, base) = (Arc::clone(&world), Arc::clone(&base));
                async move { Ok::<_, Infallible>(respond(&world, &base, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!("http connection: {error}");
            }
        });
    }
}

async fn respond(world: &World, base: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let answer = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Err(error) => Answer::error(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        Ok(body) => route(world, base, &head, body.to_bytes()).await,
    };
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() = answer.status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

async fn route(
    world: &World,
    base: &str,
    head: &hyper::http::request::Parts,
    body: Bytes,
) -> Answer {
    let path = head.uri.path();
    match (&head.method, path) {
        (_, "/") => sts(world, head, &body).await,
        (&Method::GET, "/.well-known/openid-configuration") => {
            Answer::json(&world.account.issuer.discovery(base))
        }
        (&Method::GET, "/oauth/discovery/keys") => Answer::json(&world.account.issuer.jwks()),
        (method, path) => match path.strip_prefix("/_sandbox/") {
            None => Answer::error(StatusCode::NOT_FOUND, &format!("the sandbox has no {path}")),
            Some(path) => match json_body(&body) {
                Ok(body) => control::answer(world, method, path, body),
                Err(error) => Answer::error(
                    StatusCode::BAD_REQUEST,
                    &format!("the body is not JSON: {error}"),
                ),
            },
        },
    }
}

fn json_body(body: &[u8]) -> serde_json::Result<Value> {
    if body.is_empty() {
        Ok(json!({}))
    } else {
        serde_json::from_slice(body)
    }
}

async fn sts(world: &World, head: &hyper::http::request::Parts, body: &[u8]) -> Answer {
    tokio::time::sleep(Duration::from_millis(world.faults().sts_delay_ms)).await;
    let query = form(head.uri.query().unwrap_or_default());
    let mut parameters: BTreeMap<String, String> = query.iter().cloned().collect();
    parameters.extend(form(&String::from_utf8_lossy(body)));
    let headers = head.headers.iter().map(|(name, value)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    let call = Call {
        method: head.method.to_string(),
        headers: headers.collect(),
        query,
        body: body.to_vec(),
        parameters,
    };
    let (status, body) = match world.sts(&call) {
        Ok(xml) => (StatusCode::OK, xml),
        Err(error) => (
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            error.to_xml(),
        ),
    };
    Answer {
        status,
        content_type: "text/xml",
        body,
    }
}

/// Decodes `application/x-www-form-urlencoded`.
fn form(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| {
        percent_decode_str(&part.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}
