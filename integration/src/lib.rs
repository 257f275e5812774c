//! A real RDS look-alike on one machine, offline: an emulated AWS beside real database servers.
//!
//! # Layout
//! - [`sandbox`]: all of it as one value, as [`options`] ask for it; [`sidecar`]: a running `rds-sidecar` beside it.
//! - [`oidc`]: the ID tokens' issuer. [`aws`]: account, policies, STS. [`judge`]: may this token log in.
//! - [`servers`]: PostgreSQL, MariaDB and MySQL as child processes. [`pki`]: their certificates. [`guard`]: nothing stays
//!   behind.
//! - [`world`]: what the services share. `http`, `control`, `judge_socket`, `relay`: the services.
//! - [`faults`]: what goes wrong on request.

pub mod aws;
pub mod client;
pub mod clock;
mod control;
pub mod faults;
pub mod guard;
mod http;
pub mod judge;
mod judge_socket;
pub mod oidc;
pub mod options;
pub mod pki;
mod relay;
pub mod sandbox;
pub mod servers;
pub mod sidecar;
mod unique;
pub mod world;

pub use options::Certificate;
pub use options::Options;
pub use sandbox::Sandbox;
pub use servers::mysqld::Flavor;
pub use sidecar::Sidecar;
