//! The dialogue with each kind of client, byte by byte (protocol.md C.2).

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::*;
use crate::mysql::wire::packet::put_packet;
use crate::net::ClientStream;

const SCRAMBLE: &Scramble = b"01234567890123456789";

/// What a client does: its plugin, its answer to the greeting, and whether it knows the secret.
struct Client {
    plugin: Option<&'static [u8]>,
    answer: Vec<u8>,
    password: &'static [u8],
    attributes: Attributes,
}

/// What came of it: the outcome, and the packets the client got.
struct Outcome {
    result: Result<Scramble, ProveError>,
    heard: Vec<Vec<u8>>,
}

async fn dialogue(secret: Option<&str>, client: Client) -> Outcome {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut io = ClientIo::new(ClientStream::unix(ours).unwrap());
    io.continue_at(2);
    let secret = secret.map(|secret| SecretString::from(secret.to_owned()));
    let Client {
        plugin,
        answer,
        password,
        attributes,
    } = client;
    let serving = async move {
        let claim = Claim {
            plugin,
            answer: &answer,
            scramble: SCRAMBLE,
            attributes: &attributes,
        };
        exchange(secret.as_ref(), &mut io, claim).await
    };
    let (result, heard) = tokio::join!(serving, listen(theirs, password));
    Outcome { result, heard }
}

/// Answers requests to switch, and notes everything. Sequence numbers must go on from the response's.
async fn listen(mut stream: UnixStream, password: &[u8]) -> Vec<Vec<u8>> {
    let (mut heard, mut expected) = (Vec::new(), 2);
    let mut header = [0; 4];
    while stream.read_exact(&mut header).await.is_ok() {
        assert_eq!(header[3], expected, "sequence number");
        let mut payload = vec![0; usize::from(header[0])];
        stream.read_exact(&mut payload).await.unwrap();
        expected += 1;
        if let Ok((plugin, scramble)) = auth::auth_switch(&payload) {
            let digest = if plugin == NATIVE {
                auth::native_digest(password, scramble)
            } else {
                auth::caching_sha2_digest(password, scramble)
            };
            let mut out = Vec::new();
            expected = put_packet(&mut out, expected, |out| out.extend_from_slice(&digest));
            stream.write_all(&out).await.unwrap();
        }
        heard.push(payload);
    }
    heard
}

fn client(plugin: Option<&'static [u8]>, password: &'static [u8]) -> Client {
    let answer = match plugin {
        None | Some(NATIVE) => auth::native_digest(password, SCRAMBLE),
        Some(CACHING_SHA2) => auth::caching_sha2_digest(password, SCRAMBLE),
        Some(_) => b"?".to_vec(),
    };
    Client {
        plugin,
        answer,
        password,
        attributes: Attributes::new(),
    }
}

fn switched_to(packet: &[u8]) -> &[u8] {
    auth::auth_switch(packet).unwrap().0
}

#[tokio::test]
async fn native_takes_no_further_round_trip() {
    for plugin in [None, Some(NATIVE)] {
        for secret in [None, Some("right")] {
            let outcome = dialogue(secret, client(plugin, b"right")).await;
            assert_eq!(outcome.result.unwrap(), *SCRAMBLE);
            assert!(outcome.heard.is_empty());
        }
    }
}

/// mysqlnd waits for ever without it, libmariadb loses count.
#[tokio::test]
async fn caching_sha2_hears_that_its_digest_was_right() {
    for secret in [None, Some("right")] {
        let outcome = dialogue(secret, client(Some(CACHING_SHA2), b"right")).await;
        assert!(outcome.result.is_ok());
        assert_eq!(outcome.heard, [b"\x01\x03"]);
    }
}

#[tokio::test]
async fn without_a_secret_an_empty_password_passes_at_once() {
    for (plugin, answer) in [
        (NATIVE, &b""[..]),
        (CACHING_SHA2, b""),
        (CACHING_SHA2, b"\0"),
    ] {
        let mut client = client(Some(plugin), b"");
        client.answer = answer.to_vec();
        let outcome = dialogue(None, client).await;
        assert!(outcome.result.is_ok() && outcome.heard.is_empty());
    }
}

#[tokio::test]
async fn wrong_and_empty_passwords_are_denied() {
    for plugin in [None, Some(NATIVE), Some(CACHING_SHA2), Some(CLEAR)] {
        for (password, used) in [(&b"wrong"[..], true), (b"", false)] {
            let outcome = dialogue(Some("right"), client(plugin, password)).await;
            match outcome.result {
                Err(ProveError::Denied { using_password }) => {
                    assert_eq!(using_password, used, "{plugin:?} {password:?}");
                }
                other => panic!("{plugin:?} {password:?}: {other:?}"),
            }
            assert!(outcome.heard.len() <= 1, "at most one switch");
        }
    }
}

/// libmariadb with another default plugin than the greeting's sends nothing at first.
#[tokio::test]
async fn who_sent_nothing_is_asked_once_more() {
    for plugin in [NATIVE, CACHING_SHA2] {
        let mut client = client(Some(plugin), b"right");
        client.answer = Vec::new();
        let outcome = dialogue(Some("right"), client).await;
        assert_ne!(
            outcome.result.unwrap(),
            *SCRAMBLE,
            "a scramble is used once"
        );
        assert_eq!(switched_to(&outcome.heard[0]), plugin);
    }
}

#[tokio::test]
async fn other_plugins_are_switched_to_native() {
    for plugin in [&b"client_ed25519"[..], CLEAR, b"dialog", b"sha256_password"] {
        for secret in [None, Some("right")] {
            let outcome = dialogue(secret, client(Some(plugin), b"right")).await;
            assert!(outcome.result.is_ok());
            assert_eq!(outcome.heard.len(), 1);
            assert_eq!(switched_to(&outcome.heard[0]), NATIVE);
        }
    }
}

#[tokio::test]
async fn libmysqlclient_9_is_switched_to_caching_sha2() {
    let mut client = client(Some(CLEAR), b"right");
    client.attributes = vec![
        (b"_client_name".to_vec(), b"libmysql".to_vec()),
        (b"_client_version".to_vec(), b"9.5.0".to_vec()),
    ];
    let outcome = dialogue(Some("right"), client).await;
    assert!(outcome.result.is_ok());
    assert_eq!(switched_to(&outcome.heard[0]), CACHING_SHA2);
    assert_eq!(outcome.heard[1], b"\x01\x03");
}

#[test]
fn scrambles_are_text_without_nul() {
    for _ in 0..100 {
        assert!(fresh_scramble().iter().all(|byte| (1..=127).contains(byte)));
    }
}

const CLEAR: &[u8] = auth::CLEAR;
