//! A MySQL client made of bytes, and what it takes to say the same to a server directly and through rds-sidecar.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

use rds_sandbox::Flavor;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;

use crate::mysql_world;
use crate::mysql_world::flavors;

pub(crate) const FOUND_ROWS: u32 = 1 << 1;
pub(crate) const LOCAL_FILES: u32 = 1 << 7;
pub(crate) const IGNORE_SPACE: u32 = 1 << 8;
/// LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, MULTI_STATEMENTS, MULTI_RESULTS,
/// PS_MULTI_RESULTS, PLUGIN_AUTH, LOCAL_FILES.
const COMMON: u32 = 0x000f_a28c;
const LONG_PASSWORD: u32 = 1;
const SESSION_TRACK_DEPRECATE_EOF: u32 = 0x0180_0000;
const PACKET_MAX: usize = 0xff_ffff;
/// Where no answer comes within this, none ever will.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// MySQL's flags and MariaDB's extended ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u32, pub(crate) u32);

/// A client of before MySQL 5.7.
pub(crate) const OLD: Flags = Flags(COMMON | LONG_PASSWORD, 0);
/// A client of today.
pub(crate) const NEW: Flags = Flags(COMMON | LONG_PASSWORD | SESSION_TRACK_DEPRECATE_EOF, 0);
/// MariaDB's own client: bulk operations, extended and cached metadata.
pub(crate) const MARIADB: Flags = Flags(COMMON | SESSION_TRACK_DEPRECATE_EOF, 0x1c);

/// Sequence number and payload; of payloads in several packets, the first number.
pub(crate) type Packet = (u8, Vec<u8>);

/// A client, and all that it was told.
pub(crate) struct Raw {
    stream: TcpStream,
    pub(crate) thread_id: u32,
    pub(crate) heard: Vec<(String, Vec<Packet>)>,
}

impl Raw {
    pub(crate) fn connect(port: u16, user: &str, Flags(mysql, mariadb): Flags) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self {
            stream,
            thread_id: 0,
            heard: Vec::new(),
        };
        let (_, greeting) = raw.read();
        assert_eq!(greeting[0], 10, "{}", String::from_utf8_lossy(&greeting));
        let version_end = greeting.iter().position(|byte| *byte == 0).unwrap();
        let id = &greeting[version_end + 1..version_end + 5];
        raw.thread_id = u32::from_le_bytes(id.try_into().unwrap());
        let mut login = mysql.to_le_bytes().to_vec();
        login.extend((1_u32 << 30).to_le_bytes());
        login.push(45);
        login.extend([0; 19]);
        login.extend(mariadb.to_le_bytes());
        login.extend([user.as_bytes(), b"\0\0app\0mysql_native_password\0"].concat());
        raw.write(&[(1, &login)]);
        let (mut sequence, mut answer) = raw.read();
        if answer[0] == 0xfe {
            // Another plugin; no password is no password there too.
            raw.write(&[(sequence + 1, b"")]);
            (sequence, answer) = raw.read();
        }
        assert_eq!(
            answer[0],
            0,
            "{sequence}: {}",
            String::from_utf8_lossy(&answer)
        );
        raw
    }

    /// Sends payloads, each in as many packets as it takes, in one go.
    pub(crate) fn write(&mut self, payloads: &[(u8, &[u8])]) {
        let mut bytes = Vec::new();
        for (sequence, payload) in payloads {
            let mut sequence = *sequence;
            let full = payload.len().is_multiple_of(PACKET_MAX) && !payload.is_empty();
            let pieces = payload.chunks(PACKET_MAX);
            let empty = payload.is_empty() || full;
            for piece in pieces.chain(empty.then_some(&[][..])) {
                let length = u32::try_from(piece.len()).unwrap().to_le_bytes();
                bytes.extend([length[0], length[1], length[2], sequence]);
                bytes.extend_from_slice(piece);
                sequence = sequence.wrapping_add(1);
            }
        }
        self.stream.write_all(&bytes).unwrap();
    }

    /// Sends the beginning of a command's packet.
    pub(crate) fn write_cut(&mut self, payload: &[u8], bytes: usize) {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let packet = [&length, payload].concat();
        self.stream.write_all(&packet[..bytes]).unwrap();
    }

    /// Reads one payload.
    pub(crate) fn read(&mut self) -> Packet {
        let heard = self.heard.last().map(|(label, _)| label.clone());
        self.try_read()
            .unwrap_or_else(|| panic!("closed after the answer to {heard:?}"))
    }

    /// Reads one payload; `None`: the connection was closed.
    pub(crate) fn try_read(&mut self) -> Option<Packet> {
        let (mut payload, mut first) = (Vec::new(), None);
        loop {
            let mut header = [0; 4];
            match self.stream.read_exact(&mut header) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no answer within {ANSWER_MAX:?}")
                }
                Err(_) => return None,
            }
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            let start = payload.len();
            payload.resize(start + length, 0);
            self.stream.read_exact(&mut payload[start..]).ok()?;
            let first = *first.get_or_insert(header[3]);
            if length < PACKET_MAX {
                return Some((first, payload));
            }
        }
    }

    /// Sends commands in one go, with one behind them whose answer is known; returns all answers before that.
    pub(crate) fn commands(&mut self, payloads: &[&[u8]]) -> Vec<Packet> {
        let label = match payloads[0] {
            [b'\x03' | b'\x16', text @ ..] => text[..text.len().min(80)].escape_ascii().to_string(),
            other => format!("command {:?}", other.first()),
        };
        let statistics: &[u8] = b"\x09";
        let all = payloads.iter().copied().chain([statistics]);
        let all: Vec<_> = all.map(|payload| (0, payload)).collect();
        self.write(&all);
        let packets = self.up_to_statistics();
        self.heard.push((label, packets.clone()));
        packets
    }

    fn up_to_statistics(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            let packet = self.read();
            if packet.1.starts_with(b"Uptime: ") {
                return packets;
            }
            packets.push(without_id(packet));
        }
    }

    pub(crate) fn command(&mut self, payload: &[u8]) -> Vec<Packet> {
        self.commands(&[payload])
    }

    pub(crate) fn query(&mut self, sql: &str) -> Vec<Packet> {
        self.command(&[b"\x03", sql.as_bytes()].concat())
    }

    /// A statement without an answer of interest, which must succeed.
    pub(crate) fn run(&mut self, sql: &str) {
        let answer = self.query(sql);
        assert_eq!(
            answer[0].1[0],
            0,
            "{sql}: {}",
            String::from_utf8_lossy(&answer[0].1)
        );
    }

    /// The only value of the only row, as text.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        let answer = self.query(sql);
        let row = &answer[answer.len() - 2].1;
        assert!(answer.len() >= 4, "{sql}: {answer:?}");
        String::from_utf8(row[1..].to_vec()).unwrap()
    }

    /// Prepares; what varies from run to run is taken out of what was heard.
    pub(crate) fn prepare(&mut self, sql: &str) -> [u8; 4] {
        let mut answer = self.command(&[b"\x16", sql.as_bytes()].concat());
        let head = &mut answer[0].1;
        assert_eq!(head[0], 0, "{sql}: {}", String::from_utf8_lossy(head));
        let id = head[1..5].try_into().unwrap();
        head[1..5].fill(0);
        self.heard.last_mut().unwrap().1 = answer;
        id
    }

    pub(crate) fn execute(&mut self, id: [u8; 4], flags: u8, parameters: &[u8]) -> Vec<Packet> {
        let head = [&b"\x17"[..], &id, &[flags, 1, 0, 0, 0]].concat();
        self.command(&[&head, parameters].concat())
    }

    /// LOAD DATA LOCAL: the statement, then the file in these pieces.
    pub(crate) fn load(&mut self, sql: &str, pieces: &[&[u8]]) -> Vec<Packet> {
        self.write(&[(0, &[b"\x03", sql.as_bytes()].concat())]);
        let mut answers = vec![self.read()];
        if answers[0].1[0] == 0xfb {
            let pieces = pieces.iter().copied().chain([&[][..]]);
            let packets: Vec<_> = (2..).zip(pieces).collect();
            self.write(&packets);
            self.write(&[(0, b"\x09")]);
            answers.extend(self.up_to_statistics());
        }
        self.heard.push((sql.to_owned(), answers.clone()));
        answers
    }

    /// The status flags of the server, from the OK of a COM_PING.
    pub(crate) fn in_transaction(&mut self) -> bool {
        let answer = self.command(b"\x0e");
        answer[0].1[3] & 1 != 0
    }
}

/// Errors that name a statement by its id: the server counts those of all its clients.
fn without_id((sequence, mut payload): Packet) -> Packet {
    if matches!(payload[..], [0xff, 0x8d, 0x05, ..] | [0xff, 0xdb, 0x04, ..]) {
        payload.retain(|byte| !byte.is_ascii_digit());
    }
    (sequence, payload)
}

/// The code of an ERR packet.
pub(crate) fn error(packet: &Packet) -> u16 {
    assert_eq!(packet.1[0], 0xff, "{packet:?}");
    u16::from_le_bytes([packet.1[1], packet.1[2]])
}

/// A server that can also be reached directly without TLS, as `direct`, and a sidecar with one upstream connection a
/// client kind.
pub(crate) struct Stage {
    pub(crate) flavor: Flavor,
    pub(crate) sandbox: Sandbox,
    pub(crate) sidecar: Sidecar,
}

/// One for each server that can be had here.
pub(crate) fn stages() -> impl Iterator<Item = &'static Stage> {
    static MARIADB: OnceLock<Stage> = OnceLock::new();
    static MYSQL: OnceLock<Stage> = OnceLock::new();
    flavors().iter().map(|flavor| {
        let cell = match flavor {
            Flavor::MariaDb => &MARIADB,
            Flavor::MySql => &MYSQL,
        };
        cell.get_or_init(|| Stage::start(*flavor))
    })
}

impl Stage {
    fn start(flavor: Flavor) -> Self {
        let settings = [
            ("require_secure_transport", "OFF"),
            ("max_allowed_packet", "128M"),
            ("innodb_lock_wait_timeout", "1"),
        ];
        let options = Options {
            mysql_settings: settings
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Options::mysql(flavor)
        };
        let sandbox = Sandbox::start(&options).unwrap();
        let sidecar = sidecar(&sandbox, 20);
        let stage = Self {
            flavor,
            sandbox,
            sidecar,
        };
        let grants = stage.admin("SHOW GRANTS FOR iam_app");
        let rights = grants.lines().find(|line| line.contains("SELECT")).unwrap();
        let (rights, _) = rights.split_once(" TO ").unwrap();
        stage.admin(&format!(
            "CREATE USER direct@'%' IDENTIFIED BY ''; {rights} TO direct@'%'"
        ));
        stage
    }

    /// A client of the server itself.
    pub(crate) fn direct(&self, flags: Flags) -> Raw {
        Raw::connect(self.sandbox.mysql().unwrap().port(), "direct", flags)
    }

    /// A client of the sidecar.
    pub(crate) fn through(&self, flags: Flags) -> Raw {
        Raw::connect(self.sidecar.mysql_port().unwrap(), "anybody", flags)
    }

    /// A statement of the master user, straight to the server: rows of columns separated by tabs.
    pub(crate) fn admin(&self, sql: &str) -> String {
        mysql_world::admin(&self.sandbox, sql)
    }

    /// The kinds of client that this server can have.
    pub(crate) fn kinds(&self) -> &'static [Flags] {
        match self.flavor {
            Flavor::MariaDb => &[OLD, NEW, MARIADB],
            Flavor::MySql => &[OLD, NEW],
        }
    }
}

/// A sidecar in front of `sandbox` with so many upstream connections.
pub(crate) fn sidecar(sandbox: &Sandbox, max_connections: u32) -> Sidecar {
    let keys = format!("&max_connections={max_connections}");
    mysql_world::sidecar(sandbox, &mysql_world::url(sandbox, &keys), &[])
}

/// Says the same to the server directly and through the sidecar, as every kind of client and on every server: what is
/// heard must be the same, byte for byte.
pub(crate) fn same(script: impl Fn(&mut Raw)) {
    same_for(|_| true, script);
}

/// The same for some kinds of client only.
pub(crate) fn same_for(chosen: impl Fn(Flags) -> bool, script: impl Fn(&mut Raw)) {
    for stage in stages() {
        for kind in stage.kinds().iter().filter(|kind| chosen(**kind)) {
            let (mut direct, mut through) = (stage.direct(*kind), stage.through(*kind));
            script(&mut direct);
            drop(direct.stream);
            script(&mut through);
            for (expected, heard) in direct.heard.iter().zip(&through.heard) {
                // Long ones are not shown.
                assert!(
                    expected == heard,
                    "{:?} {kind:?} {}\n direct: {}\nthrough: {}",
                    stage.flavor,
                    expected.0,
                    shown(&expected.1),
                    shown(&heard.1)
                );
            }
            assert_eq!(direct.heard.len(), through.heard.len());
        }
    }
}

fn shown(packets: &[Packet]) -> String {
    let mut text = String::new();
    for (sequence, payload) in packets.iter().take(20) {
        let start = &payload[..payload.len().min(100)];
        text += &format!(
            "\n  {sequence} ({}) {}",
            payload.len(),
            start.escape_ascii()
        );
    }
    text
}
