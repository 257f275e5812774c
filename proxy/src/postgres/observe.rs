//! Looks at what was read in either direction and says how much of it may go on.
//!
//! Forwarding is by ranges of the read buffer, not by message: the observer steps from header to header, and only
//! the few messages that matter are wanted whole. What is not forwarded yet (a cut header, the beginning of a
//! message that is wanted whole) stays with the caller and is shown again with more bytes behind it.
//!
//! Pure: bytes in, decisions out.

use super::statement;
use super::tracker::Tracker;
use super::wire::Header;
use super::wire::header::HEADER_BYTES;
use super::wire::status;
use super::wire::status::Reported;
use super::wire::status::Transaction;
use crate::wire::Malformed;

/// A message is wanted whole only up to this many bytes. A longer ParameterStatus or tag passes unseen.
pub const WHOLE_BYTES_MAX: usize = 8 * 1024;

/// What the client's bytes ask of the session.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing but to be forwarded.
    Nothing,
    /// Before the next byte goes on, nobody idle may be connected to this database.
    FreeDatabase(Vec<u8>),
    /// The client said goodbye.
    Terminate,
    /// The client broke the protocol at this byte.
    Violation(u8),
}

/// What the server's bytes ask of the session.
#[derive(Debug, Default)]
pub struct Told {
    /// Parameters reported.
    pub parameters: Reported,
    /// A statement ran after which new sessions may look different.
    pub sessions_changed: bool,
}

/// Follows both directions of one session.
#[derive(Debug, Default)]
pub struct Observer {
    /// Where the conversation stands.
    pub tracker: Tracker,
    /// Bytes of the client's current message that still go by unseen.
    client_passing: usize,
    /// The same for the server's.
    server_passing: usize,
    /// The database for the statement at hand was freed: let it pass.
    freed: bool,
    /// Statements seen, for the log line at the end.
    pub statements: u64,
}

impl Observer {
    /// True when the last byte forwarded from the client ended a message.
    pub fn client_message_complete(&self) -> bool {
        self.client_passing == 0
    }

    /// True when the last byte forwarded from the server ended a message.
    pub fn server_message_complete(&self) -> bool {
        self.server_passing == 0
    }

    /// Looks at the client's bytes: how many may be forwarded now, and what must happen before the others.
    pub fn client(&mut self, bytes: &[u8]) -> (usize, Asked) {
        let mut at = self.client_passing.min(bytes.len());
        self.client_passing -= at;
        while let Some(rest) = bytes.get(at..)
            && !self.tracker.is_full()
        {
            let header = match Header::parse(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(Malformed) => {
                    return (
                        at,
                        Asked::Violation(rest.first().copied().unwrap_or_default()),
                    );
                }
            };
            match header.tag {
                b'Q' | b'P' => match self.statement(header, rest) {
                    Some(Asked::Nothing) => self.statements += 1,
                    Some(asked) => return (at, asked),
                    None => break,
                },
                b'X' => return (at, Asked::Terminate),
                b'B' | b'D' | b'E' | b'S' | b'H' | b'C' | b'F' | b'd' | b'c' | b'f' => {}
                other => return (at, Asked::Violation(other)),
            }
            self.tracker.client(header.tag);
            let passed = header.total().min(rest.len());
            self.client_passing = header.total() - passed;
            at += passed;
        }
        (at, Asked::Nothing)
    }

    /// Says that the database asked for is free now, so that the statement passes when it is shown again.
    pub fn database_freed(&mut self) {
        self.freed = true;
    }

    /// Looks at the text of a Query or Parse; `None` until enough of it has been read.
    fn statement(&mut self, header: Header, message: &[u8]) -> Option<Asked> {
        let wanted = header.body.min(statement::HEAD_BYTES);
        let head = message.get(HEADER_BYTES..HEADER_BYTES + wanted)?;
        if std::mem::take(&mut self.freed) {
            return Some(Asked::Nothing);
        }
        let text = if header.tag == b'P' {
            let name_end = head
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(head.len());
            head.get(name_end + 1..).unwrap_or_default()
        } else {
            head
        };
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(match statement::needs_database_free(text) {
            Some(database) => Asked::FreeDatabase(database),
            None => Asked::Nothing,
        })
    }

    /// Looks at the server's bytes: how many may be forwarded now. What they tell is added to `told`.
    pub fn server(&mut self, bytes: &[u8], told: &mut Told) -> Result<usize, Malformed> {
        let mut at = self.server_passing.min(bytes.len());
        self.server_passing -= at;
        while let Some(rest) = bytes.get(at..)
            && let Some(header) = Header::parse(rest)?
        {
            match header.tag {
                b'D' | b'd' => {}
                b'Z' | b'C' | b'S' if header.body <= WHOLE_BYTES_MAX => {
                    let Some(body) = rest.get(HEADER_BYTES..header.total()) else {
                        break;
                    };
                    self.whole(header.tag, body, told)?;
                }
                b'Z' => return Err(Malformed),
                tag => self.tracker.server(tag),
            }
            let passed = header.total().min(rest.len());
            self.server_passing = header.total() - passed;
            at += passed;
        }
        Ok(at)
    }

    fn whole(&mut self, tag: u8, body: &[u8], told: &mut Told) -> Result<(), Malformed> {
        match tag {
            b'Z' => self.tracker.ready(Transaction::parse(body)?),
            b'C' => {
                self.tracker.server(tag);
                told.sessions_changed |= statement::changes_new_sessions(body);
            }
            _ => {
                let (name, value) = status::parameter(body)?;
                told.parameters.set(name, value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tracker::Standing;
    use super::*;
    use crate::wire::length_prefixed;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        length_prefixed(&mut out, |out| out.extend_from_slice(body));
        out
    }

    /// Feeds bytes in pieces as the relay does: what is held comes again with the next piece before it.
    fn feed(pieces: &[&[u8]], mut look: impl FnMut(&[u8]) -> usize) -> Vec<u8> {
        let (mut held, mut forwarded) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let pass = look(&held);
            forwarded.extend(held.drain(..pass));
        }
        forwarded
    }

    fn server_bytes() -> Vec<u8> {
        [
            message(b'T', b"\0\0"),
            message(b'D', &[0; 300]),
            message(b'S', b"TimeZone\0UTC\0"),
            message(b'C', b"ALTER ROLE\0"),
            message(b'Z', b"T"),
        ]
        .concat()
    }

    #[test]
    fn a_server_stream_cut_at_every_byte_means_the_same() {
        let bytes = server_bytes();
        for cut in 0..=bytes.len() {
            let (mut observer, mut told) = (Observer::default(), Told::default());
            observer.tracker.client(b'Q');
            let (head, tail) = bytes.split_at(cut);
            let forwarded = feed(&[head, tail], |held| {
                observer.server(held, &mut told).unwrap()
            });
            assert_eq!(forwarded, bytes, "cut at {cut}");
            assert_eq!(
                observer.tracker.standing(),
                Standing::Ready(Transaction::Open),
                "cut at {cut}"
            );
            assert_eq!(told.parameters.get(b"TimeZone"), Some(&b"UTC"[..]));
            assert!(told.sessions_changed);
        }
    }

    #[test]
    fn a_client_stream_cut_at_every_byte_means_the_same() {
        let bytes = [
            message(b'P', b"name\0SELECT 1\0\0\0"),
            message(b'B', &[7; 5_000]),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
            message(b'Q', b"SELECT 2\0"),
        ]
        .concat();
        for cut in 0..=bytes.len() {
            let mut observer = Observer::default();
            let (head, tail) = bytes.split_at(cut);
            let forwarded = feed(&[head, tail], |held| {
                let (pass, asked) = observer.client(held);
                assert_eq!(asked, Asked::Nothing);
                pass
            });
            assert_eq!(forwarded, bytes, "cut at {cut}");
            assert!(observer.client_message_complete());
            assert_eq!(observer.statements, 2);
        }
    }

    #[test]
    fn a_long_body_passes_without_being_collected() {
        let mut observer = Observer::default();
        let mut header = message(b'd', &[]);
        header[1..5].copy_from_slice(&500_000_004_u32.to_be_bytes());
        assert_eq!(observer.client(&header), (5, Asked::Nothing));
        assert!(!observer.client_message_complete());
        assert_eq!(observer.client(&[0; 1000]), (1000, Asked::Nothing));
    }

    #[test]
    fn drop_database_is_held_back_until_the_database_is_free() {
        for bytes in [
            message(b'Q', b"DROP DATABASE x\0"),
            message(b'P', b"s\0DROP DATABASE x\0\0\0"),
        ] {
            let mut observer = Observer::default();
            let before = message(b'S', b"");
            let stream = [before.clone(), bytes.clone()].concat();
            assert_eq!(
                observer.client(&stream),
                (before.len(), Asked::FreeDatabase(b"x".to_vec()))
            );
            observer.database_freed();
            assert_eq!(observer.client(&bytes), (bytes.len(), Asked::Nothing));
            assert_eq!(
                observer.client(&bytes),
                (0, Asked::FreeDatabase(b"x".to_vec())),
                "once"
            );
        }
    }

    #[test]
    fn goodbye_and_nonsense() {
        let mut observer = Observer::default();
        let stream = [message(b'S', b""), message(b'X', b"")].concat();
        assert_eq!(observer.client(&stream), (5, Asked::Terminate));
        assert_eq!(
            observer.client(b"GET / HTTP/1.1\r\n"),
            (0, Asked::Violation(b'G'))
        );
        assert_eq!(
            observer.client(&message(b'p', b"x")),
            (0, Asked::Violation(b'p'))
        );
        assert_eq!(observer.client(b"Q\0\0\0\x01"), (0, Asked::Violation(b'Q')));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut observer = Observer::default();
            feed(&[head, tail], |held| observer.client(held).0);
            feed(&[head, tail], |held| observer.server(held, &mut Told::default()).unwrap_or(held.len()));
        }
    }
}
