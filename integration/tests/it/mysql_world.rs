//! What the end-to-end tests of MySQL share: for each server that can be had, a sandbox and a sidecar in front.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use rds_sandbox::Flavor;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::servers::mysql;
use rds_sandbox::servers::mysqld::ADMIN_PASSWORD;
use rds_sandbox::sidecar::SidecarOptions;

/// What clients of the `strict` listener and of the socket must know.
pub(crate) const SECRET: &str = "correct horse";

/// A sandbox, and one sidecar with three listeners that all log in as `iam_app` with a token.
pub(crate) struct World {
    pub(crate) flavor: Flavor,
    pub(crate) sandbox: Sandbox,
    pub(crate) sidecar: Sidecar,
    /// Asks for nothing, and has no TLS.
    pub(crate) trust: u16,
    /// Asks for [`SECRET`], and has TLS.
    pub(crate) strict: u16,
    /// Asks for [`SECRET`].
    pub(crate) socket: PathBuf,
}

/// The servers that can be had here; a loud line says when MySQL is not among them.
pub(crate) fn flavors() -> &'static [Flavor] {
    static FOUND: OnceLock<Vec<Flavor>> = OnceLock::new();
    FOUND.get_or_init(|| match mysql::ensure_installed() {
        Ok(()) => vec![Flavor::MariaDb, Flavor::MySql],
        Err(error) => {
            // Not through the macros, whose output cargo hides when a test passes.
            let line = format!("\nSKIPPED: all end-to-end tests against MySQL 9: {error:#}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            vec![Flavor::MariaDb]
        }
    })
}

/// One world for each of [`flavors`], shared by tests that leave it as it was.
pub(crate) fn worlds() -> impl Iterator<Item = &'static World> {
    flavors().iter().map(|flavor| world(*flavor))
}

/// The shared world of this server.
pub(crate) fn world(flavor: Flavor) -> &'static World {
    static MARIADB: OnceLock<World> = OnceLock::new();
    static MYSQL: OnceLock<World> = OnceLock::new();
    let cell = match flavor {
        Flavor::MariaDb => &MARIADB,
        Flavor::MySql => &MYSQL,
    };
    cell.get_or_init(|| World::start(flavor))
}

impl World {
    fn start(flavor: Flavor) -> Self {
        let options = Options {
            max_connections: 200,
            ..Options::mysql(flavor)
        };
        let sandbox = Sandbox::start(&options).unwrap();
        let socket = sandbox.work_dir().path().join("sidecar.sock");
        let know = "client_auth=password&client_password=correct%20horse";
        let listeners = [
            "name=trust&max_connections=40".to_owned(),
            format!("name=strict&{know}&client_tls=self-signed"),
            format!("name=socket&{know}&listen=unix:{}", socket.display()),
        ];
        let url = Sandbox::mysql_sidecar_url(sandbox.mysql().unwrap().port());
        let urls = listeners.map(|keys| format!("{url}&connects_per_second=1000&{keys}"));
        let sidecar = sidecar(&sandbox, &urls.join(" "), &[]);
        let ports = sidecar.ports();
        Self {
            flavor,
            trust: *ports.first().unwrap(),
            strict: *ports.get(1).unwrap(),
            sandbox,
            sidecar,
            socket,
        }
    }

    /// A statement of the master user, straight to the server: rows of columns separated by tabs.
    pub(crate) fn admin(&self, sql: &str) -> String {
        admin(&self.sandbox, sql)
    }
}

/// A sidecar in front of `sandbox` for `urls`, with further variables.
pub(crate) fn sidecar(sandbox: &Sandbox, urls: &str, env: &[(&str, &str)]) -> Sidecar {
    let pairs = [("RDS_SIDECAR_DATABASES", urls)];
    let options = SidecarOptions {
        env: pairs
            .iter()
            .chain(env)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..SidecarOptions::default()
    };
    Sidecar::start(sandbox, &options).unwrap()
}

/// The sandbox's MySQL as a sidecar is told of it, with further keys.
pub(crate) fn url(sandbox: &Sandbox, keys: &str) -> String {
    let url = Sandbox::mysql_sidecar_url(sandbox.mysql().unwrap().port());
    format!("{url}&connects_per_second=1000{keys}")
}

/// A statement of the master user, straight to the server.
pub(crate) fn admin(sandbox: &Sandbox, sql: &str) -> String {
    let output = admin_client(sandbox).args(["-e", sql]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sql}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// MariaDB's client for the master user, straight to the server.
pub(crate) fn admin_client(sandbox: &Sandbox) -> Command {
    let mut client = client(sandbox.mysql().unwrap().port());
    client
        .arg("--user=admin")
        .arg(format!("--ssl-ca={}", sandbox.ca_file().display()))
        .env("MYSQL_PWD", ADMIN_PASSWORD);
    client
}

/// MariaDB's client on this port, without TLS, which newer versions insist on: no header, columns separated by tabs.
pub(crate) fn mariadb(port: u16) -> Command {
    let mut client = client(port);
    client.arg("--skip-ssl");
    client
}

fn client(port: u16) -> Command {
    let mut client = Command::new("mariadb");
    client
        .args(["--no-defaults", "-NB", "--protocol=tcp", "--host=127.0.0.1"])
        .args([format!("--port={port}"), "--database=app".to_owned()]);
    client
}
