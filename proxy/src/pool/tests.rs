//! The shell against a scripted backend, in paused time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod endings;
mod fake;
mod limits;
mod queue;
