//! What STS says when it says no, by cause, and what to change.
//!
//! The messages are STS's own as seen in the wild (facts/gitlab.md, section 8 has a source for each).

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write;

use crate::fault::Blame;
use crate::fault::Retry;
use crate::identity::id_token::Claims;
use crate::identity::text;

/// Why STS said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// AssumeRole, a later link of a role chain, is not allowed.
    ChainForbidden,
    /// `DurationSeconds` is more than the role allows.
    DurationTooLong,
    /// The identity provider says the claim is bad or revoked.
    IdpRejectedClaim,
    /// STS could not reach the identity provider.
    IdpUnreachable,
    /// STS could not fetch the provider's keys.
    KeysUnavailable,
    /// The session policy does not parse.
    PolicyMalformed,
    /// The session policy is too large.
    PolicyTooLarge,
    /// The account knows no identity provider of this issuer.
    ProviderMissing,
    /// STS is switched off in this region for the account.
    RegionDisabled,
    /// Too many requests.
    Throttled,
    /// The provider's certificate thumbprint does not match.
    Thumbprint,
    /// The ID token is past its `exp`.
    TokenExpired,
    /// The ID token does not pass STS's examination for another reason.
    TokenInvalid,
    /// The ID token's `iat` is too long ago.
    TokenTooOld,
    /// The role's trust policy does not match this identity (or there is no such role).
    TrustPolicy,
    /// STS had an internal error or was unavailable.
    Unavailable,
    /// Anything else.
    Unexpected,
    /// A parameter is not of the form STS wants.
    Validation,
    /// The token's audience is not in the provider's list.
    WrongAudience,
}

/// STS's no, with all that explains it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// STS's error code, e.g. `AccessDenied`.
    pub code: String,
    /// STS's message.
    pub message: String,
    /// For AWS support and CloudTrail.
    pub request_id: Option<String>,
    /// The role that was asked for.
    pub role_arn: String,
    /// What the ID token said; none where none was used.
    pub claims: Option<Claims>,
    /// `DurationSeconds` asked for, in seconds.
    pub session_seconds: Option<u32>,
}

impl Cause {
    /// Reads STS's code and message. `chained` says that the call was AssumeRole.
    pub(super) fn of(code: &str, message: &str, chained: bool) -> Self {
        let says = |words: &str| message.to_ascii_lowercase().contains(words);
        match code {
            "AccessDenied" | "AccessDeniedException" if chained => Self::ChainForbidden,
            "AccessDenied" | "AccessDeniedException" => Self::TrustPolicy,
            "InvalidIdentityToken" | "InvalidIdentityTokenException"
                if says("retrieve verification key") =>
            {
                Self::KeysUnavailable
            }
            "InvalidIdentityToken" | "InvalidIdentityTokenException" if says("audience") => {
                Self::WrongAudience
            }
            "InvalidIdentityToken" | "InvalidIdentityTokenException"
                if says("no openidconnect provider found") =>
            {
                Self::ProviderMissing
            }
            "InvalidIdentityToken" | "InvalidIdentityTokenException" if says("thumbprint") => {
                Self::Thumbprint
            }
            "InvalidIdentityToken" | "InvalidIdentityTokenException" => Self::TokenInvalid,
            "ExpiredToken" | "ExpiredTokenException" if says("token too old") => Self::TokenTooOld,
            "ExpiredToken" | "ExpiredTokenException" => Self::TokenExpired,
            "ValidationError" | "ValidationException" if says("durationseconds") => {
                Self::DurationTooLong
            }
            "ValidationError" | "ValidationException" => Self::Validation,
            "IDPCommunicationError" => Self::IdpUnreachable,
            "IDPRejectedClaim" => Self::IdpRejectedClaim,
            "MalformedPolicyDocument" => Self::PolicyMalformed,
            "PackedPolicyTooLarge" => Self::PolicyTooLarge,
            "RegionDisabledException" => Self::RegionDisabled,
            "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException" => Self::Throttled,
            "InternalFailure" | "InternalError" | "ServiceUnavailable" => Self::Unavailable,
            _ => Self::Unexpected,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::ChainForbidden => "STS refused to assume the next role",
            Self::DurationTooLong => {
                "STS refused the length of the session: the role does not allow it"
            }
            Self::IdpRejectedClaim => "the identity provider rejected this job's identity",
            Self::IdpUnreachable => "STS could not reach the identity provider",
            Self::KeysUnavailable => "STS could not fetch the identity provider's keys",
            Self::PolicyMalformed => "STS could not read the session policy",
            Self::PolicyTooLarge => "STS found the session policy too large",
            Self::ProviderMissing => "the AWS account has no identity provider for this issuer",
            Self::RegionDisabled => "STS is switched off in this region for the AWS account",
            Self::Throttled => "STS is throttling requests",
            Self::Thumbprint => "STS does not trust the identity provider's certificate",
            Self::TokenExpired => "STS refused the ID token: it has expired",
            Self::TokenInvalid => "STS could not validate the ID token",
            Self::TokenTooOld => "STS refused the ID token: it was issued too long ago",
            Self::TrustPolicy => "STS refused this job's identity",
            Self::Unavailable => "STS is unavailable",
            Self::Unexpected => "STS answered with an error",
            Self::Validation => "STS refused the request as malformed",
            Self::WrongAudience => "STS refused the ID token's audience",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cause.sentence(), self.code)
    }
}

impl Refusal {
    pub(super) fn blame(&self) -> Blame {
        Blame::Identity
    }

    pub(super) fn retry(&self) -> Retry {
        match self.cause {
            Cause::IdpUnreachable
            | Cause::KeysUnavailable
            | Cause::Throttled
            | Cause::Unavailable => Retry::Later,
            Cause::ChainForbidden
            | Cause::DurationTooLong
            | Cause::IdpRejectedClaim
            | Cause::PolicyMalformed
            | Cause::PolicyTooLarge
            | Cause::ProviderMissing
            | Cause::RegionDisabled
            | Cause::Thumbprint
            | Cause::TokenExpired
            | Cause::TokenInvalid
            | Cause::TokenTooOld
            | Cause::TrustPolicy
            | Cause::Unexpected
            | Cause::Validation
            | Cause::WrongAudience => Retry::Never,
        }
    }

    /// Evidence: STS's own words, the role, the claims.
    pub(super) fn detail(&self) -> String {
        let mut detail = format!("STS says: {}; role_arn={}", self.message, self.role_arn);
        if let Some(claims) = &self.claims {
            let _ = write!(detail, "; the ID token has {claims}");
        }
        if let Some(id) = &self.request_id {
            let _ = write!(detail, "; request id {id}");
        }
        detail
    }

    /// What to change.
    pub(super) fn hint(&self) -> String {
        let claims = self.claims.as_ref();
        let iss = claims.map_or("https://gitlab.com", |claims| claims.iss.as_str());
        let arn = self.provider_arn(iss);
        let aud = claims.and_then(|claims| claims.aud.first());
        // Claims come from outside, and these are to be pasted into a shell.
        let (issuer, provider) = (shell_word(iss), shell_word(&arn));
        let audience = shell_word(aud.map_or("?", String::as_str));
        let role = shell_word(self.role_arn.rsplit('/').next().unwrap_or("?"));
        match self.cause {
            Cause::ChainForbidden => format!(
                "allow sts:AssumeRole on {} in the policy of the role before it, and name that role in its trust policy",
                self.role_arn
            ),
            Cause::DurationTooLong => {
                let asked = self
                    .session_seconds
                    .map_or_else(String::new, |seconds| format!(" (asked: {seconds} s)"));
                format!(
                    "ask for less with session_duration{asked}, or raise the role's: aws iam update-role --role-name {role} \
                     --max-session-duration 43200"
                )
            }
            Cause::IdpRejectedClaim | Cause::TokenInvalid => format!(
                "check that the provider {provider} is the issuer {issuer} and that the token was not cut short"
            ),
            Cause::IdpUnreachable | Cause::KeysUnavailable => format!(
                "{issuer}/.well-known/openid-configuration and the keys it names must be reachable from AWS's network \
                 within 5 seconds; behind a firewall publish them elsewhere (GitLab: ci_id_tokens issuer_url)"
            ),
            Cause::PolicyMalformed | Cause::PolicyTooLarge => {
                "set scope_down = false, and please report this: the session policy is ours"
                    .to_owned()
            }
            Cause::ProviderMissing => format!(
                "aws iam create-open-id-connect-provider --url {issuer} --client-id-list {audience}, in the account of \
                 {}",
                self.role_arn
            ),
            Cause::RegionDisabled => {
                "activate STS in this region (IAM console, account settings), or set region"
                    .to_owned()
            }
            Cause::Throttled | Cause::Unavailable => "it is tried again by itself".to_owned(),
            Cause::Thumbprint => format!(
                "aws iam update-open-id-connect-provider-thumbprint --open-id-connect-provider-arn {provider} \
                 --thumbprint-list <SHA-1 of the top certificate that {issuer} presents>"
            ),
            Cause::TokenExpired | Cause::TokenTooOld => expired_hint().to_owned(),
            Cause::TrustPolicy => self.trust_policy(iss, &arn),
            Cause::Unexpected | Cause::Validation => {
                format!("check role_arn ({}) and session_name", self.role_arn)
            }
            Cause::WrongAudience => format!(
                "aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {provider} \
                 --client-id {audience}, or set `aud:` under `id_tokens:` to an audience the provider already has"
            ),
        }
    }

    fn trust_policy(&self, issuer: &str, provider: &str) -> String {
        let Some(claims) = &self.claims else {
            return format!("check the trust policy of {}", self.role_arn);
        };
        let key = provider_host(issuer);
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let aud = quoted(claims.aud.first().map_or("", String::as_str));
        format!(
            "the trust policy of {} must have \"Principal\": {{\"Federated\": {}}} and \"Condition\": {{\"StringEquals\": \
             {{{}: {aud}, {}: {}}}}} (StringLike for patterns with *); the role must exist",
            self.role_arn,
            quoted(provider),
            quoted(&format!("{key}:aud")),
            quoted(&format!("{key}:sub")),
            quoted(&claims.sub),
        )
    }

    fn provider_arn(&self, issuer: &str) -> String {
        let mut fields = self.role_arn.split(':');
        let partition = fields.nth(1).unwrap_or("aws");
        let account = fields.nth(2).unwrap_or("ACCOUNT");
        format!(
            "arn:{partition}:iam::{account}:oidc-provider/{}",
            provider_host(issuer)
        )
    }
}

/// What to do about a token that is past its time.
pub(super) fn expired_hint() -> &'static str {
    "an ID token is made when the job starts and is never renewed: GitLab lets it live as long as the job's \
     timeout; raise the timeout, or push a new token with PUT /identity"
}

/// STS's words for a message, on one line and of bounded length.
pub(super) fn message(words: Option<&str>) -> String {
    words
        .filter(|words| !words.is_empty())
        .map_or_else(|| "(no message)".to_owned(), text::printable)
}

/// `text` as one word of a shell.
fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,?".contains(c);
    match text.chars().all(plain) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("'{}'", text.replace('\'', r"'\''"))),
    }
}

/// How IAM names a provider: the issuer without its scheme.
fn provider_host(issuer: &str) -> &str {
    issuer.strip_prefix("https://").unwrap_or(issuer)
}

#[cfg(test)]
mod tests;
