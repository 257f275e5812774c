//! What to set when a server cannot be proven: one sentence per cause.

use std::net::IpAddr;

use rustls::AlertDescription;

use super::error::TlsError;
use super::error::Unknown;

const SET_CA_FILE: &str = "set tls_ca_file (RDS_SIDECAR_TLS_CA_FILE)";

/// The change that mends it, if we know one.
pub(super) fn for_error(error: &TlsError) -> Option<String> {
    match error {
        TlsError::BadName { .. } => Some("name the database by its endpoint, as the RDS console shows it".into()),
        TlsError::Closed { .. } => Some(
            "look whether the server is restarting, and whether something between (a proxy, a firewall) refuses TLS"
                .into(),
        ),
        TlsError::Expired { host, .. } if is_rds(host) => Some(
            "if this machine's clock is right, have RDS renew it: aws rds modify-db-instance \
             --db-instance-identifier NAME --ca-certificate-identifier rds-ca-rsa2048-g1 --apply-immediately"
                .into(),
        ),
        TlsError::Expired { .. } => Some("renew the server's certificate, or set this machine's clock".into()),
        TlsError::Handshake { source, .. } => handshake(source),
        TlsError::Io { .. } => None,
        TlsError::NotTls { .. } => Some("look whether host and port are the database's own".into()),
        TlsError::NotYetValid { .. } => Some("set this machine's clock".into()),
        TlsError::Refused { .. } => Some(
            "give the server a certificate of X.509 version 3 for servers that is not itself an authority (CA:FALSE)"
                .into(),
        ),
        TlsError::UnknownCa { host, issuer, how, .. } => Some(unknown_ca(host, issuer, *how)),
        TlsError::WrongName { host, presented, .. } => Some(wrong_name(host, presented)),
    }
}

/// Only what we can know: other alerts are the server's to explain.
fn handshake(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::ProtocolVersion,
        ) => Some("the server must offer TLS 1.2 or 1.3 with AES-GCM or ChaCha20-Poly1305".into()),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            Some("the server does not serve this name; dial it by the name it knows".into())
        }
        _ => None,
    }
}

fn unknown_ca(host: &str, issuer: &str, how: Unknown) -> String {
    if how == Unknown::Key {
        return format!(
            "{SET_CA_FILE} to the present certificate of {issuer}; the file in use is an older one"
        );
    }
    if is_rds(host) && !issuer.contains("Amazon") {
        return format!(
            "this is not Amazon's certificate: something between decrypts TLS; if that is meant, {SET_CA_FILE} to a \
             PEM file with its authority"
        );
    }
    if let Some(region) = region_in_host(host).or_else(|| region_in_issuer(issuer)) {
        return format!("save {} and {SET_CA_FILE} to it", bundle_url(&region));
    }
    match how {
        Unknown::SelfSigned => format!("{SET_CA_FILE} to a PEM file with this certificate"),
        Unknown::Key | Unknown::Name => {
            format!("{SET_CA_FILE} to a PEM file with the certificate of the authority {issuer}")
        }
    }
}

fn wrong_name(host: &str, presented: &[String]) -> String {
    let endpoint = presented
        .iter()
        .find(|name| is_rds(name) && !name.starts_with('*'));
    if let Some(endpoint) = endpoint {
        return format!(
            "{host} leads to an RDS database under another name (an alias or a tunnel); set sign_host = \"{endpoint}\""
        );
    }
    if presented.iter().any(|name| is_rds(name)) {
        return format!(
            "{host} leads to an RDS database under another name; set sign_host to its endpoint, as the RDS console \
             shows it"
        );
    }
    match presented.iter().find(|name| !name.starts_with('*')) {
        Some(name) if host.parse::<IpAddr>().is_ok() => {
            format!("dial it by name, or set sign_host = \"{name}\"")
        }
        Some(name) => format!("if this is the right server, set sign_host = \"{name}\""),
        None => "give the server a certificate that names it (subjectAltName)".to_owned(),
    }
}

/// Where AWS publishes the authorities of a region (facts: peers.md 5.4).
fn bundle_url(region: &str) -> String {
    if region.starts_with("us-gov-") {
        "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem".to_owned()
    } else if region.starts_with("cn-") {
        "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem".to_owned()
    } else {
        format!("https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem")
    }
}

fn is_rds(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    (name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn"))
        && labels.contains(&"rds")
}

/// The label beside `rds`: before it, or after it in China.
fn region_in_host(host: &str) -> Option<String> {
    if !is_rds(host) {
        return None;
    }
    let labels: Vec<&str> = host.split('.').collect();
    let rds = labels.iter().rposition(|label| *label == "rds")?;
    let beside = [
        rds.checked_sub(1).and_then(|at| labels.get(at)),
        labels.get(rds + 1),
    ];
    beside
        .into_iter()
        .flatten()
        .find(|label| is_region(label))
        .map(|label| (*label).to_owned())
}

/// `Amazon RDS ap-east-2 Root CA RSA2048 G1`.
fn region_in_issuer(issuer: &str) -> Option<String> {
    let (_, rest) = issuer.split_once("CN=Amazon RDS ")?;
    rest.split([' ', ','])
        .find(|word| is_region(word))
        .map(str::to_owned)
}

/// `eu-west-1`, `us-gov-east-1`, `ap-southeast-7`.
fn is_region(word: &str) -> bool {
    let parts: Vec<&str> = word.split('-').collect();
    let [first, middle @ .., last] = parts.as_slice() else {
        return false;
    };
    let lower =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    first.len() == 2
        && !middle.is_empty()
        && std::iter::once(first).chain(middle).all(lower)
        && last.len() == 1
        && last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_authority_of_a_new_region_points_at_its_bundle() {
        let hint = |host, issuer| unknown_ca(host, issuer, Unknown::Name);
        let amazon = "C=US, CN=Amazon RDS Root CA";
        assert_eq!(
            hint("my-db-1.abc.ap-east-2.rds.amazonaws.com", amazon),
            "save https://truststore.pki.rds.amazonaws.com/ap-east-2/ap-east-2-bundle.pem and set tls_ca_file \
             (RDS_SIDECAR_TLS_CA_FILE) to it"
        );
        assert!(
            hint("db.abc.us-gov-west-1.rds.amazonaws.com", amazon).contains(
                "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem"
            )
        );
        for china in [
            "db.abc.rds.cn-north-1.amazonaws.com.cn",
            "db.abc.cn-northwest-1.rds.amazonaws.com.cn",
        ] {
            assert!(
                hint(china, amazon).contains("rds-truststore.s3.cn-north-1.amazonaws.com.cn"),
                "{china}"
            );
        }
        assert!(
            hint(
                "db.example.org",
                "C=US, CN=Amazon RDS mx-central-1 Root CA RSA2048 G1, L=Seattle"
            )
            .contains("/mx-central-1/mx-central-1-bundle.pem")
        );
    }

    #[test]
    fn a_foreign_authority_in_front_of_rds_is_called_one() {
        let hint = unknown_ca(
            "db.abc.eu-west-1.rds.amazonaws.com",
            "O=Corporate, CN=Inspection",
            Unknown::Name,
        );
        assert!(
            hint.starts_with("this is not Amazon's certificate"),
            "{hint}"
        );
    }

    #[test]
    fn a_wrong_name_offers_the_endpoint_to_copy() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let rds = names(&[
            "*.abc.eu-west-1.rds.amazonaws.com",
            "db.abc.eu-west-1.rds.amazonaws.com",
        ]);
        let hint = wrong_name("db.example.org", &rds);
        assert!(
            hint.ends_with("set sign_host = \"db.abc.eu-west-1.rds.amazonaws.com\""),
            "{hint}"
        );
        assert!(wrong_name("db.example.org", &rds[..1]).contains("set sign_host to its endpoint"));
        assert_eq!(
            wrong_name("10.0.0.7", &names(&["pg.example.org"])),
            "dial it by name, or set sign_host = \"pg.example.org\""
        );
        assert!(wrong_name("db.example.org", &[]).contains("subjectAltName"));
    }

    #[test]
    fn regions_are_told_from_names_that_look_alike() {
        for region in [
            "eu-west-1",
            "us-gov-east-1",
            "ap-southeast-7",
            "cn-northwest-1",
        ] {
            assert!(is_region(region), "{region}");
        }
        for other in ["cluster-1", "rds", "1", "eu-west-10x", "eu--1", "a-b-c"] {
            assert!(!is_region(other), "{other}");
        }
    }
}
