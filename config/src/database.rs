//! `[[database]]` and `[database.pool]`: one served database.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::values::Endpoint;
use crate::values::Engine;
use crate::values::Listen;

/// One served database, checked.
#[derive(Debug, Clone)]
pub struct Database {
    /// Unique name; default: the engine's.
    pub name: String,
    /// Wire protocol.
    pub engine: Engine,
    /// What is dialled.
    pub upstream: Endpoint,
    /// Upstream user whatever the client says; none: the client's user passes through.
    pub user: Option<String>,
    /// Database for clients that name none; none: as the engine does (Postgres: the user's name).
    pub default_database: Option<String>,
    /// Where clients connect.
    pub listen: Listen,
    /// How this sidecar logs in upstream.
    pub auth: UpstreamAuth,
    /// The real endpoint when `upstream` is a CNAME or a tunnel: signed for and verified against.
    pub sign_host: Option<Endpoint>,
    /// What clients must prove.
    pub client_auth: ClientAuth,
    /// TLS offered to clients.
    pub client_tls: ClientTls,
    /// Extra CA file for this database, beside the built-in RDS roots and the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// One upstream dial: identity, DNS, TCP, TLS and login together.
    pub connect_timeout: Duration,
    /// Pool limits.
    pub pool: Pool,
}

/// How the sidecar logs in upstream.
#[derive(Debug, Clone)]
pub enum UpstreamAuth {
    /// An RDS IAM token per connection.
    Iam,
    /// No secret at all: the server must let the user in (client certificate-less trust).
    None,
    /// A fixed password (`password` in the URL or `RDS_SIDECAR_PASSWORD`).
    Password(SecretString),
}

/// What clients must prove.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// The shared secret, by SCRAM-SHA-256 (Postgres) or native/sha2 (MySQL).
    Password(SecretString),
    /// Nothing: any user, any password.
    Trust,
}

/// TLS offered to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientTls {
    /// This certificate chain and key, PEM files.
    Files {
        /// Certificate chain.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// None.
    Off,
    /// A certificate made at start.
    SelfSigned,
}

/// When an upstream connection is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// One upstream connection per client for its life, reset before reuse.
    Session,
}

/// `[database.pool]`, checked.
#[derive(Debug, Clone)]
pub struct Pool {
    /// When an upstream connection is given back.
    pub mode: PoolMode,
    /// Upstream connections of this sidecar for this database. At least 1.
    pub max_connections: usize,
    /// Idle connections kept although `idle_timeout` passed. At most `max_connections`.
    pub min_idle: usize,
    /// An idle connection is closed after this.
    pub idle_timeout: Duration,
    /// A connection older than this is closed when it falls idle (shortened by up to 10 % at random).
    pub max_lifetime: Duration,
    /// A waiting client gets an error after this.
    pub checkout_timeout: Duration,
    /// New upstream logins per second. At least 1.
    pub connects_per_second: u32,
}
