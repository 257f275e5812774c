//! Everything that can go wrong between an ID token and an RDS token, each with its explanation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::identity::id_token::IdTokenError;
use crate::identity::rds_token::SignError;
use crate::identity::refusal;
use crate::identity::refusal::Refusal;

/// Why there are no AWS credentials, or no RDS token. Cheap to clone: one failure answers many clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// `AWS_CA_BUNDLE` cannot be used.
    #[error("the CA bundle {} for calls to AWS cannot be used: {reason}", path.display())]
    CaBundle {
        /// Its path.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The AWS default chain (profile, SSO, environment, container, IMDS) has no credentials to give.
    #[error("no AWS credentials{}", of_profile(profile.as_deref()))]
    DefaultChain {
        /// The profile asked for, if any.
        profile: Option<String>,
        /// The chain's own words.
        reason: String,
    },
    /// The ID token cannot be used.
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    /// Nobody has handed in an ID token yet.
    #[error("no ID token: {awaited}")]
    NoIdToken {
        /// What is being waited for.
        awaited: String,
        /// What to do about it.
        hint: String,
    },
    /// STS said no.
    #[error("{0}")]
    Refused(Arc<Refusal>),
    /// Neither configuration nor any endpoint's name tells the AWS region.
    #[error("the AWS region is unknown")]
    RegionUnknown,
    /// The RDS token could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The caller's time ran out while AWS was being asked.
    #[error("no AWS credentials within {} s", after.as_secs())]
    TimedOut {
        /// How long the caller waited.
        after: Duration,
    },
    /// STS could not be reached, or what answered was not STS.
    #[error("STS cannot be reached: {reason}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// The network's words.
        reason: String,
    },
}

impl Fault for IdentityError {
    fn blame(&self) -> Blame {
        match self {
            Self::CaBundle { .. }
            | Self::RegionUnknown
            | Self::Sign(SignError::Unsignable { .. }) => Blame::Config,
            Self::Refused(refusal) => refusal.blame(),
            Self::DefaultChain { .. }
            | Self::IdToken(_)
            | Self::NoIdToken { .. }
            | Self::Sign(SignError::CredentialsExpired)
            | Self::TimedOut { .. }
            | Self::Unreachable { .. } => Blame::Identity,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Refused(refusal) => refusal.retry(),
            Self::NoIdToken { .. } | Self::TimedOut { .. } | Self::Unreachable { .. } => {
                Retry::Later
            }
            Self::Sign(SignError::CredentialsExpired) => Retry::WithFreshCredentials,
            Self::CaBundle { .. }
            | Self::DefaultChain { .. }
            | Self::IdToken(_)
            | Self::RegionUnknown
            | Self::Sign(SignError::Unsignable { .. }) => Retry::Never,
        }
    }

    fn for_client(&self) -> ClientError {
        ClientError {
            sqlstate: self.sqlstate().into(),
            message: format!("rds-sidecar: {self}"),
            detail: self.detail(),
            hint: self.hint(),
        }
    }
}

impl IdentityError {
    /// Evidence: claims, endpoints, AWS's own words. Holds no secret.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::DefaultChain { reason, .. } => Some(reason.clone()),
            Self::IdToken(IdTokenError::Expired { claims }) => {
                Some(format!("the ID token has {claims}"))
            }
            Self::Refused(refusal) => Some(refusal.detail()),
            Self::Unreachable { endpoint, .. } => Some(format!("endpoint {endpoint}")),
            Self::CaBundle { .. }
            | Self::IdToken(_)
            | Self::NoIdToken { .. }
            | Self::RegionUnknown
            | Self::Sign(_)
            | Self::TimedOut { .. } => None,
        }
    }

    /// What to change.
    pub fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::Refused(refusal) => return Some(refusal.hint()),
            Self::NoIdToken { hint, .. } => return Some(hint.clone()),
            Self::DefaultChain { profile, reason } => {
                return Some(chain_hint(profile.as_deref(), reason));
            }
            Self::CaBundle { .. } => {
                "AWS_CA_BUNDLE must name a PEM file with at least one certificate"
            }
            Self::IdToken(error) => error.hint(),
            Self::RegionUnknown => {
                "set region (AWS_REGION), or use the database's RDS endpoint name, which carries it; it is never guessed"
            }
            Self::Sign(SignError::Unsignable { .. }) => {
                "the host must be a DNS name or an IP address"
            }
            Self::Sign(SignError::CredentialsExpired) => "check this machine's clock",
            Self::TimedOut { .. } => {
                "AWS (STS, or the credential source) is slow to answer; raise connect_timeout"
            }
            Self::Unreachable { reason, .. }
                if reason.contains("certificate") || reason.contains("UnknownIssuer") =>
            {
                "is there a proxy that opens TLS? name its CA in AWS_CA_BUNDLE"
            }
            Self::Unreachable { .. } => {
                "check the network, HTTPS_PROXY and AWS_ENDPOINT_URL_STS; it is tried again by itself"
            }
        };
        Some(fixed.to_owned())
    }

    /// PostgreSQL manual, appendix A.
    fn sqlstate(&self) -> &'static str {
        match self {
            // config_file_error
            Self::CaBundle { .. }
            | Self::RegionUnknown
            | Self::Sign(SignError::Unsignable { .. }) => "F0000",
            // sqlclient_unable_to_establish_sqlconnection
            Self::TimedOut { .. } | Self::Unreachable { .. } => "08001",
            // invalid_authorization_specification
            Self::DefaultChain { .. }
            | Self::IdToken(_)
            | Self::NoIdToken { .. }
            | Self::Refused(_)
            | Self::Sign(_) => "28000",
        }
    }
}

fn of_profile(profile: Option<&str>) -> String {
    profile.map_or_else(String::new, |profile| format!(" in profile \"{profile}\""))
}

fn chain_hint(profile: Option<&str>, reason: &str) -> String {
    if reason.to_ascii_lowercase().contains("sso") {
        let profile = profile.map_or_else(String::new, |profile| format!(" --profile {profile}"));
        return format!("aws sso login{profile}");
    }
    "log in as you do for the AWS CLI (aws sso login, AWS_PROFILE, AWS_ACCESS_KEY_ID), or in CI set role_arn \
     (RDS_SIDECAR_ROLE_ARN) and an ID token"
        .to_owned()
}

impl IdTokenError {
    /// What to change.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::ClaimMissing { .. } | Self::NotJwt { .. } => {
                "hand in the text of the ID token itself (eyJ...), as `id_tokens:` in .gitlab-ci.yml makes it"
            }
            Self::Empty => "hand in the text of the ID token (eyJ...)",
            Self::Expired { .. } => refusal::expired_hint(),
            Self::NoRole => {
                "set role_arn (RDS_SIDECAR_ROLE_ARN) to the role the ID token is to be traded for"
            }
            Self::OtherJob { .. } => {
                "write this job's token to the file before the first connection; use a file name with $CI_JOB_ID in it"
            }
            Self::TooLong => "make the token smaller: fewer custom claims, fewer groups",
            Self::Unreadable { .. } => {
                "write the file with umask 022, so that another container's user may read it"
            }
        }
    }
}
