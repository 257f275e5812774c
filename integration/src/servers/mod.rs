//! Real database servers as child processes, set up to log in as RDS does.

mod aws_auth_plugin;
mod files;
mod mariadb;
pub mod mysql;
pub mod mysqld;
pub mod pam;
pub mod postgres;

use std::net::TcpListener;

use anyhow::Result;

/// A port nobody listens on just now. Somebody else may take it before the server does: the caller retries.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
