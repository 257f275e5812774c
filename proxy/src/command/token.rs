//! `rds-sidecar token URL`: one RDS IAM token on stdout, for psql, mysql and friends.

use std::fmt;
use std::io;
use std::io::Write;

use config::Config;
use config::Database;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::clock::Clock;
use crate::fault::Blame;
use crate::fault::Fault;
use crate::identity::EndpointError;
use crate::identity::Identity;
use crate::identity::IdentityError;
use crate::identity::Login;
use crate::identity::Scope;
use crate::identity::resolve;

/// `EX_USAGE`, `EX_UNAVAILABLE`, `EX_SOFTWARE`, `EX_NOPERM` of `<sysexits.h>` (DESIGN, section 2).
const BAD_CONFIGURATION: u8 = 64;
const UNAVAILABLE: u8 = 69;
const OUR_BUG: u8 = 70;
const IDENTITY_REFUSED: u8 = 77;

/// Prints a token for the one database of `config`, with a newline, on `out`; what is wrong, and what to do
/// about it, on `err`. Answers with the exit code. Waits for the identity no longer than the database's
/// `connect_timeout`.
pub async fn run(config: &Config, clock: Clock, out: &mut impl Write, err: &mut impl Write) -> u8 {
    let printed = match token(config, clock).await {
        Ok(token) => writeln!(out, "{}", token.expose_secret()).and_then(|()| out.flush()),
        Err(error) => {
            return match report(&error, err) {
                Ok(()) => error.exit_code(),
                Err(_) => UNAVAILABLE,
            };
        }
    };
    // A reader that is gone wants no message either.
    if printed.is_err() { UNAVAILABLE } else { 0 }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("a token is for one database, {0} are configured")]
    NotOne(usize),
    #[error("a token is for one user, and the URL names none")]
    NoUser,
    #[error("no answer from DNS for {0} in time")]
    SlowDns(String),
}

async fn token(config: &Config, clock: Clock) -> Result<SecretString, TokenError> {
    let [database] = config.databases.as_slice() else {
        return Err(TokenError::NotOne(config.databases.len()));
    };
    let user = database.user.as_deref().ok_or(TokenError::NoUser)?;
    let target = real_endpoint(config, database).await?.sign_target()?;
    let scope = Scope {
        logins: vec![Login {
            region: Some(target.region.clone()),
            user: Some(user.to_owned()),
        }],
    };
    let identity = Identity::new(&config.identity, scope, clock)?;
    let limit = database.connect_timeout;
    match tokio::time::timeout(limit, identity.rds_token(&target, user)).await {
        Ok(token) => Ok(token?),
        Err(_) => Err(identity.timed_out(limit).into()),
    }
}

async fn real_endpoint(
    config: &Config,
    database: &Database,
) -> Result<crate::identity::RealEndpoint, TokenError> {
    let looked_up = resolve(
        &database.upstream,
        database.sign_host.as_ref(),
        config.identity.region.as_deref(),
    );
    match tokio::time::timeout(database.connect_timeout, looked_up).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(TokenError::SlowDns(database.upstream.host.clone())),
    }
}

impl TokenError {
    fn fault(&self) -> Option<&dyn Fault> {
        match self {
            Self::Endpoint(error) => Some(error),
            Self::Identity(error) => Some(error),
            Self::NoUser | Self::NotOne(_) | Self::SlowDns(_) => None,
        }
    }

    fn exit_code(&self) -> u8 {
        match (self, self.fault().map(Fault::blame)) {
            // Nobody was asked, or nobody answered: nothing was refused.
            (
                Self::Identity(IdentityError::Unreachable { .. } | IdentityError::TimedOut { .. }),
                _,
            ) => UNAVAILABLE,
            (_, Some(Blame::Identity)) => IDENTITY_REFUSED,
            (_, Some(Blame::Config | Blame::Client)) => BAD_CONFIGURATION,
            (_, Some(Blame::Upstream)) => UNAVAILABLE,
            (_, Some(Blame::Internal)) => OUR_BUG,
            (Self::SlowDns(_), None) => UNAVAILABLE,
            (_, None) => BAD_CONFIGURATION,
        }
    }
}

fn report(error: &TokenError, err: &mut impl Write) -> io::Result<()> {
    let told = error.fault().map(Fault::for_client);
    writeln!(err, "rds-sidecar: {error}")?;
    let own_hint = match error {
        TokenError::NoUser => {
            Some("write it into the URL: postgres://USER@HOST/DATABASE".to_owned())
        }
        TokenError::NotOne(_) => Some("rds-sidecar token postgres://USER@HOST/DATABASE".to_owned()),
        TokenError::Endpoint(_) | TokenError::Identity(_) | TokenError::SlowDns(_) => None,
    };
    let (detail, hint) = told.map_or((None, own_hint), |told| (told.detail, told.hint));
    line(err, "detail", detail)?;
    line(err, "hint", hint)
}

fn line(err: &mut impl Write, label: &str, text: Option<impl fmt::Display>) -> io::Result<()> {
    match text {
        Some(text) => writeln!(err, "  {label}: {text}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
