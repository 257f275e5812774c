//! A connection whose peer is proven to be the named database; TLS offered to applications.
//!
//! Invariant: nothing here can skip verification, and [`Verified`] is made by [`UpstreamTls::connect`] alone, so
//! whoever holds one knows who is at the other end. No Postgres or MySQL preamble: those rooms do that before.

mod client;
mod describe;
mod error;
mod explain;
mod hint;
mod provider;
mod roots;
mod setup;
mod upstream;
mod verified;

#[cfg(test)]
mod tests;

pub use client::ClientAcceptor;
pub use error::TlsError;
pub use error::Unknown;
pub use setup::TlsSetupError;
pub use upstream::UpstreamTls;
pub use verified::IdleHealth;
pub use verified::Verified;
