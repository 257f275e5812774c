//! A server for tests that answers STS calls with prepared documents and remembers what it was asked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::identity::text;

pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";
pub(crate) const SESSION_TOKEN: &str = "AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp";

/// One prepared answer.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    body: String,
}

/// The server. The last answer is repeated when they run out.
#[derive(Clone)]
pub(crate) struct ScriptedSts {
    pub(crate) url: String,
    script: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ScriptedSts {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let (sts, listener) = Self::bind("http", answers).await;
        let server = sts.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        sts
    }

    /// The same over TLS, with a certificate for `localhost` that its own PEM file vouches for.
    pub(crate) async fn start_tls(answers: impl IntoIterator<Item = Answer>) -> (Self, String) {
        let (mut sts, listener) = Self::bind("https", answers).await;
        sts.url = sts.url.replace("127.0.0.1", "localhost");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = sts.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, acceptor) = (server.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        server.serve(stream).await;
                    }
                });
            }
        });
        (sts, made.cert.pem())
    }

    async fn bind(scheme: &str, answers: impl IntoIterator<Item = Answer>) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sts = Self {
            url: format!("{scheme}://{}", listener.local_addr().unwrap()),
            script: Arc::new(Mutex::new(answers.into_iter().collect())),
            asked: Arc::default(),
        };
        (sts, listener)
    }

    /// From now on, these.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.script.lock() = answers.into_iter().collect();
    }

    pub(crate) fn calls(&self) -> usize {
        self.asked.lock().len()
    }

    /// The value of a parameter of the `call`th call.
    pub(crate) fn parameter(&self, call: usize, name: &str) -> Option<String> {
        let asked = self.asked.lock();
        let value = asked[call]
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
        Some(
            percent_decode_str(&value.replace('+', " "))
                .decode_utf8()
                .unwrap()
                .into_owned(),
        )
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(body) = read_request(&mut stream).await {
            let answer = {
                self.asked.lock().push(body);
                let mut script = self.script.lock();
                if script.len() > 1 {
                    script.pop_front().unwrap()
                } else {
                    script[0].clone()
                }
            };
            let head = format!(
                "HTTP/1.1 {} Scripted\r\nContent-Type: text/xml\r\n\
                 x-amzn-RequestId: 4d4c31e5-dead-beef-1111-222233334444\r\nContent-Length: {}\r\n\r\n",
                answer.status,
                answer.body.len()
            );
            if stream
                .write_all(format!("{head}{}", answer.body).as_bytes())
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ")
                    .map(|length| length.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(body.to_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

impl Answer {
    /// Credentials of `action` (the operation's name) that end at `expiry`, as in the STS API reference.
    pub(crate) fn credentials(action: &str, expiry: SystemTime) -> Self {
        let body = format!(
            r#"<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <{action}Result>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/ci-tests/job</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:job</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>{SESSION_TOKEN}</SessionToken>
      <SecretAccessKey>{SECRET_KEY}</SecretAccessKey>
      <Expiration>{}</Expiration>
      <AccessKeyId>ASgeIAIOSFODNN7EXAMPLE</AccessKeyId>
    </Credentials>
  </{action}Result>
  <ResponseMetadata><RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId></ResponseMetadata>
</{action}Response>"#,
            text::time(expiry)
        );
        Self { status: 200, body }
    }

    /// An error document, as in the STS API reference.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>
  <RequestId>4d4c31e5-dead-beef-1111-222233334444</RequestId>
</ErrorResponse>"#
        );
        Self { status, body }
    }

    /// Something that is not STS.
    pub(crate) fn page(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.to_owned(),
        }
    }
}
