//! Whose key signed this call.

use crate::aws::account::Account;
use crate::aws::account::Key;
use crate::aws::sigv4;
use crate::aws::sigv4::Canonical;
use crate::aws::sigv4::Scope;
use crate::aws::sts::Call;
use crate::aws::sts::StsError;
use crate::clock;

/// AWS accepts signatures this far from its own clock.
const SKEW_SECONDS_MAX: i64 = 300;

/// The key that signed `call`, after its signature, session token and life were checked.
pub(super) fn authenticate(account: &Account, call: &Call, now: i64) -> Result<Key, StsError> {
    let header = |name: &str| {
        call.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let missing = || {
        StsError::forbidden(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        )
    };
    let authorization = header("authorization").ok_or_else(missing)?;
    let fields = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or_else(missing)?;
    let field = |name: &str| {
        let prefix = format!("{name}=");
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(prefix.as_str()))
    };
    let incomplete = |name: &str| {
        let message = format!(
            "Authorization header requires '{name}' parameter. Authorization={authorization}"
        );
        StsError::sender("IncompleteSignature", &message)
    };
    let scope = field("Credential")
        .and_then(Scope::parse)
        .ok_or_else(|| incomplete("Credential"))?;
    let names = field("SignedHeaders").ok_or_else(|| incomplete("SignedHeaders"))?;
    let signature = field("Signature").ok_or_else(|| incomplete("Signature"))?;
    let at = header("x-amz-date").ok_or_else(|| incomplete("x-amz-date"))?;

    let key = account.key(&scope.access_key).ok_or_else(unknown_key)?;
    if key.session_token.as_deref() != header("x-amz-security-token") {
        return Err(unknown_key());
    }
    if key.expires.is_some_and(|expires| now >= expires) {
        return Err(StsError::forbidden(
            "ExpiredToken",
            "The security token included in the request is expired",
        ));
    }
    let headers: Vec<(String, String)> = names
        .split(';')
        .map(|name| (name.to_owned(), header(name).unwrap_or_default().to_owned()))
        .collect();
    let request = Canonical {
        method: &call.method,
        query: &call.query,
        headers: &headers,
        body: &call.body,
    };
    let fresh =
        clock::parse_amz_date(at).is_some_and(|then| (now - then).abs() <= SKEW_SECONDS_MAX);
    let complete = headers.iter().any(|(name, _)| name == "host")
        && scope.service == "sts"
        && at.starts_with(&scope.date);
    if fresh && complete && sigv4::verifies(&key.secret, &scope, at, &request, signature) {
        return Ok(key);
    }
    Err(StsError::forbidden(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method. Consult the service documentation for details.",
    ))
}

fn unknown_key() -> StsError {
    StsError::forbidden(
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
    )
}
