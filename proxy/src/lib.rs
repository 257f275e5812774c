//! rds-sidecar: a plain localhost database port in front of AWS RDS, with an identity that lives minutes.
//!
//! # Layout
//! - [`fault`], [`clock`], [`wire`]: vocabulary that knows nothing of the rest
//! - [`net`]: listeners, streams of the application's side, dialling
//! - [`tls`]: a connection whose peer is proven to be the named database; TLS offered to clients
//! - [`identity`]: ID token -> STS credentials -> RDS token
//! - [`pool`]: who gets which upstream connection, and which ones die
//! - [`session`]: what a session of either protocol is made of
//! - [`postgres`], [`mysql`]: speak to the application as the server and to RDS as the client
//! - [`admin`]: HTTP for probes, metrics, identity push and shutdown
//! - [`command`]: the subcommands that are not `run`
//! - [`cli`], [`telemetry`], [`app`]: what was typed, logs, and the composition root

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod command;
pub mod fault;
pub mod identity;
pub mod mysql;
pub mod net;
pub mod pool;
pub mod postgres;
pub mod session;
pub mod telemetry;
pub mod tls;
pub mod wire;
