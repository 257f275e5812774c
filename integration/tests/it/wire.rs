//! A PostgreSQL client of few words: every byte it sends and gets is a test's to choose and to see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::StreamOwned;

/// Nothing a test waits for takes longer on a machine that lives.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
pub(crate) const GSSENC_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

/// One message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The fields of an ErrorResponse or NoticeResponse that both a server and a sidecar know: severity, SQLSTATE,
    /// message, detail, hint; one `C=42P01` per field, in this order.
    pub(crate) fn words(&self) -> String {
        let fields: Vec<_> = self.body.split(|&byte| byte == 0).collect();
        let text = |name: u8| {
            let value = fields.iter().find(|field| field.first() == Some(&name))?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let words: Vec<_> = b"SCMDH".iter().filter_map(|&name| text(name)).collect();
        words
            .iter()
            .map(|word| format!("{}={}", &word[..1], &word[1..]))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The text values of a DataRow.
    pub(crate) fn row(&self) -> Vec<Option<String>> {
        assert_eq!(self.tag, b'D', "{self}");
        let mut rest = &self.body[2..];
        let mut row = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk() {
            let length = usize::try_from(i32::from_be_bytes(*length));
            let (value, tail) = tail.split_at(length.unwrap_or(0));
            row.push(
                length
                    .is_ok()
                    .then(|| String::from_utf8_lossy(value).into_owned()),
            );
            rest = tail;
        }
        row
    }
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.tag as char, self.body.escape_ascii())
    }
}

/// One letter per message.
pub(crate) fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| message.tag as char).collect()
}

/// The transaction status that the last message, a ReadyForQuery, reports.
pub(crate) fn status(messages: &[Message]) -> char {
    let last = messages.last().unwrap();
    assert_eq!(last.tag, b'Z');
    last.body[0] as char
}

/// What bytes travel on.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection.
pub(crate) struct Wire {
    io: Box<dyn Stream>,
}

impl Wire {
    /// Clear text to a port of this machine.
    pub(crate) fn tcp(port: u16) -> Self {
        Self {
            io: Box::new(dial(port)),
        }
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            io: Box::new(stream),
        }
    }

    /// TLS after an SSLRequest, or from the first byte.
    pub(crate) fn tls(port: u16, config: Arc<ClientConfig>, direct: bool) -> io::Result<Self> {
        let mut stream = dial(port);
        if !direct {
            stream.write_all(SSL_REQUEST)?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"S", "TLS is offered");
        }
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self {
            io: Box::new(stream),
        })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).unwrap();
        self.io.flush().unwrap();
    }

    /// As [`Self::send`], where the other side may be gone already.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes)?;
        self.io.flush()
    }

    /// One byte, outside of any message; none at the end.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.fill(&mut byte).map(|()| byte[0])
    }

    /// Everything up to the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.byte()).collect()
    }

    /// The next message; none at the end.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        let mut header = [0; 5];
        self.fill(&mut header)?;
        let length = u32::from_be_bytes(*header.last_chunk().unwrap()) as usize;
        let mut body = vec![0; length - 4];
        self.fill(&mut body)
            .expect("a message ends before the stream does");
        Some(Message {
            tag: header[0],
            body,
        })
    }

    /// None when the stream ends before the first byte.
    fn fill(&mut self, mut rest: &mut [u8]) -> Option<()> {
        let wanted = rest.len();
        while !rest.is_empty() {
            match self.io.read(rest) {
                Ok(0) if rest.len() == wanted => return None,
                Ok(0) => panic!("the stream ended inside a message"),
                Ok(read) => rest = &mut rest[read..],
                Err(error) if ended(&error) => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
        Some(())
    }
}

fn ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}

fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A packet without a tag: length, code, rest.
pub(crate) fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + rest.len()).unwrap();
    [&length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
}

/// A StartupMessage of protocol 3.`minor`.
pub(crate) fn startup(minor: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut rest = Vec::new();
    for (name, value) in parameters {
        rest.extend_from_slice(&cstr(name));
        rest.extend_from_slice(&cstr(value));
    }
    rest.push(0);
    packet((3 << 16) + minor, &rest)
}

/// Any message of a client.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &cstr(sql))
}

/// Parse without parameter types.
pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[&cstr(name)[..], &cstr(sql), &[0, 0]].concat())
}

/// Bind of text parameters with text results.
pub(crate) fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
    let mut body = [cstr(portal), cstr(statement), vec![0, 0]].concat();
    body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(&[0, 0]);
    message(b'B', &body)
}

/// Describe a statement (`S`) or a portal (`P`).
pub(crate) fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind][..], &cstr(name)].concat())
}

/// Execute; `rows` 0: all of them.
pub(crate) fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(b'E', &[&cstr(portal)[..], &rows.to_be_bytes()].concat())
}

/// Close a statement (`S`) or a portal (`P`).
pub(crate) fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[&[kind][..], &cstr(name)].concat())
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub(crate) fn flush() -> Vec<u8> {
    message(b'H', b"")
}

pub(crate) fn copy_data(data: &str) -> Vec<u8> {
    message(b'd', data.as_bytes())
}

pub(crate) fn copy_done() -> Vec<u8> {
    message(b'c', b"")
}

pub(crate) fn copy_fail(why: &str) -> Vec<u8> {
    message(b'f', &cstr(why))
}

pub(crate) fn terminate() -> Vec<u8> {
    message(b'X', b"")
}

fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
