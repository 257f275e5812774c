//! MySQL and MariaDB: speaks to the application as the server and to RDS as the client.
//!
//! # Layout
//! - `wire`: bytes of the protocol (pure)
//!
//! Invariant: never imports `postgres`; `wire` knows no socket and no clock.

pub mod wire;
