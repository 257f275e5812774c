//! What client and server can do: the bits that both sides of a handshake name.
//!
//! The low 32 bits are MySQL's (`mysql_com.h`, "Capability Flags"); the high 32 are MariaDB's extended ones, which
//! travel in the last four of the bytes that MySQL reserves, and only where `LONG_PASSWORD` is absent.

use std::fmt;
use std::ops::BitAnd;
use std::ops::BitOr;
use std::ops::Sub;

/// A set of capabilities.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u64);

/// Names each bit once: the constant and the text that `Debug` prints.
macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident = $bit:expr;)*) => {
        impl Capabilities {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const NAMES: &[(&str, Self)] = &[$((stringify!($name), Self::$name)),*];
        }
    };
}

bits! {
    /// MySQL: set by everybody. MariaDB servers (`CLIENT_MYSQL`) leave it out to say that the extended ones are there.
    LONG_PASSWORD = 0;
    /// Count rows found, not rows changed.
    FOUND_ROWS = 1;
    /// Two-byte column flags.
    LONG_FLAG = 2;
    /// The handshake response names a database.
    CONNECT_WITH_DB = 3;
    /// No `database.table.column`.
    NO_SCHEMA = 4;
    /// zlib compression after the login.
    COMPRESS = 5;
    /// ODBC behaviour; no effect since 3.22.
    ODBC = 6;
    /// LOAD DATA LOCAL.
    LOCAL_FILES = 7;
    /// Spaces before `(` are ignored.
    IGNORE_SPACE = 8;
    /// The protocol since 4.1: SQLSTATEs, status flags, 32-bit capabilities.
    PROTOCOL_41 = 9;
    /// `interactive_timeout` instead of `wait_timeout`.
    INTERACTIVE = 10;
    /// TLS follows the first 32 bytes of the handshake response.
    SSL = 11;
    /// Client library only.
    IGNORE_SIGPIPE = 12;
    /// Status flags in OK and EOF.
    TRANSACTIONS = 13;
    /// Once the 4.1 protocol.
    RESERVED = 14;
    /// The 20-byte scramble (`CLIENT_RESERVED2`).
    SECURE_CONNECTION = 15;
    /// Several statements in one COM_QUERY.
    MULTI_STATEMENTS = 16;
    /// Several results from one COM_QUERY.
    MULTI_RESULTS = 17;
    /// Several results from one COM_STMT_EXECUTE, and OUT parameters.
    PS_MULTI_RESULTS = 18;
    /// Named authentication plugins.
    PLUGIN_AUTH = 19;
    /// Connection attributes in the handshake response.
    CONNECT_ATTRS = 20;
    /// The authentication response has a length-encoded length.
    PLUGIN_AUTH_LENENC_CLIENT_DATA = 21;
    /// The client copes with the expired-password sandbox.
    CAN_HANDLE_EXPIRED_PASSWORDS = 22;
    /// OK packets tell what changed in the session.
    SESSION_TRACK = 23;
    /// OK packets in place of EOF packets.
    DEPRECATE_EOF = 24;
    /// Column definitions may be left out.
    OPTIONAL_RESULTSET_METADATA = 25;
    /// zstd compression after the login.
    ZSTD_COMPRESSION_ALGORITHM = 26;
    /// Attributes before the text of COM_QUERY.
    QUERY_ATTRIBUTES = 27;
    /// Several authentication factors.
    MULTI_FACTOR_AUTHENTICATION = 28;
    /// Reserved by MySQL to extend these flags.
    CAPABILITY_EXTENSION = 29;
    /// Client library only.
    SSL_VERIFY_SERVER_CERT = 30;
    /// Client library only.
    REMEMBER_OPTIONS = 31;
    /// MariaDB: progress reports as ERR packets with number 65535.
    MARIADB_CLIENT_PROGRESS = 32;
    /// MariaDB: COM_MULTI (10.2 betas; later reserved).
    MARIADB_CLIENT_COM_MULTI = 33;
    /// MariaDB: COM_STMT_BULK_EXECUTE.
    MARIADB_CLIENT_STMT_BULK_OPERATIONS = 34;
    /// MariaDB: column definitions carry extended types.
    MARIADB_CLIENT_EXTENDED_METADATA = 35;
    /// MariaDB: column definitions that did not change may be left out.
    MARIADB_CLIENT_CACHE_METADATA = 36;
    /// MariaDB: a result for each row of a bulk execute.
    MARIADB_CLIENT_BULK_UNIT_RESULTS = 37;
}

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// From the 32 bits of MySQL and MariaDB's 32 extended ones. Unknown bits are kept.
    pub fn new(mysql: u32, mariadb: u32) -> Self {
        Self(u64::from(mysql) | u64::from(mariadb) << 32)
    }

    /// MySQL's 32 bits.
    pub fn mysql(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// MariaDB's 32 extended bits.
    pub fn mariadb(self) -> u32 {
        let [.., a, b, c, d] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Are all of `other` among these?
    #[inline]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Capabilities {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl FromIterator<Self> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Self>>(sets: I) -> Self {
        sets.into_iter().fold(Self::NONE, BitOr::bitor)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES
            .iter()
            .filter(|(_, bit)| self.contains(*bit))
            .map(|(name, _)| name);
        let unknown = *self - Self::NAMES.iter().map(|(_, bit)| *bit).collect();
        let mut set = f.debug_set();
        set.entries(known);
        if unknown != Self::NONE {
            set.entry(&format_args!("{:#x}", unknown.0));
        }
        set.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_and_unknown_bits_survive() {
        let set = Capabilities::new(0x0100_0200, 0x8000_001d);
        assert_eq!((set.mysql(), set.mariadb()), (0x0100_0200, 0x8000_001d));
        assert!(set.contains(Capabilities::DEPRECATE_EOF | Capabilities::PROTOCOL_41));
        assert!(set.contains(Capabilities::MARIADB_CLIENT_CACHE_METADATA));
        assert!(!set.contains(Capabilities::DEPRECATE_EOF | Capabilities::SSL));
    }

    #[test]
    fn sets_are_added_cut_and_taken_away() {
        let two = Capabilities::SSL | Capabilities::COMPRESS;
        assert_eq!(two - Capabilities::SSL, Capabilities::COMPRESS);
        assert_eq!(two & Capabilities::SSL, Capabilities::SSL);
        assert_eq!(
            [Capabilities::SSL, Capabilities::COMPRESS]
                .into_iter()
                .collect::<Capabilities>(),
            two
        );
    }

    #[test]
    fn debug_names_the_bits() {
        let set = Capabilities::SSL | Capabilities::new(0, 0x8000_0001);
        assert_eq!(
            format!("{set:?}"),
            r#"{"SSL", "MARIADB_CLIENT_PROGRESS", 0x8000000000000000}"#
        );
    }
}
