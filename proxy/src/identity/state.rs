//! What may be known about the identity from outside: for readiness, logs and metrics. Holds no secret.

use std::time::SystemTime;

use crate::identity::error::IdentityError;
use crate::identity::id_token::Claims;

/// Where the identity stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityState {
    /// There are no valid credentials, and this is why.
    Failed {
        /// The last failure.
        error: IdentityError,
        /// When the first of the failures in a row happened.
        since: SystemTime,
    },
    /// There are valid credentials.
    Ready(Ready),
    /// Nothing was asked yet, or what is needed to ask is not there yet.
    Waiting {
        /// What is being waited for, for people.
        awaited: String,
    },
}

/// Valid credentials, without the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// What the ID token said that they were obtained with; none for the AWS default chain.
    pub claims: Option<Claims>,
    /// When they end; none for credentials that do not.
    pub expires_at: Option<SystemTime>,
    /// When they were obtained.
    pub refreshed_at: SystemTime,
    /// The last refresh failed: these are still valid, but will not be followed by others unless it mends.
    pub failing: Option<IdentityError>,
}

/// Counts since the start, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times credentials were obtained.
    pub refreshes: u64,
    /// Times they were asked for in vain.
    pub refresh_failures: u64,
    /// RDS tokens signed.
    pub rds_tokens: u64,
}
