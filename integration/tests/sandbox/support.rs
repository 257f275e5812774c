#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_sts::config::BehaviorVersion;
use aws_sdk_sts::config::Region;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role_with_web_identity::builders::AssumeRoleWithWebIdentityFluentBuilder;
use aws_sigv4::http_request::SignableBody;
use aws_sigv4::http_request::SignableRequest;
use aws_sigv4::http_request::SignatureLocation;
use aws_sigv4::http_request::SigningSettings;
use aws_sigv4::http_request::sign;
use aws_sigv4::sign::v4;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::aws::account::role_arn;
use rds_sandbox::oidc::IdTokenRequest;
use rds_sandbox::servers::mysqld;
use rds_sandbox::servers::postgres::HOST;

/// One sandbox for the tests that only look; the guard stops it when the test process ends.
pub(crate) fn shared() -> &'static Sandbox {
    static SHARED: OnceLock<Sandbox> = OnceLock::new();
    SHARED.get_or_init(|| Sandbox::start(&Options::default()).unwrap())
}

/// A sandbox of one's own, without servers.
pub(crate) fn aws_only() -> Sandbox {
    Sandbox::start(&Options {
        postgres: false,
        ..Options::default()
    })
    .unwrap()
}

/// AWS's client, which neither retries nor looks for credentials elsewhere.
pub(crate) fn sts(sandbox: &Sandbox, credentials: Option<Credentials>) -> aws_sdk_sts::Client {
    let mut config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(sandbox.url())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled());
    config.set_credentials_provider(
        credentials.map(aws_sdk_sts::config::SharedCredentialsProvider::new),
    );
    aws_sdk_sts::Client::from_conf(config.build())
}

/// AssumeRoleWithWebIdentity for `role` with a token of the sandbox's GitLab.
pub(crate) fn assume(
    sandbox: &Sandbox,
    role: &str,
    token: &IdTokenRequest,
) -> AssumeRoleWithWebIdentityFluentBuilder {
    sts(sandbox, None)
        .assume_role_with_web_identity()
        .role_arn(role_arn(role))
        .role_session_name("gitlab-acme-shop-1010")
        .web_identity_token(sandbox.id_token(token).unwrap())
}

/// Credentials of `role`.
pub(crate) async fn credentials(sandbox: &Sandbox, role: &str) -> Credentials {
    let answer = assume(sandbox, role, &IdTokenRequest::default())
        .send()
        .await
        .unwrap();
    from_sts(answer.credentials().unwrap())
}

pub(crate) fn from_sts(given: &aws_sdk_sts::types::Credentials) -> Credentials {
    let expires = SystemTime::try_from(*given.expiration()).unwrap();
    let token = given.session_token().to_owned();
    Credentials::new(
        given.access_key_id(),
        given.secret_access_key(),
        Some(token),
        Some(expires),
        "sandbox",
    )
}

/// Status, code and message of a refusal.
pub(crate) fn refusal<E: ProvideErrorMetadata>(
    result: Result<impl Sized, SdkError<E, aws_smithy_runtime_api::http::Response>>,
) -> (u16, String, String) {
    let Err(error) = result else {
        return (200, String::new(), String::new());
    };
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (status, text(error.code()), text(error.message()))
}

/// What an RDS token is signed for.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: String,
    pub(crate) user: String,
    pub(crate) region: String,
    pub(crate) service: String,
    pub(crate) expires: u64,
    pub(crate) at: SystemTime,
}

impl Default for Target {
    #[allow(clippy::disallowed_methods, reason = "a test signs now")]
    fn default() -> Self {
        Self {
            endpoint: format!("{HOST}:5432"),
            user: "iam_app".into(),
            region: "eu-west-1".into(),
            service: "rds-db".into(),
            expires: 900,
            at: SystemTime::now(),
        }
    }
}

impl Target {
    /// The MySQL beside the PostgreSQL.
    pub(crate) fn mysql() -> Self {
        Self {
            endpoint: format!("{}:{}", mysqld::HOST, mysqld::PORT),
            ..Self::default()
        }
    }
}

/// An RDS token by AWS's own signer.
pub(crate) fn rds_token(credentials: &Credentials, target: &Target) -> String {
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(Duration::from_secs(target.expires));
    settings.signature_location = SignatureLocation::QueryParams;
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&target.region)
        .name(&target.service)
        .time(target.at)
        .settings(settings)
        .build()
        .unwrap();
    let url = format!(
        "https://{}/?Action=connect&DBUser={}",
        target.endpoint, target.user
    );
    let request =
        SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[])).unwrap();
    let (instructions, _) = sign(request, &parameters.into()).unwrap().into_parts();
    let mut url = http_url(&url);
    for (name, value) in instructions.params() {
        url += &format!(
            "&{name}={}",
            percent_encoding::utf8_percent_encode(value, ENCODED)
        );
    }
    url
}

const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

fn http_url(url: &str) -> String {
    url.trim_start_matches("https://").to_owned()
}

/// Runs one statement through libpq, on `port` of this machine, with the RDS name verified.
pub(crate) fn psql(
    sandbox: &Sandbox,
    port: u16,
    user: &str,
    password: &str,
) -> Result<String, String> {
    let ca = sandbox.ca_file();
    let target = format!(
        "host={HOST} hostaddr=127.0.0.1 port={port} dbname=app user={user} sslmode=verify-full sslrootcert={} \
         connect_timeout=10",
        ca.display()
    );
    run_psql(&target, password, "SELECT current_user")
}

/// psql's output, or the server's words without libpq's preamble.
pub(crate) fn run_psql(target: &str, password: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args(["-XAtq", "-c", sql, target])
        .env("PGPASSWORD", password)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(error
        .split_once(" failed: ")
        .map_or(error.clone(), |(_, words)| words.to_owned()))
}

/// Runs one statement through MariaDB's own client, with the certificate verified; its output, or the server's words.
pub(crate) fn mariadb(
    sandbox: &Sandbox,
    port: u16,
    user: &str,
    password: &str,
    sql: &str,
) -> Result<String, String> {
    let ca = sandbox.ca_file();
    let tls = format!("--ssl-ca={}", ca.display());
    run_mariadb(
        port,
        user,
        password,
        &[&tls, "--ssl-verify-server-cert"],
        sql,
    )
}

/// As [`mariadb`], with other options.
pub(crate) fn run_mariadb(
    port: u16,
    user: &str,
    password: &str,
    options: &[&str],
    sql: &str,
) -> Result<String, String> {
    let output = Command::new("mariadb")
        .args(["--no-defaults", "-NB", "--protocol=tcp", "--host=127.0.0.1"])
        .args([format!("--port={port}"), format!("--user={user}")])
        .args(options)
        .args(["-e", sql, "app"])
        .env("MYSQL_PWD", password)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}
