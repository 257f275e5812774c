//! The sandbox judged by independent means: AWS's own SDK asks STS, AWS's own signer makes the tokens, libpq logs in.

mod faults;
mod lifecycle;
mod login;
mod runner;
mod sts;
mod support;
