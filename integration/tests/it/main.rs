//! rds-sidecar end to end: the real binary between real clients and a real PostgreSQL that logs in as RDS's does.

mod cancel;
mod connect;
mod copy;
mod disconnect;
mod drivers;
mod extended;
mod memory;
mod mysql_clients;
mod mysql_connect;
mod mysql_kill;
mod mysql_recovery;
mod mysql_upstream;
mod mysql_wire;
mod mysql_world;
mod pool;
mod query;
mod recovery;
mod refusals;
mod replication;
mod secrets;
mod session;
mod shutdown;
mod support;
mod tls;
mod wire;
