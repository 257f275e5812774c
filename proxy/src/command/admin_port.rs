//! The running sidecar's admin port, seen from another process on the same machine.

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use config::Server;
use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::CommandError;

/// Answers are a few lines; whatever else listens there need not be read to its end.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Of an answer that is not ours, this much is shown.
const STRANGER_CHARS_MAX: usize = 200;

/// Where the admin port is and what opens it.
#[derive(Debug)]
pub(super) struct AdminPort {
    address: SocketAddr,
    token: Option<SecretString>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: String,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Connected, and then it closed, or spoke no HTTP.
    #[error("{0} answers, but not as rds-sidecar does")]
    Broken(SocketAddr),
    /// No connection.
    #[error("nothing answers at {address}: {reason}")]
    Nobody {
        address: SocketAddr,
        reason: io::ErrorKind,
    },
    /// Connected, and then silence.
    #[error("{0} did not answer in time")]
    TimedOut(SocketAddr),
}

impl AdminPort {
    /// The one this configuration describes. A sidecar that listens on all addresses is found on loopback.
    pub(super) fn of(server: &Server) -> Result<Self, CommandError> {
        let mut address = server.admin.ok_or(CommandError::AdminOff)?;
        if address.port() == 0 {
            return Err(CommandError::AdminPortUnknown);
        }
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => (),
        }
        Ok(Self {
            address,
            token: server.admin_token.clone(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// One request, answered within `limit`.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<Answer, AskError> {
        timeout(limit, self.exchange(method, path))
            .await
            .unwrap_or(Err(AskError::TimedOut(self.address)))
    }

    /// True when nobody listens there any more.
    pub(super) async fn is_closed(&self, limit: Duration) -> bool {
        matches!(
            timeout(limit, TcpStream::connect(self.address)).await,
            Ok(Err(_))
        )
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<Answer, AskError> {
        let address = self.address;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| AskError::Nobody {
                address,
                reason: error.kind(),
            })?;
        let broken = |_| AskError::Broken(address);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // Ends with the connection, which the server closes after this request.
        tokio::spawn(connection);
        let request = self
            .request(method, path)
            .map_err(|_| AskError::Broken(address))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|_| AskError::Broken(address))?.to_bytes();
        Ok(Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
    ) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
        let changes_something = method == Method::POST;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONNECTION, "close");
        if let Some(token) = self.token.as_ref().filter(|_| changes_something) {
            request = request.header(
                header::AUTHORIZATION,
                format!("Bearer {}", token.expose_secret()),
            );
        }
        request.body(Empty::new())
    }
}

impl Answer {
    /// The answer in one line: what a probe says is missing, or the status of whatever else answered.
    pub(super) fn reason(&self) -> String {
        let lines: Vec<&str> = self
            .body
            .lines()
            .filter(|line| *line != "not ready")
            .collect();
        if self.status == StatusCode::SERVICE_UNAVAILABLE && !lines.is_empty() {
            return lines.join("; ");
        }
        // From a stranger: the terminal gets a little of its text and none of its control characters.
        let first = lines.first().copied().unwrap_or_default();
        let first: String = first
            .chars()
            .filter(|each| !each.is_control())
            .take(STRANGER_CHARS_MAX)
            .collect();
        format!("the answer was {}: {first}", self.status)
    }
}
