//! rustls's own verifier over two sets of authorities, and when both say no, the chain they said no to.
//!
//! rustls reports why but not whom: an unknown authority comes without its name. The chain travels inside the error,
//! so one verifier serves all connections and remembers nothing (resumption needs it to be one and the same).
//!
//! The system's store is read when the first server comes that the built-in authorities and the operator's file do
//! not vouch for. For RDS that is never, and reading it (145 certificates in twice as many files) costs 2 ms, 5 ms
//! when the files are not cached, and the memory to hold them.

use std::sync::Arc;
use std::sync::OnceLock;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::OtherError;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::VerifierBuilderError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use thiserror::Error;

/// Makes the store of authorities to ask when the known ones do not help.
pub(super) type MakeStore = fn() -> RootCertStore;

/// Accepts what [`WebPkiServerVerifier`] accepts with the known authorities, or else with the system's.
#[derive(Debug)]
pub(super) struct ExplainingVerifier {
    known: Arc<WebPkiServerVerifier>,
    /// None inside: the machine has no store.
    system: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    make_system: MakeStore,
    provider: Arc<CryptoProvider>,
}

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
    /// # Errors
    /// `known` is empty.
    pub(super) fn new(
        known: RootCertStore,
        make_system: MakeStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let known = over(known, &provider)?;
        Ok(Self {
            known,
            system: OnceLock::new(),
            make_system,
            provider,
        })
    }

    /// A chain ends in one authority, so asking both sets in turn accepts what asking their union would.
    fn ask(
        &self,
        verify: impl Fn(&WebPkiServerVerifier) -> Result<ServerCertVerified, Error>,
    ) -> Result<ServerCertVerified, Error> {
        let first = verify(&self.known);
        let Err(Error::InvalidCertificate(why)) = &first else {
            return first;
        };
        if let CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } =
            why
        {
            return first;
        }
        let Some(system) = self.system() else {
            return first;
        };
        match verify(system) {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => first,
            second => second,
        }
    }

    fn system(&self) -> Option<&WebPkiServerVerifier> {
        self.system
            .get_or_init(|| over((self.make_system)(), &self.provider).ok())
            .as_deref()
    }
}

fn over(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()
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
        let verdict = self.ask(|verifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        });
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
        self.known
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.known
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_verify_schemes()
    }
}
