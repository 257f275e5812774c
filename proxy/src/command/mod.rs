//! The subcommands that are not `run`.
//!
//! Each takes what it needs as arguments (configuration, clock, where to write) and answers with an exit code;
//! only `main` knows the process.

pub mod token;
