//! The subcommands that are not `run`.
//!
//! Each takes what it needs as arguments (configuration, clock, where to write); only `main` knows the process.
//!
//! # Layout
//! - [`config`]: what holds, and why; problems as text
//! - [`token`]: prints one RDS token
//! - [`wait()`], [`healthcheck()`], [`stop()`]: talk to the running sidecar through its admin port; `main` shows
//!   the outcome
//! - `admin_port`: that port, seen from outside; [`CommandError`]: what can go wrong, with exit codes

mod admin_port;
pub mod config;
mod error;
mod healthcheck;
mod stop;
#[cfg(test)]
mod tests;
pub mod token;
mod wait;

pub use error::CommandError;
pub use healthcheck::healthcheck;
pub use stop::stop;
pub use wait::wait;
