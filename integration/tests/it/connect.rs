//! From the first byte to the first ReadyForQuery.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use crate::session::Session;
use crate::session::same;
use crate::support::World;
use crate::support::sidecar;
use crate::support::world;
use crate::wire::GSSENC_REQUEST;
use crate::wire::Message;
use crate::wire::SSL_REQUEST;
use crate::wire::Wire;
use crate::wire::packet;
use crate::wire::startup;

/// The user's parameters and these.
fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [World::PARAMETERS, more].concat()
}

/// All up to the first ReadyForQuery, or to the end.
fn greeting(wire: &mut Wire, startup: &[u8]) -> Vec<Message> {
    wire.send(startup);
    let mut messages = Vec::new();
    while let Some(message) = wire.receive() {
        messages.push(message);
        if messages.last().is_some_and(|message| message.tag == b'Z') {
            break;
        }
    }
    messages
}

fn cancel_key_bytes(messages: &[Message]) -> usize {
    let key = messages.iter().find(|message| message.tag == b'K').unwrap();
    key.body.len() - 4
}

#[test]
fn encryption_is_declined_in_any_order() {
    let port = world().sidecar.port();
    for requests in [
        &[SSL_REQUEST][..],
        &[GSSENC_REQUEST],
        &[GSSENC_REQUEST, SSL_REQUEST],
        &[SSL_REQUEST, GSSENC_REQUEST],
    ] {
        let mut wire = Wire::tcp(port);
        for request in requests {
            wire.send(request);
            assert_eq!(wire.byte(), Some(b'N'));
        }
        let mut session = Session::login(wire, &startup(0, World::PARAMETERS), "")
            .ok()
            .unwrap();
        assert_eq!(session.value("SELECT 1"), "1");
    }
}

#[test]
fn encryption_is_asked_for_once() {
    for (request, version) in [(SSL_REQUEST, "1234.5679"), (GSSENC_REQUEST, "1234.5680")] {
        let mut wire = Wire::tcp(world().sidecar.port());
        wire.send(&[request, request].concat());
        assert_eq!(wire.byte(), Some(b'N'));
        let words = wire.receive().unwrap().words();
        let text = format!("M=unsupported frontend protocol {version}: server supports 3.0 to 3.2");
        assert_eq!(words, format!("S=FATAL C=0A000 {text}"));
        assert!(wire.receive().is_none());
    }
}

#[test]
fn protocol_versions() {
    let port = world().sidecar.port();
    for (minor, secret) in [(0, 4), (1, 4), (2, 32)] {
        let messages = greeting(&mut Wire::tcp(port), &startup(minor, World::PARAMETERS));
        assert_eq!(messages[0].tag, b'R', "3.{minor} needs no negotiation");
        assert_eq!(cancel_key_bytes(&messages), secret, "3.{minor}");
    }
    let two = greeting(&mut Wire::tcp(port), &packet(2 << 16, b"\0"));
    assert!(
        two[0]
            .words()
            .contains("C=0A000 M=unsupported frontend protocol 2.0"),
        "{}",
        two[0]
    );
}

#[test]
fn newer_versions_and_unknown_options_are_negotiated_once() {
    let port = world().sidecar.port();
    for (minor, options, answer, secret) in [
        (
            9999,
            &["_pq_.test_protocol_negotiation"][..],
            &[0, 3, 0, 2][..],
            32,
        ),
        (9999, &[], &[0, 3, 0, 2], 32),
        (2, &["_pq_.a", "_pq_.b"], &[0, 3, 0, 2], 32),
        (0, &["_pq_.x"], &[0, 3, 0, 0], 4),
    ] {
        let parameters: Vec<_> = options.iter().map(|name| (*name, "1")).collect();
        let messages = greeting(&mut Wire::tcp(port), &startup(minor, &with(&parameters)));
        let names: String = options.iter().map(|name| format!("{name}\0")).collect();
        let expected = [
            answer,
            &u32::try_from(options.len()).unwrap().to_be_bytes(),
            names.as_bytes(),
        ]
        .concat();
        assert_eq!(
            (messages[0].tag, &messages[0].body),
            (b'v', &expected),
            "3.{minor} {options:?}"
        );
        let again = messages
            .iter()
            .filter(|message| message.tag == b'v')
            .count();
        assert_eq!(
            again, 1,
            "libpq: received duplicate protocol negotiation message"
        );
        assert_eq!(cancel_key_bytes(&messages), secret);
    }
}

#[test]
fn negotiation_does_not_wait_for_a_connection() {
    let sidecar = sidecar(&world().sandbox, &["max_connections=1"], &[]);
    let first = Session::open(sidecar.port(), World::PARAMETERS);
    let mut second = Wire::tcp(sidecar.port());
    second.send(&startup(
        9999,
        &with(&[("_pq_.test_protocol_negotiation", "")]),
    ));
    assert_eq!(second.receive().unwrap().tag, b'v');
    drop(first);
    let mut tags = Vec::new();
    while tags.last() != Some(&b'Z') {
        tags.push(second.receive().unwrap().tag);
    }
    assert!(!tags.contains(&b'v'), "{}", tags.escape_ascii());
}

#[test]
fn the_options_parameter_in_every_spelling() {
    for options in [
        "-c geqo=off",
        "-cgeqo=off",
        "--geqo=off",
        "-c geqo=off -c work_mem=5MB",
        "  -c   geqo=off   -cwork_mem=5MB --extra-float-digits=2  ",
        "--search-path=a,b",
        "-c search_path=a,\\ b",
        "-c application_name=back\\\\slash",
        "-c GEQO=off",
        "-c TimeZone=Asia/Tokyo -c DateStyle=German",
        "-c app.tenant=7",
        "-e -S 2048",
    ] {
        same(&with(&[("options", options)]), |session| {
            session.query(
                "SELECT name, setting, source FROM pg_settings WHERE source = 'client' OR name IN ('geqo', 'work_mem', \
                 'search_path', 'application_name', 'extra_float_digits', 'DateStyle') ORDER BY name",
            );
            session.query("SELECT current_setting('app.tenant', true)");
        });
    }
}

#[test]
fn a_startup_packet_of_any_length_the_server_takes() {
    let empty = startup(0, &with(&[("app.filler", "")])).len();
    for length in [8_000, 10_000, 10_004] {
        let filler = "x".repeat(length - empty);
        same(&with(&[("app.filler", &filler)]), |session| {
            assert_eq!(session.value("SHOW app.filler").len(), length - empty);
        });
    }
    for length in [10_005, 20_000, 1 << 24] {
        let mut packet = startup(0, &with(&[("app.filler", &"x".repeat(10_000))]));
        packet[..4].copy_from_slice(&u32::to_be_bytes(length));
        let mut wire = Wire::tcp(world().sidecar.port());
        wire.send(&packet);
        assert_eq!(
            wire.rest(),
            b"",
            "a packet of {length} bytes is not answered"
        );
    }
}

#[test]
fn a_startup_packet_byte_by_byte() {
    let mut wire = Wire::tcp(world().sidecar.port());
    for byte in SSL_REQUEST {
        wire.send(&[*byte]);
    }
    assert_eq!(wire.byte(), Some(b'N'));
    for byte in startup(0, World::PARAMETERS) {
        wire.send(&[byte]);
    }
    let mut session = Session::go_on(wire, "").ok().unwrap();
    assert_eq!(session.value("SELECT 'slow but sure'"), "slow but sure");
}

#[test]
fn the_servers_refusals_keep_their_words() {
    for parameters in [
        &[("user", "pw_app"), ("database", "none_such")][..],
        &[("user", "nobody_known"), ("database", "app")],
        &[("user", "pw_app"), ("database", "template0")],
        &[("database", "app")],
        &[("user", ""), ("database", "app")],
        &with(&[("no_such_setting", "1")]),
        &with(&[("work_mem", "much")]),
        &with(&[("options", "-c no_such_setting=1")]),
        &with(&[("options", "-c log_connections=on")]),
        &with(&[("options", "--nonsense")]),
        &with(&[("client_encoding", "none")]),
        &with(&[("replication", "perhaps")]),
    ] {
        let refused = world().direct(parameters).err();
        assert!(refused.is_some(), "{parameters:?} is refused");
        same(parameters, |_| panic!("{parameters:?} is accepted"));
    }
    let missing = world()
        .session(&[("user", "pw_app"), ("database", "none_such")])
        .err()
        .unwrap();
    assert_eq!(
        missing.words(),
        "S=FATAL C=3D000 M=database \"none_such\" does not exist"
    );
}

#[test]
fn a_packet_without_its_last_byte() {
    let mut packet = startup(0, World::PARAMETERS);
    *packet.last_mut().unwrap() = b'x';
    let mut wire = Wire::tcp(world().sidecar.port());
    wire.send(&packet);
    let words = wire.receive().unwrap().words();
    assert_eq!(
        words,
        "S=FATAL C=08P01 M=invalid startup packet layout: expected terminator as last byte"
    );
}

#[test]
fn application_name_is_the_clients_own() {
    for name in ["", "a test", "ünïcode"] {
        let parameters = with(&[("application_name", name)]);
        same(&parameters, |session| {
            session.query("SHOW application_name");
            session.query("SET application_name = 'another'");
        });
    }
    same(World::PARAMETERS, |session| {
        session.query("SHOW application_name; SELECT application_name = current_setting('application_name') FROM pg_stat_activity WHERE pid = pg_backend_pid()");
    });
}

#[test]
fn parameters_and_pid_are_the_servers_own() {
    let mut session = Session::open(world().sidecar.port(), World::PARAMETERS);
    assert_eq!(
        session.value("SELECT pg_backend_pid()"),
        session.pid.to_string()
    );
    assert_eq!(session.parameter("in_hot_standby").as_deref(), Some("off"));
    let reported: Vec<_> = session
        .transcript
        .iter()
        .filter(|line| line.starts_with("S "))
        .cloned()
        .collect();
    assert!(reported.len() >= 13, "{reported:?}");
    for (name, value) in [
        ("session_authorization", "pw_app"),
        ("is_superuser", "off"),
        ("client_encoding", "UTF8"),
    ] {
        assert_eq!(session.parameter(name).as_deref(), Some(value));
    }
}

#[test]
fn connections_that_say_nothing_useful_leave_no_line_in_the_log() {
    let sidecar = sidecar(&world().sandbox, &[], &[]);
    let whole = startup(0, World::PARAMETERS);
    for bytes in [
        &b""[..],
        &[0],
        &whole[..3],
        &whole[..4],
        &whole[..20],
        SSL_REQUEST,
        b"\0\0\0\x07xyz",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut wire = Wire::tcp(sidecar.port());
        wire.send(bytes);
        drop(wire);
    }
    assert_eq!(
        Session::open(sidecar.port(), World::PARAMETERS).value("SELECT 1"),
        "1"
    );
    sidecar
        .wait_for_log("session ended", Duration::from_secs(10))
        .unwrap();
    let log = sidecar.log();
    assert_eq!(log.lines().count(), 2, "serving, and one session: {log}");
}
