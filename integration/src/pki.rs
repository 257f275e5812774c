//! Certificates like RDS's: an own root, and leaves for the endpoint's name.

use anyhow::Result;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use time::Duration;
use time::OffsetDateTime;

use crate::options::Certificate;

/// A certificate authority that lives as long as its sandbox.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, PEM.
#[derive(Debug)]
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// When a leaf is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From yesterday for ninety days.
    Current,
    /// Until an hour ago.
    Expired,
}

impl Authority {
    /// A new root named `name`.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(365);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// The root certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What the instance known as `host` shows; it answers to `localhost` and `127.0.0.1` as well.
    pub fn instance_leaf(&self, host: &str, certificate: Certificate) -> Result<Option<Leaf>> {
        let names = [host, "localhost", "127.0.0.1"];
        let leaf = match certificate {
            Certificate::None => return Ok(None),
            Certificate::Good => self.leaf(&names, Validity::Current),
            Certificate::Expired => self.leaf(&names, Validity::Expired),
            Certificate::OtherName => {
                let other = host.replace("sandbox-", "another-");
                self.leaf(&[other.as_str()], Validity::Current)
            }
            Certificate::UnknownCa => {
                Self::new("A CA nobody knows")?.leaf(&names, Validity::Current)
            }
        };
        leaf.map(Some)
    }

    /// A server certificate for `names`, DNS names and IP addresses; the first is also the common name.
    pub fn leaf(&self, names: &[&str], validity: Validity) -> Result<Leaf> {
        self.sign(names, validity, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate with which a client shows who it is. No login needs one; some clients insist on having one.
    pub fn client(&self, name: &str) -> Result<Leaf> {
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        self.sign(&[name], Validity::Current, purpose)
    }

    fn sign(
        &self,
        names: &[&str],
        validity: Validity,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Leaf> {
        let now = OffsetDateTime::now_utc();
        let mut params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params
            .distinguished_name
            .push(DnType::CommonName, *names.first().unwrap_or(&"server"));
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - Duration::days(1);
        params.not_after = match validity {
            Validity::Current => now + Duration::days(90),
            Validity::Expired => now - Duration::hours(1),
        };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}
