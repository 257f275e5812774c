//! The OIDC issuer: a GitLab that signs ID tokens for jobs that never ran.

use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::rsa::PublicKeyComponents;
use ring::signature;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::unique;

/// A signing key with the claims of a GitLab instance.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    key: KeyPair,
    kid: String,
    public: PublicKeyComponents<Vec<u8>>,
}

/// What to put into an ID token. The default is a job on `main` of `acme/shop`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdTokenRequest {
    /// Claims that replace or join the usual ones; `null` takes a claim away. `sub` follows
    /// `project_path`, `ref_type` and `ref` unless it is given.
    pub claims: Map<String, Value>,
    /// Seconds of life, from now; negative: already over. Default 3,600.
    pub expires_in: Option<i64>,
    /// How the signature comes out.
    pub signature: Signing,
}

/// How the signature of an ID token comes out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signing {
    /// As it should be.
    #[default]
    Valid,
    /// Made by the right key over other claims.
    Forged,
    /// The header names a key the issuer does not publish.
    UnknownKey,
}

impl Issuer {
    /// A new issuer with a fresh key. `url` is the `iss` claim.
    pub fn new(url: &str) -> Result<Self> {
        let key = rsa_key()?;
        let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
        let kid = thumbprint(&public);
        Ok(Self {
            url: url.to_owned(),
            key,
            kid,
            public,
        })
    }

    /// The `iss` claim.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The issuer without its scheme, as IAM names it in ARNs and condition keys.
    pub fn host(&self) -> &str {
        self.url
            .split_once("://")
            .map_or(self.url.as_str(), |(_, host)| host)
    }

    /// `/.well-known/openid-configuration`; `base` is where this sandbox answers.
    pub fn discovery(&self, base: &str) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{base}/oauth/discovery/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    /// `/oauth/discovery/keys`.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid,
            "n": base64url(&self.public.n), "e": base64url(&self.public.e),
        }]})
    }

    /// A signed ID token with GitLab's claims.
    pub fn id_token(&self, request: &IdTokenRequest, now: i64) -> Result<String> {
        let kid = match request.signature {
            Signing::Valid | Signing::Forged => self.kid.as_str(),
            Signing::UnknownKey => "a-key-the-issuer-does-not-publish",
        };
        let header = base64url(
            json!({ "kid": kid, "typ": "JWT", "alg": "RS256" })
                .to_string()
                .as_bytes(),
        );
        let payload = base64url(
            Value::Object(self.claims(request, now))
                .to_string()
                .as_bytes(),
        );
        let message = match request.signature {
            Signing::Valid | Signing::UnknownKey => format!("{header}.{payload}"),
            Signing::Forged => format!("{header}.e30"),
        };
        let mut signed = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &signature::RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signed,
            )
            .map_err(|_| anyhow::anyhow!("the issuer's key cannot sign"))?;
        Ok(format!("{header}.{payload}.{}", base64url(&signed)))
    }

    /// Whether `kid` is among the published keys.
    pub fn publishes(&self, kid: &str) -> bool {
        kid == self.kid
    }

    /// Whether `signature` is this issuer's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public
            .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok()
    }

    /// The claims of GitLab's `Gitlab::Ci::JwtV2`, as of 18.4.
    fn claims(&self, request: &IdTokenRequest, now: i64) -> Map<String, Value> {
        let mut claims = json!({
            "iss": self.url, "aud": self.url, "jti": unique::uuid(),
            "iat": now, "nbf": now - 5, "exp": now + request.expires_in.unwrap_or(3_600),
            "namespace_id": "72", "namespace_path": "acme", "project_id": "20", "project_path": "acme/shop",
            "user_id": "1", "user_login": "ada", "user_email": "ada@example.com", "user_access_level": "developer",
            "pipeline_id": "574", "pipeline_source": "push", "job_id": "1010",
            "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
            "environment": "test", "environment_protected": "false", "deployment_tier": "testing",
            "runner_id": 1, "runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
            "project_visibility": "private", "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        })
        .as_object()
        .cloned()
        .unwrap_or_default();
        claims.extend(request.claims.clone());
        if !request.claims.contains_key("sub") {
            let text = |name: &str| {
                claims
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let (project, kind, name) = (text("project_path"), text("ref_type"), text("ref"));
            claims.insert(
                "sub".into(),
                format!("project_path:{project}:ref_type:{kind}:ref:{name}").into(),
            );
        }
        claims.retain(|_, value| !value.is_null());
        claims
    }
}

/// ring signs with RSA keys but does not make them; openssl's program comes with Debian's PostgreSQL.
fn rsa_key() -> Result<KeyPair> {
    let made = Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-outform",
            "DER",
        ])
        .output()
        .context("run openssl to make the issuer's key: apt-get install openssl")?;
    ensure!(
        made.status.success(),
        "openssl genpkey: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    // Some versions write PKCS#8 here and some PKCS#1.
    let key = KeyPair::from_pkcs8(&made.stdout).or_else(|_| KeyPair::from_der(&made.stdout));
    key.map_err(|error| anyhow::anyhow!("openssl made a key ring refuses: {error}"))
}

/// RFC 7638, which is how GitLab names its keys.
fn thumbprint(public: &PublicKeyComponents<Vec<u8>>) -> String {
    let jwk = format!(
        r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
        base64url(&public.e),
        base64url(&public.n)
    );
    base64url(digest::digest(&digest::SHA256, jwk.as_bytes()).as_ref())
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
