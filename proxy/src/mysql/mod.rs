//! MySQL and MariaDB: speaks to the application as the server and to RDS as the client.
//!
//! # Layout
//! - `wire`: bytes of the protocol (pure)
//! - `front`: the application up to its handshake response; `prove`: does it know the shared secret; `told`: its errors
//! - `greet`: what the server says first; `dialer`, `login`: from its name to its OK packet
//! - `key`, `backend`, `error`: upstream connections as the pool sees them; `baseline`: how a used one is renewed
//! - `tracker`, `observe`, `statement`: where the conversation stands (pure)
//! - `relay`: moves the bytes; `settle`: brings a server to rest after its client is gone
//! - `cancel`: KILL, for the right session
//! - `service`, `session`: one listener's clients from first byte to last
//!
//! Invariant: never imports `postgres`; `wire`, `tracker`, `observe` and `statement` know no socket and no clock.

pub mod backend;
pub mod baseline;
pub mod cancel;
pub mod dialer;
pub mod error;
pub mod front;
pub mod greet;
pub mod key;
pub mod login;
pub mod observe;
pub mod prove;
pub mod relay;
pub mod service;
mod session;
pub mod settle;
pub mod statement;
pub mod told;
pub mod tracker;
pub mod wire;

pub use backend::Backend;
pub use dialer::Dialer;
pub use service::Service;
