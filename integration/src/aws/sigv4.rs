//! Signature Version 4, the verifier's half: pure, re-computed from the specification and not from the
//! signer's crate, so that the two can disagree.

use std::fmt::Write;

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use ring::digest;
use ring::hmac;

/// SigV4 leaves only RFC 3986's unreserved characters alone.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// `AKID/20260102/eu-west-1/sts/aws4_request`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Access key id.
    pub access_key: String,
    /// `YYYYMMDD`.
    pub date: String,
    /// Region.
    pub region: String,
    /// Service.
    pub service: String,
}

/// What was signed.
#[derive(Debug)]
pub struct Canonical<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Decoded query parameters, less the signature.
    pub query: &'a [(String, String)],
    /// Signed headers in the order of `SignedHeaders`, names in lower case.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
}

impl Scope {
    /// Reads `X-Amz-Credential` or `Credential=`; none when it has another shape.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [access_key, date, region, service, "aws4_request"] = parts.as_slice() else {
            return None;
        };
        let owned = |part: &&str| (*part).to_owned();
        Some(Self {
            access_key: owned(access_key),
            date: owned(date),
            region: owned(region),
            service: owned(service),
        })
    }
}

/// Whether `signature` (hex) is the one `secret` makes over the request at `at` (`YYYYMMDDTHHMMSSZ`).
pub fn verifies(
    secret: &str,
    scope: &Scope,
    at: &str,
    request: &Canonical<'_>,
    signature: &str,
) -> bool {
    let Some(claimed) = from_hex(signature) else {
        return false;
    };
    let credential_scope = format!(
        "{}/{}/{}/aws4_request",
        scope.date, scope.region, scope.service
    );
    let hashed = hex(digest::digest(&digest::SHA256, canonical(request).as_bytes()).as_ref());
    let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{credential_scope}\n{hashed}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [
        scope.date.as_str(),
        &scope.region,
        &scope.service,
        "aws4_request",
    ] {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes())
            .as_ref()
            .to_vec();
    }
    hmac::verify(
        &hmac::Key::new(hmac::HMAC_SHA256, &key),
        to_sign.as_bytes(),
        &claimed,
    )
    .is_ok()
}

fn canonical(request: &Canonical<'_>) -> String {
    let mut query: Vec<(String, String)> = request
        .query
        .iter()
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    query.sort();
    let query: Vec<String> = query
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let names: Vec<&str> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let mut headers = String::new();
    for (name, value) in request.headers {
        let value: Vec<&str> = value.split_whitespace().collect();
        // Writing to a String cannot fail.
        let _ = writeln!(headers, "{name}:{}", value.join(" "));
    }
    let body = hex(digest::digest(&digest::SHA256, request.body).as_ref());
    format!(
        "{}\n/\n{}\n{headers}\n{}\n{body}",
        request.method,
        query.join("&"),
        names.join(";")
    )
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect()
}
