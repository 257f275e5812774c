//! The HTTP client for calls to AWS: rustls with ring, the system's roots, proxies as the environment says.

use std::net::IpAddr;
use std::path::Path;

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::TlsContext;
use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::identity::error::IdentityError;

/// Makes the client. `ca_bundle` is trusted beside the system's roots. `endpoint` is the one that replaces
/// AWS's own, if any: proxies do not apply where it is this machine.
///
/// Reads `ca_bundle`; opens no connection. The system's roots are read when the first HTTPS call is made.
pub(super) fn client(
    ca_bundle: Option<&Path>,
    endpoint: Option<&str>,
) -> Result<SharedHttpClient, IdentityError> {
    let mut roots = TrustStore::default();
    if let Some(path) = ca_bundle {
        roots.add_pem_certificate(checked_pem(path)?);
    }
    let tls = TlsContext::builder()
        .with_trust_store(roots)
        .build()
        .map_err(|error| IdentityError::CaBundle {
            path: ca_bundle.map(Path::to_path_buf).unwrap_or_default(),
            reason: error.to_string(),
        })?;
    let proxied = !endpoint.is_some_and(is_loopback);
    Ok(
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .tls_provider(Provider::rustls(CryptoMode::Ring))
                .tls_context(tls.clone())
                .proxy_config(if proxied {
                    ProxyConfig::from_env()
                } else {
                    ProxyConfig::disabled()
                });
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            connector.build()
        }),
    )
}

/// The client would panic on a bundle without a readable certificate, so it is looked at first.
fn checked_pem(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let unusable = |reason: String| IdentityError::CaBundle {
        path: path.to_path_buf(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut certificates = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate.map_err(|error| unusable(error.to_string()))?;
        certificates += 1;
    }
    if certificates == 0 {
        return Err(unusable("it has no PEM certificate".to_owned()));
    }
    Ok(pem)
}

/// Whether a URL's host is this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.split(':').next().unwrap_or(authority),
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for url in [
            "http://127.0.0.1:80/x",
            "http://localhost",
            "https://[::1]:3/",
            "http://127.9.9.9?a",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "https://sts.eu-west-1.amazonaws.com",
            "http://10.0.0.1:80",
            "http://localhost.evil.example",
            "",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn a_ca_bundle_that_is_none_is_an_error_not_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let reason = |path: &Path| match client(Some(path), None).unwrap_err() {
            IdentityError::CaBundle { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason(&path).contains("No such file"));
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(reason(&path), "it has no PEM certificate");
        std::fs::write(
            &path,
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(!reason(&path).is_empty());
        let certificate = rcgen::generate_simple_self_signed(vec!["sts.test".to_owned()]).unwrap();
        std::fs::write(&path, certificate.cert.pem()).unwrap();
        assert!(client(Some(&path), None).is_ok());
    }
}
