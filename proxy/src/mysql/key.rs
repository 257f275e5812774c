//! What two sessions must have in common to share an upstream connection, one after the other.

use std::fmt;

use super::wire::Capabilities;
use super::wire::handshake::Attributes;
use super::wire::handshake::ChangeUser;
use super::wire::handshake::Response;

/// Capabilities that concern the login alone, which each side makes by itself.
const LOGIN_ONLY: [Capabilities; 10] = [
    Capabilities::CONNECT_WITH_DB,
    Capabilities::PROTOCOL_41,
    Capabilities::SSL,
    Capabilities::IGNORE_SIGPIPE,
    Capabilities::SECURE_CONNECTION,
    Capabilities::PLUGIN_AUTH,
    Capabilities::CONNECT_ATTRS,
    Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA,
    Capabilities::SSL_VERIFY_SERVER_CERT,
    Capabilities::REMEMBER_OPTIONS,
];
/// What clients tell that differs from process to process: passed on, it would keep every process from every other's
/// connections.
const PER_PROCESS: [&[u8]; 3] = [b"_pid", b"_thread", b"_server_host"];

/// The pool's key: everything that the upstream handshake response says (protocol.md D.1).
///
/// The server logs in with exactly the client's capabilities, those that change the form of packets included
/// (`DEPRECATE_EOF`, `SESSION_TRACK`, MariaDB's extended ones), and not only those that change what statements mean
/// (`FOUND_ROWS`, `IGNORE_SPACE`, `MULTI_STATEMENTS`, ...). So nothing has to be translated: the relay passes bytes
/// through, and what the client sees is what a direct connection would show. Clients with different libraries do not
/// share connections; the tests of one job mostly use one.
///
/// The database belongs to it because COM_RESET_CONNECTION keeps the current one and nothing leads back to none.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Upstream user.
    pub user: Vec<u8>,
    /// The database to begin in; empty: none.
    pub database: Vec<u8>,
    /// The collation the session starts with, low byte of its id.
    pub charset: u8,
    /// The longest packet the client takes.
    pub packet_max: u32,
    /// What the client asked for among what it was offered, without what concerns the login alone.
    pub capabilities: Capabilities,
    /// What the client tells of itself, for `performance_schema.session_connect_attrs`: `program_name` and the like.
    pub attributes: Attributes,
}

impl Key {
    /// From what the client asked for, what it was offered and what is configured.
    pub fn new(response: &Response, offered: Capabilities, database: &config::Database) -> Self {
        Self {
            user: upstream_user(&response.user, database),
            database: upstream_database(&response.database, database),
            charset: response.charset,
            packet_max: response.packet_max,
            // MariaDB is offered without LONG_PASSWORD; clients that set it all the same say that they know nothing of
            // its extensions.
            capabilities: (response.capabilities & (offered | Capabilities::LONG_PASSWORD))
                - LOGIN_ONLY.into_iter().collect(),
            attributes: shared(&response.attributes),
        }
    }

    /// The key of the same client after COM_CHANGE_USER: capabilities stay for the life of a connection.
    pub fn changed(&self, to: &ChangeUser, database: &config::Database) -> Self {
        Self {
            user: upstream_user(&to.user, database),
            database: upstream_database(&to.database, database),
            charset: to.charset.unwrap_or(self.charset),
            packet_max: self.packet_max,
            capabilities: self.capabilities,
            attributes: if to.attributes.is_empty() {
                self.attributes.clone()
            } else {
                shared(&to.attributes)
            },
        }
    }

    /// The same user with nothing else: for statements of our own beside a session.
    pub fn bare(&self) -> Self {
        Self {
            user: self.user.clone(),
            database: Vec::new(),
            charset: self.charset,
            packet_max: self.packet_max,
            capabilities: Capabilities::LONG_PASSWORD | Capabilities::TRANSACTIONS,
            attributes: Attributes::new(),
        }
    }

    /// The user as text, for tokens and messages.
    pub fn user_text(&self) -> String {
        String::from_utf8_lossy(&self.user).into_owned()
    }

    /// The database as text, for messages.
    pub fn database_text(&self) -> String {
        String::from_utf8_lossy(&self.database).into_owned()
    }
}

fn upstream_user(client_user: &[u8], database: &config::Database) -> Vec<u8> {
    let configured = database.user.as_deref().map(str::as_bytes);
    configured.unwrap_or(client_user).to_vec()
}

fn upstream_database(named: &[u8], database: &config::Database) -> Vec<u8> {
    match database.default_database.as_deref() {
        Some(default) if named.is_empty() => default.as_bytes().to_vec(),
        _ => named.to_vec(),
    }
}

fn shared(attributes: &Attributes) -> Attributes {
    let mut shared: Attributes = attributes
        .iter()
        .filter(|(name, _)| !PER_PROCESS.contains(&name.as_slice()))
        .cloned()
        .collect();
    shared.sort();
    shared
}

/// Attributes are not shown: they may hold anything.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("user", &self.user_text())
            .field("database", &self.database_text())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
