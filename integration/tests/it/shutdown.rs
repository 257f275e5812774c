//! The sidecar ends gracefully, and quickly when told twice.
