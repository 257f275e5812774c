//! Conversations recorded from a real server, a model of one, and payloads of 16 MiB and more.

mod captures;
mod model;

use proptest::prelude::*;

use super::super::tracker::HEAD_BYTES;
use super::super::tracker::Transaction;
use super::super::wire::packet::PAYLOAD_MAX;
use super::super::wire::packet::put_packet;
use super::*;

const IDLE: Standing = Standing::Ready(Transaction::Idle);
const OLD: Capabilities = Capabilities::PROTOCOL_41;

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_packet(&mut out, sequence, |out| out.extend_from_slice(payload));
    out
}

fn command(payload: &[u8]) -> Vec<u8> {
    packet(0, payload)
}

fn query(text: &str) -> Vec<u8> {
    command(&[&[com::QUERY], text.as_bytes()].concat())
}

fn observer() -> Observer {
    Observer::new(OLD | Capabilities::DEPRECATE_EOF)
}

/// Shows bytes that must pass without a question.
fn client(observer: &mut Observer, bytes: &[u8]) {
    assert_eq!(
        observer.client(bytes),
        asked(bytes.len(), 0, Asked::Nothing)
    );
}

fn server(observer: &mut Observer, bytes: &[u8]) {
    let (pass, drop) = (bytes.len(), 0);
    assert_eq!(
        observer.server(bytes, &mut Told::default()),
        FromServer { pass, drop }
    );
}

const OK_IDLE: &[u8] = b"\0\0\0\x02\0\0\0";
const OK_OPEN: &[u8] = b"\0\0\0\x03\0\0\0";
const END: &[u8] = b"\xfe\0\0\x02\0\0\0";
const ERROR: &[u8] = b"\xff\x28\x04#42000no";

/// A packet that is not kept: its header, then its payload in pieces.
fn stream(observer: &mut Observer, sequence: u8, payload: &[u8]) {
    let mut header = u32::try_from(payload.len()).unwrap().to_le_bytes();
    header[3] = sequence;
    let (start, rest) = payload.split_at(payload.len().min(HEAD_BYTES));
    server(observer, &[&header[..], start].concat());
    for piece in rest.chunks(1 << 20) {
        server(observer, piece);
    }
    assert_eq!(observer.standing(), Standing::Busy);
}

#[test]
fn long_rows_are_no_ends_whatever_their_packets_begin_with() {
    let full = vec![0xfe; PAYLOAD_MAX];
    for capabilities in [OLD, OLD | Capabilities::DEPRECATE_EOF] {
        let eof = !capabilities.contains(Capabilities::DEPRECATE_EOF);
        // The packets behind a full one: what would be an end, an error, a short row, were it the first.
        for tail in [&[][..], &[0xfe; 5], END, ERROR, &[0]] {
            let mut observer = Observer::new(capabilities);
            client(&mut observer, &query("SELECT x"));
            server(&mut observer, &packet(1, b"\x01"));
            server(&mut observer, &packet(2, b"\x03def"));
            if eof {
                server(&mut observer, &packet(3, b"\xfe\0\0\x02\0"));
            }
            stream(&mut observer, 4, &full);
            stream(&mut observer, 5, &full);
            stream(&mut observer, 6, tail);
            stream(&mut observer, 7, b"\x03row");
            let end = if eof { &b"\xfe\0\0\x02\0"[..] } else { END };
            server(&mut observer, &packet(8, end));
            assert_eq!(observer.standing(), IDLE, "{tail:?}");
        }
    }
}

#[test]
fn a_command_of_exactly_one_full_packet_ends_with_an_empty_one() {
    let mut observer = observer();
    let mut first = query("INSERT");
    first[..3].copy_from_slice(&[0xff; 3]);
    first.resize(4 + 2000, b'x');
    client(&mut observer, &first);
    client(&mut observer, &vec![b'x'; PAYLOAD_MAX - 2000]);
    assert!(
        !observer.client_message_complete(),
        "the empty packet is to come"
    );
    // A continuation that would be COM_QUIT, were it a command.
    client(&mut observer, &packet(1, b"\x01"));
    assert!(observer.client_message_complete());
    server(&mut observer, &packet(2, OK_IDLE));
    assert_eq!((observer.standing(), observer.statements), (IDLE, 1));
}

#[test]
fn kills_of_our_ids_wait_for_the_replies_before_them() {
    let id = 0x4000_0003;
    let (connection, scope) = (statement::Scope::Connection, statement::Scope::Query);
    for (bytes, kill) in [
        (query("KILL QUERY 1073741827"), Kill { id, scope }),
        (
            command(b"\x0c\x03\0\0\x40"),
            Kill {
                id,
                scope: connection,
            },
        ),
    ] {
        let mut observer = observer();
        let stream = [query("SELECT 1"), bytes.clone(), command(b"\x0e")].concat();
        let before = query("SELECT 1").len();
        assert_eq!(observer.client(&stream), asked(before, 0, Asked::Nothing));
        assert!(observer.holds_client());
        server(&mut observer, &packet(1, OK_IDLE));
        assert!(!observer.holds_client());
        assert_eq!(
            observer.client(&stream[before..]),
            asked(0, bytes.len(), Asked::Kill(kill))
        );
        assert_eq!(observer.standing(), IDLE);
    }
}

#[test]
fn kills_of_the_servers_ids_pass() {
    let mut observer = observer();
    client(&mut observer, &query("KILL 5"));
    client(&mut observer, &command(b"\x0c\x05\0\0\0"));
    server(
        &mut observer,
        &[packet(1, ERROR), packet(1, OK_IDLE)].concat(),
    );
    assert_eq!(observer.standing(), IDLE);
}

#[test]
fn change_user_is_asked_for_whole_and_alone() {
    let mut observer = observer();
    let payload = [&b"\x11bob\0\0db\0"[..], &[b'a'; 2000]].concat();
    let bytes = command(&payload);
    assert_eq!(observer.client(&bytes[..2000]), asked(0, 0, Asked::Nothing));
    let stream = [&bytes[..], &command(b"\x0e")].concat();
    assert_eq!(
        observer.client(&stream),
        asked(0, bytes.len(), Asked::ChangeUser(payload))
    );
    let long = command(&[&b"\x11"[..], &vec![b'a'; CHANGE_USER_BYTES_MAX]].concat());
    assert_eq!(observer.client(&long).asked, Asked::TooLong);
}

#[test]
fn a_reset_holds_what_comes_behind_it_until_its_whole_answer_is_there() {
    let mut observer = observer();
    let stream = [command(b"\x1f"), query("SET NAMES latin1")].concat();
    assert_eq!(observer.client(&stream), asked(5, 0, Asked::Nothing));
    assert!(observer.holds_client());
    let (mut told, answer) = (Told::default(), packet(1, OK_IDLE));
    for cut in 0..answer.len() {
        assert_eq!(observer.server(&answer[..cut], &mut told).pass, 0);
        assert!(observer.holds_client() && !told.connection_reset);
    }
    assert_eq!(observer.server(&answer, &mut told).pass, answer.len());
    assert!(told.connection_reset && !observer.holds_client());
}

#[test]
fn statements_that_change_new_sessions_are_told_when_they_succeed() {
    for (answer, changed) in [(OK_IDLE, true), (ERROR, false)] {
        let (mut observer, mut told) = (observer(), Told::default());
        client(&mut observer, &query("GRANT ALL ON *.* TO u"));
        observer.server(&packet(1, answer), &mut told);
        assert_eq!(told.sessions_changed, changed);
    }
}

#[test]
fn the_answer_to_our_own_ping_is_kept_from_the_client() {
    let mut observer = observer();
    client(&mut observer, &query("CALL p()"));
    server(&mut observer, &packet(1, ERROR));
    assert_eq!(observer.standing(), Standing::Ready(Transaction::Unknown));
    observer.tracker.client(Command::Probe);
    assert!(observer.holds_client());
    let answer = packet(1, OK_OPEN);
    let mut look = |bytes| observer.server(bytes, &mut Told::default());
    let (pass, drop) = (0, answer.len());
    assert_eq!(look(&answer[..7]), FromServer { pass, drop: 0 });
    assert_eq!(look(&answer), FromServer { pass, drop });
    assert_eq!(observer.standing(), Standing::Ready(Transaction::Open));
}

#[test]
fn goodbye_and_text_behind_attributes() {
    let mut plain = observer();
    let stream = [command(b"\x0e"), command(b"\x01")].concat();
    assert_eq!(plain.client(&stream), asked(5, 0, Asked::Terminate));
    let mut attributed = Observer::new(OLD | Capabilities::QUERY_ATTRIBUTES);
    let text = b"\x03\0\x01KILL 1073741827";
    let seen = attributed.client(&command(text));
    assert!(matches!(seen.asked, Asked::Kill(_)), "{seen:?}");
}

#[test]
fn set_option_and_replication_spoil_a_connection_for_others() {
    for bytes in [
        command(b"\x1b\0\0"),
        command(b"\x15xxxx"),
        command(b"\x12xxxx"),
    ] {
        let mut observer = observer();
        assert!(observer.is_poolable());
        client(&mut observer, &bytes);
        assert!(!observer.is_poolable());
    }
    let mut multi = Observer::new(OLD | Capabilities::MARIADB_CLIENT_COM_MULTI);
    client(&mut multi, &command(b"\xfe"));
    server(&mut multi, b"whatever this is");
    client(&mut multi, b"or that");
    assert!(!multi.is_poolable() && multi.standing() == Standing::Busy);
}

#[test]
fn a_reply_nobody_asked_for_is_never_ready_again() {
    let mut observer = observer();
    server(
        &mut observer,
        &packet(0, b"\xff\x87\x07#70100Connection was killed"),
    );
    assert_eq!(observer.standing(), Standing::Busy);
    client(&mut observer, &command(b"\x0e"));
    server(&mut observer, &packet(1, OK_IDLE));
    assert_eq!(observer.standing(), Standing::Busy);
}

#[test]
fn mariadb_progress_ends_nothing() {
    let mut observer = observer();
    client(&mut observer, &query("ALTER TABLE t FORCE"));
    server(
        &mut observer,
        &packet(1, b"\xff\xff\xff\x01\x01\x02\0\0\0\x05stage"),
    );
    assert_eq!(observer.standing(), Standing::Busy);
    server(&mut observer, &packet(2, OK_IDLE));
    assert_eq!(observer.standing(), IDLE);
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        let mut observer = observer();
        for piece in [head, tail, &bytes] {
            let seen = observer.client(piece);
            prop_assert!(seen.pass + seen.drop <= piece.len());
            let seen = observer.server(piece, &mut Told::default());
            prop_assert!(seen.pass + seen.drop <= piece.len());
        }
    }
}
