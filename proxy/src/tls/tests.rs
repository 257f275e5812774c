//! Real handshakes over in-memory pipes, against certificates made for the occasion.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod client;
mod idle;
mod pki;
mod trust;
mod upstream;
