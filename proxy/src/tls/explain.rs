//! rustls's own verifier, and when it says no, the chain it said no to.
//!
//! rustls reports why but not whom: an unknown authority comes without its name. The chain travels inside the error,
//! so one verifier serves all connections and remembers nothing (resumption needs it to be one and the same).

use std::sync::Arc;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::OtherError;
use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use thiserror::Error;

/// [`WebPkiServerVerifier`], unchanged in what it accepts.
#[derive(Debug)]
pub(super) struct ExplainingVerifier(Arc<WebPkiServerVerifier>);

/// A chain that was refused, leaf first, and the reason.
#[derive(Debug, Error)]
#[error("the server's certificate was refused")]
pub(super) struct RefusedChain {
    /// As presented; never empty.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// What webpki said.
    pub(super) why: CertificateError,
}

impl ExplainingVerifier {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>) -> Self {
        Self(inner)
    }
}

/// The refused chain inside an error of the handshake, if that is what ended it.
pub(super) fn refused_chain(error: &Error) -> Option<&RefusedChain> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref()
        }
        _ => None,
    }
}

impl ServerCertVerifier for ExplainingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verdict.map_err(|error| match error {
            Error::InvalidCertificate(why) => {
                let chain = std::iter::once(end_entity).chain(intermediates);
                let chain = chain.map(|der| der.clone().into_owned()).collect();
                CertificateError::Other(OtherError(Arc::new(RefusedChain { chain, why }))).into()
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
