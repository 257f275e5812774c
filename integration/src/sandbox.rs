//! The whole sandbox as one value.

use std::fs;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use tokio::runtime::Runtime;

use crate::aws::account::Account;
use crate::aws::account::role_arn;
use crate::clock;
use crate::faults::Faults;
use crate::guard::WorkDir;
use crate::http;
use crate::judge::Database;
use crate::judge::Verdict;
use crate::judge_socket;
use crate::oidc::IdTokenRequest;
use crate::oidc::Issuer;
use crate::options::Options;
use crate::pki::Authority;
use crate::relay;
use crate::servers::mysqld;
use crate::servers::mysqld::Flavor;
use crate::servers::mysqld::Mysqld;
use crate::servers::postgres;
use crate::servers::postgres::Postgres;
use crate::servers::postgres::Setup;
use crate::world::StsCall;
use crate::world::World;

/// The `iss` claim. Nobody resolves it: the emulated STS knows its keys.
pub const ISSUER: &str = "https://gitlab.example.com";

const NO_POSTGRES: &str = "this sandbox was started without PostgreSQL";
const NO_MYSQL: &str = "this sandbox was started without MariaDB or MySQL";

/// A running sandbox. Dropping it stops everything it started and removes what it wrote.
///
/// All methods block only briefly and work with or without an async runtime around them.
#[derive(Debug)]
pub struct Sandbox {
    // Fields drop in this order: servers first, the work directory with its guard last.
    postgres: Option<Served<Postgres>>,
    mysql: Option<Served<Mysqld>>,
    runtime: Option<Runtime>,
    world: Arc<World>,
    authority: Authority,
    address: SocketAddr,
    through_relay: bool,
    work: Arc<WorkDir>,
}

/// A server and the relay in front of it.
#[derive(Debug)]
struct Served<S> {
    server: S,
    relay: SocketAddr,
}

impl Sandbox {
    /// Starts everything; returns when it is usable (about a second, the first time on a machine three).
    pub fn start(options: &Options) -> Result<Self> {
        let work = Arc::new(WorkDir::create(options.dir.as_deref())?);
        let authority = Authority::new("Sandbox RDS Root CA")?;
        fs::write(work.path().join("ca.pem"), authority.pem())?;
        let account = Account::new(Issuer::new(ISSUER)?)?;
        let world = Arc::new(World::new(account));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("rds-sandbox")
            .enable_all()
            .build()?;
        let listener = bind()?;
        let address = listener.local_addr()?;
        spawn(
            &runtime,
            "http",
            http::serve(listener, format!("http://{address}"), Arc::clone(&world)),
        );
        for (socket, database) in judged() {
            let listener = judge_listener(&work.path().join(socket))?;
            let judge = judge_socket::serve(listener, database, Arc::clone(&world));
            spawn(&runtime, "judge", judge);
        }
        let mut sandbox = Self {
            postgres: None,
            mysql: None,
            runtime: Some(runtime),
            world,
            authority,
            address,
            through_relay: options.through_relay,
            work,
        };
        if options.postgres {
            let server = sandbox.start_postgres("postgres", options)?;
            let relay = sandbox.start_relay(server.port())?;
            sandbox.postgres = Some(Served { server, relay });
        }
        if let Some(flavor) = options.mysql {
            let server = sandbox.start_mysql("mysql", flavor, options)?;
            let relay = sandbox.start_relay(server.port())?;
            sandbox.mysql = Some(Served { server, relay });
        }
        Ok(sandbox)
    }

    /// Starts one more PostgreSQL of the same endpoint name, say with another certificate. `name` is unique.
    pub fn start_postgres(&self, name: &str, options: &Options) -> Result<Postgres> {
        let setup = Setup {
            name: name.to_owned(),
            max_connections: options.max_connections,
            tls: self
                .authority
                .instance_leaf(postgres::HOST, options.certificate)?,
            settings: options.settings.clone(),
        };
        Postgres::start(&self.work, &setup)
    }

    /// Starts one more MariaDB or MySQL of the same endpoint name. `name` is unique.
    pub fn start_mysql(&self, name: &str, flavor: Flavor, options: &Options) -> Result<Mysqld> {
        let setup = mysqld::Setup {
            name: name.to_owned(),
            flavor,
            max_connections: options.max_connections,
            tls: self
                .authority
                .instance_leaf(mysqld::HOST, options.certificate)?,
            settings: options.mysql_settings.clone(),
        };
        Mysqld::start(&self.work, &setup)
    }

    /// The PostgreSQL started with the sandbox.
    pub fn postgres(&self) -> Result<&Postgres> {
        Ok(&self.served_postgres()?.server)
    }

    /// As [`Self::postgres`], to restart it.
    pub fn postgres_mut(&mut self) -> Result<&mut Postgres> {
        let served = self.postgres.as_mut().context(NO_POSTGRES)?;
        Ok(&mut served.server)
    }

    /// The MariaDB or MySQL started with the sandbox.
    pub fn mysql(&self) -> Result<&Mysqld> {
        Ok(&self.served_mysql()?.server)
    }

    /// As [`Self::mysql`], to kill or restart it.
    pub fn mysql_mut(&mut self) -> Result<&mut Mysqld> {
        let served = self.mysql.as_mut().context(NO_MYSQL)?;
        Ok(&mut served.server)
    }

    /// The port of the relay in front of PostgreSQL.
    pub fn relay_port(&self) -> Result<u16> {
        Ok(self.served_postgres()?.relay.port())
    }

    /// The port of the relay in front of MariaDB or MySQL.
    pub fn mysql_relay_port(&self) -> Result<u16> {
        Ok(self.served_mysql()?.relay.port())
    }

    /// Base URL of STS, the OIDC issuer's documents and the control interface.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The CA that signs the servers' certificates, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.work.path().join("ca.pem")
    }

    /// The directory that disappears with the sandbox; readable by everybody who knows its name.
    pub fn work_dir(&self) -> &Arc<WorkDir> {
        &self.work
    }

    /// A libpq URL for the superuser, straight to the server, over verified TLS.
    pub fn postgres_admin_url(&self, database: &str) -> Result<String> {
        let (password, port, ca) = (
            postgres::ADMIN_PASSWORD,
            self.postgres()?.port(),
            self.ca_file(),
        );
        let tls = format!("sslmode=verify-full&sslrootcert={}", ca.display());
        Ok(format!(
            "postgres://postgres:{password}@127.0.0.1:{port}/{database}?{tls}"
        ))
    }

    /// A URL for the master user, straight to the server. Clients of MySQL do not agree on how to ask for TLS,
    /// so it asks for nothing; the server lets nobody in without.
    pub fn mysql_admin_url(&self, database: &str) -> Result<String> {
        let (admin, password) = (mysqld::ADMIN, mysqld::ADMIN_PASSWORD);
        let port = self.mysql()?.port();
        Ok(format!(
            "mysql://{admin}:{password}@127.0.0.1:{port}/{database}"
        ))
    }

    /// What `RDS_SIDECAR_DATABASES` holds for a PostgreSQL listening on `port`.
    pub fn sidecar_url(port: u16) -> String {
        let (host, signed_port) = (postgres::HOST, postgres::PORT);
        format!("postgres://iam_app@127.0.0.1:{port}/app?sign_host={host}:{signed_port}")
    }

    /// What `RDS_SIDECAR_DATABASES` holds for a MariaDB or MySQL listening on `port`.
    pub fn mysql_sidecar_url(port: u16) -> String {
        let (host, signed_port) = (mysqld::HOST, mysqld::PORT);
        format!("mysql://iam_app@127.0.0.1:{port}/app?sign_host={host}:{signed_port}")
    }

    /// The environment with which plain `rds-sidecar` works.
    pub fn env(&self) -> Result<Vec<(String, String)>> {
        let mut env = vec![
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("RDS_SIDECAR_ROLE_ARN", role_arn("ci-tests")),
            (
                "RDS_SIDECAR_ID_TOKEN",
                self.id_token(&IdTokenRequest::default())?,
            ),
            (
                "RDS_SIDECAR_TLS_CA_FILE",
                self.ca_file().display().to_string(),
            ),
            ("SANDBOX_URL", self.url()),
        ];
        let (mut direct, mut relayed) = (Vec::new(), Vec::new());
        if let Some(Served { server, relay }) = &self.postgres {
            direct.push(Self::sidecar_url(server.port()));
            relayed.push(Self::sidecar_url(relay.port()));
            env.push(("SANDBOX_POSTGRES_URL", self.postgres_admin_url("postgres")?));
        }
        if let Some(Served { server, relay }) = &self.mysql {
            direct.push(Self::mysql_sidecar_url(server.port()));
            relayed.push(Self::mysql_sidecar_url(relay.port()));
            env.push(("SANDBOX_MYSQL_URL", self.mysql_admin_url("app")?));
        }
        if !direct.is_empty() {
            let relayed = relayed.join(" ");
            let databases = match self.through_relay {
                true => relayed.clone(),
                false => direct.join(" "),
            };
            env.push(("RDS_SIDECAR_DATABASES", databases));
            env.push(("SANDBOX_RELAY_DATABASES", relayed));
        }
        Ok(env
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }

    /// An ID token of the sandbox's GitLab.
    pub fn id_token(&self, request: &IdTokenRequest) -> Result<String> {
        self.world.account.issuer.id_token(request, clock::now())
    }

    /// The AWS account: roles and keys.
    pub fn account(&self) -> &Account {
        &self.world.account
    }

    /// Ends all temporary credentials now; returns how many.
    pub fn expire_credentials(&self) -> usize {
        self.world.account.expire_keys(clock::now())
    }

    /// What goes wrong at present.
    pub fn faults(&self) -> Faults {
        self.world.faults()
    }

    /// Makes things go wrong, or right again.
    pub fn set_faults(&self, faults: Faults) {
        self.world.change_faults(|current| *current = faults);
    }

    /// Resets every connection that goes through the relay.
    pub fn cut_connections(&self) {
        self.world.cut();
    }

    /// What the judge of RDS tokens said, oldest first.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.world.verdicts()
    }

    /// The RDS tokens that were judged, for tests that look for them where they must not be.
    pub fn rds_tokens(&self) -> Vec<String> {
        self.world.tokens()
    }

    /// What was asked of STS, oldest first.
    pub fn sts_calls(&self) -> Vec<StsCall> {
        self.world.sts_calls()
    }

    /// Forgets verdicts and STS calls.
    pub fn forget_records(&self) {
        self.world.forget_records();
    }

    fn served_postgres(&self) -> Result<&Served<Postgres>> {
        self.postgres.as_ref().context(NO_POSTGRES)
    }

    fn served_mysql(&self) -> Result<&Served<Mysqld>> {
        self.mysql.as_ref().context(NO_MYSQL)
    }

    fn start_relay(&self, port: u16) -> Result<SocketAddr> {
        let listener = bind()?;
        let address = listener.local_addr()?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let runtime = self.runtime.as_ref().context("the sandbox is stopping")?;
        let world = Arc::clone(&self.world);
        spawn(runtime, "relay", async move {
            Ok(relay::serve(listener, server, world).await?)
        });
        Ok(address)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Servers first: their last questions still find a judge.
        self.postgres = None;
        self.mysql = None;
        if let Some(runtime) = self.runtime.take() {
            // Not a plain drop, which panics inside another runtime.
            runtime.shutdown_background();
        }
    }
}

fn spawn(
    runtime: &Runtime,
    name: &'static str,
    service: impl Future<Output = Result<()>> + Send + 'static,
) {
    runtime.spawn(async move {
        if let Err(error) = service.await {
            tracing::error!("{name} stopped: {error:#}");
        }
    });
}

fn bind() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The sockets on which servers ask the judge, and for which endpoint it answers there.
fn judged() -> [(&'static str, Database); 2] {
    let database = |host, port, resource_id: &str| Database {
        endpoint: format!("{host}:{port}"),
        resource_id: resource_id.to_owned(),
    };
    [
        (
            postgres::JUDGE_SOCKET,
            database(postgres::HOST, postgres::PORT, postgres::RESOURCE_ID),
        ),
        (
            mysqld::JUDGE_SOCKET,
            database(mysqld::HOST, mysqld::PORT, mysqld::RESOURCE_ID),
        ),
    ]
}

fn judge_listener(path: &Path) -> Result<UnixListener> {
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    listener.set_nonblocking(true)?;
    // The servers run as other users; all they can learn here is yes or no.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}
