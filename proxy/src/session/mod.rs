//! What a session of either protocol is made of, and neither should write twice.
//!
//! # Layout
//! - [`AppStream`]: the application's stream, in clear text or inside TLS
//! - [`Lane`]: one direction of a relay
//! - [`Gate`]: who may still stop what a session runs
//! - [`Metrics`]: counts of one listener
//!
//! Invariant: knows no protocol.

mod gate;
mod lane;
mod metrics;
mod stream;

pub use gate::Gate;
pub use gate::Inside;
pub use lane::CHUNK_BYTES;
pub use lane::Lane;
pub use lane::Read;
pub use metrics::ClientGuard;
pub use metrics::Metrics;
pub use metrics::Snapshot;
pub use stream::AppStream;
pub use stream::client_gone;
