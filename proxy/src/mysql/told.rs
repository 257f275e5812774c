//! What a client is told: an ERR packet in MySQL's vocabulary.

use super::error::ACCESS_DENIED;
use super::error::BackendError;
use super::error::CON_COUNT;
use super::error::SERVER_SHUTDOWN;
use super::wire::status::ErrPacket;
use crate::fault::ClientError;
use crate::fault::Fault;

/// Bad handshake (`ER_HANDSHAKE_ERROR`).
const BAD_HANDSHAKE: u16 = 1043;
/// No session has this id (`ER_NO_SUCH_THREAD`).
const NO_SUCH_THREAD: u16 = 1094;
/// No closer number (`ER_UNKNOWN_ERROR`).
const UNKNOWN: u16 = 1105;
/// Query execution was interrupted (`ER_QUERY_INTERRUPTED`).
const QUERY_INTERRUPTED: u16 = 1317;
/// Unable to connect to foreign data source (`ER_CONNECT_TO_FOREIGN_DATA_SOURCE`).
const CONNECT_TO_UPSTREAM: u16 = 1429;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// MySQL's error number.
    pub code: u16,
    /// MySQL's SQLSTATE for it, and the text.
    pub error: ClientError,
}

impl Told {
    /// A text of ours with a number of MySQL's.
    pub fn new(code: u16, sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            error: ClientError {
                sqlstate: sqlstate.into(),
                message: message.into(),
                detail: None,
                hint: None,
            },
        }
    }

    /// The process ends.
    pub fn shutting_down() -> Self {
        Self::new(
            SERVER_SHUTDOWN,
            "08S01",
            "Server shutdown in progress: rds-sidecar is shutting down",
        )
    }

    /// What came in place of a handshake response is none, or one of before MySQL 4.1.
    pub fn bad_handshake() -> Self {
        Self::new(BAD_HANDSHAKE, "08S01", "Bad handshake")
    }

    /// Somebody killed the client's connection before it had a session, or the client killed its own.
    pub fn killed() -> Self {
        let text = "Query execution was interrupted";
        Self::new(QUERY_INTERRUPTED, "70100", text)
    }

    /// A KILL named a client that is gone.
    pub fn no_such_thread(id: u32) -> Self {
        let text = format!("Unknown thread id: {id}");
        Self::new(NO_SUCH_THREAD, "HY000", text)
    }

    /// From what other rooms say in the words of the SQL standard and of PostgreSQL: the number of MySQL's that says
    /// the same.
    pub fn translated(mut error: ClientError) -> Self {
        let (code, sqlstate) = match &*error.sqlstate {
            "28000" => (ACCESS_DENIED, "28000"),
            "53300" => (CON_COUNT, "08004"),
            "57P03" => (SERVER_SHUTDOWN, "08S01"),
            "08001" | "08006" => (CONNECT_TO_UPSTREAM, "HY000"),
            _ => (UNKNOWN, "HY000"),
        };
        error.sqlstate = sqlstate.into();
        Self { code, error }
    }

    /// The payload of an ERR packet. MySQL has one text where others have detail and hint; clients that cut it do so
    /// after 511 bytes (`MYSQL_ERRMSG_SIZE`), so the remedy comes before the evidence.
    pub fn payload(&self, with_sqlstate: bool) -> Vec<u8> {
        let mut text = self.error.message.clone();
        for (title, more) in [("HINT", &self.error.hint), ("DETAIL", &self.error.detail)] {
            if let Some(more) = more {
                text.push_str(&format!("\n{title}: {more}"));
            }
        }
        let sqlstate = self.error.sqlstate.as_bytes().try_into().ok();
        let mut out = Vec::with_capacity(9 + text.len());
        ErrPacket {
            code: self.code,
            sqlstate: sqlstate.filter(|_| with_sqlstate),
            message: text.as_bytes(),
        }
        .put(&mut out);
        out
    }
}

impl From<&BackendError> for Told {
    fn from(error: &BackendError) -> Self {
        match error {
            BackendError::Refused { said, .. } => Self {
                code: said.code,
                error: error.for_client(),
            },
            _ => Self::translated(error.for_client()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_comes_before_the_evidence() {
        let told = Told::translated(ClientError {
            sqlstate: "08001".into(),
            message: "rds-sidecar: no".into(),
            detail: Some("because".into()),
            hint: Some("do".into()),
        });
        let payload = told.payload(true);
        assert_eq!(
            payload,
            b"\xff\x95\x05#HY000rds-sidecar: no\nHINT: do\nDETAIL: because"
        );
        assert_eq!(payload[3], b'#');
        assert_eq!(
            told.payload(false)[3],
            b'r',
            "before the handshake response"
        );
    }

    #[test]
    fn numbers_are_mysqls() {
        for (sqlstate, code) in [
            ("28000", 1045),
            ("53300", 1040),
            ("57P03", 1053),
            ("08006", 1429),
            ("F0000", 1105),
        ] {
            let error = ClientError {
                sqlstate: sqlstate.into(),
                message: String::new(),
                detail: None,
                hint: None,
            };
            assert_eq!(Told::translated(error).code, code, "{sqlstate}");
        }
    }
}
