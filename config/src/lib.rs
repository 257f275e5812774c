//! What a user of rds-sidecar asked for, checked.
//!
//! # Layout
//! - [`options`]: the one table of options (key, flag, variable, help, default).
//! - `layers`: what was typed: flags, variables, file, URLs; still text, each with its place.
//! - `check`: layers -> [`Config`], collecting every [`Problem`].
//! - one file per section of the result: [`identity`], [`database`], [`server`].
//! - [`values`]: small checked values (durations, listen addresses, hosts); [`parse`], `address`, [`url`]:
//!   how they are read.
//! - [`effective`], [`origin`]: every value for showing, masked, and where it came from.
//! - [`suggest`]: did you mean.
//! - [`reference`](mod@reference): `docs/configuration.md`, made from the table.
//!
//! Invariant: no tokio, no network, no clock, no file, no environment: everything comes in as text.

mod address;
mod check;
pub mod database;
pub mod effective;
pub mod identity;
mod layers;
pub mod options;
pub mod origin;
pub mod parse;
pub mod problem;
pub mod reference;
pub mod server;
pub mod suggest;
pub mod url;
pub mod values;

use std::collections::BTreeMap;

pub use database::ClientAuth;
pub use database::ClientTls;
pub use database::Database;
pub use database::Pool;
pub use database::PoolMode;
pub use database::UpstreamAuth;
pub use effective::Effective;
pub use identity::GitlabJob;
pub use identity::IdTokenSource;
pub use identity::Identity;
pub use origin::Origin;
pub use problem::Problem;
pub use server::LogFormat;
pub use server::Server;
pub use values::Endpoint;
pub use values::Engine;
pub use values::Listen;

/// Everything a running sidecar needs to know. It cannot be wrong: only [`load`] makes one.
#[derive(Debug, Clone)]
pub struct Config {
    /// How this process proves who it is.
    pub identity: Identity,
    /// The databases served, each with its own listener. Never empty for `run`.
    pub databases: Vec<Database>,
    /// Admin port, logs, shutdown.
    pub server: Server,
}

/// Everything that was typed. No `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct Input {
    /// Flags in any order, each option once; the items of a list are separated by white space.
    pub flags: Vec<(&'static options::Spec, String)>,
    /// The whole environment.
    pub variables: BTreeMap<String, String>,
    /// Name (for messages) and text of the configuration file, if there is one.
    pub file: Option<(String, String)>,
    /// URL arguments.
    pub urls: Vec<String>,
    /// What will be done with the databases.
    pub databases: Databases,
}

/// What will be done with the databases, which decides what can be wrong with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Databases {
    /// They are named, and no port is opened: for `token`.
    Named,
    /// Nothing; there need not be any: for commands that only talk to the admin port.
    Optional,
    /// They are served: for `run` and `config`.
    #[default]
    Served,
}

/// A configuration that is right, and what there is to say about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What works but is probably not meant.
    pub warnings: Vec<Problem>,
    /// Every effective value, secrets masked, and where it came from; in the order of the file.
    pub origins: Vec<Effective>,
}

/// Turns what was typed into a configuration.
///
/// # Errors
/// Every problem at once, each with its place and, where there is one, a suggestion.
pub fn load(input: &Input) -> Result<Loaded, Vec<Problem>> {
    check::load(input)
}
