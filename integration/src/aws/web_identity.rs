//! Judging an OIDC ID token as STS does: provider, key, signature, life, audience.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Map;
use serde_json::Value;

use crate::aws::account::Account;
use crate::aws::sts::StsError;

/// STS accepts tokens whose `iat` is at most this old, whatever their `exp`.
const AGE_SECONDS_MAX: i64 = 86_400;
/// How far the issuer's clock may be ahead of AWS's.
const SKEW_SECONDS_MAX: i64 = 300;
/// Claims that AWS also offers as condition keys for gitlab.com (facts/gitlab.md 8).
const GITLAB_COM_KEYS: [&str; 8] = [
    "namespace_id",
    "project_id",
    "user_id",
    "user_login",
    "user_email",
    "user_access_level",
    "ref_protected",
    "pipeline_source",
];

/// An ID token that was found good.
#[derive(Debug)]
pub struct WebIdentity {
    /// The `sub` claim.
    pub subject: String,
    /// The audience that the provider's client-id list holds.
    pub audience: String,
    /// Condition keys for the trust policy: `gitlab.example.com:sub`...
    pub context: BTreeMap<String, Vec<String>>,
}

/// Judges `token` at `now`. Errors carry STS's own codes and messages.
pub fn judge(account: &Account, token: &str, now: i64) -> Result<WebIdentity, StsError> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return Err(not_a_jwt());
    };
    let message = format!("{header}.{payload}");
    let (header, claims) = (decode_object(header)?, decode_object(payload)?);
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| not_a_jwt())?;

    let issuer = claims
        .get("iss")
        .and_then(Value::as_str)
        .ok_or_else(not_a_jwt)?;
    if issuer != account.issuer.url() {
        let message = format!("No OpenIDConnect provider found in your account for {issuer}");
        return Err(StsError::invalid_identity(&message));
    }
    let kid = header
        .get("kid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let algorithm = header
        .get("alg")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if algorithm != "RS256" || !account.issuer.publishes(kid) {
        return Err(StsError::no_verification_key());
    }
    if !account.issuer.verifies(message.as_bytes(), &signature) {
        return Err(StsError::invalid_identity("Token signature invalid"));
    }
    check_life(&claims, now)?;
    let audience = audience(account, &claims)?;
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .ok_or_else(not_a_jwt)?
        .to_owned();
    let context = context(account.issuer.host(), &claims, &audience);
    Ok(WebIdentity {
        subject,
        audience,
        context,
    })
}

fn decode_object(part: &str) -> Result<Map<String, Value>, StsError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| not_a_jwt())?;
    serde_json::from_slice(&bytes).map_err(|_| not_a_jwt())
}

fn check_life(claims: &Map<String, Value>, now: i64) -> Result<(), StsError> {
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64);
    let expires = seconds("exp").ok_or_else(not_a_jwt)?;
    if now >= expires {
        let message = format!(
            "Token expired: current date/time {now} must be before the expiration date/time {expires}"
        );
        return Err(StsError::expired(&message));
    }
    if let Some(issued) = seconds("iat")
        && now - issued > AGE_SECONDS_MAX
    {
        return Err(StsError::expired(&format!(
            "Token too old: {}",
            now - issued
        )));
    }
    if seconds("nbf").is_some_and(|not_before| not_before > now + SKEW_SECONDS_MAX) {
        // AWS's text for this case is not known to us; the code is the one its API reference gives.
        return Err(StsError::invalid_identity("Token is not yet valid"));
    }
    Ok(())
}

fn audience(account: &Account, claims: &Map<String, Value>) -> Result<String, StsError> {
    let presented: Vec<&str> = match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one],
        _ => Vec::new(),
    };
    let known = presented
        .into_iter()
        .find(|one| account.client_ids.iter().any(|id| id == one));
    known
        .map(ToOwned::to_owned)
        .ok_or_else(|| StsError::invalid_identity("Incorrect token audience"))
}

fn context(
    host: &str,
    claims: &Map<String, Value>,
    audience: &str,
) -> BTreeMap<String, Vec<String>> {
    let mut context = BTreeMap::from([(format!("{host}:aud"), vec![audience.to_owned()])]);
    let extra = if host == "gitlab.com" {
        &GITLAB_COM_KEYS[..]
    } else {
        &[]
    };
    for name in extra.iter().chain(&["sub"]) {
        if let Some(value) = claims.get(*name).and_then(Value::as_str) {
            context.insert(format!("{host}:{name}"), vec![value.to_owned()]);
        }
    }
    context
}

fn not_a_jwt() -> StsError {
    StsError::invalid_identity(
        "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
    )
}
