//! ID token -> AWS credentials: AssumeRoleWithWebIdentity, then AssumeRole for each link of a chain.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::BehaviorVersion;
use aws_sdk_sts::config::Region;
use aws_sdk_sts::config::SharedHttpClient;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::types;
use aws_types::request_id::RequestId;
use secrecy::ExposeSecret;

use crate::identity::error::IdentityError;
use crate::identity::id_token::Claims;
use crate::identity::id_token::IdToken;
use crate::identity::refusal;
use crate::identity::refusal::Cause;
use crate::identity::refusal::Refusal;
use crate::identity::text;

/// STS itself gives the identity provider 5 seconds (facts/gitlab.md, section 8), so one attempt needs more.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// All attempts of one call together.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
/// Transient errors and throttling only; the SDK does not repeat a refusal.
const ATTEMPTS_MAX: u32 = 3;
/// Wait before the second attempt, doubled for the third: a client is being held meanwhile.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// A chained session lives at most an hour, whatever the role allows (IAM user guide, role chaining).
const CHAINED_SECONDS_MAX: u32 = 3_600;

/// How to ask STS.
#[derive(Debug, Clone)]
pub(super) struct Sts {
    pub(super) http: SharedHttpClient,
    /// Replaces AWS's own endpoint.
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) session_name: String,
    pub(super) session_seconds: Option<u32>,
    /// Roles assumed after the first, in order.
    pub(super) chain: Vec<String>,
    /// Passed to the last call only: a chained role has no rights of the one before it.
    pub(super) policy: Option<String>,
}

impl Sts {
    /// Trades an ID token for credentials of `role_arn`, then walks the chain.
    pub(super) async fn with_id_token(
        &self,
        role_arn: &str,
        token: &IdToken,
    ) -> Result<Credentials, IdentityError> {
        let policy = self.policy.clone().filter(|_| self.chain.is_empty());
        let reply = Client::from_conf(self.client(None)?)
            .assume_role_with_web_identity()
            .role_arn(role_arn)
            .role_session_name(&self.session_name)
            .web_identity_token(token.text.expose_secret())
            .set_duration_seconds(
                self.session_seconds
                    .and_then(|seconds| i32::try_from(seconds).ok()),
            )
            .set_policy(policy)
            .send()
            .await;
        let call = Call {
            role_arn,
            claims: Some(&token.claims),
            seconds: self.session_seconds,
            token: Some(token),
        };
        let reply = reply.map_err(|error| self.explain(&error, &call))?;
        let credentials = self.accept(reply.credentials)?;
        self.walk_chain(credentials, Some(&token.claims)).await
    }

    /// Assumes the roles of the chain one after the other, beginning with `credentials`.
    pub(super) async fn walk_chain(
        &self,
        mut credentials: Credentials,
        claims: Option<&Claims>,
    ) -> Result<Credentials, IdentityError> {
        for (index, role_arn) in self.chain.iter().enumerate() {
            let last = index + 1 == self.chain.len();
            let seconds = self
                .session_seconds
                .map(|seconds| seconds.min(CHAINED_SECONDS_MAX));
            let reply = Client::from_conf(self.client(Some(credentials))?)
                .assume_role()
                .role_arn(role_arn)
                .role_session_name(&self.session_name)
                .set_duration_seconds(seconds.and_then(|seconds| i32::try_from(seconds).ok()))
                .set_policy(self.policy.clone().filter(|_| last))
                .send()
                .await;
            let call = Call {
                role_arn,
                claims,
                seconds,
                token: None,
            };
            let reply = reply.map_err(|error| self.explain(&error, &call))?;
            credentials = self.accept(reply.credentials)?;
        }
        Ok(credentials)
    }

    /// Whether the region is known, or is not needed: STS has an endpoint of its own, and no call is signed.
    pub(super) fn can_begin(&self) -> bool {
        self.region.is_some() || (self.endpoint.is_some() && self.chain.is_empty())
    }

    fn client(
        &self,
        credentials: Option<Credentials>,
    ) -> Result<aws_sdk_sts::Config, IdentityError> {
        if !self.can_begin() {
            return Err(IdentityError::RegionUnknown);
        }
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .build();
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.http.clone())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS_MAX)
                    .with_initial_backoff(FIRST_BACKOFF),
            )
            .timeout_config(timeouts)
            .region(self.region.clone().map(Region::new));
        config.set_endpoint_url(self.endpoint.clone());
        if let Some(credentials) = credentials {
            config = config.credentials_provider(credentials);
        }
        Ok(config.build())
    }

    fn accept(&self, given: Option<types::Credentials>) -> Result<Credentials, IdentityError> {
        let given = given.ok_or_else(|| self.unreachable("the answer has no credentials"))?;
        let expiry = SystemTime::try_from(given.expiration)
            .map_err(|_| self.unreachable("the answer's expiry is out of range"))?;
        Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            Some(expiry),
            "rds-sidecar",
        ))
    }

    fn explain<E, R>(&self, error: &SdkError<E, R>, call: &Call<'_>) -> IdentityError
    where
        E: std::error::Error + ProvideErrorMetadata + RequestId + 'static,
        R: std::fmt::Debug,
    {
        let Some(said) = error.as_service_error() else {
            return self.unreachable(&network_reason(error));
        };
        let Some(code) = said.code() else {
            return self.unreachable("what answered is not STS");
        };
        let mut message = refusal::message(said.message());
        if let Some(token) = call.token {
            // An impostor could echo it.
            message = message.replace(token.text.expose_secret(), "[ID token]");
        }
        IdentityError::Refused(Arc::new(Refusal {
            cause: Cause::of(code, &message, call.token.is_none()),
            code: text::printable(code),
            message,
            request_id: said.request_id().map(text::printable),
            role_arn: call.role_arn.to_owned(),
            claims: call.claims.cloned(),
            session_seconds: call.seconds,
        }))
    }

    fn unreachable(&self, reason: &str) -> IdentityError {
        let of_region = || format!("STS in {}", self.region.as_deref().unwrap_or("?"));
        let endpoint = self.endpoint.clone().unwrap_or_else(of_region);
        IdentityError::Unreachable {
            endpoint,
            reason: text::printable(reason),
        }
    }
}

/// One call, for the explanation of its failure.
struct Call<'a> {
    role_arn: &'a str,
    claims: Option<&'a Claims>,
    seconds: Option<u32>,
    token: Option<&'a IdToken>,
}

/// What went wrong on the way. The innermost two reasons are the telling ones: `tcp connect error: Connection
/// refused`, `invalid peer certificate: UnknownIssuer`.
fn network_reason<E, R>(error: &SdkError<E, R>) -> String
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let what = match error {
        SdkError::TimeoutError(_) => Some("no answer in time"),
        SdkError::ResponseError(_) => Some("what answered is not STS"),
        SdkError::ConstructionFailure(_) => Some("the request could not be made"),
        _ => None,
    };
    let mut reasons = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        reasons.push(inner.to_string());
        source = inner.source();
    }
    reasons.dedup();
    let telling = reasons.split_off(reasons.len().saturating_sub(2));
    let words: Vec<&str> = what
        .into_iter()
        .chain(telling.iter().map(String::as_str))
        .collect();
    words.join(": ")
}

#[cfg(test)]
mod tests;
