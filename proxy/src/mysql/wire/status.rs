//! How a command ended: OK, EOF and ERR packets (MySQL manual, "Generic Response Packets").

use std::ops::BitOr;

use super::capability::Capabilities;
use super::lenenc::ReadLenenc;
use super::lenenc::put_lenenc;
use super::lenenc::put_lenenc_bytes;
use crate::wire::Malformed;
use crate::wire::Reader;

/// First byte of an OK payload.
pub const OK: u8 = 0x00;
/// First byte of an EOF payload, and of the OK that stands in its place.
pub const EOF: u8 = 0xfe;
/// First byte of an ERR payload.
pub const ERR: u8 = 0xff;

/// The server's status flags (`SERVER_STATUS_...` of `mysql_com.h`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerStatus(pub u16);

impl ServerStatus {
    /// A transaction is open.
    pub const IN_TRANS: Self = Self(0x0001);
    /// Every statement commits by itself.
    pub const AUTOCOMMIT: Self = Self(0x0002);
    /// Another result follows.
    pub const MORE_RESULTS_EXISTS: Self = Self(0x0008);
    /// For the slow log.
    pub const QUERY_NO_GOOD_INDEX_USED: Self = Self(0x0010);
    /// For the slow log.
    pub const QUERY_NO_INDEX_USED: Self = Self(0x0020);
    /// A cursor was opened; the rows are to be fetched.
    pub const CURSOR_EXISTS: Self = Self(0x0040);
    /// The cursor is at its end.
    pub const LAST_ROW_SENT: Self = Self(0x0080);
    /// The current database was dropped.
    pub const DB_DROPPED: Self = Self(0x0100);
    /// `NO_BACKSLASH_ESCAPES` is in force.
    pub const NO_BACKSLASH_ESCAPES: Self = Self(0x0200);
    /// A prepared statement's columns changed.
    pub const METADATA_CHANGED: Self = Self(0x0400);
    /// For the slow log.
    pub const QUERY_WAS_SLOW: Self = Self(0x0800);
    /// This result set holds OUT parameters.
    pub const PS_OUT_PARAMS: Self = Self(0x1000);
    /// The open transaction is read-only.
    pub const IN_TRANS_READONLY: Self = Self(0x2000);
    /// Session state changed; with `SESSION_TRACK` the packet says how.
    pub const SESSION_STATE_CHANGED: Self = Self(0x4000);

    /// Are all of `other` among these?
    #[inline]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for ServerStatus {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An OK packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OkPacket<'a> {
    /// Rows changed, or found.
    pub affected_rows: u64,
    /// The first generated key.
    pub last_insert_id: u64,
    /// Where the session stands.
    pub status: ServerStatus,
    /// How many SHOW WARNINGS would show.
    pub warnings: u16,
    /// Text for people.
    pub info: &'a [u8],
    /// Session-track blocks; see [`super::session_track`].
    pub session_state: &'a [u8],
}

impl<'a> OkPacket<'a> {
    /// Reads a payload that begins with `00`, or with `FE` where it stands in place of an EOF.
    pub fn parse(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let (OK | EOF) = reader.u8()? else {
            return Err(Malformed);
        };
        let mut packet = Self {
            affected_rows: reader.lenenc()?,
            last_insert_id: reader.lenenc()?,
            status: ServerStatus(reader.u16_le()?),
            warnings: reader.u16_le()?,
            info: reader.rest(),
            session_state: &[],
        };
        if capabilities.contains(Capabilities::SESSION_TRACK) {
            // Both are left out where there is nothing to say (net_send_ok in sql/protocol_classic.cc).
            packet.info = optional(&mut reader)?;
            if packet.status.contains(ServerStatus::SESSION_STATE_CHANGED) {
                packet.session_state = optional(&mut reader)?;
            }
        }
        Ok(packet)
    }

    /// Appends the payload; `first` is [`OK`], or [`EOF`] in place of an EOF.
    pub fn put(&self, out: &mut Vec<u8>, first: u8, capabilities: Capabilities) {
        let tracked = capabilities.contains(Capabilities::SESSION_TRACK);
        let changed = ServerStatus::SESSION_STATE_CHANGED.0;
        let status = if tracked && self.session_state.is_empty() {
            self.status.0 & !changed
        } else {
            self.status.0
        };
        out.push(first);
        put_lenenc(out, self.affected_rows);
        put_lenenc(out, self.last_insert_id);
        out.extend_from_slice(&status.to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
        if !tracked {
            out.extend_from_slice(self.info);
            return;
        }
        if !self.info.is_empty() || status & changed != 0 {
            put_lenenc_bytes(out, self.info);
        }
        if status & changed != 0 {
            put_lenenc_bytes(out, self.session_state);
        }
    }
}

fn optional<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    if reader.is_empty() {
        Ok(&[])
    } else {
        reader.lenenc_bytes()
    }
}

/// An EOF packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EofPacket {
    /// How many SHOW WARNINGS would show.
    pub warnings: u16,
    /// Where the session stands.
    pub status: ServerStatus,
}

impl EofPacket {
    /// An `FE` payload this long or longer is not an EOF.
    pub const BYTES_END: usize = 9;

    /// Reads a payload that begins with `FE`.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != EOF {
            return Err(Malformed);
        }
        Ok(Self {
            warnings: reader.u16_le()?,
            status: ServerStatus(reader.u16_le()?),
        })
    }

    /// Appends the payload.
    pub fn put(self, out: &mut Vec<u8>) {
        out.push(EOF);
        out.extend_from_slice(&self.warnings.to_le_bytes());
        out.extend_from_slice(&self.status.0.to_le_bytes());
    }
}

/// An ERR packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    /// The error number.
    pub code: u16,
    /// The SQLSTATE; absent before the server knows that the client speaks the 4.1 protocol.
    pub sqlstate: Option<[u8; 5]>,
    /// Text for people.
    pub message: &'a [u8],
}

impl<'a> ErrPacket<'a> {
    /// MariaDB sends progress reports as ERR packets with this number; nothing ended.
    pub const PROGRESS: u16 = 0xffff;

    /// Reads a payload that begins with `FF`, with or without the SQLSTATE.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != ERR {
            return Err(Malformed);
        }
        let code = reader.u16_le()?;
        let mut marked = reader;
        let sqlstate = match marked.u8() {
            Ok(b'#') => marked.array::<5>().ok(),
            _ => None,
        };
        let message = if sqlstate.is_some() { marked } else { reader }.rest();
        Ok(Self {
            code,
            sqlstate,
            message,
        })
    }

    /// Appends the payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(ERR);
        out.extend_from_slice(&self.code.to_le_bytes());
        if let Some(sqlstate) = &self.sqlstate {
            out.push(b'#');
            out.extend_from_slice(sqlstate);
        }
        out.extend_from_slice(self.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACKED: Capabilities = Capabilities::SESSION_TRACK;
    const PLAIN: Capabilities = Capabilities::NONE;

    fn ok() -> OkPacket<'static> {
        OkPacket {
            affected_rows: 300,
            last_insert_id: 7,
            status: ServerStatus::AUTOCOMMIT,
            warnings: 2,
            info: b"Rows matched: 1",
            session_state: b"",
        }
    }

    #[test]
    fn ok_round_trips_with_and_without_session_track() {
        let changed = OkPacket {
            status: ServerStatus::AUTOCOMMIT | ServerStatus::SESSION_STATE_CHANGED,
            session_state: b"\x01\x02\x01a",
            ..ok()
        };
        let silent = OkPacket { info: b"", ..ok() };
        for (packet, capabilities) in [
            (ok(), PLAIN),
            (ok(), TRACKED),
            (changed, TRACKED),
            (silent, TRACKED),
            (silent, PLAIN),
            (
                OkPacket {
                    info: b"",
                    ..changed
                },
                TRACKED,
            ),
        ] {
            for first in [OK, EOF] {
                let mut out = Vec::new();
                packet.put(&mut out, first, capabilities);
                assert_eq!(out[0], first);
                assert_eq!(OkPacket::parse(&out, capabilities), Ok(packet));
            }
        }
    }

    #[test]
    fn a_change_without_its_blocks_is_not_announced() {
        let packet = OkPacket {
            status: ServerStatus::SESSION_STATE_CHANGED,
            ..ok()
        };
        let mut out = Vec::new();
        packet.put(&mut out, OK, TRACKED);
        let parsed = OkPacket::parse(&out, TRACKED).unwrap();
        assert_eq!(parsed.status, ServerStatus::default());
    }

    #[test]
    fn ok_cut_short_is_malformed() {
        let mut out = Vec::new();
        ok().put(&mut out, OK, TRACKED);
        for cut in 0..9 {
            assert_eq!(OkPacket::parse(&out[..cut], TRACKED), Err(Malformed));
        }
        assert_eq!(OkPacket::parse(b"\x01\0\0\0\0\0\0", PLAIN), Err(Malformed));
    }

    #[test]
    fn eof_round_trips() {
        let packet = EofPacket {
            warnings: 1,
            status: ServerStatus::MORE_RESULTS_EXISTS,
        };
        let mut out = Vec::new();
        packet.put(&mut out);
        assert_eq!(out, b"\xfe\x01\0\x08\0");
        assert_eq!(EofPacket::parse(&out), Ok(packet));
        assert_eq!(EofPacket::parse(b"\xfe\0"), Err(Malformed));
    }

    #[test]
    fn err_with_and_without_sqlstate() {
        for packet in [
            ErrPacket {
                code: 1045,
                sqlstate: Some(*b"28000"),
                message: b"Access denied",
            },
            ErrPacket {
                code: 1040,
                sqlstate: None,
                message: b"Too many connections",
            },
        ] {
            let mut out = Vec::new();
            packet.put(&mut out);
            assert_eq!(ErrPacket::parse(&out), Ok(packet));
        }
        assert_eq!(ErrPacket::parse(b"\xff\x10"), Err(Malformed));
        assert_eq!(ErrPacket::parse(b"\xff\x10\x04").unwrap().message, b"");
    }
}
