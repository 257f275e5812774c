//! The vocabulary of blame: whose fault an error is, whether to try again, what a client is told.
//!
//! Invariant: no concrete errors here; each room keeps its own enum and implements [`Fault`] beside it.

use std::borrow::Cow;

/// Whose fault an error is. Becomes a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The application that connected to us.
    Client,
    /// What the operator configured: a wrong name, a missing grant, a file that is not there.
    Config,
    /// AWS or the identity provider said no, or could not be reached.
    Identity,
    /// Our own bug.
    Internal,
    /// The database server or the network to it.
    Upstream,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Something may have changed in a moment: a restart, a network blip, throttling.
    Later,
    /// The server is full: wait for a free connection instead of reporting it (protocol.md D.4).
    LimitReached,
    /// The same attempt fails again until somebody changes something.
    Never,
    /// Once, with freshly made credentials.
    WithFreshCredentials,
}

/// What a client is told, in the words both protocols share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// SQLSTATE, five characters (PostgreSQL manual, appendix A).
    pub sqlstate: Cow<'static, str>,
    /// One sentence, lower case, no period.
    pub message: String,
    /// Evidence: claims, endpoint, user.
    pub detail: Option<String>,
    /// The line to paste or the thing to change.
    pub hint: Option<String>,
}

/// What every error that can end a client's connection answers.
pub trait Fault: std::error::Error {
    /// Whose fault it is.
    fn blame(&self) -> Blame;
    /// Whether trying again can help.
    fn retry(&self) -> Retry;
    /// What the client may be told. An allow-list: nothing reaches a client but through this.
    fn for_client(&self) -> ClientError;
}
