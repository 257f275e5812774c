//! The judge of RDS tokens: what RDS does between the clear-text password and `AuthenticationOk`.
//!
//! It re-computes the signature from the key that STS gave out, so a login is refused for the same reasons
//! as on RDS; and as on RDS the client learns none of them. They are kept here, with the line RDS writes to
//! its `iam-db-auth-error` log.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::aws::account::ACCOUNT;
use crate::aws::account::Account;
use crate::aws::account::Key;
use crate::aws::account::REGION;
use crate::aws::sigv4;
use crate::aws::sigv4::Canonical;
use crate::aws::sigv4::Scope;
use crate::clock;
use crate::faults::LoginFault;

/// RDS refuses tokens that claim a longer life.
const EXPIRES_SECONDS_MAX: i64 = 900;
const SKEW_SECONDS_MAX: i64 = 300;

/// The database a token must be for.
#[derive(Debug, Clone)]
pub struct Database {
    /// `host:port` as RDS names it.
    pub endpoint: String,
    /// `db-ABC...`, the resource in `rds-db:connect` policies.
    pub resource_id: String,
}

/// One judgement. It holds no token and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Unix seconds.
    pub at: i64,
    /// The user who logged in.
    pub user: String,
    /// Whether the login may go on.
    pub accepted: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The line in RDS's `iam-db-auth-error` log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rds_log: Option<String>,
    /// Whose key signed the token, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// Judges one login at `now`.
pub fn judge(account: &Account, database: &Database, user: &str, token: &str, now: i64) -> Verdict {
    match check(account, database, user, token, now) {
        Ok(key) => Verdict {
            at: now,
            user: user.to_owned(),
            accepted: true,
            reason: None,
            rds_log: None,
            principal: Some(key.principal.arn()),
        },
        Err(refusal) => refusal.verdict(user, now),
    }
}

/// The verdict of a judge that does not judge.
pub fn fail(fault: LoginFault, user: &str, now: i64) -> Verdict {
    let (why, reason) = match fault {
        LoginFault::InternalError => (Why::Internal, "fault on request: internal error"),
        LoginFault::Throttling => (Why::Throttled, "fault on request: IAM logins are throttled"),
    };
    Refusal {
        why,
        reason: reason.to_owned(),
    }
    .verdict(user, now)
}

struct Refusal {
    why: Why,
    reason: String,
}

enum Why {
    Expired,
    Internal,
    Malformed,
    NotAuthorized(String),
    Throttled,
}

impl Refusal {
    fn malformed(reason: impl Into<String>) -> Self {
        Self {
            why: Why::Malformed,
            reason: reason.into(),
        }
    }

    fn verdict(self, user: &str, now: i64) -> Verdict {
        let (verb, because) = match &self.why {
            Why::Malformed => (
                "authenticate",
                "because the provided token is malformed or otherwise invalid. (Status Code: 400, Error Code: \
                 InvalidToken)"
                    .to_owned(),
            ),
            Why::Expired => (
                "authenticate",
                "because the token age is longer than 15 minutes. (Status Code: 400, Error Code:ExpiredToken)"
                    .to_owned(),
            ),
            Why::NotAuthorized(arn) => (
                "authorize",
                format!(
                    "because the IAM policy assumed by the caller '{arn}' is not authorized to perform \
                     `rds-db:connect` on the DB instance. (Status Code: 403, Error Code:NotAuthorized)"
                ),
            ),
            Why::Throttled => (
                "authorize",
                "due to IAM DB authentication throttling. (Status Code: 429, Error Code: ThrottlingException)"
                    .to_owned(),
            ),
            Why::Internal => (
                "authorize",
                "due to an internal IAM DB authentication error. (Status Code: 500, Error Code: InternalError)"
                    .to_owned(),
            ),
        };
        let principal = match self.why {
            Why::NotAuthorized(arn) => Some(arn),
            Why::Expired | Why::Internal | Why::Malformed | Why::Throttled => None,
        };
        Verdict {
            at: now,
            user: user.to_owned(),
            accepted: false,
            reason: Some(self.reason),
            rds_log: Some(format!(
                "[ERROR] Failed to {verb} the connection request for user {user} {because}"
            )),
            principal,
        }
    }
}

fn check(
    account: &Account,
    database: &Database,
    user: &str,
    token: &str,
    now: i64,
) -> Result<Key, Refusal> {
    let token = Token::parse(token)?;
    token.check_shape(database, user)?;
    let at = token.parameter("X-Amz-Date")?;
    let signed_at = clock::parse_amz_date(at).ok_or_else(|| {
        Refusal::malformed(format!(
            "X-Amz-Date {at:?} is not a date of the form 20260102T030405Z"
        ))
    })?;
    let scope = token.scope(at)?;
    token.check_life(signed_at, now)?;
    let key = account
        .key(&scope.access_key)
        .ok_or_else(|| Refusal::malformed(format!("access key {} is unknown", scope.access_key)))?;
    if let Some(expired) = key.expires.filter(|expires| now >= *expires) {
        let ago = now - expired;
        return Err(Refusal::malformed(format!(
            "the credentials of access key {} expired {ago} s ago",
            key.id
        )));
    }
    if key.session_token.as_ref() != token.parameters.get("X-Amz-Security-Token") {
        return Err(Refusal::malformed(format!(
            "the session token does not belong to access key {}",
            key.id
        )));
    }
    token.check_signature(&key, &scope, at)?;
    let resource = format!(
        "arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:{}/{user}",
        database.resource_id
    );
    if !account.allows(&key, "rds-db:connect", &resource) {
        let arn = key.principal.arn();
        let reason = format!("{arn} is not allowed rds-db:connect on {resource}");
        return Err(Refusal {
            why: Why::NotAuthorized(arn),
            reason,
        });
    }
    Ok(key)
}

struct Token<'a> {
    host: &'a str,
    parameters: BTreeMap<String, String>,
}

impl<'a> Token<'a> {
    fn parse(token: &'a str) -> Result<Self, Refusal> {
        if token.starts_with("https://") || token.starts_with("http://") {
            return Err(Refusal::malformed(
                "the token carries a scheme; an RDS token begins with the host",
            ));
        }
        let Some((host, query)) = token.split_once("/?") else {
            return Err(Refusal::malformed(
                "not an RDS token: there is no \"/?\" in it",
            ));
        };
        let mut parameters = BTreeMap::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| Refusal::malformed(format!("parameter {name} is not UTF-8")))?;
            if parameters
                .insert(name.to_owned(), value.into_owned())
                .is_some()
            {
                return Err(Refusal::malformed(format!(
                    "parameter {name} stands there twice"
                )));
            }
        }
        Ok(Self { host, parameters })
    }

    fn parameter(&self, name: &str) -> Result<&str, Refusal> {
        let value = self.parameters.get(name).map(String::as_str);
        value.ok_or_else(|| Refusal::malformed(format!("parameter {name} is missing")))
    }

    fn check_shape(&self, database: &Database, user: &str) -> Result<(), Refusal> {
        if !self.host.eq_ignore_ascii_case(&database.endpoint) {
            let (host, endpoint) = (self.host, &database.endpoint);
            return Err(Refusal::malformed(format!(
                "signed for endpoint {host}, but this is {endpoint}"
            )));
        }
        for (name, wanted) in [
            ("Action", "connect"),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-SignedHeaders", "host"),
        ] {
            let found = self.parameter(name)?;
            if found != wanted {
                return Err(Refusal::malformed(format!(
                    "{name} is {found:?}, not {wanted}"
                )));
            }
        }
        let signed_for = self.parameter("DBUser")?;
        if signed_for != user {
            return Err(Refusal::malformed(format!(
                "signed for user {signed_for}, but the login is by {user}"
            )));
        }
        Ok(())
    }

    fn scope(&self, at: &str) -> Result<Scope, Refusal> {
        let text = self.parameter("X-Amz-Credential")?;
        let scope = Scope::parse(text).ok_or_else(|| {
            Refusal::malformed("X-Amz-Credential is not KEY/DATE/REGION/rds-db/aws4_request")
        })?;
        if scope.service != "rds-db" {
            return Err(Refusal::malformed(format!(
                "signed for service {}, not rds-db",
                scope.service
            )));
        }
        if scope.region != REGION {
            return Err(Refusal::malformed(format!(
                "signed for region {}, but this is {REGION}",
                scope.region
            )));
        }
        if !at.starts_with(&scope.date) {
            return Err(Refusal::malformed(format!(
                "X-Amz-Date {at} is not of the day {}",
                scope.date
            )));
        }
        Ok(scope)
    }

    fn check_life(&self, signed_at: i64, now: i64) -> Result<(), Refusal> {
        let text = self.parameter("X-Amz-Expires")?;
        let life = text
            .parse()
            .ok()
            .filter(|life| (1..=EXPIRES_SECONDS_MAX).contains(life));
        let life: i64 = life.ok_or_else(|| {
            Refusal::malformed(format!(
                "X-Amz-Expires is {text}, not 1 to {EXPIRES_SECONDS_MAX}"
            ))
        })?;
        if signed_at > now + SKEW_SECONDS_MAX {
            return Err(Refusal::malformed(format!(
                "the token is dated {} s in the future",
                signed_at - now
            )));
        }
        if now > signed_at + life {
            let reason = format!("the token expired {} s ago", now - signed_at - life);
            return Err(Refusal {
                why: Why::Expired,
                reason,
            });
        }
        Ok(())
    }

    fn check_signature(&self, key: &Key, scope: &Scope, at: &str) -> Result<(), Refusal> {
        let signature = self.parameter("X-Amz-Signature")?;
        let query: Vec<(String, String)> = self
            .parameters
            .iter()
            .filter(|(name, _)| name.as_str() != "X-Amz-Signature")
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let headers = [("host".to_owned(), self.host.to_owned())];
        let request = Canonical {
            method: "GET",
            query: &query,
            headers: &headers,
            body: b"",
        };
        if sigv4::verifies(&key.secret, scope, at, &request, signature) {
            return Ok(());
        }
        Err(Refusal::malformed("the signature does not match"))
    }
}
