//! MySQL's protocol by hand, for what no driver does. Blocking; every read has a limit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

const READ_MAX: Duration = Duration::from_secs(30);

pub(crate) const LONG_PASSWORD: u32 = 1;
pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
pub(crate) const PROTOCOL_41: u32 = 1 << 9;
pub(crate) const SSL: u32 = 1 << 11;
pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
pub(crate) const CONNECT_ATTRS: u32 = 1 << 20;

/// What every client of the last twenty years says.
pub(crate) const PLAIN: u32 = LONG_PASSWORD | PROTOCOL_41 | SECURE_CONNECTION;

/// The server's first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) version: String,
    pub(crate) thread_id: u32,
    pub(crate) scramble: Vec<u8>,
    pub(crate) capabilities: u32,
    /// MariaDB's own.
    pub(crate) extended: u32,
    pub(crate) charset: u8,
    pub(crate) status: u16,
    pub(crate) plugin: String,
}

/// What a client says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    /// Named when there is one, even an empty one.
    pub(crate) database: Option<&'a str>,
    pub(crate) plugin: Option<&'a str>,
    pub(crate) auth: &'a [u8],
    /// Names and values.
    pub(crate) attributes: Vec<(String, String)>,
}

pub(crate) struct Wire {
    stream: TcpStream,
    sequence: u8,
}

impl Wire {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(READ_MAX)).unwrap();
        Self {
            stream,
            sequence: 0,
        }
    }

    /// The next packet; none when the server closed.
    pub(crate) fn packet(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 4];
        if self.stream.read(&mut header[..1]).unwrap() == 0 {
            return None;
        }
        self.stream.read_exact(&mut header[1..]).unwrap();
        assert_eq!(header[3], self.sequence, "packets out of order");
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        Some(payload)
    }

    pub(crate) fn send(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap();
        let mut packet = length.to_le_bytes()[..3].to_vec();
        packet.push(self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        packet.extend_from_slice(payload);
        self.stream.write_all(&packet).unwrap();
    }

    /// A command, and the first packet of its answer.
    pub(crate) fn command(&mut self, command: &[u8]) -> Vec<u8> {
        self.sequence = 0;
        self.send(command);
        self.packet().expect("the server closed")
    }

    pub(crate) fn greeting(&mut self) -> Greeting {
        let packet = self.packet().expect("the server closed");
        assert_eq!(packet[0], 10, "{:?}", error(&packet));
        let (version, rest) = text(&packet[1..]);
        let word = |at: usize| u16::from_le_bytes([rest[at], rest[at + 1]]);
        let (low, high) = (u32::from(word(13)), u32::from(word(18)));
        let mut scramble = rest[4..12].to_vec();
        // Its second half ends with a NUL that does not count.
        let more = usize::from(rest[20]) - 8;
        scramble.extend_from_slice(&rest[31..30 + more]);
        assert_eq!(rest[30 + more], 0);
        Greeting {
            version,
            thread_id: u32::from_le_bytes(rest[..4].try_into().unwrap()),
            scramble,
            capabilities: low | high << 16,
            extended: u32::from_le_bytes(rest[27..31].try_into().unwrap()),
            charset: rest[15],
            status: word(16),
            plugin: text(&rest[31 + more..]).0,
        }
    }

    /// Answers the greeting; the server's answer. Only what the arguments call for is among the capabilities.
    pub(crate) fn log_in(&mut self, login: &Login<'_>) -> Vec<u8> {
        let mut capabilities = PLAIN;
        let mut tail = [login.user.as_bytes(), &[0]].concat();
        tail.push(u8::try_from(login.auth.len()).unwrap());
        tail.extend_from_slice(login.auth);
        if let Some(database) = login.database {
            capabilities |= CONNECT_WITH_DB;
            tail.extend_from_slice(database.as_bytes());
            tail.push(0);
        }
        if let Some(plugin) = login.plugin {
            capabilities |= PLUGIN_AUTH;
            tail.extend_from_slice(plugin.as_bytes());
            tail.push(0);
        }
        if !login.attributes.is_empty() {
            capabilities |= CONNECT_ATTRS;
            let pairs = login.attributes.iter();
            let block: Vec<u8> = pairs
                .flat_map(|(name, value)| [counted(name.as_bytes()), counted(value.as_bytes())])
                .flatten()
                .collect();
            tail.extend(counted(&block));
        }
        let mut packet = capabilities.to_le_bytes().to_vec();
        packet.extend_from_slice(&(16_u32 << 20).to_le_bytes());
        packet.push(45);
        packet.extend_from_slice(&[0; 23]);
        packet.extend(tail);
        self.send(&packet);
        self.packet().expect("the server closed")
    }

    /// Reads the rest of a result set after its first packet: whether it came to its end, not to an error.
    pub(crate) fn finish(&mut self, first: &[u8]) -> bool {
        if first[0] == 0xff {
            return false;
        }
        let mut ends = 0;
        while ends < 2 {
            let packet = self.packet().expect("the server closed");
            match packet[0] {
                0xff => return false,
                0xfe if packet.len() < 9 => ends += 1,
                _ => {}
            }
        }
        true
    }

    /// Runs a statement whose answer is one row of texts.
    pub(crate) fn row(&mut self, sql: &str) -> Vec<String> {
        let columns = self.command(&[&[3], sql.as_bytes()].concat());
        assert_eq!(columns.len(), 1, "{sql}: {:?}", error(&columns));
        for _ in 0..=columns[0] {
            self.packet().unwrap(); // definitions, EOF
        }
        let row = self.packet().unwrap();
        let mut rest = row.as_slice();
        let mut values = Vec::new();
        while let Some((&length, more)) = rest.split_first() {
            let (value, more) = more.split_at(usize::from(length));
            values.push(String::from_utf8(value.to_vec()).unwrap());
            rest = more;
        }
        assert_eq!(self.packet().unwrap()[0], 0xfe, "more than one row");
        values
    }
}

/// A session of a client with these wishes.
pub(crate) fn session(port: u16, login: &Login<'_>) -> Wire {
    let mut wire = Wire::connect(port);
    wire.greeting();
    let answer = wire.log_in(login);
    assert_eq!(answer[0], 0, "{:?}", error(&answer));
    wire
}

/// A client that knows no plugins.
pub(crate) fn anybody() -> Login<'static> {
    Login {
        user: "anybody",
        database: Some("app"),
        auth: &[7; 20],
        ..Login::default()
    }
}

/// Code, SQLSTATE (empty where there is none) and text of an ERR packet.
pub(crate) fn error(packet: &[u8]) -> Option<(u16, String, String)> {
    let (&0xff, rest) = packet.split_first()? else {
        return None;
    };
    let code = u16::from_le_bytes([rest[0], rest[1]]);
    let words = String::from_utf8_lossy(&rest[2..]).into_owned();
    Some(match words.strip_prefix('#') {
        Some(words) => (code, words[..5].to_owned(), words[5..].to_owned()),
        None => (code, String::new(), words),
    })
}

/// A length-encoded string of any length.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let length = u64::try_from(bytes.len()).unwrap().to_le_bytes();
    let header = match bytes.len() {
        0..251 => vec![length[0]],
        251..65_536 => vec![0xfc, length[0], length[1]],
        _ => vec![0xfd, length[0], length[1], length[2]],
    };
    [header, bytes.to_vec()].concat()
}

/// A NUL-terminated text, and what follows.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    (
        String::from_utf8_lossy(&bytes[..end]).into_owned(),
        &bytes[end + 1..],
    )
}
