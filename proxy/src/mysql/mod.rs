//! MySQL and MariaDB: speaks to the application as the server and to RDS as the client.
//!
//! # Layout
//! - `wire`: bytes of the protocol (pure)
//! - `tracker`, `observe`, `statement`: where the conversation stands (pure)
//! - `relay`: moves the bytes; `settle`: brings a server to rest after its client is gone
//!
//! Invariant: never imports `postgres`; `wire`, `tracker`, `observe` and `statement` know no socket and no clock.

pub mod observe;
pub mod relay;
pub mod settle;
pub mod statement;
pub mod tracker;
pub mod wire;
