//! Accepting applications and dialling databases: sockets, and nothing above them.
//!
//! # Layout
//! - [`Listener`]: binds a TCP address or a unix socket, accepts with a bound and a back-off
//! - [`ClientStream`]: the application's side of a session
//! - [`dial`]: the database's side, by name; [`dial_address`]: the very same server again (cancel requests)
//!
//! Invariant: no protocol bytes, no TLS policy.

mod accept;
mod dial;
mod dial_error;
mod drain;
mod listener;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod unix;

pub use dial::Dialled;
pub use dial::dial;
pub use dial::dial_address;
pub use dial_error::DialError;
pub use drain::Drain;
pub use drain::DrainWatch;
pub use drain::Stage;
pub use listener::Listener;
pub use listener::NetError;
pub use listener::NetReason;
pub use listener::bind_tcp;
pub use stream::ClientStream;
pub use stream::Peer;
