//! The sandbox judged by independent means: AWS's own SDK asks STS, AWS's own signer makes the tokens, libpq and
//! MariaDB's client log in.

mod faults;
mod lifecycle;
mod login;
mod mysql;
mod runner;
mod sts;
mod support;
