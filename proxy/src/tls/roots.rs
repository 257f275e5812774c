//! Whom we trust to say who a database is: built-in RDS authorities, the system's, and the operator's file.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use tracing::debug;

use super::setup;
use super::setup::TlsSetupError;

/// Authorities of RDS and RDS Proxy; provenance in `proxy/data/README.md`.
const RDS_ROOTS: &[u8] = include_bytes!("../../data/rds-roots.pem");

/// The built-in authorities and those of `ca_file`.
///
/// # Errors
/// `ca_file` cannot be read, is empty, or holds no certificate, or holds one that cannot be an authority.
pub(super) fn known(ca_file: Option<&Path>) -> Result<RootCertStore, TlsSetupError> {
    let mut store = built_in();
    if let Some(path) = ca_file {
        add_file(&mut store, path)?;
    }
    Ok(store)
}

/// The system's authorities (on Linux `SSL_CERT_FILE`, `SSL_CERT_DIR` or where OpenSSL looks). Possibly none: a
/// container from scratch has no store, and RDS needs only the built-in ones.
pub(super) fn system() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        debug!(%error, "part of the system's certificate store was skipped");
    }
    let (added, ignored) = store.add_parsable_certificates(system.certs);
    debug!(added, ignored, "read the system's certificate authorities");
    store
}

fn built_in() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(RDS_ROOTS).flatten());
    store
}

fn add_file(store: &mut RootCertStore, path: &Path) -> Result<(), TlsSetupError> {
    let text = setup::read(path)?;
    let certificates = certificates(path, &text)?;
    for (index, certificate) in certificates.into_iter().enumerate() {
        store.add(certificate).map_err(|error| {
            TlsSetupError::useless(
                path,
                format!("certificate {} in it cannot be read: {error}", index + 1),
            )
        })?;
    }
    Ok(())
}

/// Every certificate in a PEM file; at least one.
pub(super) fn certificates(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| TlsSetupError::useless(path, setup::pem_reason(&error)))?;
    if found.is_empty() {
        return Err(TlsSetupError::useless(
            path,
            "no certificate inside; expected PEM text with -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use sha2::Digest;
    use sha2::Sha256;

    use super::*;

    /// 2026-11-01T00:00:00Z.
    const RELEASE: i64 = 1_793_491_200;

    #[test]
    fn the_file_is_the_one_that_was_reviewed() {
        let recorded = include_str!("../../data/rds-roots.pem.sha256");
        let actual: String = Sha256::digest(RDS_ROOTS)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(recorded.split_whitespace().next(), Some(actual.as_str()));
    }

    #[test]
    fn every_built_in_authority_is_usable_and_alive() {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(RDS_ROOTS)
            .map(Result::unwrap)
            .collect();
        assert_eq!(certificates.len(), 92);
        assert_eq!(built_in().len(), 92, "none is skipped");
        for der in &certificates {
            let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
            assert!(certificate.is_ca(), "{}", certificate.subject());
            assert_eq!(certificate.subject(), certificate.issuer(), "roots only");
            assert!(
                certificate.validity().not_after.timestamp() > RELEASE,
                "{}",
                certificate.subject()
            );
        }
    }

    #[test]
    fn each_region_has_its_three_authorities() {
        let text = std::str::from_utf8(RDS_ROOTS).unwrap();
        for region in [
            "us-east-1",
            "eu-west-1",
            "eu-central-1",
            "ap-southeast-4",
            "me-central-1",
            "sa-east-1",
        ] {
            for kind in ["RSA2048", "RSA4096", "ECC384"] {
                assert!(
                    text.contains(&format!("# Amazon RDS {region} Root CA {kind} G1")),
                    "{region} {kind}"
                );
            }
        }
        assert!(text.contains("# Amazon Root CA 1,"), "RDS Proxy");
    }

    #[test]
    fn a_useless_ca_file_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let reason = |name: &str, content: Option<&str>| {
            let path = dir.path().join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = known(Some(&path)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            text
        };
        assert!(reason("absent", None).starts_with("cannot read "));
        assert!(reason("empty", Some(" \n")).ends_with("the file is empty"));
        assert!(reason("text", Some("hello")).contains("no certificate inside"));
        assert!(
            reason(
                "key",
                Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
            )
            .contains("no certificate inside")
        );
        assert!(reason("cut", Some("-----BEGIN CERTIFICATE-----\nAAAA\n")).contains("cut short"));
        assert!(
            reason(
                "junk",
                Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            )
            .contains("certificate 1 in it cannot be read")
        );
    }
}
