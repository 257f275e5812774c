//! What is measured: one cell is one kind of work, done by each peer in turn.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::bulk;
use crate::load;
use crate::load::Load;
use crate::load::Script;
use crate::peer::Kind;
use crate::peer::Lab;
use crate::report::GIGABYTE;
use crate::report::Sample;
use crate::report::Work;

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// One of sysbench's scripts.
    Load(Load),
    /// A result of 1 GB.
    Result,
}

impl Cell {
    /// All of them, in the order they are run and reported.
    pub fn all() -> Vec<Self> {
        let load = |script, prepared, clients| {
            Self::Load(Load {
                script,
                prepared,
                clients,
            })
        };
        vec![
            load(Script::PointSelect, false, 1),
            load(Script::PointSelect, false, 16),
            load(Script::PointSelect, true, 1),
            load(Script::PointSelect, true, 16),
            load(Script::ReadOnly, false, 1),
            load(Script::ReadOnly, false, 16),
            load(Script::Connect, false, 1),
            Self::Result,
        ]
    }

    /// Does the work through a freshly started peer.
    pub fn measure(&self, lab: &Lab<'_>, kind: Kind, window: Duration) -> Result<Sample> {
        let peer = lab.start(kind)?;
        match self {
            Self::Load(load) => load::run(&peer, *load, window),
            Self::Result => bulk::result(&peer),
        }
    }
}

impl Work for Cell {
    fn unit(&self) -> &'static str {
        match self {
            Self::Load(load) if load.script == Script::Connect => "connection",
            Self::Load(_) => "query",
            Self::Result => GIGABYTE,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Load(load) = self else {
            return f.write_str("result of 1 GB");
        };
        let script = match load.script {
            Script::Connect => "connect + query",
            Script::PointSelect => "point select",
            Script::ReadOnly => "read only",
        };
        let prepared = if load.prepared { ", prepared" } else { "" };
        let plural = if load.clients == 1 { "" } else { "s" };
        write!(f, "{script}{prepared}, {} client{plural}", load.clients)
    }
}
