//! What a user of rds-sidecar asked for, checked.
//!
//! # Layout
//! - [`options`]: the one table of options (key, flag, variable, help, default).
//! - `layers`: what was typed: flags, variables, file, URLs; still text, each with its place.
//! - `check`: layers -> [`Config`], collecting every [`Problem`].
//! - one file per section of the result: [`identity`], [`database`], [`server`].
//! - [`values`]: small checked values (durations, listen addresses, hosts).
//!
//! Invariant: no tokio, no network, no clock, no file, no environment: everything comes in as text.

pub mod database;
pub mod identity;
pub mod problem;
pub mod server;
pub mod values;

pub use database::ClientAuth;
pub use database::ClientTls;
pub use database::Database;
pub use database::Pool;
pub use database::PoolMode;
pub use database::UpstreamAuth;
pub use identity::IdTokenSource;
pub use identity::Identity;
pub use problem::Problem;
pub use server::LogFormat;
pub use server::Server;
pub use values::Endpoint;
pub use values::Engine;
pub use values::Listen;

/// Everything a running sidecar needs to know. It cannot be wrong: only `check` makes one.
#[derive(Debug, Clone)]
pub struct Config {
    /// How this process proves who it is.
    pub identity: Identity,
    /// The databases served, each with its own listener. Never empty for `run`.
    pub databases: Vec<Database>,
    /// Admin port, logs, shutdown.
    pub server: Server,
}
