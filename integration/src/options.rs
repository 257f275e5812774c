//! What a sandbox is asked to be.

use std::path::PathBuf;

use crate::servers::mysqld::Flavor;

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the work directory goes; default `/var/tmp`.
    pub dir: Option<PathBuf>,
    /// Start PostgreSQL.
    pub postgres: bool,
    /// Start MariaDB or MySQL.
    pub mysql: Option<Flavor>,
    /// The servers' `max_connections`.
    pub max_connections: u32,
    /// The servers' certificates.
    pub certificate: Certificate,
    /// Further lines of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// Further lines of `my.cnf`.
    pub mysql_settings: Vec<(String, String)>,
    /// Point `RDS_SIDECAR_DATABASES` at the relay, so that connection faults can be asked for.
    pub through_relay: bool,
}

impl Options {
    /// The defaults, with this server instead of PostgreSQL.
    pub fn mysql(flavor: Flavor) -> Self {
        Self {
            postgres: false,
            mysql: Some(flavor),
            ..Self::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: None,
            postgres: true,
            mysql: None,
            max_connections: 100,
            certificate: Certificate::Good,
            settings: Vec::new(),
            mysql_settings: Vec::new(),
            through_relay: false,
        }
    }
}

/// The certificate a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Valid until an hour ago.
    Expired,
    /// For the endpoint's name, by the sandbox's CA.
    Good,
    /// None: the server knows no TLS.
    None,
    /// For another instance's name, by the sandbox's CA.
    OtherName,
    /// By a CA that nobody was told about.
    UnknownCa,
}
