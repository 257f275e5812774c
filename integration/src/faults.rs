//! Faults on request: what goes wrong until it is told not to.

use serde::Deserialize;
use serde::Serialize;

use crate::aws::sts::StsError;

/// Everything that may be made to go wrong. The default is that nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// STS answers this instead of judging.
    pub sts: Option<StsFault>,
    /// How many calls `sts` lasts; none: until it is cleared.
    pub sts_calls: Option<u32>,
    /// STS answers after this many milliseconds.
    pub sts_delay_ms: u64,
    /// Length of the session tokens STS hands out, 100 to 40,000 (default 1,100). An RDS token holds one, and
    /// PostgreSQL takes passwords up to 65,535 bytes.
    pub session_token_chars: Option<usize>,
    /// The database's judge answers this instead of judging.
    pub login: Option<LoginFault>,
    /// The database's judge answers after this many milliseconds (PAM gives up after ten seconds).
    pub login_delay_ms: u64,
    /// What the relay in front of the database does.
    pub relay: RelayFaults,
}

/// A canned refusal of STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StsFault {
    /// The trust policy refuses.
    AccessDenied,
    /// The identity provider did not answer STS in time.
    IdpCommunication,
    /// The issuer's JWKS cannot be fetched.
    JwksUnreachable,
    /// The account has no such OIDC provider.
    NoProvider,
    /// The region's STS endpoint is switched off.
    RegionDisabled,
    /// HTTP 500.
    ServerError,
    /// The provider's certificate has another thumbprint.
    Thumbprint,
    /// Too many calls.
    Throttling,
    /// HTTP 503.
    Unavailable,
}

/// A canned refusal of the database's judge (RDS guide, troubleshooting IAM authentication).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginFault {
    /// RDS could not ask IAM.
    InternalError,
    /// More than RDS's rate of IAM logins.
    Throttling,
}

/// What the relay does to database connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayFaults {
    /// The next connections are reset at once.
    pub reset_next: u32,
    /// The next connections are closed at once.
    pub drop_next: u32,
    /// Each connection is reset when the server has sent this many bytes on it.
    pub reset_after_bytes: Option<u64>,
    /// The relay waits this long before it dials the server.
    pub connect_delay_ms: u64,
    /// Each chunk is held this long, in either direction.
    pub chunk_delay_ms: u64,
    /// Nothing passes, in either direction, on old connections and new.
    pub black_hole: bool,
}

impl Faults {
    /// Whether the figures make sense.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let chars = self.session_token_chars.unwrap_or(100);
        anyhow::ensure!(
            (100..=40_000).contains(&chars),
            "session_token_chars is 100 to 40000, not {chars}"
        );
        anyhow::ensure!(
            self.sts_calls != Some(0),
            "sts_calls is at least 1; null: until it is cleared"
        );
        Ok(())
    }

    /// The refusal STS owes this call, counting it.
    pub(crate) fn next_sts_error(&mut self, issuer: &str) -> Option<StsError> {
        let fault = self.sts?;
        if let Some(left) = &mut self.sts_calls {
            *left = left.saturating_sub(1);
            if *left == 0 {
                (self.sts, self.sts_calls) = (None, None);
            }
        }
        Some(fault.error(issuer))
    }
}

impl StsFault {
    fn error(self, issuer: &str) -> StsError {
        let server = |status, code: &str, message: &str| StsError {
            status,
            ..StsError::sender(code, message)
        };
        match self {
            Self::AccessDenied => StsError::not_trusted(),
            Self::IdpCommunication => StsError::sender(
                "IDPCommunicationError",
                "The request could not be fulfilled because the identity provider (IDP) that was asked to verify \
                 the incoming identity token could not be reached.",
            ),
            Self::JwksUnreachable => StsError::no_verification_key(),
            Self::NoProvider => StsError::invalid_identity(&format!(
                "No OpenIDConnect provider found in your account for {issuer}"
            )),
            Self::RegionDisabled => StsError::forbidden(
                "RegionDisabledException",
                "STS is not activated in this region for account:123456789012. Your account administrator can \
                 activate STS in this region using the IAM Console.",
            ),
            Self::ServerError => server(
                500,
                "InternalFailure",
                "The request processing has failed because of an unknown error.",
            ),
            Self::Thumbprint => StsError::invalid_identity(
                "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint",
            ),
            Self::Throttling => StsError::sender("Throttling", "Rate exceeded"),
            Self::Unavailable => server(
                503,
                "ServiceUnavailable",
                "The request has failed due to a temporary failure of the server.",
            ),
        }
    }
}
