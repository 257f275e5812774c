//! Greetings as real servers sent them, and answers as clients may shape them.

use proptest::prelude::*;

use super::*;

/// MySQL 9.7.4, Debian unstable.
const MYSQL: &[u8] =
    b"\n9.7.4-2\0\x14\0\0\x009.\thMDef\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0\
    \x03;&\nC\x16gY\x1f^cH\0caching_sha2_password\0";
/// MariaDB 10.11.19, Debian 12.
const MARIADB: &[u8] =
    b"\n5.5.5-10.11.19-MariaDB-0+deb12u1\0\x06\0\0\0{aVk6k:{\0\xfe\xff\x08\x02\0\xff\x81\x15\
    \0\0\0\0\0\0\x1d\0\0\0#6%Wg\"p/9n?/\0mysql_native_password\0";

fn response() -> Response {
    Response {
        capabilities: [
            Capabilities::PROTOCOL_41,
            Capabilities::CONNECT_WITH_DB,
            Capabilities::SECURE_CONNECTION,
            Capabilities::PLUGIN_AUTH,
            Capabilities::CONNECT_ATTRS,
            Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA,
            Capabilities::MARIADB_CLIENT_STMT_BULK_OPERATIONS,
        ]
        .into_iter()
        .collect(),
        packet_max: 1 << 24,
        charset: 45,
        user: b"ann".to_vec(),
        auth: vec![0; 20],
        database: b"app".to_vec(),
        plugin: Some(b"mysql_native_password".to_vec()),
        attributes: vec![(b"program_name".to_vec(), b"tests".to_vec())],
    }
}

fn payload(response: &Response) -> Vec<u8> {
    let mut out = Vec::new();
    response.put(&mut out);
    out
}

fn read(payload: &[u8]) -> Response {
    match FirstPacket::parse(payload) {
        Ok(FirstPacket::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn greetings_of_real_servers() {
    let mysql = Greeting::parse(MYSQL).unwrap();
    assert_eq!(
        (mysql.version.as_slice(), mysql.thread_id),
        (&b"9.7.4-2"[..], 20)
    );
    assert_eq!(mysql.scramble, b"9.\thMDef\x03;&\nC\x16gY\x1f^cH");
    assert_eq!(
        (mysql.charset, mysql.plugin.as_slice()),
        (255, &b"caching_sha2_password"[..])
    );
    assert_eq!(mysql.capabilities.mariadb(), 0);
    let mariadb = Greeting::parse(MARIADB).unwrap();
    assert_eq!(mariadb.scramble.len(), SCRAMBLE_BYTES);
    assert_eq!(mariadb.capabilities.mariadb(), 0x1d, "bit 0 is not set");
}

#[test]
fn a_greeting_is_written_as_a_server_writes_it() {
    for captured in [MYSQL, MARIADB] {
        let mut out = Vec::new();
        Greeting::parse(captured).unwrap().put(&mut out);
        assert_eq!(out, captured);
    }
}

#[test]
fn a_greeting_cut_short_is_malformed() {
    for cut in 0..MYSQL.len() - b"caching_sha2_password\0".len() {
        assert_eq!(
            Greeting::parse(&MYSQL[..cut]),
            Err(Malformed),
            "cut at {cut}"
        );
    }
    assert_eq!(Greeting::parse(b"\x09old"), Err(Malformed));
}

#[test]
fn what_we_answer_we_can_read() {
    assert_eq!(read(&payload(&response())), response());
}

/// Case 84 of protocol.md.
#[test]
fn odd_clients() {
    let mut bare = response();
    bare.capabilities = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION;
    (bare.database, bare.plugin, bare.attributes) = (Vec::new(), None, Vec::new());
    assert_eq!(read(&payload(&bare)), bare, "no PLUGIN_AUTH");

    let mut no_database = response();
    no_database.database = Vec::new();
    assert_eq!(read(&payload(&no_database)), no_database, "database ''");

    let mut talkative = response();
    talkative.attributes = vec![(b"k".to_vec(), vec![b'v'; 64 * 1024])];
    assert_eq!(
        read(&payload(&talkative)),
        talkative,
        "64 KiB of attributes"
    );

    let mut unterminated = response();
    unterminated.capabilities = unterminated.capabilities - Capabilities::CONNECT_ATTRS;
    unterminated.attributes = Vec::new();
    let mut bytes = payload(&unterminated);
    assert_eq!(bytes.pop(), Some(0));
    assert_eq!(read(&bytes), unterminated, "no NUL behind the plugin");

    let long_password = response().capabilities | Capabilities::LONG_PASSWORD;
    let mut mysql = response();
    mysql.capabilities = long_password;
    assert_eq!(
        read(&payload(&mysql)).capabilities.mariadb(),
        0,
        "reserved bytes, not capabilities"
    );
}

#[test]
fn a_request_for_tls_is_the_head_alone() {
    let mut out = Vec::new();
    let asked = Capabilities::SSL | Capabilities::PROTOCOL_41;
    put_ssl_request(&mut out, asked, 1 << 24, 45);
    assert_eq!(out.len(), SSL_REQUEST_BYTES);
    assert_eq!(FirstPacket::parse(&out), Ok(FirstPacket::Ssl));
    assert_eq!(FirstPacket::parse(&out[..31]), Err(Malformed));
}

#[test]
fn clients_of_before_4_1() {
    assert_eq!(
        FirstPacket::parse(b"\x05\0\0\0\0ann\0"),
        Ok(FirstPacket::Old)
    );
}

#[test]
fn change_user() {
    let negotiated = response().capabilities;
    let body = b"bob\0\x02xyother\0\x2d\0mysql_native_password\0\x04\x01a\x01b";
    let change = ChangeUser::parse(body, negotiated).unwrap();
    assert_eq!(
        (change.user.as_slice(), change.auth.as_slice()),
        (&b"bob"[..], &b"xy"[..])
    );
    assert_eq!(
        (change.database.as_slice(), change.charset),
        (&b"other"[..], Some(45))
    );
    assert_eq!(
        change.plugin.as_deref(),
        Some(&b"mysql_native_password"[..])
    );
    assert_eq!(change.attributes, [(b"a".to_vec(), b"b".to_vec())]);
    let short = ChangeUser::parse(b"bob\0\0\0", negotiated).unwrap();
    assert_eq!((short.charset, short.plugin), (None, None));
    assert_eq!(ChangeUser::parse(b"bob\0\x02x", negotiated), Err(Malformed));
}

#[test]
fn debug_shows_no_answer() {
    let mut response = response();
    response.auth = b"hunter2".to_vec();
    assert!(!format!("{response:?}").contains("hunter2"));
    let change = ChangeUser::parse(b"bob\0\x07hunter2\0", response.capabilities).unwrap();
    assert!(!format!("{change:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = FirstPacket::parse(&bytes);
        let _ = Greeting::parse(&bytes);
        let _ = ChangeUser::parse(&bytes, response().capabilities);
    }
}
