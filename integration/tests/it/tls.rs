//! TLS and passwords towards applications, and the unix socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::sync::Arc;

use rds_sandbox::Sidecar;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;

use crate::drivers::psql;
use crate::session::Session;
use crate::support::World;
use crate::support::sidecar;
use crate::support::world;
use crate::wire::GSSENC_REQUEST;
use crate::wire::SSL_REQUEST;
use crate::wire::Wire;
use crate::wire::message;
use crate::wire::startup;

const CLIENT_PASSWORD: &str = "what the application must know";

/// As `sslmode=require`: any certificate will do.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn offering(alpn: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn with_tls() -> Sidecar {
    sidecar(&world().sandbox, &["client_tls=self-signed"], &[])
}

fn works(wire: Wire) {
    let mut session = Session::login(wire, &startup(0, World::PARAMETERS), "")
        .ok()
        .unwrap();
    let filler = "x".repeat(100_000);
    assert_eq!(session.value(&format!("SELECT '{filler}'")), filler);
}

#[test]
fn after_a_request_from_the_first_byte_or_not_at_all() {
    let sidecar = with_tls();
    works(Wire::tls(sidecar.port(), offering(&[]), false).unwrap());
    works(Wire::tls(sidecar.port(), offering(&["postgresql"]), false).unwrap());
    works(Wire::tls(sidecar.port(), offering(&["postgresql"]), true).unwrap());
    works(Wire::tcp(sidecar.port()));
    let mut after_gss = Wire::tcp(sidecar.port());
    after_gss.send(GSSENC_REQUEST);
    assert_eq!(after_gss.byte(), Some(b'N'));
    after_gss.send(SSL_REQUEST);
    assert_eq!(after_gss.byte(), Some(b'S'));
}

#[test]
fn direct_tls_needs_its_protocol_name() {
    let sidecar = with_tls();
    for alpn in [&[][..], &["http/1.1"]] {
        let refused = Wire::tls(sidecar.port(), offering(alpn), true)
            .err()
            .unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
        assert!(
            refused.to_string().contains("NoApplicationProtocol"),
            "{refused}"
        );
    }
    let without_tls = Wire::tls(world().sidecar.port(), offering(&["postgresql"]), true);
    assert!(
        without_tls.is_err(),
        "direct TLS where none is configured is closed"
    );
}

#[test]
fn a_second_request_inside_tls_is_refused() {
    let sidecar = with_tls();
    for direct in [false, true] {
        let mut wire = Wire::tls(sidecar.port(), offering(&["postgresql"]), direct).unwrap();
        wire.send(SSL_REQUEST);
        let words = wire.receive().unwrap().words();
        assert!(
            words.contains("C=0A000 M=unsupported frontend protocol 1234.5679"),
            "{words}"
        );
    }
}

#[test]
fn what_was_sent_ahead_in_clear_text_is_never_taken_for_the_session() {
    let sidecar = with_tls();
    let mut wire = Wire::tcp(sidecar.port());
    wire.send(&[SSL_REQUEST, &startup(0, World::PARAMETERS)].concat());
    assert_eq!(wire.byte(), Some(b'S'));
    let rest = wire.rest();
    assert!(
        rest.is_empty() || rest[0] == 21,
        "an alert at most: {}",
        rest.escape_ascii()
    );
}

#[test]
fn libpq_takes_tls_where_it_is_offered() {
    let sidecar = with_tls();
    for (mode, expected) in [("disable", "f"), ("prefer", "t"), ("require", "t")] {
        let target = format!(
            "host=127.0.0.1 port={} user=pw_app dbname=app sslmode={mode}",
            sidecar.port()
        );
        let (told, _) = psql(&target, &[], "\\conninfo\nSELECT 1;\n").unwrap();
        assert_eq!(
            told.contains("SSL connection (protocol: TLSv1.3"),
            expected == "t",
            "{mode}: {told}"
        );
    }
    let target = format!(
        "host=127.0.0.1 port={} user=pw_app dbname=app sslmode=require",
        world().sidecar.port()
    );
    let refused = psql(&target, &[], "SELECT 1;").unwrap_err();
    assert!(
        refused.contains("server does not support SSL, but SSL was required"),
        "{refused}"
    );
}

#[test]
fn unix_sockets_are_local_and_speak_no_tls() {
    let folder = world().sandbox.work_dir().path().join("unix");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join(".s.PGSQL.5432");
    let listen = format!("listen=unix:{}", path.display());
    let _sidecar = sidecar(&world().sandbox, &[&listen, "client_tls=self-signed"], &[]);
    works(Wire::unix(&path));
    let mut wire = Wire::unix(&path);
    wire.send(SSL_REQUEST);
    assert_eq!(wire.byte(), Some(b'N'));
    works(wire);
    let mut client_hello = Wire::unix(&path);
    client_hello.send(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    assert_eq!(client_hello.rest(), b"");
    let target = format!("host={} user=pw_app dbname=app", folder.display());
    assert_eq!(
        psql(&target, &[], "SELECT 'through a file';").unwrap().0,
        "through a file\n"
    );
}

#[test]
fn clients_may_have_to_know_a_password() {
    let keys = ["client_auth=password"];
    let sidecar = sidecar(
        &world().sandbox,
        &keys,
        &[("RDS_SIDECAR_CLIENT_PASSWORD", CLIENT_PASSWORD)],
    );
    let try_with = |user: &str, password: &str| {
        let packet = startup(0, &[("user", user), ("database", "app")]);
        Session::login(Wire::tcp(sidecar.port()), &packet, password)
    };
    assert_eq!(
        try_with("pw_app", CLIENT_PASSWORD)
            .ok()
            .unwrap()
            .value("SELECT 1"),
        "1"
    );
    for (user, password) in [("pw_app", "guess"), ("pw_app", ""), ("nobody", "guess")] {
        let words = try_with(user, password).err().unwrap().words();
        assert_eq!(
            words,
            format!("S=FATAL C=28P01 M=password authentication failed for user \"{user}\"")
        );
    }
    // The upstream password is not the client's.
    assert!(try_with("pw_app", crate::support::PASSWORD).is_err());
    let target = format!(
        "host=127.0.0.1 port={} user=pw_app dbname=app",
        sidecar.port()
    );
    assert!(psql(&target, &[("PGPASSWORD", CLIENT_PASSWORD)], "SELECT 1;").is_ok());
    let wrong = psql(&target, &[("PGPASSWORD", "wrong")], "SELECT 1;").unwrap_err();
    assert!(
        wrong.contains("FATAL:  password authentication failed for user \"pw_app\""),
        "{wrong}"
    );
    let none = psql(&target, &[("PGPASSFILE", "/dev/null")], "SELECT 1;").unwrap_err();
    assert!(none.contains("no password supplied"), "{none}");
}

#[test]
fn a_client_that_does_not_prove_anything_gets_nothing() {
    let keys = ["client_auth=password"];
    let sidecar = sidecar(
        &world().sandbox,
        &keys,
        &[("RDS_SIDECAR_CLIENT_PASSWORD", CLIENT_PASSWORD)],
    );
    let begin = || {
        let mut wire = Wire::tcp(sidecar.port());
        wire.send(&startup(0, World::PARAMETERS));
        let asked = wire.receive().unwrap();
        assert_eq!(
            (asked.tag, &asked.body[..]),
            (b'R', &b"\0\0\0\x0aSCRAM-SHA-256\0\0"[..])
        );
        wire
    };
    let clear_text = message(b'p', format!("{CLIENT_PASSWORD}\0").as_bytes());
    let plus = message(
        b'p',
        b"SCRAM-SHA-256-PLUS\0\0\0\0\x1ap=tls-server-end-point,,n=,r=x",
    );
    for answer in [
        clear_text,
        plus,
        message(b'Q', b"SELECT 1\0"),
        message(b'p', b""),
    ] {
        let mut wire = begin();
        wire.send(&answer);
        let words = wire.receive().unwrap().words();
        assert!(words.starts_with("S=FATAL C=08P01 "), "{words}");
        assert!(wire.receive().is_none());
    }
    let log = sidecar.log();
    assert!(!log.contains(CLIENT_PASSWORD), "{log}");
}
