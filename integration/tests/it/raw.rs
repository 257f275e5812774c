//! A PostgreSQL client that does exactly what it is told, also what no driver would do: half messages, no goodbye,
//! cancel requests with any key.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::StreamOwned;
use socket2::SockRef;

/// Nothing in these tests takes longer; a test that waits for ever says nothing.
const READ_TIME_MAX: Duration = Duration::from_secs(60);

/// A stream to the sidecar.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(crate) fn plain(port: u16) -> Self {
        Self::Plain(tcp(port))
    }

    /// TLS after an SSLRequest, or at once (`direct`).
    pub(crate) fn tls(port: u16, tls: &Arc<rustls::ClientConfig>, direct: bool) -> Self {
        let mut tcp = tcp(port);
        if !direct {
            tcp.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").unwrap();
            let mut answer = [0];
            tcp.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"S", "no TLS offered");
        }
        let mut config = rustls::ClientConfig::clone(tls);
        if direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        let name = "localhost".try_into().unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        Self::Tls(Box::new(StreamOwned::new(session, tcp)))
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

fn tcp(port: u16) -> TcpStream {
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(READ_TIME_MAX)).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// An ErrorResponse or NoticeResponse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) severity: String,
    pub(crate) sqlstate: String,
    pub(crate) message: String,
    pub(crate) detail: String,
    pub(crate) hint: String,
}

impl Said {
    fn parse(body: &[u8]) -> Self {
        let mut said = Self::default();
        for field in body.split(|&byte| byte == 0) {
            let Some((&code, text)) = field.split_first() else {
                continue;
            };
            let text = String::from_utf8_lossy(text).into_owned();
            match code {
                b'V' => said.severity = text,
                b'C' => said.sqlstate = text,
                b'M' => said.message = text,
                b'D' => said.detail = text,
                b'H' => said.hint = text,
                _ => {}
            }
        }
        said
    }
}

/// Everything up to one ReadyForQuery, or up to the end of the connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) tags: Vec<String>,
    pub(crate) error: Option<Said>,
    pub(crate) notices: Vec<Said>,
    /// `I`, `T` or `E`; none when the connection ended.
    pub(crate) status: Option<char>,
}

impl Answer {
    pub(crate) fn sqlstate(&self) -> &str {
        self.error.as_ref().map_or("", |said| &said.sqlstate)
    }
}

/// The key for cancel requests.
#[derive(Debug, Clone)]
pub(crate) struct CancelKey {
    pub(crate) pid: u32,
    pub(crate) secret: Vec<u8>,
}

/// A session.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) key: CancelKey,
    /// Notices before the first ReadyForQuery.
    pub(crate) notices: Vec<Said>,
}

impl Client {
    /// A session in `database` of its own `application_name`, by which the server knows it.
    pub(crate) fn connect(port: u16, database: &str, application: &str) -> Self {
        Self::try_connect(Stream::plain(port), database, application)
            .unwrap_or_else(|said| panic!("refused: {said:?}"))
    }

    /// The same over a stream made before, or the words of the refusal.
    pub(crate) fn try_connect(
        stream: Stream,
        database: &str,
        application: &str,
    ) -> Result<Self, Said> {
        let mut client = Self::begin(stream, database, application);
        client.finish_login()?;
        Ok(client)
    }

    /// Sends the startup packet and reads nothing.
    pub(crate) fn begin(mut stream: Stream, database: &str, application: &str) -> Self {
        stream
            .write_all(&startup(&[
                ("user", "anybody"),
                ("database", database),
                ("application_name", application),
            ]))
            .unwrap();
        stream.flush().unwrap();
        let key = CancelKey {
            pid: 0,
            secret: Vec::new(),
        };
        Self {
            stream,
            key,
            notices: Vec::new(),
        }
    }

    /// Reads up to the first ReadyForQuery.
    pub(crate) fn finish_login(&mut self) -> Result<(), Said> {
        loop {
            let Some((tag, body)) = self.receive() else {
                return Err(Said {
                    message: "(end of file)".into(),
                    ..Said::default()
                });
            };
            match tag {
                b'E' => return Err(Said::parse(&body)),
                b'N' => self.notices.push(Said::parse(&body)),
                b'K' => {
                    let (pid, secret) = body.split_at(4);
                    self.key.pid = u32::from_be_bytes(pid.try_into().unwrap());
                    self.key.secret = secret.to_vec();
                }
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    /// Sends one message; false when the connection is gone.
    pub(crate) fn send(&mut self, tag: u8, body: &[u8]) -> bool {
        let sent = self.stream.write_all(&message(tag, body));
        sent.and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends a Query and does not wait.
    pub(crate) fn ask(&mut self, sql: &str) {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat());
    }

    /// The next message; `None` at the end of the connection.
    pub(crate) fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.stream
            .read_exact(&mut header)
            .map_err(refuse_timeout)
            .ok()?;
        let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize - 4;
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .map_err(refuse_timeout)
            .ok()?;
        Some((header[0], body))
    }

    /// Reads up to and with the next message of this tag.
    pub(crate) fn skip_to(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (tag, body) = self.receive().expect("the connection ended");
            assert!(
                tag == wanted || tag != b'E',
                "{:?} instead of {:?}",
                Said::parse(&body),
                char::from(wanted)
            );
            if tag == wanted {
                return body;
            }
        }
    }

    /// Reads up to ReadyForQuery or the end.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        while let Some((tag, body)) = self.receive() {
            match tag {
                b'C' => answer.tags.push(text(&body)),
                b'D' => answer.rows.push(row(&body)),
                b'E' => answer.error = Some(Said::parse(&body)),
                b'N' => answer.notices.push(Said::parse(&body)),
                b'Z' => {
                    answer.status = body.first().map(|&byte| char::from(byte));
                    break;
                }
                _ => {}
            }
        }
        answer
    }

    /// A Query and its answer.
    pub(crate) fn query(&mut self, sql: &str) -> Answer {
        self.ask(sql);
        self.answer()
    }

    /// A Query that must work.
    #[track_caller]
    pub(crate) fn run(&mut self, sql: &str) -> Answer {
        let answer = self.query(sql);
        assert!(answer.error.is_none(), "{sql}: {answer:?}");
        assert!(answer.status.is_some(), "{sql}: the connection ended");
        answer
    }

    /// The one value of the one row.
    #[track_caller]
    pub(crate) fn value(&mut self, sql: &str) -> String {
        self.run(sql).rows[0][0].clone()
    }

    /// Says goodbye and waits until the sidecar has hung up.
    pub(crate) fn goodbye(mut self) {
        self.send(b'X', b"");
        while self.receive().is_some() {}
    }

    /// The connection is reset, as when a host dies or a process is killed with bytes unread.
    pub(crate) fn reset(self) {
        SockRef::from(self.stream.tcp())
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// The connection is closed without a word, as when a process is killed.
    pub(crate) fn vanish(self) {
        let _ = self.stream.tcp().shutdown(Shutdown::Both);
    }
}

/// A cancel request; returns when the sidecar has closed the connection.
pub(crate) fn cancel(mut stream: Stream, key: &CancelKey) {
    let mut body = 80_877_102_u32.to_be_bytes().to_vec();
    body.extend_from_slice(&key.pid.to_be_bytes());
    body.extend_from_slice(&key.secret);
    stream.write_all(&packet(&body)).unwrap();
    stream.flush().unwrap();
    let mut rest = Vec::new();
    // Any kind of end is one.
    let _ = stream.read_to_end(&mut rest).map_err(refuse_timeout);
    assert!(rest.is_empty(), "a cancel request is never answered");
}

/// A startup packet of protocol 3.0.
pub(crate) fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    packet(&body)
}

/// A tagged message.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &packet(body)].concat()
}

fn packet(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes()[..], body].concat()
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .trim_end_matches('\0')
        .to_owned()
}

fn row(body: &[u8]) -> Vec<String> {
    let mut at = 2;
    let mut row = Vec::new();
    while at < body.len() {
        let length = i32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        at += 4;
        let length = usize::try_from(length).unwrap_or(0);
        row.push(String::from_utf8_lossy(&body[at..at + length]).into_owned());
        at += length;
    }
    row
}

fn refuse_timeout(error: io::Error) -> io::Error {
    assert!(
        !matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ),
        "nothing came for {READ_TIME_MAX:?}"
    );
    error
}
