//! An RDS IAM token: a SigV4 pre-signed URL without its scheme, used as the password.
//!
//! Pure: no clock, no network. A token is born when an upstream connection is dialled and dies when the
//! login is over; nothing stores one.
//! Format: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html>.

use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request;
use aws_sigv4::http_request::SignableBody;
use aws_sigv4::http_request::SignableRequest;
use aws_sigv4::http_request::SignatureLocation;
use aws_sigv4::http_request::SigningSettings;
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use config::Endpoint;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use secrecy::SecretString;

/// The server refuses a token signed for longer (aws-sdk-java#2617, aws-sdk-go#3903).
const LIFE_MAX: Duration = Duration::from_secs(900);

/// Everything but RFC 3986's unreserved characters is encoded, as SigV4 wants it.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a token is signed for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SignTarget {
    /// The endpoint as RDS knows it: its real name, not a CNAME; the port counts.
    pub endpoint: Endpoint,
    /// The database's region.
    pub region: String,
}

/// Why a token could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The credentials are no longer valid, so no token made with them is.
    #[error("the AWS credentials have expired")]
    CredentialsExpired,
    /// The endpoint cannot stand in a URL.
    #[error("no token can be signed for {endpoint}")]
    Unsignable {
        /// The endpoint as configured.
        endpoint: String,
    },
}

/// How long a token signed at `at` is good for: 900 seconds, or what is left of the credentials if that is
/// less (RDS checks both). None when less than a second is left.
pub fn life(credentials: &Credentials, at: SystemTime) -> Option<Duration> {
    let left = match credentials.expiry() {
        Some(expiry) => expiry.duration_since(at).ok()?,
        None => LIFE_MAX,
    };
    let whole = Duration::from_secs(left.as_secs()).min(LIFE_MAX);
    (!whole.is_zero()).then_some(whole)
}

/// Signs a token for `user` at `target`, valid from `at`. `user` is case-sensitive, like the database's.
pub fn sign(
    credentials: &Credentials,
    target: &SignTarget,
    user: &str,
    at: SystemTime,
) -> Result<SecretString, SignError> {
    let life = life(credentials, at).ok_or(SignError::CredentialsExpired)?;
    let unsignable = || SignError::Unsignable {
        endpoint: target.endpoint.to_string(),
    };
    let host = target.endpoint.to_string();
    let url = format!(
        "https://{host}/?Action=connect&DBUser={}",
        utf8_percent_encode(user, RESERVED)
    );

    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(life);
    let identity = Identity::from(credentials.clone());
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&target.region)
        .name("rds-db")
        .time(at)
        .settings(settings)
        .build()
        .map_err(|_| unsignable())?
        .into();
    // The host is given, because the signer would leave the port out when it is HTTPS's own.
    let headers = [("host", host.as_str())].into_iter();
    let request = SignableRequest::new("GET", url.as_str(), headers, SignableBody::empty())
        .map_err(|_| unsignable())?;
    let signed = http_request::sign(request, &params).map_err(|_| unsignable())?;

    let mut token = url.strip_prefix("https://").unwrap_or(&url).to_owned();
    for (name, value) in signed.output().params() {
        token.push('&');
        token.push_str(name);
        token.push('=');
        token.extend(utf8_percent_encode(value, RESERVED));
    }
    Ok(SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use secrecy::ExposeSecret;

    use super::*;

    /// 2024-08-26T22:00:00Z.
    const AUG_26_2024: u64 = 1_724_709_600;

    fn target(host: &str, port: u16, region: &str) -> SignTarget {
        SignTarget {
            endpoint: Endpoint {
                host: host.to_owned(),
                port,
            },
            region: region.to_owned(),
        }
    }

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(AUG_26_2024)
    }

    fn keys(session: Option<&str>, lives_seconds: Option<u64>) -> Credentials {
        let expiry = lives_seconds.map(|seconds| at() + Duration::from_secs(seconds));
        Credentials::new("akid", "secret", session.map(str::to_owned), expiry, "test")
    }

    /// The vector in AWS's own SDK (smithy-rs, aws-inlineable `rds_auth_token.rs`, `signing_works`).
    #[test]
    fn equals_the_vector_published_by_aws() {
        let target = target(
            "prod-instance.us-east-1.rds.amazonaws.com",
            3306,
            "us-east-1",
        );
        let token = sign(&keys(None, None), &target, "peccy", at()).unwrap();
        assert_eq!(
            token.expose_secret(),
            "prod-instance.us-east-1.rds.amazonaws.com:3306/?Action=connect&DBUser=peccy\
             &X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=akid%2F20240826%2Fus-east-1%2Frds-db%2Faws4_request\
             &X-Amz-Date=20240826T220000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=dd0cba843009474347af724090233265628ace491ea17ce3eb3da098b983ad89"
        );
    }

    #[test]
    fn the_user_is_percent_encoded() {
        let token = sign(
            &keys(None, None),
            &target("h", 1, "r"),
            "iam app+\u{fc}&X=1/?",
            at(),
        )
        .unwrap();
        assert!(
            token
                .expose_secret()
                .contains("&DBUser=iam%20app%2B%C3%BC%26X%3D1%2F%3F&X-Amz-Algorithm=")
        );
    }

    #[test]
    fn the_session_token_is_signed_and_encoded() {
        let token = sign(
            &keys(Some("a+/="), None),
            &target("h", 5432, "r"),
            "u",
            at(),
        )
        .unwrap();
        assert!(
            token
                .expose_secret()
                .contains("&X-Amz-Security-Token=a%2B%2F%3D")
        );
        let other = sign(&keys(Some("b"), None), &target("h", 5432, "r"), "u", at()).unwrap();
        let signature = |token: &SecretString| {
            token
                .expose_secret()
                .split("X-Amz-Signature=")
                .nth(1)
                .unwrap()[..64]
                .to_owned()
        };
        assert_ne!(signature(&token), signature(&other));
    }

    #[test]
    fn lives_no_longer_than_the_credentials() {
        let token = |seconds| sign(&keys(None, Some(seconds)), &target("h", 1, "r"), "u", at());
        assert!(
            token(3_600)
                .unwrap()
                .expose_secret()
                .contains("&X-Amz-Expires=900&")
        );
        assert!(
            token(61)
                .unwrap()
                .expose_secret()
                .contains("&X-Amz-Expires=61&")
        );
        assert_eq!(token(0).unwrap_err(), SignError::CredentialsExpired);
    }

    #[test]
    fn the_port_is_signed_even_when_it_is_443() {
        let signature = |port| {
            let token = sign(&keys(None, None), &target("h", port, "r"), "u", at()).unwrap();
            assert!(token.expose_secret().starts_with(&format!("h:{port}/?")));
            token
                .expose_secret()
                .split("X-Amz-Signature=")
                .nth(1)
                .unwrap()
                .to_owned()
        };
        // Computed with botocore's generate_db_auth_token rules: canonical host header is `host:port`.
        assert_ne!(signature(443), signature(444));
    }

    #[test]
    fn an_endpoint_that_is_no_host_is_an_error() {
        let error = sign(&keys(None, None), &target("a b", 1, "r"), "u", at()).unwrap_err();
        assert_eq!(
            error,
            SignError::Unsignable {
                endpoint: "a b:1".to_owned()
            }
        );
    }
}
