//! PostgreSQL: speaks to the application as the server and to RDS as the client.
//!
//! # Layout
//! - `wire`: bytes of the protocol (pure)
//! - `front`: the application up to its startup packet; `prove`, `scram` (pure): does it know the shared secret
//! - `key`, `backend`, `login`, `error`: upstream connections as the pool sees them
//! - `tracker`, `observe`, `statement`: where the conversation stands (pure)
//! - `relay`: moves the bytes; `settle`: brings a server to rest after its client is gone
//! - `cancel`: stops the right statement
//! - `service`: one listener's clients from first byte to last
//!
//! Invariant: never imports `mysql`; `wire`, `tracker`, `observe`, `statement` and `scram` know no socket and no
//! clock.

pub mod backend;
pub mod cancel;
pub mod error;
pub mod front;
pub mod key;
pub mod login;
pub mod observe;
pub mod prove;
pub mod relay;
pub mod scram;
pub mod service;
pub mod settle;
pub mod statement;
pub mod tracker;
pub mod wire;

pub use backend::Backend;
pub use service::Service;
