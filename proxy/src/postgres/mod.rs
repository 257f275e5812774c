//! PostgreSQL: speaks to the application as the server and to RDS as the client.
//!
//! Invariant: never imports `mysql`; `wire`, `tracker` and `statement` are pure.

pub mod backend;
pub mod cancel;
pub mod error;
pub mod key;
pub mod login;
pub mod observe;
pub mod relay;
pub mod statement;
pub mod tracker;
pub mod wire;
