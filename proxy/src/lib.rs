//! rds-sidecar: a plain localhost database port in front of AWS RDS, with an identity that lives minutes.

pub mod fault;
pub mod wire;
