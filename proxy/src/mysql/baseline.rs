//! What a session is right after its login, and how a used one is made so again (protocol.md C.7, D.2).
//!
//! COM_RESET_CONNECTION alone does not do it: MySQL then falls back to the server's default character set (bugs 85185,
//! 97633), both forget what the client's capabilities made of `sql_mode` and `wait_timeout`, and both keep the current
//! database. So the session is asked once, right after the login, for what it will have to be again.

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use super::front::ReadError;
use super::front::receive;
use super::key::Key;
use super::wire::Capabilities;
use super::wire::lenenc::ReadLenenc;
use super::wire::packet::put_packet;
use super::wire::status;
use crate::wire::Malformed;
use crate::wire::Reader;

const COM_INIT_DB: u8 = 0x02;
const COM_QUERY: u8 = 0x03;
const COM_RESET_CONNECTION: u8 = 0x1f;

/// Replies to statements of our own are short.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// NULL in a row.
const NULL: u8 = 0xfb;

const BASELINE: &str = "SELECT @@session.character_set_client, @@session.collation_connection, \
    @@session.sql_mode, @@session.wait_timeout, @@global.init_connect, DATABASE()";

/// What a session is right after its login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Statement that restores what a reset loses; none: a reset cannot restore it.
    restore: Option<String>,
}

/// Asks a session that was just opened.
pub async fn ask<S>(io: &mut S, key: &Key) -> Result<Baseline, ReadError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = Vec::new();
    put_command(&mut out, COM_QUERY, BASELINE.as_bytes());
    send(io, &out).await?;
    let row = row(io, key.capabilities).await?;
    Ok(Baseline {
        restore: row.as_deref().and_then(restore),
    })
}

impl Baseline {
    /// Makes a used session so again; `None`: it could not.
    pub async fn restore<S>(&self, io: &mut S, key: &Key) -> Option<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let restore = self.restore.as_ref()?;
        let mut out = Vec::new();
        put_command(&mut out, COM_RESET_CONNECTION, b"");
        put_command(&mut out, COM_QUERY, restore.as_bytes());
        if key.database.is_empty() {
            put_command(&mut out, COM_QUERY, b"SELECT DATABASE()");
        } else {
            put_command(&mut out, COM_INIT_DB, &key.database);
        }
        send(io, &out).await.ok()?;
        done(io).await?;
        done(io).await?;
        if key.database.is_empty() {
            // No statement leads back to no database.
            let row = row(io, key.capabilities).await.ok()??;
            matches!(row.as_slice(), [None]).then_some(())
        } else {
            done(io).await
        }
    }
}

/// The statement that restores a session with these values. `init_connect` is not run again by a reset, and what it did
/// is not known: such sessions are closed instead.
fn restore(row: &[Option<Vec<u8>>]) -> Option<String> {
    let [
        charset,
        collation,
        sql_mode,
        wait_timeout,
        init_connect,
        _database,
    ] = row
    else {
        return None;
    };
    if init_connect.as_ref().is_some_and(|text| !text.is_empty()) {
        return None;
    }
    let word = |value: &Option<Vec<u8>>| {
        let text = String::from_utf8(value.clone()?).ok()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ',';
        text.chars().all(plain).then_some(text)
    };
    Some(format!(
        "SET NAMES {} COLLATE {}, sql_mode = '{}', wait_timeout = {}",
        word(charset)?,
        word(collation)?,
        word(sql_mode)?,
        word(wait_timeout)?
    ))
}

fn put_command(out: &mut Vec<u8>, command: u8, argument: &[u8]) {
    put_packet(out, 0, |out| {
        out.push(command);
        out.extend_from_slice(argument);
    });
}

async fn send<S>(io: &mut S, bytes: &[u8]) -> Result<(), ReadError>
where
    S: AsyncWrite + Unpin,
{
    let sent = async {
        io.write_all(bytes).await?;
        io.flush().await
    };
    sent.await.map_err(ReadError::Broken)
}

/// Reads the reply to a command without rows.
async fn done<S>(io: &mut S) -> Option<()>
where
    S: AsyncRead + Unpin,
{
    let (_, payload) = receive(io, REPLY_BYTES_MAX).await.ok()?;
    (payload.first() == Some(&status::OK)).then_some(())
}

/// Reads a result of one row; `None`: the server said no.
async fn row<S>(
    io: &mut S,
    capabilities: Capabilities,
) -> Result<Option<Vec<Option<Vec<u8>>>>, ReadError>
where
    S: AsyncRead + Unpin,
{
    let (_, head) = receive(io, REPLY_BYTES_MAX).await?;
    if head.first() == Some(&status::ERR) {
        return Ok(None);
    }
    let mut reader = Reader::new(&head);
    let malformed = |_: Malformed| ReadError::Malformed;
    let columns = reader.lenenc().map_err(malformed)?;
    // MariaDB says whether the definitions follow.
    let cached = capabilities.contains(Capabilities::MARIADB_CLIENT_CACHE_METADATA);
    if !cached || reader.u8().map_err(malformed)? == 1 {
        for _ in 0..columns {
            receive(io, REPLY_BYTES_MAX).await?;
        }
    }
    let deprecated = capabilities.contains(Capabilities::DEPRECATE_EOF);
    if !deprecated {
        receive(io, REPLY_BYTES_MAX).await?;
    }
    let (_, payload) = receive(io, REPLY_BYTES_MAX).await?;
    if payload.first() == Some(&status::ERR) {
        return Ok(None);
    }
    let mut reader = Reader::new(&payload);
    let mut values = Vec::new();
    while !reader.is_empty() {
        values.push(value(&mut reader).map_err(malformed)?);
    }
    match receive(io, REPLY_BYTES_MAX).await?.1.first() {
        Some(&status::EOF) => Ok(Some(values)),
        _ => Err(ReadError::Malformed),
    }
}

fn value(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    let mut ahead = *reader;
    if ahead.u8()? == NULL {
        *reader = ahead;
        return Ok(None);
    }
    reader.lenenc_bytes().map(|value| Some(value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(row: [&str; 5]) -> Vec<Option<Vec<u8>>> {
        let known = row.iter().map(|value| Some(value.as_bytes().to_vec()));
        known.chain([None]).collect()
    }

    #[test]
    fn what_a_reset_loses_is_set_again() {
        let row = values([
            "utf8mb4",
            "utf8mb4_general_ci",
            "STRICT_TRANS_TABLES,IGNORE_SPACE",
            "28800",
            "",
        ]);
        assert_eq!(
            restore(&row).unwrap(),
            "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, sql_mode = 'STRICT_TRANS_TABLES,IGNORE_SPACE', \
             wait_timeout = 28800"
        );
    }

    #[test]
    fn what_init_connect_did_cannot_be_restored() {
        let row = values(["utf8mb4", "utf8mb4_bin", "", "1", "SET NAMES latin1"]);
        assert_eq!(restore(&row), None);
    }

    #[test]
    fn nothing_strange_is_put_into_a_statement() {
        let row = values(["utf8mb4", "x; DROP", "", "1", ""]);
        assert_eq!(restore(&row), None);
    }
}
