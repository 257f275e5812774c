//! TLS offered to applications, for those that insist on it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use config::ClientTls;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rustls::InconsistentKeys;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::server::Acceptor;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::provider;
use super::roots;
use super::setup;
use super::setup::TlsSetupError;

/// PostgreSQL's ALPN protocol name (protocol documentation, "SSL Session Encryption").
const ALPN: &[u8] = b"postgresql";
/// One plaintext TLS record: a fatal alert (2), no_application_protocol (120) (RFC 8446, 5.1, 6; RFC 7301, 3.2).
const NO_APPLICATION_PROTOCOL: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 120];
/// What a client on this machine may call us.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// TLS towards applications. Cheap to clone.
#[derive(Clone)]
pub struct ClientAcceptor {
    config: Arc<ServerConfig>,
    chain: Arc<[CertificateDer<'static>]>,
}

impl ClientAcceptor {
    /// What the configuration asks for; none when it is off.
    ///
    /// `names` are further names of this machine and of the listener that a self-signed certificate shall carry,
    /// besides `localhost`, `127.0.0.1` and `::1`; unspecified addresses (`0.0.0.0`) among them are left out.
    /// Reads files, blocking.
    ///
    /// # Errors
    /// A file that cannot be read or holds nothing usable, a key of another certificate, a name that is none.
    pub fn new(config: &ClientTls, names: &[String]) -> Result<Option<Self>, TlsSetupError> {
        let provider = provider::provider();
        let certified = match config {
            ClientTls::Off => return Ok(None),
            ClientTls::SelfSigned => self_signed(names, &provider)?,
            ClientTls::Files { cert, key } => from_files(cert, key, &provider)?,
        };
        let chain = certified.cert.as_slice().into();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsSetupError::Library)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // OpenSSL's clients put AES-256 first; ours costs less (see `provider`), on a wire that is often loopback.
        config.ignore_client_order = true;
        // As PostgreSQL: its clients do not resume, so tickets would be paid for by every connection and used by none.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Some(Self {
            config: Arc::new(config),
            chain,
        }))
    }

    /// The certificate chain shown to clients, DER, leaf first.
    pub fn certificate_chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Shakes hands after `SSLRequest`. ALPN is not required; a client that offers some must offer `postgresql`, as
    /// with PostgreSQL itself. Sets no deadline: the caller bounds the login.
    ///
    /// # Errors
    /// The client broke off, speaks no TLS 1.2 or 1.3, or offers foreign protocols only.
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.config.clone()).accept(stream).await
    }

    /// Shakes hands when the very first byte was TLS (`sslnegotiation=direct`). There ALPN `postgresql` is mandatory,
    /// so that a handshake meant for another protocol cannot be led here (the ALPACA attack); without it the client
    /// gets the alert `no_application_protocol`.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and a client without ALPN.
    pub async fn accept_direct<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if start.client_hello().alpn().is_none() {
            start.io.write_all(&NO_APPLICATION_PROTOCOL).await?;
            start.io.shutdown().await?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "direct TLS without ALPN: the client must offer the protocol \"postgresql\"",
            ));
        }
        start.into_stream(self.config.clone()).await
    }
}

impl fmt::Debug for ClientAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAcceptor")
    }
}

/// A fresh key and certificate. It lives as long as the process, so its own dates are left wide open.
fn self_signed(names: &[String], provider: &CryptoProvider) -> Result<CertifiedKey, TlsSetupError> {
    let wanted: BTreeSet<&str> = OWN_NAMES
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .filter(|name| is_specific(name))
        .collect();
    let mut params = CertificateParams::default();
    for name in wanted {
        let one =
            CertificateParams::new([name.to_owned()]).map_err(|error| name_error(name, &error))?;
        params.subject_alt_names.extend(one.subject_alt_names);
    }
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "rds-sidecar (self-signed)");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(|error| name_error("localhost", &error))?;
    let certificate = params
        .self_signed(&key)
        .map_err(|error| name_error("localhost", &error))?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    CertifiedKey::from_der(vec![certificate.der().clone()], key, provider)
        .map_err(TlsSetupError::Library)
}

fn is_specific(name: &str) -> bool {
    !name.is_empty()
        && !name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
}

fn name_error(name: &str, error: &rcgen::Error) -> TlsSetupError {
    TlsSetupError::Name {
        name: name.to_owned(),
        reason: error.to_string(),
    }
}

fn from_files(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsSetupError> {
    let chain = roots::certificates(cert, &setup::read(cert)?)?;
    let private = private_key(key)?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsSetupError::KeyMismatch { cert: cert.to_owned(), key: key.to_owned() }
        }
        rustls::Error::InvalidCertificate(why) => {
            TlsSetupError::useless(cert, format!("the first certificate cannot be read: {why}"))
        }
        other => TlsSetupError::useless(
            key,
            format!("the key cannot be used: {other}; RSA from 2048 bits, ECDSA P-256 and P-384, and Ed25519 can"),
        ),
    })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    let text = setup::read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let reason = match error {
            pem::Error::NoItemsFound if is_encrypted(&text) => {
                "the key is encrypted; give one without a passphrase (openssl pkey -in OLD -out NEW)".to_owned()
            }
            pem::Error::NoItemsFound => {
                "no private key inside; expected PEM text with -----BEGIN PRIVATE KEY-----".to_owned()
            }
            other => setup::pem_reason(&other),
        };
        TlsSetupError::useless(path, reason)
    })
}

fn is_encrypted(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("BEGIN ENCRYPTED PRIVATE KEY")
}
