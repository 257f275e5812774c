//! What is measured: one cell is one kind of work, done by each peer in turn.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::bulk;
use crate::bulk::Direction;
use crate::load;
use crate::load::Load;
use crate::load::Protocol;
use crate::memory;
use crate::peer::Kind;
use crate::peer::Lab;
use crate::report::GIGABYTE;
use crate::report::Sample;
use crate::report::Work;

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Point selects.
    Query(Load),
    /// A new connection and one point select, over and over, by one client.
    Connect,
    /// 1 GB through COPY.
    Copy(Direction),
    /// From the proxy's start to the first answered query.
    Start,
    /// Memory at rest, and with this many clients that each hold a server connection.
    Memory(u32),
}

impl Cell {
    /// All of them, in the order they are run and reported.
    pub fn all(idle_clients: u32) -> Vec<Self> {
        let query = |protocol, clients| Self::Query(Load { protocol, clients });
        vec![
            query(Protocol::Simple, 1),
            query(Protocol::Simple, 16),
            query(Protocol::Extended, 1),
            query(Protocol::Extended, 16),
            Self::Connect,
            Self::Copy(Direction::Out),
            Self::Copy(Direction::In),
            Self::Start,
            Self::Memory(idle_clients),
        ]
    }

    /// Does the work through a freshly started peer. None where there is nothing to measure.
    pub fn measure(&self, lab: &Lab<'_>, kind: Kind, window: Duration) -> Result<Option<Sample>> {
        match self {
            Self::Query(load) => load::queries(&lab.start(kind)?, *load, window).map(Some),
            Self::Connect => load::connections(&lab.start(kind)?, window).map(Some),
            Self::Copy(direction) => bulk::copy(&lab.start(kind)?, *direction).map(Some),
            Self::Start => memory::start(lab, kind),
            Self::Memory(clients) => memory::idle(&lab.start(kind)?, *clients),
        }
    }

    /// False where one round says it all.
    pub fn varies(&self) -> bool {
        !matches!(self, Self::Memory(_))
    }
}

impl Work for Cell {
    fn unit(&self) -> &'static str {
        match self {
            Self::Connect => "connection",
            Self::Copy(_) => GIGABYTE,
            Self::Memory(_) | Self::Query(_) | Self::Start => "query",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect + query, 1 client"),
            Self::Copy(Direction::In) => f.write_str("COPY in, 1 GB"),
            Self::Copy(Direction::Out) => f.write_str("COPY out, 1 GB"),
            Self::Memory(clients) => write!(f, "memory, {clients} idle clients"),
            Self::Query(load) => {
                let plural = if load.clients == 1 { "" } else { "s" };
                write!(
                    f,
                    "{}, {} client{plural}",
                    load.protocol.name(),
                    load.clients
                )
            }
            Self::Start => f.write_str("start"),
        }
    }
}
