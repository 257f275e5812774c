//! HTTP for probes, metrics, identity push and shutdown.
//!
//! # Layout
//! - [`serve`]: connections, their bounds and their end
//! - `routes`: one request in, one answer out; `access`: who may change something
//! - [`Readiness`]: what the probes answer, as a value on a `watch`
//! - [`Metrics`]: numbers read at scrape time, written as OpenMetrics; `process`: those of the process itself
//!
//! Invariant: imports no other room. What it knows comes in through [`Hooks`].

mod access;
mod metrics;
mod process;
mod readiness;
mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use metrics::Metrics;
pub use metrics::Number;
pub use metrics::Samples;
pub use readiness::Condition;
pub use readiness::Readiness;
pub use readiness::Stage;
pub use routes::Hooks;
pub use server::serve;
