//! Puts the rooms together.

use std::path::PathBuf;
use std::sync::Arc;

use config::ClientAuth;
use config::Config;
use config::Database;
use config::Engine;
use config::Listen;
use config::UpstreamAuth;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::service::Service;
use crate::clock::Clock;
use crate::fault::Blame;
use crate::fault::Fault;
use crate::identity::Identity;
use crate::identity::IdentityError;
use crate::identity::Login;
use crate::identity::Scope;
use crate::identity::endpoint;
use crate::mysql;
use crate::net::Drain;
use crate::net::NetError;
use crate::pool::Pool;
use crate::postgres;
use crate::postgres::scram;
use crate::tls::ClientAcceptor;
use crate::tls::TlsSetupError;
use crate::tls::UpstreamTls;

/// Everything that runs.
pub(super) struct App {
    pub(super) identity: Arc<Identity>,
    /// Whether any database logs in with a token.
    pub(super) identity_needed: bool,
    pub(super) services: Vec<Service>,
}

/// Why the sidecar could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The identity cannot work as configured.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A port cannot be opened.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Signals cannot be received.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// A certificate file cannot be used.
    #[error("`{option}` of database `{database}`: {error}{}", reason(error))]
    Tls {
        /// The option that names the file.
        option: &'static str,
        /// The database's name.
        database: String,
        /// What is wrong.
        error: TlsSetupError,
    },
}

impl StartError {
    /// 64 where the configuration must change, 77 where the identity was refused, 70 for our bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Identity(error) if error.blame() == Blame::Identity => 77,
            Self::Signals(_) => 70,
            Self::Identity(_) | Self::Net(_) | Self::Tls { .. } => 64,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Identity(error) => error.for_client().hint,
            Self::Net(error) => Some(error.hint()),
            Self::Signals(_) | Self::Tls { .. } => None,
        }
    }
}

/// The system's words behind an error, where there are any.
fn reason(error: &TlsSetupError) -> String {
    std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"))
}

pub(super) fn build(
    config: &Config,
    clock: Clock,
    drain: Drain,
    clients_max: u64,
) -> Result<App, StartError> {
    let identity = Identity::new(&config.identity, scope(config), clock)?;
    let mut trust: Vec<(Option<PathBuf>, UpstreamTls)> = Vec::new();
    let mut services = Vec::with_capacity(config.databases.len());
    for database in &config.databases {
        let parts = Parts {
            tls: upstream_tls(&mut trust, database)?,
            identity: Arc::clone(&identity),
            region: config.identity.region.clone(),
            drain: drain.clone(),
            clients_max,
        };
        services.push(service(database, parts)?);
    }
    let identity_needed = config
        .databases
        .iter()
        .any(|database| matches!(database.auth, UpstreamAuth::Iam));
    Ok(App {
        identity,
        identity_needed,
        services,
    })
}

/// What a service is made of besides its own configuration.
struct Parts {
    tls: UpstreamTls,
    identity: Arc<Identity>,
    region: Option<String>,
    drain: Drain,
    clients_max: u64,
}

fn service(database: &Database, parts: Parts) -> Result<Service, StartError> {
    let acceptor = ClientAcceptor::new(&database.client_tls, &listener_names(&database.listen))
        .map_err(|error| StartError::Tls {
            option: "client_tls",
            database: database.name.clone(),
            error,
        })?;
    let database = Arc::new(database.clone());
    Ok(match database.engine {
        Engine::Mysql => Service::Mysql(Arc::new(mysql_service(database, parts, acceptor))),
        Engine::Postgres => {
            Service::Postgres(Arc::new(postgres_service(database, parts, acceptor)))
        }
    })
}

fn mysql_service(
    database: Arc<Database>,
    parts: Parts,
    acceptor: Option<ClientAcceptor>,
) -> mysql::Service {
    let (last_failure, failures) = watch::channel(None);
    let dialer = Arc::new(mysql::Dialer {
        database: Arc::clone(&database),
        identity: parts.identity,
        region: parts.region,
        tls: parts.tls,
        last_failure,
        greeter: Arc::default(),
    });
    let backend = mysql::Backend(Arc::clone(&dialer));
    mysql::Service {
        pool: Pool::new(backend, &database.pool, rand::random),
        secret: match &database.client_auth {
            ClientAuth::Password(secret) => Some(secret.clone()),
            ClientAuth::Trust => None,
        },
        database,
        dialer,
        acceptor,
        failures,
        cancels: Arc::default(),
        clients_max: parts.clients_max,
        metrics: Arc::default(),
        drain: parts.drain,
    }
}

fn postgres_service(
    database: Arc<Database>,
    parts: Parts,
    acceptor: Option<ClientAcceptor>,
) -> postgres::Service {
    let (last_failure, failures) = watch::channel(None);
    let backend = postgres::Backend {
        database: Arc::clone(&database),
        identity: parts.identity,
        region: parts.region,
        tls: parts.tls,
        last_failure,
    };
    postgres::Service {
        pool: Pool::new(backend, &database.pool, rand::random),
        secret: match &database.client_auth {
            ClientAuth::Password(secret) => Some(scram::Verifier::new(secret, rand::random())),
            ClientAuth::Trust => None,
        },
        database,
        acceptor,
        failures,
        cancels: Arc::default(),
        clients_max: parts.clients_max,
        metrics: Arc::default(),
        drain: parts.drain,
    }
}

/// Databases with the same CA file share roots and resumable sessions.
fn upstream_tls(
    trust: &mut Vec<(Option<PathBuf>, UpstreamTls)>,
    database: &Database,
) -> Result<UpstreamTls, StartError> {
    if let Some((_, tls)) = trust.iter().find(|(file, _)| *file == database.tls_ca_file) {
        return Ok(tls.clone());
    }
    let tls =
        UpstreamTls::new(database.tls_ca_file.as_deref()).map_err(|error| StartError::Tls {
            option: "tls_ca_file",
            database: database.name.clone(),
            error,
        })?;
    trust.push((database.tls_ca_file.clone(), tls.clone()));
    Ok(tls)
}

/// The logins this process will make, for the session policy.
fn scope(config: &Config) -> Scope {
    let by_token = config
        .databases
        .iter()
        .filter(|database| matches!(database.auth, UpstreamAuth::Iam));
    let logins = by_token.map(|database| {
        let real = database.sign_host.as_ref().unwrap_or(&database.upstream);
        let named = endpoint::parse(&real.host).and_then(|name| name.region);
        Login {
            region: named.or_else(|| config.identity.region.clone()),
            user: database.user.clone(),
        }
    });
    Scope {
        logins: logins.collect(),
    }
}

/// Names that the self-signed certificate should carry besides the usual local ones.
fn listener_names(listen: &Listen) -> Vec<String> {
    match listen {
        Listen::Tcp(address) if !address.ip().is_unspecified() => vec![address.ip().to_string()],
        Listen::Tcp(_) | Listen::Unix(_) => Vec::new(),
    }
}

type PushIdentity = Arc<dyn Fn(SecretString) -> Result<String, String> + Send + Sync>;

/// `PUT /identity`.
pub(super) fn push_identity(app: &Arc<App>) -> PushIdentity {
    let identity = Arc::clone(&app.identity);
    Arc::new(move |token| match identity.push_id_token(token) {
        Ok(claims) => Ok(claims.to_string()),
        Err(error) => Err(error.to_string()),
    })
}

impl App {
    /// What goes on beside the clients, until `ended`.
    pub(super) fn spawn_background(&self, background: &TaskTracker, ended: &CancellationToken) {
        if self.identity_needed {
            let fresh = Arc::clone(&self.identity).keep_fresh();
            background.spawn(ended.clone().run_until_cancelled_owned(fresh));
        }
        for service in &self.services {
            let upkeep = service.clone().maintain_pool();
            background.spawn(ended.clone().run_until_cancelled_owned(upkeep));
        }
    }

    /// Closes what no client holds any more, politely.
    pub(super) async fn close_pools(&self) {
        for service in &self.services {
            service.drain_pool().await;
        }
    }
}
