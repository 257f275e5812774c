//! TLS towards applications.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use config::ClientTls;
use rustls::AlertDescription;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;

use super::pki::Authority;
use super::pki::Leaf;
use crate::tls::ClientAcceptor;
use crate::tls::provider;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

type Ends = (
    io::Result<tokio_rustls::client::TlsStream<DuplexStream>>,
    io::Result<tokio_rustls::server::TlsStream<DuplexStream>>,
);

#[derive(Clone, Copy)]
enum Way {
    Asked,
    Direct,
}

#[test]
fn off_is_none() {
    assert!(ClientAcceptor::new(&ClientTls::Off, &[]).unwrap().is_none());
}

#[tokio::test]
async fn a_self_signed_certificate_carries_every_name() {
    let names = ["db.internal", "127.0.0.1", "0.0.0.0", "::", "10.0.0.9"].map(str::to_owned);
    let acceptor = ClientAcceptor::new(&ClientTls::SelfSigned, &names)
        .unwrap()
        .unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "db.internal", "10.0.0.9"] {
        let (client, server) =
            shake(&acceptor, Way::Asked, name, &[], &rustls::version::TLS13).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        assert_eq!(
            client
                .get_ref()
                .1
                .negotiated_cipher_suite()
                .map(|suite| suite.suite()),
            Some(rustls::CipherSuite::TLS13_AES_128_GCM_SHA256)
        );
        client.write_all(b"hello").await.unwrap();
        client.flush().await.unwrap();
        let mut read = [0; 5];
        server.read_exact(&mut read).await.unwrap();
    }
    let (client, _) = shake(
        &acceptor,
        Way::Asked,
        "stranger",
        &[],
        &rustls::version::TLS13,
    )
    .await;
    assert!(client.is_err());
}

#[test]
fn a_name_that_is_none_is_refused() {
    let error = ClientAcceptor::new(&ClientTls::SelfSigned, &["dätabase".to_owned()]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot make a certificate for \"dätabase\""),
        "{error}"
    );
}

#[tokio::test]
async fn asked_for_tls_needs_no_alpn_and_confirms_it_when_offered() {
    let acceptor = ClientAcceptor::new(&ClientTls::SelfSigned, &[])
        .unwrap()
        .unwrap();
    for version in VERSIONS {
        let (client, server) = shake(&acceptor, Way::Asked, "localhost", &[], version).await;
        assert!(client.is_ok() && server.is_ok());
        let (client, _server) =
            shake(&acceptor, Way::Asked, "localhost", &["postgresql"], version).await;
        assert_eq!(
            client.unwrap().get_ref().1.alpn_protocol(),
            Some(b"postgresql".as_slice())
        );
    }
}

#[tokio::test]
async fn direct_tls_needs_alpn() {
    let acceptor = ClientAcceptor::new(&ClientTls::SelfSigned, &[])
        .unwrap()
        .unwrap();
    for version in VERSIONS {
        let (client, server) = shake(
            &acceptor,
            Way::Direct,
            "localhost",
            &["postgresql", "h2"],
            version,
        )
        .await;
        assert_eq!(
            client.unwrap().get_ref().1.alpn_protocol(),
            Some(b"postgresql".as_slice())
        );
        server.unwrap();
        for foreign in [[].as_slice(), &["h2"]] {
            let (client, server) =
                shake(&acceptor, Way::Direct, "localhost", foreign, version).await;
            assert!(server.is_err());
            let error = client.unwrap_err();
            let error = error.get_ref().unwrap().downcast_ref::<rustls::Error>();
            let alert = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
            assert_eq!(error, Some(&alert), "{foreign:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_port_scan_is_an_error_not_a_hang() {
    let acceptor = ClientAcceptor::new(&ClientTls::SelfSigned, &[])
        .unwrap()
        .unwrap();
    for bytes in [b"GET / HTTP/1.0\r\n\r\n".as_slice(), b""] {
        let (mut client, server) = tokio::io::duplex(4096);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        assert!(acceptor.accept_direct(server).await.is_err());
    }
}

#[tokio::test]
async fn given_files_are_served() {
    let (dir, leaf) = (
        tempfile::tempdir().unwrap(),
        Leaf::self_signed(&["db.internal"], |_| ()),
    );
    let files = write(&dir, &leaf.certificate, &leaf.key);
    let acceptor = ClientAcceptor::new(&files, &[]).unwrap().unwrap();
    assert_eq!(acceptor.certificate_chain().len(), 1);
    let (client, server) = shake(
        &acceptor,
        Way::Asked,
        "db.internal",
        &[],
        &rustls::version::TLS13,
    )
    .await;
    assert!(client.is_ok() && server.is_ok());
}

#[test]
fn wrong_files_say_which_and_why() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("Test CA"));
    let (leaf, other) = (authority.server(&["a"]), authority.server(&["b"]));
    let told = |certificate: &str, key: &str| {
        ClientAcceptor::new(&write(&dir, certificate, key), &[])
            .unwrap_err()
            .to_string()
    };
    let key_at = |text: &str| text.replace("KEY", dir.path().join("key.pem").to_str().unwrap());
    assert!(
        told(&leaf.certificate, &other.key)
            .contains("key.pem is not the private key of the certificate in ")
    );
    assert!(told(&leaf.key, &leaf.key).contains("cert.pem: no certificate inside"));
    assert!(
        told(&leaf.certificate, &leaf.certificate)
            .starts_with(&key_at("KEY: no private key inside"))
    );
    assert!(told("", &leaf.key).ends_with("cert.pem: the file is empty"));
    let encrypted = leaf.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    assert!(told(&leaf.certificate, &encrypted).starts_with(&key_at("KEY: the key is encrypted")));
    let junk = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(told(&leaf.certificate, junk).starts_with(&key_at("KEY: the key cannot be used")));
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(told(junk, &leaf.key).contains("cert.pem: the first certificate cannot be read"));
    let absent = ClientTls::Files {
        cert: PathBuf::from("/nowhere/c.pem"),
        key: PathBuf::from("/nowhere/k.pem"),
    };
    assert_eq!(
        ClientAcceptor::new(&absent, &[]).unwrap_err().to_string(),
        "cannot read /nowhere/c.pem"
    );
}

fn write(dir: &tempfile::TempDir, certificate: &str, key: &str) -> ClientTls {
    let files = ClientTls::Files {
        cert: dir.path().join("cert.pem"),
        key: dir.path().join("key.pem"),
    };
    fs::write(dir.path().join("cert.pem"), certificate).unwrap();
    fs::write(dir.path().join("key.pem"), key).unwrap();
    files
}

/// A client that trusts what the acceptor shows, as `sslmode=verify-full` would.
async fn shake(
    acceptor: &ClientAcceptor,
    way: Way,
    name: &str,
    alpn: &[&str],
    version: &'static SupportedProtocolVersion,
) -> Ends {
    let mut roots = RootCertStore::empty();
    roots.add(acceptor.certificate_chain()[0].clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider::provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let accept = async {
        match way {
            Way::Asked => acceptor.accept(theirs).await,
            Way::Direct => acceptor.accept_direct(theirs).await,
        }
    };
    tokio::join!(
        TlsConnector::from(Arc::new(config)).connect(name, ours),
        accept
    )
}
