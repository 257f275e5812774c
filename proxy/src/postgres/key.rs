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
    /// The database taken instead where `database` does not exist: set when the client may have named none.
    pub fallback: Option<Vec<u8>>,
    /// A connection in replication mode: never lent twice.
    pub replication: bool,
    /// All other parameters, as sent.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Key {
    /// From what the client asked for and what is configured. `None` when the client names no user.
    ///
    /// libpq always names a database: the user's name where it was told none. So a database with the name of the
    /// client's user may have been meant (`postgres` is one) or not: it is tried as it stands, and where there is
    /// none the configured default holds, else the name of the upstream user.
    pub fn new(startup: &Startup, database: &config::Database) -> Option<Self> {
        Self::named(
            startup,
            database.user.as_deref(),
            database.default_database.as_deref(),
        )
    }

    fn named(startup: &Startup, user: Option<&str>, default: Option<&str>) -> Option<Self> {
        let client_user = startup.parameter("user").filter(|user| !user.is_empty())?;
        let user = user.map_or(client_user, str::as_bytes);
        let default = default.map_or(user, str::as_bytes);
        let named = startup
            .parameter("database")
            .filter(|name| !name.is_empty())
            .unwrap_or(default);
        let fallback = (named == client_user && named != default).then(|| default.to_vec());
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
            fallback,
            replication: startup.parameter("replication").is_some_and(is_replication),
            parameters,
        })
    }

    /// The key of the login to make where the database does not exist.
    pub fn in_fallback(&self) -> Option<Self> {
        let database = self.fallback.clone()?;
        Some(Self {
            database,
            fallback: None,
            ..self.clone()
        })
    }

    /// Can a connection of this key be in that database?
    pub fn may_be_in(&self, database: &[u8]) -> bool {
        self.database == database || self.fallback.as_deref() == Some(database)
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

    fn key(user: Option<&str>, default: Option<&str>, sent: &[(&str, &str)]) -> Key {
        let startup = Startup {
            minor: 0,
            parameters: sent
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
            extensions: Vec::new(),
        };
        Key::named(&startup, user, default).unwrap()
    }

    fn databases(key: &Key) -> (&str, Option<&str>) {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        (text(&key.database), key.fallback.as_deref().map(text))
    }

    #[test]
    fn a_database_named_like_the_user_is_tried_before_the_default() {
        let sent = [("user", "postgres"), ("database", "postgres")];
        let with_default = key(Some("iam"), Some("app"), &sent);
        assert_eq!(databases(&with_default), ("postgres", Some("app")));
        assert!(with_default.may_be_in(b"app") && with_default.may_be_in(b"postgres"));
        assert!(!with_default.may_be_in(b"other"));
        let fallback = with_default.in_fallback().unwrap();
        assert_eq!(databases(&fallback), ("app", None));
        let renamed = key(Some("iam"), None, &sent);
        assert_eq!(databases(&renamed), ("postgres", Some("iam")));
        let passed_through = key(None, None, &sent);
        assert_eq!(databases(&passed_through), ("postgres", None));
        assert!(passed_through.in_fallback().is_none());
    }

    #[test]
    fn any_other_database_is_taken_at_its_word() {
        let other = key(
            Some("iam"),
            Some("app"),
            &[("user", "u"), ("database", "x")],
        );
        assert_eq!(databases(&other), ("x", None));
        let none = key(Some("iam"), Some("app"), &[("user", "u")]);
        assert_eq!(databases(&none), ("app", None));
        let empty = key(None, None, &[("user", "u"), ("database", "")]);
        assert_eq!(databases(&empty), ("u", None));
    }

    #[test]
    fn debug_shows_no_parameter() {
        let key = Key {
            user: b"u".to_vec(),
            database: b"d".to_vec(),
            fallback: None,
            replication: false,
            parameters: vec![(b"options".to_vec(), b"-c app.secret=x".to_vec())],
        };
        assert_eq!(
            format!("{key:?}"),
            r#"Key { user: "u", database: "d", .. }"#
        );
    }
}
