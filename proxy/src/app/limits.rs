//! What the operating system lets this process have.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

/// Descriptors for everything that is not a client: listeners, runtime, upstream connections, look-ups.
const RESERVED: u64 = 128;
/// More clients than this are not useful on one machine, whatever is allowed.
const CLIENTS_MAX: u64 = 20_000;

/// Raises the soft limit of open files to the hard one, and says how many clients fit below it.
pub(super) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays");
            limit.current
        }
    };
    // A client and, in session mode, its upstream connection.
    current.map_or(CLIENTS_MAX, |files| {
        (files.saturating_sub(RESERVED) / 2).clamp(1, CLIENTS_MAX)
    })
}
