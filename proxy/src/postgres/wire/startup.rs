//! The first packet of a connection: SSLRequest, GSSENCRequest, CancelRequest or StartupMessage.

use crate::wire::Malformed;
use crate::wire::Reader;
use crate::wire::length_prefixed;
use crate::wire::put_cstr;

/// Longest first packet accepted, its length not included (pqcomm.h, `MAX_STARTUP_PACKET_LENGTH`, which
/// backend_startup.c compares after it has taken off the four bytes of the length).
pub const STARTUP_BYTES_MAX: usize = 10_000;
/// The newest minor version of protocol 3 this proxy speaks to clients (PostgreSQL 18).
pub const MINOR_MAX: u16 = 2;

const MAJOR: u16 = 3;
const CANCEL_CODE: u32 = 80_877_102;
const SSL_CODE: u32 = 80_877_103;
const GSSENC_CODE: u32 = 80_877_104;

/// Run-time parameters in the order they were sent. Values are bytes: their encoding is the server's business.
pub type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// What a first packet asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket {
    /// Cancel the running statement of the session with this key.
    Cancel(CancelKey),
    /// GSSAPI encryption.
    GssEncryption,
    /// TLS.
    Ssl,
    /// A session.
    Startup(Startup),
    /// A major version other than 3.
    Unsupported {
        /// Requested major version.
        major: u16,
        /// Requested minor version.
        minor: u16,
    },
}

/// A StartupMessage of protocol 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Requested minor version.
    pub minor: u16,
    /// Everything but `_pq_.` options, `user` and `database` included.
    pub parameters: Parameters,
    /// Names that begin with `_pq_.`: protocol extensions, none of which we know.
    pub extensions: Vec<Vec<u8>>,
}

impl Startup {
    /// The value of a parameter; the last one wins, as in the server.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .rev()
            .find(|(key, _)| key == name.as_bytes())
            .map(|(_, value)| &value[..])
    }
}

/// What a CancelRequest carries.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelKey {
    /// Process id of the backend.
    pub pid: u32,
    /// 4 bytes up to protocol 3.1, up to 256 from 3.2 on.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl FirstPacket {
    /// Reads the packet after its length.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        match reader.u32_be()? {
            // Also one that is cut short: it matches no session, and no cancel request is ever answered.
            CANCEL_CODE => Ok(Self::Cancel(CancelKey {
                pid: reader.u32_be().unwrap_or_default(),
                secret: reader.rest().to_vec(),
            })),
            SSL_CODE if reader.is_empty() => Ok(Self::Ssl),
            GSSENC_CODE if reader.is_empty() => Ok(Self::GssEncryption),
            code => {
                let [a, b, c, d] = code.to_be_bytes();
                let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                if major == MAJOR {
                    parse_parameters(reader, minor).map(Self::Startup)
                } else {
                    Ok(Self::Unsupported { major, minor })
                }
            }
        }
    }
}

fn parse_parameters(mut reader: Reader<'_>, minor: u16) -> Result<Startup, Malformed> {
    let mut startup = Startup {
        minor,
        parameters: Vec::new(),
        extensions: Vec::new(),
    };
    loop {
        let name = reader.cstr()?;
        if name.is_empty() {
            break;
        }
        let value = reader.cstr()?;
        if name.starts_with(b"_pq_.") {
            startup.extensions.push(name.to_vec());
        } else {
            startup.parameters.push((name.to_vec(), value.to_vec()));
        }
    }
    // "invalid startup packet layout: expected terminator as last byte" (backend_startup.c)
    if reader.is_empty() {
        Ok(startup)
    } else {
        Err(Malformed)
    }
}

/// A StartupMessage of protocol 3.0: what every server understands, the cancel key being our own business.
pub fn startup_message<'a>(parameters: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    length_prefixed(&mut out, |out| {
        out.extend_from_slice(&u32::from(MAJOR).rotate_left(16).to_be_bytes());
        for (name, value) in parameters {
            put_cstr(out, name);
            put_cstr(out, value);
        }
        out.push(0);
    });
    out
}

/// An SSLRequest.
pub fn ssl_request() -> Vec<u8> {
    coded(SSL_CODE, &[])
}

/// A CancelRequest.
pub fn cancel_request(key: &CancelKey) -> Vec<u8> {
    let mut rest = key.pid.to_be_bytes().to_vec();
    rest.extend_from_slice(&key.secret);
    coded(CANCEL_CODE, &rest)
}

fn coded(code: u32, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + rest.len());
    length_prefixed(&mut out, |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(rest);
    });
    out
}

/// NegotiateProtocolVersion: the version we speak instead, and the extensions we do not know.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, startup: &Startup) {
    out.push(b'v');
    length_prefixed(out, |out| {
        out.extend_from_slice(&MAJOR.to_be_bytes());
        out.extend_from_slice(&startup.minor.min(MINOR_MAX).to_be_bytes());
        out.extend_from_slice(
            &u32::try_from(startup.extensions.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        for name in &startup.extensions {
            put_cstr(out, name);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(packet: &[u8]) -> &[u8] {
        assert_eq!(
            packet.len(),
            u32::from_be_bytes(*packet.first_chunk().unwrap()) as usize
        );
        &packet[4..]
    }

    #[test]
    fn startup_round_trip() {
        let packet = startup_message([
            (&b"user"[..], &b"ann"[..]),
            (b"options", b"-c work_mem=7MB"),
        ]);
        let FirstPacket::Startup(startup) = FirstPacket::parse(body(&packet)).unwrap() else {
            panic!()
        };
        assert_eq!((startup.minor, startup.extensions.len()), (0, 0));
        assert_eq!(startup.parameter("user"), Some(&b"ann"[..]));
        assert_eq!(startup.parameter("options"), Some(&b"-c work_mem=7MB"[..]));
        assert_eq!(startup.parameter("database"), None);
    }

    #[test]
    fn requests_round_trip() {
        assert_eq!(
            FirstPacket::parse(body(&ssl_request())),
            Ok(FirstPacket::Ssl)
        );
        let key = CancelKey {
            pid: 7,
            secret: vec![1; 32],
        };
        assert_eq!(
            FirstPacket::parse(body(&cancel_request(&key))),
            Ok(FirstPacket::Cancel(key))
        );
        let cut = [
            &CANCEL_CODE.to_be_bytes()[..],
            &7_u32.to_be_bytes(),
            &[1, 2],
        ]
        .concat();
        let no_ones = CancelKey {
            pid: 7,
            secret: vec![1, 2],
        };
        assert_eq!(FirstPacket::parse(&cut), Ok(FirstPacket::Cancel(no_ones)));
        assert_eq!(
            FirstPacket::parse(&[0, 2, 0, 0]),
            Ok(FirstPacket::Unsupported { major: 2, minor: 0 })
        );
    }

    /// libpq 19 beta greases every connection like this (protocol.md A.2).
    #[test]
    fn greased_version_is_answered_with_ours_and_every_unknown_option() {
        let mut packet = vec![0, 3, 0x27, 0x0f];
        packet.extend_from_slice(b"user\0u\0_pq_.test_protocol_negotiation\0\0\0");
        let FirstPacket::Startup(startup) = FirstPacket::parse(&packet).unwrap() else {
            panic!()
        };
        let mut out = Vec::new();
        negotiate_protocol_version(&mut out, &startup);
        assert_eq!(out[..13], *b"v\0\0\0\x2b\0\x03\0\x02\0\0\0\x01");
        assert_eq!(out[13..], *b"_pq_.test_protocol_negotiation\0");
    }

    #[test]
    fn every_cut_is_malformed_or_shorter_but_never_a_panic() {
        let packet = startup_message([(&b"user"[..], &b"ann"[..])]);
        for cut in 0..body(&packet).len() {
            assert_eq!(
                FirstPacket::parse(&body(&packet)[..cut]),
                Err(Malformed),
                "cut at {cut}"
            );
        }
        let mut trailing = body(&packet).to_vec();
        trailing.push(0);
        assert_eq!(FirstPacket::parse(&trailing), Err(Malformed));
    }
}
