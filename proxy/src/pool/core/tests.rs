//! The core alone: rules one by one, and against a naive model.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod judge;
mod model;
mod random;
mod rules;
