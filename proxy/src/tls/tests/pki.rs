//! A certificate authority, servers under it, and a trust store with nothing but it besides the built-in roots.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::DuplexStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::TlsError;
use crate::tls::UpstreamTls;
use crate::tls::Verified;
use crate::tls::provider;

/// Room for a whole flight in either direction.
const PIPE_BYTES: usize = 64 * 1024;

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

pub(super) struct Leaf {
    pub(super) certificate: String,
    pub(super) key: String,
    config: Arc<ServerConfig>,
}

/// What both ends of a good handshake hold.
pub(super) type Pair = (Verified<DuplexStream>, TlsStream<DuplexStream>);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(super) fn trusted(&self) -> UpstreamTls {
        UpstreamTls::new(Some(&self.file())).unwrap()
    }

    pub(super) fn server(&self, names: &[&str]) -> Leaf {
        self.server_with(names, |_| ())
    }

    pub(super) fn server_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        let (params, key) = (params(names, change), KeyPair::generate().unwrap());
        Leaf::new(params.signed_by(&key, &self.issuer).unwrap(), &key)
    }
}

impl Leaf {
    pub(super) fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (params(names, change), KeyPair::generate().unwrap());
        Self::new(params.self_signed(&key).unwrap(), &key)
    }

    fn new(certificate: rcgen::Certificate, key: &KeyPair) -> Self {
        let config = ServerConfig::builder_with_provider(provider::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            config: Arc::new(config),
        }
    }

    pub(super) fn only(mut self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        let resolver = self.config.cert_resolver.clone();
        let config = ServerConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        self.config = Arc::new(config);
        self
    }

    pub(super) async fn accept<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.config.clone()).accept(stream).await
    }

    /// A handshake as `host`, both ends driven to their end (tickets are then in the pipe).
    pub(super) async fn shake(&self, tls: &UpstreamTls, host: &str) -> Result<Pair, TlsError> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (client, server) = tokio::join!(tls.connect(ours, host), self.accept(theirs));
        Ok((client?, server.expect("the client was content")))
    }
}

/// A handshake that must fail on our side, and be told to the server by an alert.
pub(super) async fn refused(server: &Leaf, tls: &UpstreamTls, host: &str) -> TlsError {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let (client, server) = tokio::join!(tls.connect(ours, host), server.accept(theirs));
    assert!(server.is_err(), "the server is told by an alert");
    client.expect_err("must be refused")
}

fn params(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "test server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}
