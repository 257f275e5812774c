//! The bytes of the MySQL client/server protocol and of MariaDB's additions to it.
//!
//! Invariant: pure; no socket, no clock, no configuration.

pub mod auth;
pub mod capability;
pub mod handshake;
pub mod lenenc;
pub mod packet;
pub mod session_track;
pub mod status;

pub use capability::Capabilities;
pub use lenenc::ReadLenenc;
pub use packet::Header;
pub use status::ServerStatus;
