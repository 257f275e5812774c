//! The one place that chooses the cryptography.
//!
//! ring, by measurement (rustls 0.23, one core, 8 KiB records, full handshake pair with P-256):
//!
//! | | encrypt/decrypt AES-128-GCM | AES-256-GCM | handshake pair | test binary | clean release build |
//! |---|---|---|---|---|---|
//! | ring | 8.6 / 8.1 GB/s | 7.5 / 7.1 GB/s | 123 us | 1.98 MB | 24 s wall, 35 s CPU |
//! | aws-lc-rs | 10.2 / 9.0 GB/s | 9.4 / 8.4 GB/s | 90 us | 4.06 MB | 42 s wall, 70 s CPU |
//!
//! Half the size and half the build for some 20 ms of CPU per GB.

use std::sync::Arc;

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::crypto::ring::cipher_suite;

/// ring with TLS 1.3 and 1.2, and AES-128-GCM before AES-256-GCM: about 13 % less CPU per byte (table above) at a
/// strength nobody attacks (NIST SP 800-57 part 1, table 4: both beyond 2030). Nothing is taken away, so a server
/// that wants AES-256 still gets it. Stock PostgreSQL does (seen with 15): it imposes its own order
/// (`ssl_prefer_server_ciphers`). An OpenSSL server that does not, takes AES-128.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: cipher_suites(),
        ..ring::default_provider()
    })
}

fn cipher_suites() -> Vec<SupportedCipherSuite> {
    vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reordering_loses_no_cipher_suite() {
        let mut ours: Vec<u16> = cipher_suites()
            .iter()
            .map(|suite| u16::from(suite.suite()))
            .collect();
        let mut all: Vec<u16> = ring::default_provider()
            .cipher_suites
            .iter()
            .map(|suite| u16::from(suite.suite()))
            .collect();
        assert_ne!(ours, all, "the order is ours");
        ours.sort_unstable();
        all.sort_unstable();
        assert_eq!(ours, all);
    }
}
