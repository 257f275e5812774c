//! The OIDC ID token: a secret text, and the claims that may be shown.
//!
//! Claims are decoded without verifying the signature: STS is the judge, we only explain. Nothing but the
//! fields of [`Claims`] is ever shown.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde_json::Value;

use crate::identity::text;

/// Longest `WebIdentityToken` STS accepts, in characters (STS API reference).
pub(super) const TOKEN_BYTES_MAX: usize = 20_000;

/// What an ID token says about its bearer: the part that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Issuer, e.g. `https://gitlab.com`.
    pub iss: String,
    /// Subject, e.g. `project_path:group/project:ref_type:branch:ref:main`.
    pub sub: String,
    /// Audiences.
    pub aud: Vec<String>,
    /// Not valid at or after this.
    pub exp: SystemTime,
    /// When it was made.
    pub iat: Option<SystemTime>,
    /// GitLab: the job it was made for.
    pub job_id: Option<String>,
    /// GitLab: the project.
    pub project_path: Option<String>,
    /// GitLab: branch or tag.
    pub git_ref: Option<String>,
}

/// Why a text is not an ID token that STS could accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// A claim every ID token has is missing or of the wrong type.
    #[error("the ID token has no usable \"{claim}\" claim")]
    ClaimMissing {
        /// Its name.
        claim: &'static str,
    },
    /// There is nothing in it.
    #[error("the ID token is empty")]
    Empty,
    /// `exp` is past.
    #[error("the ID token expired at {}", text::time(claims.exp))]
    Expired {
        /// What it says.
        claims: Box<Claims>,
    },
    /// Credentials come from the AWS default chain, which takes no ID token.
    #[error("an ID token is of no use here: no role_arn is configured")]
    NoRole,
    /// Not three dot-separated base64url parts with a JSON object in the middle.
    #[error("the ID token is not a JWT: {why}")]
    NotJwt {
        /// What is wrong with it, without quoting it.
        why: &'static str,
    },
    /// Made for another CI job: a file left behind by an earlier one.
    #[error("the ID token belongs to job {theirs}, this is job {ours}")]
    OtherJob {
        /// The `job_id` claim.
        theirs: String,
        /// `CI_JOB_ID`.
        ours: String,
    },
    /// More than STS accepts.
    #[error("the ID token is longer than the 20,000 characters STS accepts")]
    TooLong,
    /// The file is there but cannot be read.
    #[error("the ID token file {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
}

/// An ID token whose claims could be read.
pub(super) struct IdToken {
    pub(super) text: SecretString,
    pub(super) claims: Claims,
}

impl IdToken {
    /// Decodes a token. White space around it is ignored: files end with a newline.
    pub(super) fn decode(token: &SecretString) -> Result<Self, IdTokenError> {
        let text = token.expose_secret().trim();
        let claims = Claims::decode(text)?;
        Ok(Self {
            text: SecretString::from(text),
            claims,
        })
    }

    /// Fails when the token is past its `exp`.
    pub(super) fn check_life(&self, now: SystemTime) -> Result<(), IdTokenError> {
        if self.claims.exp <= now {
            return Err(IdTokenError::Expired {
                claims: Box::new(self.claims.clone()),
            });
        }
        Ok(())
    }

    /// Fails when the token names a CI job that is not `ours`.
    pub(super) fn check_job(&self, ours: &str) -> Result<(), IdTokenError> {
        match &self.claims.job_id {
            Some(theirs) if theirs != ours => Err(IdTokenError::OtherJob {
                theirs: theirs.clone(),
                ours: ours.to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdToken")
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

impl Claims {
    fn decode(token: &str) -> Result<Self, IdTokenError> {
        if token.is_empty() {
            return Err(IdTokenError::Empty);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(IdTokenError::TooLong);
        }
        let not_jwt = |why| IdTokenError::NotJwt { why };
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            return Err(not_jwt(
                "it has not the three parts header.claims.signature",
            ));
        };
        if header.is_empty() || signature.is_empty() {
            return Err(not_jwt("it has an empty header or signature"));
        }
        let payload = BASE64_URL_SAFE_NO_PAD
            .decode(payload.trim_end_matches('='))
            .map_err(|_| not_jwt("its claims are not base64url"))?;
        let Ok(Value::Object(claims)) = serde_json::from_slice(&payload) else {
            return Err(not_jwt("its claims are not a JSON object"));
        };
        let required = |claim: &'static str| IdTokenError::ClaimMissing { claim };
        Ok(Self {
            iss: word(claims.get("iss")).ok_or_else(|| required("iss"))?,
            sub: word(claims.get("sub")).ok_or_else(|| required("sub"))?,
            aud: words(claims.get("aud")).ok_or_else(|| required("aud"))?,
            exp: instant(claims.get("exp")).ok_or_else(|| required("exp"))?,
            iat: instant(claims.get("iat")),
            job_id: word(claims.get("job_id")),
            project_path: word(claims.get("project_path")),
            git_ref: word(claims.get("ref")),
        })
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aud = self.aud.join(" ");
        write!(
            f,
            "iss={} sub={} aud={aud} exp={}",
            self.iss,
            self.sub,
            text::time(self.exp)
        )
    }
}

/// A claim as one printable word: GitLab writes ids as strings, others as numbers.
fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(word) if !word.is_empty() => Some(text::printable(word)),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn words(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::Array(values) if !values.is_empty() => {
            values.iter().map(|value| word(Some(value))).collect()
        }
        value => word(Some(value)).map(|one| vec![one]),
    }
}

/// `NumericDate`, which may have a fraction (RFC 7519, section 2).
fn instant(value: Option<&Value>) -> Option<SystemTime> {
    let seconds = Duration::try_from_secs_f64(value?.as_f64()?).ok()?;
    UNIX_EPOCH.checked_add(seconds)
}

#[cfg(test)]
mod tests;
