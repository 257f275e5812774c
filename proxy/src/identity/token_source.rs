//! Where the ID token comes from: a variable, a file that may appear and change, or somebody who pushes it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use config::IdTokenSource;
use config::identity::GitlabJob;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::identity::error::IdentityError;
use crate::identity::id_token::Claims;
use crate::identity::id_token::IdToken;
use crate::identity::id_token::IdTokenError;
use crate::identity::id_token::TOKEN_BYTES_MAX;

/// How often a file that is not there yet is looked for.
const POLL: Duration = Duration::from_millis(200);
/// A token that ends this much before its job is worth a warning; less is clock skew and start-up time.
const EARLY_END_TOLERATED: Duration = Duration::from_secs(60);

/// The one place ID tokens come from.
pub(super) struct TokenSource {
    configured: IdTokenSource,
    gitlab: Option<GitlabJob>,
    clock: Clock,
    pushed: watch::Sender<Option<Arc<IdToken>>>,
    /// Held by the one waiter who looks, on behalf of all.
    looking: tokio::sync::Mutex<()>,
    /// `exp` of the token last warned about, so that each is warned about once.
    warned: Mutex<Option<SystemTime>>,
}

impl TokenSource {
    pub(super) fn new(configured: IdTokenSource, gitlab: Option<GitlabJob>, clock: Clock) -> Self {
        Self {
            configured,
            gitlab,
            clock,
            pushed: watch::Sender::new(None),
            looking: tokio::sync::Mutex::default(),
            warned: Mutex::new(None),
        }
    }

    /// Takes a token from now on instead of whatever the source was, and wakes those who wait.
    pub(super) fn push(&self, token: &SecretString) -> Result<Claims, IdTokenError> {
        let token = IdToken::decode(token)?;
        self.check(&token, true)?;
        let claims = token.claims.clone();
        self.pushed.send_replace(Some(Arc::new(token)));
        Ok(claims)
    }

    /// The token now, checked; none when there is none yet. Cancel safe.
    pub(super) async fn now(&self) -> Result<Option<Arc<IdToken>>, IdTokenError> {
        let pushed = self.pushed.borrow().clone();
        let (token, must_be_of_job) = match (pushed, &self.configured) {
            (Some(token), _) => (token, true),
            // It came with the job's own environment, so it is the job's.
            (None, IdTokenSource::Variable { token, .. }) => {
                (Arc::new(IdToken::decode(token)?), false)
            }
            (None, IdTokenSource::File(path)) => match read(path).await? {
                Some(text) => (Arc::new(IdToken::decode(&text)?), true),
                None => return Ok(None),
            },
            (None, IdTokenSource::Pushed) => return Ok(None),
        };
        self.check(&token, must_be_of_job)?;
        Ok(Some(token))
    }

    /// Waits until there is a token. A token that cannot be used is an error at once; one that cannot be
    /// decoded only when it stays the same, because its writer may not be done. However many wait, one of them
    /// looks. Cancel safe.
    pub(super) async fn wait(&self) -> Result<Arc<IdToken>, IdTokenError> {
        let _looking = self.looking.lock().await;
        let mut pushed = self.pushed.subscribe();
        let mut half_written: Option<IdTokenError> = None;
        loop {
            match self.now().await {
                Ok(Some(token)) => return Ok(token),
                Ok(None) => half_written = None,
                Err(error)
                    if self.may_be_half_written(&error)
                        && half_written.as_ref() != Some(&error) =>
                {
                    half_written = Some(error);
                }
                Err(error) => return Err(error),
            }
            let polled = matches!(self.configured, IdTokenSource::File(_));
            tokio::select! {
                // The sender lives as long as `self`: an error cannot happen.
                _ = pushed.changed() => {}
                () = tokio::time::sleep(POLL), if polled => {}
            }
        }
    }

    /// What a wait for a token is a wait for, and what to do about it.
    pub(super) fn missing(&self) -> IdentityError {
        let awaited = match &self.configured {
            IdTokenSource::File(path) => format!(
                "waiting for the file {} or for PUT /identity",
                path.display()
            ),
            IdTokenSource::Pushed | IdTokenSource::Variable { .. } => {
                "RDS_SIDECAR_ID_TOKEN is not set; waiting for PUT /identity".to_owned()
            }
        };
        let hint = match &self.gitlab {
            Some(job) if job.id_token_was_empty => {
                "RDS_SIDECAR_ID_TOKEN is set but empty: that is what GitLab runners before 19.3 make of an ID token under \
                 services:variables; move the line `RDS_SIDECAR_ID_TOKEN: $YOUR_ID_TOKEN` to the job's own variables:"
            }
            Some(_) => {
                "in .gitlab-ci.yml give the job `id_tokens: {YOUR_ID_TOKEN: {aud: https://gitlab.com}}` and `variables: \
                 {RDS_SIDECAR_ID_TOKEN: $YOUR_ID_TOKEN}` (any other name than the token's own)"
            }
            None => {
                "set RDS_SIDECAR_ID_TOKEN or id_token_file, or send the token with PUT /identity"
            }
        };
        IdentityError::NoIdToken {
            awaited,
            hint: hint.to_owned(),
        }
    }

    fn check(&self, token: &IdToken, must_be_of_job: bool) -> Result<(), IdTokenError> {
        if let Some(job) = self.gitlab.as_ref().filter(|_| must_be_of_job) {
            token.check_job(&job.job_id)?;
        }
        token.check_life(self.clock.now())?;
        self.warn_of_early_end(&token.claims);
        Ok(())
    }

    /// New connections fail once the token has expired and the last session made with it is over.
    fn warn_of_early_end(&self, claims: &Claims) {
        let Some(timeout) = self.gitlab.as_ref().and_then(|job| job.timeout_seconds) else {
            return;
        };
        // GitLab makes the token when the job starts.
        let started = claims.iat.unwrap_or_else(|| self.clock.now());
        let needed = Duration::from_secs(timeout).saturating_sub(EARLY_END_TOLERATED);
        let lives = claims.exp.duration_since(started).unwrap_or_default();
        let new = self.warned.lock().replace(claims.exp) != Some(claims.exp);
        if lives < needed && new {
            tracing::warn!(
                token_seconds = lives.as_secs(),
                job_seconds = timeout,
                "the ID token expires before the job's timeout: new connections may fail near the end of the job"
            );
        }
    }

    /// A text that is no token yet may be one in a moment; every other fault is final for this attempt.
    fn may_be_half_written(&self, error: &IdTokenError) -> bool {
        let from_file =
            matches!(self.configured, IdTokenSource::File(_)) && self.pushed.borrow().is_none();
        from_file
            && matches!(
                error,
                IdTokenError::NotJwt { .. } | IdTokenError::ClaimMissing { .. }
            )
    }
}

/// Whether two tokens are the same text.
pub(super) fn same(one: &IdToken, other: &IdToken) -> bool {
    one.text.expose_secret() == other.text.expose_secret()
}

/// A file's text; none while it is not there, or empty because it is being written.
async fn read(path: &Path) -> Result<Option<SecretString>, IdTokenError> {
    let unreadable = |error: std::io::Error| IdTokenError::Unreadable {
        path: path.to_path_buf(),
        reason: error.to_string(),
    };
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error)),
    };
    // White space around it does not count, hence the slack; more than that is refused by length.
    let limit = u64::try_from(TOKEN_BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_mul(2);
    let mut text = String::new();
    file.take(limit)
        .read_to_string(&mut text)
        .await
        .map_err(unreadable)?;
    Ok((!text.trim().is_empty()).then(|| SecretString::from(text)))
}

#[cfg(test)]
mod tests;
