//! The bytes of the PostgreSQL frontend/backend protocol, version 3 (PostgreSQL manual, chapter 55).
//!
//! Invariant: pure; no socket, no clock, no configuration.

pub mod auth;
pub mod error;
pub mod header;
pub mod startup;
pub mod status;

pub use error::Notice;
pub use error::Severity;
pub use header::Header;
pub use startup::Parameters;
pub use startup::Startup;
