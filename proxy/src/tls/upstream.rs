//! TLS towards the database: always, and always with the chain, the dates and the name verified.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio_rustls::TlsConnector;

use super::error::TlsError;
use super::explain::ExplainingVerifier;
use super::explain::MakeStore;
use super::provider;
use super::roots;
use super::setup::TlsSetupError;
use super::verified::Verified;

/// Sessions kept for resumption over all servers. rustls keeps up to 8 TLS 1.3 tickets a server, so this is room for
/// 32 endpoints; the least recently added server is forgotten first.
const SESSIONS_MAX: usize = 256;

/// Verified TLS towards databases. Cheap to clone; clones share the authorities and the resumption store.
///
/// A resumed handshake costs no certificate and no signature check. Stock PostgreSQL never resumes (seen with 15: it
/// turns tickets and its session cache off in `be-secure-openssl.c`); plain OpenSSL servers do, in TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct UpstreamTls(TlsConnector);

impl UpstreamTls {
    /// Trusts the built-in RDS authorities, those in `ca_file` (PEM), and the system's (read when first needed).
    /// Blocking, 0.3 ms.
    ///
    /// # Errors
    /// `ca_file` cannot be read or has no usable certificate in it.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TlsSetupError> {
        Self::trusting(roots::known(ca_file)?, roots::system)
    }

    pub(super) fn trusting(known: RootCertStore, system: MakeStore) -> Result<Self, TlsSetupError> {
        let provider = provider::provider();
        let verifier = ExplainingVerifier::new(known, system, provider.clone())
            .map_err(|error| TlsSetupError::Library(rustls::Error::General(error.to_string())))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsSetupError::Library)?
            .dangerous() // rustls's word for any verifier that is not its own; ours asks rustls's and explains
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands over `stream` with the server that must prove to be `host`, a DNS name or an IP address.
    ///
    /// Not cancel safe in the sense that the stream is gone with the future; nothing else is lost. Sets no deadline:
    /// the caller bounds the whole dial.
    ///
    /// # Errors
    /// The peer is not proven to be `host`, does not speak TLS, or the transport failed.
    pub async fn connect<S>(&self, stream: S, host: &str) -> Result<Verified<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = host.trim_end_matches('.');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::bad_name(host))?;
        match self.0.connect(name, stream).await {
            Ok(stream) => Ok(Verified::new(stream)),
            Err(error) => Err(TlsError::from_handshake(host, error)),
        }
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamTls")
    }
}
