//! PostgreSQL: speaks to the application as the server and to RDS as the client.
//!
//! Invariant: never imports `mysql`; `wire`, `tracker` and `statement` are pure.

pub mod observe;
pub mod relay;
pub mod statement;
pub mod tracker;
pub mod wire;
