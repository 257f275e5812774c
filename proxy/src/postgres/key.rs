//! What two sessions must have in common to share an upstream connection, one after the other.

use std::fmt;

use super::wire::Startup;

/// The pool's key: everything that the upstream StartupMessage says (protocol.md D.1).
///
/// All run-time parameters belong to it, `application_name` included, because values from the startup packet are
/// what `RESET` and `DISCARD ALL` return to: they cannot be imitated with `SET` later.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Upstream user.
    pub user: Vec<u8>,
    /// Upstream database.
    pub database: Vec<u8>,
    /// A connection in replication mode: never lent twice.
    pub replication: bool,
    /// All other parameters, as sent.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Key {
    /// From what the client asked for and what is configured. `None` when the client names no user.
    ///
    /// libpq always names a database: the user's name where it was told none. So a database with the name of the
    /// client's user counts as none: then the configured default holds, else the name of the upstream user.
    pub fn new(startup: &Startup, database: &config::Database) -> Option<Self> {
        let client_user = startup.parameter("user").filter(|user| !user.is_empty())?;
        let user = database.user.as_deref().map_or(client_user, str::as_bytes);
        let default = database
            .default_database
            .as_deref()
            .map_or(user, str::as_bytes);
        let named = startup
            .parameter("database")
            .filter(|name| !name.is_empty() && *name != client_user)
            .unwrap_or(default);
        let mut parameters: Vec<_> = startup
            .parameters
            .iter()
            .filter(|(name, _)| name != b"user" && name != b"database")
            .cloned()
            .collect();
        parameters.sort();
        Some(Self {
            user: user.to_vec(),
            database: named.to_vec(),
            replication: startup.parameter("replication").is_some_and(is_replication),
            parameters,
        })
    }

    /// The parameters of the upstream StartupMessage.
    pub fn startup(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        [
            (&b"user"[..], &self.user[..]),
            (b"database", &self.database),
        ]
        .into_iter()
        .chain(
            self.parameters
                .iter()
                .map(|(name, value)| (&name[..], &value[..])),
        )
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

/// Parameters are not shown: `options` may hold anything.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("user", &self.user_text())
            .field("database", &self.database_text())
            .finish_non_exhaustive()
    }
}

/// `database`, or what `parse_bool` takes for true (backend_startup.c; bool.c: any unique prefix).
fn is_replication(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let prefix_of =
        |word: &[u8], shortest: usize| value.len() >= shortest && word.starts_with(&value);
    value == b"database"
        || value == b"1"
        || value == b"on"
        || prefix_of(b"true", 1)
        || prefix_of(b"yes", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_values() {
        for value in ["true", "t", "on", "1", "yes", "database", "TRUE"] {
            assert!(is_replication(value.as_bytes()), "{value}");
        }
        for value in ["false", "off", "0", "no", "", "o"] {
            assert!(!is_replication(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn debug_shows_no_parameter() {
        let key = Key {
            user: b"u".to_vec(),
            database: b"d".to_vec(),
            replication: false,
            parameters: vec![(b"options".to_vec(), b"-c app.secret=x".to_vec())],
        };
        assert_eq!(
            format!("{key:?}"),
            r#"Key { user: "u", database: "d", .. }"#
        );
    }
}
