//! What tests share: one sandbox, and sidecars in front of its PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::OnceLock;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::servers::postgres::HOST;
use rds_sandbox::sidecar::SidecarOptions;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::session::Session;
use crate::wire;
use crate::wire::Message;
use crate::wire::Wire;

/// A user's password as the sandbox has it.
pub(crate) const PASSWORD: &str = "pw_app_password";

/// One sandbox with one sidecar that logs in with a password, so that a session through it and a direct one differ
/// in nothing. Tests that change the server or need their own sidecar start their own.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) sidecar: Sidecar,
    trusting_sandbox: Arc<ClientConfig>,
}

/// The one that tests share.
pub(crate) fn world() -> &'static World {
    static SHARED: OnceLock<World> = OnceLock::new();
    SHARED.get_or_init(|| {
        let sandbox = Sandbox::start(&Options::default()).unwrap();
        let sidecar = sidecar(&sandbox, &["max_connections=30"], &[]);
        let trusting_sandbox = Arc::new(trusting(&sandbox));
        World {
            sandbox,
            sidecar,
            trusting_sandbox,
        }
    })
}

impl World {
    pub(crate) const PARAMETERS: &[(&str, &str)] = &[("user", "pw_app"), ("database", "app")];

    /// Straight to the server, over verified TLS.
    pub(crate) fn direct(&self, parameters: &[(&str, &str)]) -> Result<Session, Message> {
        let port = self.sandbox.postgres().unwrap().port();
        let wire = Wire::tls(port, Arc::clone(&self.trusting_sandbox), false).unwrap();
        Session::login(wire, &wire::startup(0, parameters), PASSWORD)
    }

    /// Through the sidecar, in clear text and with no password.
    pub(crate) fn session(&self, parameters: &[(&str, &str)]) -> Result<Session, Message> {
        let wire = Wire::tcp(self.sidecar.port());
        Session::login(wire, &wire::startup(0, parameters), "")
    }
}

/// A sidecar that logs in as the client's user with [`PASSWORD`]. `keys` go into the database's URL.
pub(crate) fn sidecar(sandbox: &Sandbox, keys: &[&str], env: &[(&str, &str)]) -> Sidecar {
    sidecar_for(
        sandbox,
        "",
        keys,
        &[&[("RDS_SIDECAR_PASSWORD", PASSWORD)], env].concat(),
    )
}

/// As [`sidecar`], with a fixed upstream user (`pw_replica@`) and its own variables.
pub(crate) fn sidecar_for(
    sandbox: &Sandbox,
    user: &str,
    keys: &[&str],
    env: &[(&str, &str)],
) -> Sidecar {
    let port = sandbox.postgres().unwrap().port();
    sidecar_at(sandbox, port, user, keys, env)
}

/// As [`sidecar_for`], in front of the server on `port`.
pub(crate) fn sidecar_at(
    sandbox: &Sandbox,
    port: u16,
    user: &str,
    keys: &[&str],
    env: &[(&str, &str)],
) -> Sidecar {
    let url = format!(
        "postgres://{user}127.0.0.1:{port}/app?sign_host={HOST}:5432&auth=password&connects_per_second=1000{}",
        keys.iter().map(|key| format!("&{key}")).collect::<String>()
    );
    let mut variables = vec![("RDS_SIDECAR_DATABASES".to_owned(), url)];
    variables.extend(
        env.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let options = SidecarOptions {
        env: variables,
        ..SidecarOptions::default()
    };
    Sidecar::start(sandbox, &options).unwrap()
}

/// A sidecar that logs in with IAM tokens, as `rds-sidecar` does with the sandbox's own variables.
pub(crate) fn iam_sidecar(sandbox: &Sandbox) -> Sidecar {
    Sidecar::start(sandbox, &SidecarOptions::default()).unwrap()
}

fn trusting(sandbox: &Sandbox) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(sandbox.ca_file()).unwrap())
        .unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
