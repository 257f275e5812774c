//! The table itself. A new option is one entry here and one line in `check`.

use super::Kind;
use super::Kind::Choice;
use super::Kind::ClientTls;
use super::Kind::Count;
use super::Kind::Duration;
use super::Kind::DurationOrOff;
use super::Kind::List;
use super::Kind::Path;
use super::Kind::Secret;
use super::Kind::Switch;
use super::Kind::Text;
use super::Preset;
use super::Section;
use super::Spec;
use super::Ways;

macro_rules! table {
    ($($id:ident: $help:literal = $spec:expr;)*) => {
        // The help is plain text: `[:PORT]` is no link.
        $(#[doc = $help] #[allow(rustdoc::broken_intra_doc_links)] pub static $id: Spec = Spec { help: $help, ..$spec };)*

        /// Every option, in the order of the file.
        pub static ALL: &[&Spec] = &[$(&$id),*];
    };
}

table! {
    CONFIG: "Configuration file." =
        outside("config", Path, Ways::FlagAndVariable).unset("rds-sidecar.toml in the working directory, if it is there");
    DATABASES: "Database URLs, separated by white space; URL arguments replace them." =
        outside("databases", List("URL"), Ways::Variable).unset("those of the file");
    ID_TOKEN: "The OIDC ID token itself." =
        outside("id_token", Secret, Ways::Variable).unset("see id_token_file");

    ROLE_ARN: "Role assumed with the ID token." =
        identity("role_arn", Text("ARN")).aws(&["AWS_ROLE_ARN"])
            .unset("AWS's default chain: environment, profile, SSO, container, IMDS");
    ASSUME: "Further roles, assumed in this order after role_arn." =
        identity("assume", List("ARN")).unset("none");
    ID_TOKEN_ENV: "Name of a variable that holds the ID token; looked up before RDS_SIDECAR_ID_TOKEN." =
        identity("id_token_env", Text("NAME")).unset("none");
    ID_TOKEN_FILE: "File that holds the ID token, polled until it appears; used when no variable holds one." =
        identity("id_token_file", Path).aws(&["AWS_WEB_IDENTITY_TOKEN_FILE"])
            .unset("in GitLab $CI_BUILDS_DIR/.rds-sidecar-$CI_JOB_ID.jwt, else wait for PUT /identity");
    REGION: "AWS region." =
        identity("region", Text("REGION")).aws(&["AWS_REGION", "AWS_DEFAULT_REGION"])
            .unset("read from the endpoint's name");
    SESSION_NAME: "Role session name, as CloudTrail shows it." =
        identity("session_name", Text("NAME")).aws(&["AWS_ROLE_SESSION_NAME"])
            .unset("in GitLab gitlab-<project path slug>-<job id>, else rds-sidecar");
    SESSION_DURATION: "Life of the role session asked of STS, 15m to 12h." =
        identity("session_duration", Duration).unset("STS's own, 1h");
    SCOPE_DOWN: "Pass a session policy that allows rds-db:connect for the configured users only." =
        identity("scope_down", Switch).value("true");
    PROFILE: "Profile of AWS's default chain." =
        identity("profile", Text("NAME")).aws(&["AWS_PROFILE"]).unset("the one named default");
    STS_ENDPOINT: "STS endpoint used instead of AWS's." =
        identity("sts_endpoint", Text("URL")).aws(&["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"])
            .unset("AWS's, in the region");
    AWS_CA_BUNDLE: "CA file trusted for calls to AWS, beside the system's." =
        identity("aws_ca_bundle", Path).aws(&["AWS_CA_BUNDLE"]).unset("none");

    NAME: "Name of the database in logs and metrics, unique." =
        database("name", Text("NAME")).unset("the engine: postgres or mysql");
    URL: "postgres://[USER@]HOST[:PORT][/DB] or mysql://...; USER replaces the client's, DB serves clients that name none." =
        Spec { ways: Ways::Key, ..database("url", Text("URL")) }.unset("required");
    LISTEN: "Where clients connect: HOST:PORT, :PORT or HOST (an IP address or localhost), or unix:/PATH." =
        database("listen", Text("ADDRESS")).unset("127.0.0.1 and the engine's port, 5432 or 3306");
    AUTH: "How the sidecar logs in to the database: an IAM token, a fixed password, or nothing." =
        database("auth", Choice(&["iam", "password", "none"])).value("iam");
    PASSWORD: "The fixed password for auth = \"password\"." =
        database("password", Secret).unset("none");
    SECRET_ID: "Secrets Manager name or ARN for auth = \"secret\"." =
        database("secret_id", Text("ID")).unset("none").not_yet();
    ROTATE_ON_EXIT: "With auth = \"secret\": rotate the secret when the sidecar stops." =
        database("rotate_on_exit", Switch).value("false").not_yet();
    SIGN_HOST: "The real endpoint HOST[:PORT], when the URL names a CNAME or a tunnel." =
        database("sign_host", Text("HOST[:PORT]")).unset("the URL's host, or the RDS name its CNAME leads to");
    CLIENT_AUTH: "What clients must prove: nothing, or knowledge of client_password." =
        database("client_auth", Choice(&["trust", "password"])).value("trust");
    CLIENT_PASSWORD: "The password clients must know when client_auth = \"password\"." =
        database("client_password", Secret).unset("none");
    CLIENT_TLS: "TLS offered to clients: none, a certificate made at start, or a certificate chain and key in PEM files." =
        database("client_tls", ClientTls).value("off");
    TLS_CA_FILE: "CA file trusted for the database, beside the built-in RDS roots and the system's." =
        database("tls_ca_file", Path).unset("none");
    CONNECT_TIMEOUT: "Limit for one new upstream connection: identity, DNS, TCP, TLS and login together." =
        database("connect_timeout", Duration).value("15s");

    MODE: "When an upstream connection is given back: session, when its client leaves." =
        pool("mode", Choice(&["session"])).value("session");
    MAX_CONNECTIONS: "Upstream connections of this sidecar for this database, at most." =
        pool("max_connections", Count).value("10");
    MIN_IDLE: "Idle upstream connections kept although idle_timeout passed." =
        pool("min_idle", Count).value("0");
    IDLE_TIMEOUT: "An idle upstream connection is closed after this." =
        pool("idle_timeout", Duration).value("60s");
    POOL_MAX_LIFETIME: "An upstream connection older than this is closed when it falls idle." =
        Spec { name: "pool_max_lifetime", ..pool("max_lifetime", Duration) }.value("30m");
    CHECKOUT_TIMEOUT: "A client that waited this long for an upstream connection gets an error." =
        pool("checkout_timeout", Duration).value("60s");
    CONNECTS_PER_SECOND: "New upstream logins per second, at most." =
        pool("connects_per_second", Count).value("20");
    FLEET_MAX_CONNECTIONS: "Ceiling over all sidecars of this database; 0 is off." =
        pool("fleet_max_connections", Count).value("0").not_yet();

    ADMIN: "Address of the admin HTTP server: HOST:PORT, :PORT, or off." =
        server("admin", Text("ADDRESS|off")).value("127.0.0.1:9090");
    ADMIN_TOKEN: "Bearer token that lets others than loopback push an identity or stop the sidecar." =
        server("admin_token", Secret).unset("none");
    LOG: "Log format on standard error." =
        server("log", Choice(&["text", "json"])).value("text");
    LOG_LEVEL: "Log filter: a level, or TARGET=LEVEL pairs separated by commas." =
        server("log_level", Text("FILTER")).value("info");
    SHUTDOWN_GRACE: "How long transactions may go on after SIGTERM." =
        server("shutdown_grace", Duration).value("10s");
    SERVER_MAX_LIFETIME: "The sidecar stops itself after this." =
        Spec { name: "server_max_lifetime", ..server("max_lifetime", DurationOrOff) }
            .unset("in GitLab $CI_JOB_TIMEOUT, else off");
    EXIT_WHEN_IDLE: "The sidecar stops itself when, after the first client, none was connected for this long." =
        server("exit_when_idle", DurationOrOff).value("off");
    REPORT: "File the run's report is written to at exit." =
        server("report", Path).unset("none").not_yet();
}

const fn outside(name: &'static str, kind: Kind, ways: Ways) -> Spec {
    Spec {
        ways,
        ..option(Section::Outside, name, kind)
    }
}

const fn identity(name: &'static str, kind: Kind) -> Spec {
    option(Section::Identity, name, kind)
}

const fn database(name: &'static str, kind: Kind) -> Spec {
    option(Section::Database, name, kind)
}

const fn pool(name: &'static str, kind: Kind) -> Spec {
    option(Section::Pool, name, kind)
}

const fn server(name: &'static str, kind: Kind) -> Spec {
    option(Section::Server, name, kind)
}

const fn option(section: Section, name: &'static str, kind: Kind) -> Spec {
    Spec {
        name,
        section,
        key: name,
        kind,
        ways: Ways::All,
        default: Preset::Unset(""),
        aws: &[],
        built: true,
        help: "",
    }
}

impl Spec {
    const fn aws(self, variables: &'static [&'static str]) -> Self {
        Self {
            aws: variables,
            ..self
        }
    }

    const fn value(self, text: &'static str) -> Self {
        Self {
            default: Preset::Value(text),
            ..self
        }
    }

    const fn unset(self, meaning: &'static str) -> Self {
        Self {
            default: Preset::Unset(meaning),
            ..self
        }
    }

    const fn not_yet(self) -> Self {
        Self {
            built: false,
            ..self
        }
    }
}
