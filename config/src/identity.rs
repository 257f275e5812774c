//! `[identity]`: how this process proves who it is.

use std::path::PathBuf;

use secrecy::SecretString;

/// The checked `[identity]` section.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Role assumed with the ID token; none means the AWS default chain (laptops).
    pub role_arn: Option<String>,
    /// Further roles, assumed in this order after `role_arn` (role chaining).
    pub assume: Vec<String>,
    /// Where the OIDC ID token comes from.
    pub id_token: IdTokenSource,
    /// AWS region; none means: read it from the endpoint's name.
    pub region: Option<String>,
    /// `RoleSessionName`, already of a legal shape (`[\w+=,.@-]{2,64}`, STS API reference).
    pub session_name: String,
    /// `DurationSeconds` asked of STS, in seconds (900 to 43,200); none means STS's default of one hour.
    pub session_seconds: Option<u32>,
    /// Pass a session policy that allows `rds-db:connect` for the configured users only.
    pub scope_down: bool,
    /// Profile of the AWS default chain (`AWS_PROFILE`).
    pub profile: Option<String>,
    /// STS endpoint to use instead of AWS's (`AWS_ENDPOINT_URL_STS`, else `AWS_ENDPOINT_URL`).
    pub sts_endpoint: Option<String>,
    /// Extra CA bundle for calls to AWS (`AWS_CA_BUNDLE`).
    pub aws_ca_bundle: Option<PathBuf>,
    /// What the CI job said about itself, where this runs in GitLab.
    pub gitlab: Option<GitlabJob>,
}

/// Where the OIDC ID token comes from. Any of them may be overridden later by `PUT /identity`.
#[derive(Debug, Clone)]
pub enum IdTokenSource {
    /// The text of the token, and the name of the variable it came in.
    Variable {
        /// Name of the environment variable, for messages.
        name: String,
        /// The token.
        token: SecretString,
    },
    /// A file, polled until it appears.
    File(PathBuf),
    /// Only `PUT /identity` (or, without `role_arn`, none is needed).
    Pushed,
}

/// What GitLab's predefined variables say about this job.
#[derive(Debug, Clone)]
pub struct GitlabJob {
    /// `CI_JOB_ID`.
    pub job_id: String,
    /// `CI_PROJECT_PATH`.
    pub project_path: Option<String>,
    /// `CI_JOB_TIMEOUT`, in seconds.
    pub timeout_seconds: Option<u64>,
    /// True where `RDS_SIDECAR_ID_TOKEN` (or the variable `id_token_env` names) was set but empty: what runners before 19.3 make of
    /// `services:variables` that name an ID token.
    pub id_token_was_empty: bool,
}
