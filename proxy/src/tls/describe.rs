//! Words for certificates and instants, for error messages only: nothing here takes part in verification.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

/// Longest text from a peer that is repeated. A distinguished name of RDS has about 120 characters.
const PEER_TEXT_CHARS_MAX: usize = 250;
/// Names repeated from one certificate.
const NAMES_MAX: usize = 20;
/// What stands for a certificate that cannot be parsed.
const UNREADABLE: &str = "(unreadable)";

/// Who a certificate speaks for: `C=US, O=..., CN=...`.
pub(super) fn subject(der: &CertificateDer<'_>) -> String {
    read(der, |certificate| distinguished(certificate.subject()))
        .unwrap_or_else(|| UNREADABLE.to_owned())
}

/// Who signed a certificate.
pub(super) fn issuer(der: &CertificateDer<'_>) -> String {
    read(der, |certificate| distinguished(certificate.issuer()))
        .unwrap_or_else(|| UNREADABLE.to_owned())
}

/// Whether a certificate names itself as its issuer.
pub(super) fn is_self_issued(der: &CertificateDer<'_>) -> bool {
    read(der, |certificate| {
        certificate.subject() == certificate.issuer()
    })
    .unwrap_or(false)
}

/// The DNS names and addresses a server certificate is for (its subjectAltName).
pub(super) fn names(der: &CertificateDer<'_>) -> Vec<String> {
    read(der, |certificate| {
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return Vec::new();
        };
        extension
            .value
            .general_names
            .iter()
            .filter_map(general_name)
            .take(NAMES_MAX)
            .collect()
    })
    .unwrap_or_default()
}

/// RFC 3339 in UTC, whole seconds.
pub(super) fn rfc3339(instant: UnixTime) -> String {
    let seconds = i64::try_from(instant.as_secs()).unwrap_or(i64::MAX);
    let Ok(time) = ASN1Time::from_timestamp(seconds) else {
        return format!("@{seconds}");
    };
    let time = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// A peer's text made safe to log: no control characters, bounded.
pub(super) fn tame(text: &str) -> String {
    let mut tame: String = text
        .chars()
        .take(PEER_TEXT_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(PEER_TEXT_CHARS_MAX).is_some() {
        tame.push_str("...");
    }
    tame
}

fn read<T>(der: &CertificateDer<'_>, take: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    x509_parser::parse_x509_certificate(der)
        .ok()
        .map(|(_, certificate)| take(&certificate))
}

fn distinguished(name: &X509Name<'_>) -> String {
    let text = name.to_string();
    if text.is_empty() {
        "(no name)".to_owned()
    } else {
        tame(&text)
    }
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(tame(name)),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|v6| Ipv6Addr::from(v6).into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn instants_read_as_rfc_3339() {
        let at = |seconds| rfc3339(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_709_210_096), "2024-02-29T12:34:56Z");
        assert_eq!(
            at(u64::MAX),
            "@9223372036854775807",
            "a nonsense clock does not panic"
        );
    }

    #[test]
    fn a_peer_cannot_write_into_our_log() {
        assert_eq!(tame("evil\nFATAL \u{1b}[31m"), "evil\\nFATAL \\u{1b}[31m");
        assert_eq!(tame(&"x".repeat(300)).len(), PEER_TEXT_CHARS_MAX + 3);
        assert_eq!(subject(&CertificateDer::from(vec![1, 2, 3])), UNREADABLE);
        assert_eq!(
            names(&CertificateDer::from(vec![1, 2, 3])),
            Vec::<String>::new()
        );
    }
}
