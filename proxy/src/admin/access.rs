//! Who may change something.

use std::net::SocketAddr;

use hyper::HeaderMap;
use hyper::header;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use sha2::Digest;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Why a request that changes something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// From elsewhere, and no token is configured that could open it.
    LoopbackOnly,
    /// A web page in a browser on this machine asks; its user did not.
    WebPage,
    /// No token, or a wrong one.
    WrongToken,
}

/// Loopback may, and so may whoever knows the admin token. A browser is on loopback too, so a request that
/// says it comes from a web page (`Origin`) needs the token.
pub(super) fn may_change(
    peer: SocketAddr,
    headers: &HeaderMap,
    token: Option<&SecretString>,
) -> Result<(), Refusal> {
    if let Some(token) = token
        && bearer(headers).is_some_and(|given| same_secret(given, token.expose_secret().as_bytes()))
    {
        return Ok(());
    }
    if !peer.ip().to_canonical().is_loopback() {
        return Err(if token.is_some() {
            Refusal::WrongToken
        } else {
            Refusal::LoopbackOnly
        });
    }
    if headers.contains_key(header::ORIGIN) {
        Err(Refusal::WebPage)
    } else {
        Ok(())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| rest.trim_ascii())
}

/// Takes the same time wherever they differ: digests are compared, so not even the length shows.
/// An empty secret equals nothing.
fn same_secret(given: &[u8], expected: &[u8]) -> bool {
    !expected.is_empty() && bool::from(Sha256::digest(given).ct_eq(&Sha256::digest(expected)))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn secrets_are_equal_only_when_equal() {
        assert!(same_secret(b"secret", b"secret"));
        for given in [
            &b""[..],
            b"s",
            b"secre",
            b"secreT",
            b"secret ",
            b"secretsecret",
            b"secret\0",
        ] {
            assert!(!same_secret(given, b"secret"), "{given:?}");
        }
        assert!(!same_secret(b"", b""));
    }

    #[test]
    fn bearer_is_read_as_rfc_6750_writes_it() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(of("Bearer abc"), Some(b"abc".to_vec()));
        assert_eq!(of("bearer  abc "), Some(b"abc".to_vec()));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("Bearer"), None);
    }

    #[test]
    fn who_may_change_something() {
        let token = SecretString::from("secret");
        let here: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:1".parse().unwrap();
        let away: SocketAddr = "172.17.0.3:1".parse().unwrap();
        let with = |name: header::HeaderName, value: &'static str| {
            HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
        };
        let none = HeaderMap::new();
        let right = with(header::AUTHORIZATION, "Bearer secret");
        let wrong = with(header::AUTHORIZATION, "Bearer secreT");
        let page = with(header::ORIGIN, "https://evil.example");

        assert_eq!(may_change(here, &none, None), Ok(()));
        assert_eq!(may_change(mapped, &none, Some(&token)), Ok(()));
        assert_eq!(may_change(here, &page, None), Err(Refusal::WebPage));
        assert_eq!(may_change(away, &none, None), Err(Refusal::LoopbackOnly));
        assert_eq!(may_change(away, &right, None), Err(Refusal::LoopbackOnly));
        assert_eq!(
            may_change(away, &none, Some(&token)),
            Err(Refusal::WrongToken)
        );
        assert_eq!(
            may_change(away, &wrong, Some(&token)),
            Err(Refusal::WrongToken)
        );
        assert_eq!(may_change(away, &right, Some(&token)), Ok(()));
    }
}
