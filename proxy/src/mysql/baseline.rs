//! What a session is right after its login, and how a used one is made so again (protocol.md C.7, D.2).
//!
//! COM_RESET_CONNECTION alone does not do it: MySQL then falls back to the server's default character set (bugs 85185,
//! 97633), both forget what the client's capabilities made of `sql_mode` and `wait_timeout`, and both keep the current
//! database and the active roles. So the session is asked once, right after the login, for what it will have to be
//! again.

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

/// What a session is right after its login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Statements that restore what a reset loses or leaves; none: they cannot.
    restore: Option<Vec<String>>,
}

/// How a server names the roles that are active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roles {
    /// As a list that SET ROLE takes (MySQL from 8.0).
    List,
    /// Not at all (MySQL 5.7).
    None,
    /// One at most, bare (MariaDB).
    One,
}

impl Roles {
    fn of(version: &[u8]) -> Self {
        let version = String::from_utf8_lossy(version);
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok());
        match major {
            // MariaDB before 11 says 5.5.5 first, for the sake of old replicas.
            _ if version.contains("MariaDB") => Self::One,
            Some(8_u32..) => Self::List,
            Some(_) | None => Self::None,
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::List | Self::One => "CURRENT_ROLE()",
            Self::None => "NULL",
        }
    }

    /// The statement that activates these roles again.
    fn restore(self, active: Option<&[u8]>) -> Option<String> {
        let active = active.map(String::from_utf8_lossy);
        match (self, active) {
            (Self::None, _) => None,
            (Self::List, Some(list)) => Some(format!("SET ROLE {list}")),
            (Self::One, Some(name)) => Some(format!("SET ROLE `{}`", name.replace('`', "``"))),
            (Self::List | Self::One, None) => Some("SET ROLE NONE".to_owned()),
        }
    }
}

/// Asks a session that was just opened, of a server of this version.
pub async fn ask<S>(io: &mut S, key: &Key, version: &[u8]) -> Result<Baseline, ReadError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let roles = Roles::of(version);
    let question = format!(
        "SELECT @@session.character_set_client, @@session.collation_connection, @@session.sql_mode, \
         @@session.wait_timeout, @@global.init_connect, {}",
        roles.column()
    );
    let mut out = Vec::new();
    put_command(&mut out, COM_QUERY, question.as_bytes());
    send(io, &out).await?;
    let row = row(io, key.capabilities).await?;
    Ok(Baseline {
        restore: row.as_deref().and_then(|row| restore(row, roles)),
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
        for statement in restore {
            put_command(&mut out, COM_QUERY, statement.as_bytes());
        }
        if key.database.is_empty() {
            put_command(&mut out, COM_QUERY, b"SELECT DATABASE()");
        } else {
            put_command(&mut out, COM_INIT_DB, &key.database);
        }
        send(io, &out).await.ok()?;
        for _ in 0..1 + restore.len() {
            done(io).await?;
        }
        if key.database.is_empty() {
            // No statement leads back to no database.
            let row = row(io, key.capabilities).await.ok()??;
            matches!(row.as_slice(), [None]).then_some(())
        } else {
            done(io).await
        }
    }
}

/// The statements that restore a session with these values. `init_connect` is not run again by a reset, and what it
/// did is not known: such sessions are closed instead.
fn restore(row: &[Option<Vec<u8>>], roles: Roles) -> Option<Vec<String>> {
    let [
        charset,
        collation,
        sql_mode,
        wait_timeout,
        init_connect,
        role,
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
    let variables = format!(
        "SET NAMES {} COLLATE {}, sql_mode = '{}', wait_timeout = {}",
        word(charset)?,
        word(collation)?,
        word(sql_mode)?,
        word(wait_timeout)?
    );
    let role = roles.restore(role.as_deref());
    Some([variables].into_iter().chain(role).collect())
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

    fn values(row: [&str; 5], role: Option<&str>) -> Vec<Option<Vec<u8>>> {
        let known = row.iter().map(|value| Some(value.as_bytes().to_vec()));
        known
            .chain([role.map(|role| role.as_bytes().to_vec())])
            .collect()
    }

    const LOGIN: [&str; 5] = [
        "utf8mb4",
        "utf8mb4_bin",
        "STRICT_TRANS_TABLES,IGNORE_SPACE",
        "28800",
        "",
    ];

    #[test]
    fn what_a_reset_loses_is_set_again() {
        assert_eq!(
            restore(&values(LOGIN, None), Roles::None).unwrap(),
            [
                "SET NAMES utf8mb4 COLLATE utf8mb4_bin, sql_mode = 'STRICT_TRANS_TABLES,IGNORE_SPACE', \
                 wait_timeout = 28800"
            ]
        );
    }

    #[test]
    fn roles_are_activated_as_the_server_names_them() {
        let role = |version: &[u8], active| {
            let statements = restore(&values(LOGIN, active), Roles::of(version)).unwrap();
            statements.into_iter().nth(1)
        };
        let (mysql, mariadb) = (&b"8.0.36"[..], &b"5.5.5-10.11.19-MariaDB"[..]);
        assert_eq!(role(mysql, Some("NONE")).unwrap(), "SET ROLE NONE");
        assert_eq!(
            role(mysql, Some("`a`@`%`,`b`@`%`")).unwrap(),
            "SET ROLE `a`@`%`,`b`@`%`"
        );
        assert_eq!(role(mariadb, None).unwrap(), "SET ROLE NONE");
        assert_eq!(role(mariadb, Some("o`r")).unwrap(), "SET ROLE `o``r`");
        assert_eq!(role(b"11.8.2-MariaDB", None).unwrap(), "SET ROLE NONE");
        assert_eq!(role(b"5.7.44-log", None), None, "CURRENT_ROLE() is unknown");
    }

    #[test]
    fn what_init_connect_did_cannot_be_restored() {
        let mut row = LOGIN;
        row[4] = "SET NAMES latin1";
        assert_eq!(restore(&values(row, None), Roles::One), None);
    }

    #[test]
    fn nothing_strange_is_put_into_a_statement() {
        let mut row = LOGIN;
        row[1] = "x; DROP";
        assert_eq!(restore(&values(row, None), Roles::One), None);
    }
}
