//! What the cache holds: credentials with their times, or a failure that is remembered.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::fault::Retry;
use crate::identity::backoff;
use crate::identity::error::IdentityError;
use crate::identity::id_token::IdToken;

/// Credentials and when they count as what.
pub(super) struct Held {
    pub(super) credentials: Credentials,
    pub(super) obtained_at: SystemTime,
    pub(super) refresh_at: Option<SystemTime>,
    pub(super) slack: Duration,
    pub(super) token: Option<Arc<IdToken>>,
    /// To be replaced as soon as others can be had.
    pub(super) superseded: bool,
}

/// A failure that is remembered for a while, so that clients hear it at once instead of asking AWS each.
pub(super) struct Failure {
    pub(super) error: IdentityError,
    pub(super) since: SystemTime,
    pub(super) attempts: u32,
    pub(super) until: Instant,
    pub(super) token: Option<Arc<IdToken>>,
}

impl Held {
    pub(super) fn new(
        credentials: Credentials,
        token: Option<Arc<IdToken>>,
        now: SystemTime,
        superseded: bool,
    ) -> Self {
        let expiry = credentials.expiry();
        let life = expiry.map_or(Duration::MAX, |expiry| {
            expiry.duration_since(now).unwrap_or_default()
        });
        let refresh_at = expiry.map(|expiry| backoff::refresh_at(now, expiry, rand::random()));
        Self {
            credentials,
            obtained_at: now,
            refresh_at,
            slack: backoff::slack(life),
            token,
            superseded,
        }
    }

    /// Whether more than `left` remains.
    pub(super) fn lasts(&self, now: SystemTime, left: Duration) -> bool {
        self.credentials
            .expiry()
            .is_none_or(|expiry| expiry.duration_since(now).is_ok_and(|rest| rest > left))
    }
}

impl Failure {
    /// The failure after `before`, if there was one: the longer the row, the longer it is remembered.
    pub(super) fn new(
        error: IdentityError,
        token: Option<Arc<IdToken>>,
        now: SystemTime,
        before: Option<Self>,
    ) -> Self {
        let attempts = before
            .as_ref()
            .map_or(1, |failure| failure.attempts.saturating_add(1));
        let since = before.map_or(now, |failure| failure.since);
        // On a laptop the user mends it, with `aws sso login`, and does not want to wait then.
        let mends_soon =
            error.retry() == Retry::Later || matches!(error, IdentityError::DefaultChain { .. });
        let until = Instant::now() + backoff::delay(attempts, mends_soon, rand::random());
        Self {
            error,
            since,
            attempts,
            until,
            token,
        }
    }
}
