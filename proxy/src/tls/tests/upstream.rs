//! Who is let through, and what is said about those who are not.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use rcgen::SanType;
use rcgen::date_time_ymd;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;

use super::pki::Authority;
use super::pki::refused;
use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::tls::TlsError;

const HOST: &str = "db.example.org";

#[tokio::test]
async fn a_proven_server_is_talked_to() {
    let authority = Authority::new("Test CA");
    let (mut ours, mut theirs) = authority
        .server(&[HOST])
        .shake(&authority.trusted(), "DB.example.org.")
        .await
        .unwrap();
    let slices = [
        std::io::IoSlice::new(b"select "),
        std::io::IoSlice::new(b"1"),
    ];
    assert!(ours.is_write_vectored());
    assert_eq!(
        ours.write_vectored(&slices).await.unwrap(),
        8,
        "both slices in one call"
    );
    ours.flush().await.unwrap();
    let mut read = [0; 8];
    theirs.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"select 1");
    assert!(!ours.resumed());
    assert_eq!(ours.cipher(), "TLSv1_3 TLS13_AES_128_GCM_SHA256");
    assert_eq!(
        format!("{ours:?}"),
        "Verified(\"TLSv1_3 TLS13_AES_128_GCM_SHA256\")"
    );
    assert!(ours.server_certificate().is_some());
    ours.shutdown().await.unwrap();
    assert_eq!(
        theirs.read(&mut read).await.unwrap(),
        0,
        "close_notify: a clean end, no UnexpectedEof"
    );
}

#[tokio::test]
async fn an_address_is_proven_by_an_address() {
    let authority = Authority::new("Test CA");
    let server = authority.server(&["10.1.2.3", "2001:db8::7"]);
    server
        .shake(&authority.trusted(), "10.1.2.3")
        .await
        .unwrap();
    server
        .shake(&authority.trusted(), "2001:db8::7")
        .await
        .unwrap();
    let error = refused(&server, &authority.trusted(), "10.1.2.4").await;
    assert!(
        matches!(&error, TlsError::WrongName { presented, .. } if presented == &["10.1.2.3", "2001:db8::7"])
    );
}

#[tokio::test]
async fn tls_1_2_is_enough() {
    let authority = Authority::new("Test CA");
    let server = authority.server(&[HOST]).only(&rustls::version::TLS12);
    let (ours, _theirs) = server.shake(&authority.trusted(), HOST).await.unwrap();
    assert_eq!(
        ours.cipher(),
        "TLSv1_2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    );
}

#[tokio::test]
async fn a_wrong_name_shows_the_right_ones() {
    let authority = Authority::new("Test CA");
    let server = authority.server(&[
        "mydb.abc123.eu-west-1.rds.amazonaws.com",
        "other.example.org",
    ]);
    let error = refused(&server, &authority.trusted(), HOST).await;
    assert_eq!(
        (error.blame(), error.retry()),
        (Blame::Config, Retry::Never)
    );
    assert_eq!(
        error.for_client(),
        ClientError {
            sqlstate: "08001".into(),
            message: "the certificate presented is not for db.example.org".into(),
            detail: Some(
                "the certificate is for mydb.abc123.eu-west-1.rds.amazonaws.com, other.example.org".into()
            ),
            hint: Some(
                "db.example.org leads to an RDS database under another name (an alias or a tunnel); set \
                 sign_host = \"mydb.abc123.eu-west-1.rds.amazonaws.com\""
                    .into()
            ),
        }
    );
}

#[tokio::test]
async fn a_common_name_is_no_name() {
    let authority = Authority::new("Test CA");
    let server = authority.server_with(&[], |params| {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, HOST);
    });
    let told = refused(&server, &authority.trusted(), HOST)
        .await
        .for_client();
    assert_eq!(
        told.detail.as_deref(),
        Some("certificate of CN=db.example.org, without any name (subjectAltName)")
    );
    assert!(told.hint.unwrap().contains("subjectAltName"));
}

#[tokio::test]
async fn dates_are_checked_and_shown() {
    let authority = Authority::new("Test CA");
    let old = authority.server_with(&[HOST], |params| {
        params.not_after = date_time_ymd(2021, 2, 3)
    });
    let error = refused(&old, &authority.trusted(), HOST).await;
    assert_eq!(
        error.to_string(),
        "the certificate of db.example.org ended at 2021-02-03T00:00:00Z"
    );
    let TlsError::Expired { now, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        now.starts_with("20") && now.ends_with('Z') && now.len() == 20,
        "{now}"
    );

    let young = authority.server_with(&[HOST], |params| {
        params.not_before = date_time_ymd(2999, 1, 1)
    });
    let error = refused(&young, &authority.trusted(), HOST).await;
    assert_eq!(
        error.to_string(),
        "the certificate of db.example.org is not valid before 2999-01-01T00:00:00Z"
    );
    assert_eq!(
        error.for_client().hint.as_deref(),
        Some("set this machine's clock")
    );
}

#[tokio::test]
async fn a_hostile_name_is_tamed() {
    let authority = Authority::new("Test CA");
    let server = authority.server_with(&[], |params| {
        params.subject_alt_names = vec![SanType::DnsName(
            "a\nFATAL: pay\u{1b}[1m".try_into().unwrap(),
        )];
    });
    let told = refused(&server, &authority.trusted(), HOST)
        .await
        .for_client();
    assert_eq!(
        told.detail.as_deref(),
        Some("the certificate is for a\\nFATAL: pay\\u{1b}[1m")
    );
}

#[tokio::test]
async fn plain_text_and_silence_are_told_apart() {
    let tls = Authority::new("Test CA").trusted();
    let answer = async |bytes: &[u8]| {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        tls.connect(ours, HOST).await.unwrap_err()
    };
    let plain = answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(matches!(plain, TlsError::NotTls { .. }), "{plain:?}");
    assert_eq!(
        (plain.blame(), plain.retry()),
        (Blame::Upstream, Retry::Never)
    );
    let closed = answer(b"").await;
    assert!(matches!(closed, TlsError::Closed { .. }), "{closed:?}");
    assert_eq!(
        (closed.retry(), closed.for_client().sqlstate.as_ref()),
        (Retry::Later, "08006")
    );
    let alert = answer(&[0x15, 3, 3, 0, 2, 2, 40]).await.for_client();
    assert_eq!(
        alert.detail.as_deref(),
        Some("received fatal alert: HandshakeFailure")
    );
    assert!(alert.hint.unwrap().contains("TLS 1.2 or 1.3"));
    let alert = answer(&[0x15, 3, 3, 0, 2, 2, 80]).await.for_client();
    assert_eq!(
        alert.detail.as_deref(),
        Some("received fatal alert: InternalError")
    );
    assert_eq!(alert.hint, None, "nothing we could know");
}

#[tokio::test]
async fn a_broken_transport_keeps_its_words() {
    let stream = tokio::io::join(Broken(std::io::ErrorKind::TimedOut), tokio::io::sink());
    let error = Authority::new("Test CA")
        .trusted()
        .connect(stream, HOST)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, TlsError::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut)
    );
    assert_eq!(error.for_client().sqlstate, "08006");
}

#[tokio::test]
async fn what_is_no_name_is_refused_before_a_byte_is_sent() {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let error = Authority::new("Test CA")
        .trusted()
        .connect(ours, "not a name")
        .await
        .unwrap_err();
    assert!(matches!(error, TlsError::BadName { .. }));
    assert_eq!(
        theirs.read(&mut [0; 1]).await.unwrap(),
        0,
        "nothing but the end"
    );
}

#[tokio::test]
async fn the_second_connection_resumes_and_clones_share_it() {
    let authority = Authority::new("Test CA");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let (server, tls) = (
            authority.server(&[HOST, "other.example.org"]).only(version),
            authority.trusted(),
        );
        let (mut first, mut theirs) = server.shake(&tls, HOST).await.unwrap();
        theirs.write_all(b"x").await.unwrap();
        first.read_u8().await.unwrap();
        let (second, _theirs) = server.shake(&tls.clone(), HOST).await.unwrap();
        assert!(second.resumed(), "{version:?}");
        assert!(
            second.server_certificate().is_some(),
            "channel binding still has its certificate"
        );
        let (other, _theirs) = server.shake(&tls, "other.example.org").await.unwrap();
        assert!(
            !other.resumed(),
            "a ticket of one name proves nothing about another"
        );
    }
}

/// A server that was proven once and whose authority is no longer known does not get in by a ticket.
#[tokio::test]
async fn tickets_do_not_pass_between_trust_stores() {
    let authority = Authority::new("Test CA");
    let server = authority.server(&[HOST]);
    let (mut first, mut theirs) = server.shake(&authority.trusted(), HOST).await.unwrap();
    theirs.write_all(b"x").await.unwrap();
    first.read_u8().await.unwrap();
    let error = refused(&server, &Authority::new("Another CA").trusted(), HOST).await;
    assert!(matches!(error, TlsError::UnknownCa { .. }), "{error:?}");
}

#[test]
fn the_futures_can_be_spawned() {
    fn spawnable<T: Send + 'static>(_: T) {}
    let tls = Authority::new("Test CA").trusted();
    let (ours, _theirs) = tokio::io::duplex(1);
    spawnable(async move {
        tls.connect(ours, HOST)
            .await
            .map(|mut stream| stream.idle_health())
    });
}

/// A transport whose reads fail.
struct Broken(std::io::ErrorKind);

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(self.0.into()))
    }
}
