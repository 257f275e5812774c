//! Lets a client prove that it knows the shared secret, in the one dialogue every client follows (protocol.md C.2).
//!
//! The greeting names mysql_native_password; whatever plugin the client answered with is taken up, so that most need
//! no further round trip. Without a secret the dialogue is the same, only nothing is compared.

use secrecy::ExposeSecret;
use secrecy::SecretString;

use super::front::ClientIo;
use super::front::ReadError;
use super::wire::auth;
use super::wire::auth::CACHING_SHA2;
use super::wire::auth::NATIVE;
use super::wire::handshake::Attributes;
use super::wire::handshake::Scramble;

/// A client's answer to a digest's question has 32 bytes; plugins we do not speak may send more in the first one.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// From this version on libmysqlclient has no mysql_native_password.
const NATIVE_GONE_SINCE: u32 = 9;

/// A client's first answer.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The plugin it was made with, where the client names one.
    pub plugin: Option<&'a [u8]>,
    /// The answer.
    pub answer: &'a [u8],
    /// What it was asked with.
    pub scramble: &'a Scramble,
    /// What the client tells of itself.
    pub attributes: &'a Attributes,
}

/// Why a client is not let in.
#[derive(Debug)]
pub enum ProveError {
    /// It does not know the secret.
    Denied {
        /// It sent something, not nothing.
        using_password: bool,
    },
    /// It went away.
    Gone,
    /// What it sent is no packet.
    Malformed,
}

/// 20 bytes nobody can foresee, none of them NUL, all of them ASCII: some clients treat them as text.
pub fn fresh_scramble() -> Scramble {
    rand::random::<Scramble>().map(|byte| byte % 127 + 1)
}

/// Leads the dialogue up to, and without, the OK packet. No secret: any client passes. Returns the scramble that the
/// client was asked with last: COM_CHANGE_USER will be answered with it.
pub async fn exchange(
    secret: Option<&SecretString>,
    io: &mut ClientIo,
    claim: Claim<'_>,
) -> Result<Scramble, ProveError> {
    match claim.plugin {
        // Nothing may also mean that the client's default plugin is not the greeting's: it is asked once more.
        Some(CACHING_SHA2) if secret.is_none() || !is_nothing(claim.answer) => {
            caching_sha2(secret, io, claim.answer, claim.scramble).await?;
            Ok(*claim.scramble)
        }
        None | Some(NATIVE | b"") if secret.is_none() || !claim.answer.is_empty() => {
            native(secret, claim.answer, claim.scramble)?;
            Ok(*claim.scramble)
        }
        Some(plugin) if plugin == CACHING_SHA2 || has_no_native(claim.attributes) => {
            let scramble = fresh_scramble();
            let answer = switch(io, CACHING_SHA2, &scramble).await?;
            caching_sha2(secret, io, &answer, &scramble).await?;
            Ok(scramble)
        }
        None | Some(_) => {
            let scramble = fresh_scramble();
            let answer = switch(io, NATIVE, &scramble).await?;
            native(secret, &answer, &scramble)?;
            Ok(scramble)
        }
    }
}

fn native(
    secret: Option<&SecretString>,
    answer: &[u8],
    scramble: &Scramble,
) -> Result<(), ProveError> {
    match secret {
        Some(secret)
            if !auth::native_proves(answer, secret.expose_secret().as_bytes(), scramble) =>
        {
            Err(denied(answer))
        }
        Some(_) | None => Ok(()),
    }
}

async fn caching_sha2(
    secret: Option<&SecretString>,
    io: &mut ClientIo,
    answer: &[u8],
    scramble: &Scramble,
) -> Result<(), ProveError> {
    let is_empty = is_nothing(answer);
    match secret.map(|secret| secret.expose_secret().as_bytes()) {
        Some(secret) if is_empty && !secret.is_empty() => return Err(denied(&[])),
        Some(secret) if !is_empty && !auth::caching_sha2_proves(answer, secret, scramble) => {
            return Err(denied(answer));
        }
        Some(_) | None => {}
    }
    if is_empty {
        return Ok(());
    }
    // Never a bare OK: mysqlnd waits for this for ever, and libmariadb loses count.
    io.send(&[auth::AUTH_MORE, auth::FAST_AUTH_SUCCESS])
        .await
        .map_err(|_| ProveError::Gone)
}

/// Asks once for another plugin's answer. A second time would end go-sql-driver.
async fn switch(
    io: &mut ClientIo,
    plugin: &[u8],
    scramble: &Scramble,
) -> Result<Vec<u8>, ProveError> {
    let mut request = Vec::new();
    auth::put_auth_switch(&mut request, plugin, scramble);
    io.send(&request).await.map_err(|_| ProveError::Gone)?;
    io.receive(ANSWER_BYTES_MAX)
        .await
        .map_err(|error| match error {
            ReadError::Broken(_) => ProveError::Gone,
            ReadError::Malformed => ProveError::Malformed,
        })
}

/// How an empty password looks in caching_sha2_password.
fn is_nothing(answer: &[u8]) -> bool {
    matches!(answer, [] | [0])
}

fn denied(answer: &[u8]) -> ProveError {
    ProveError::Denied {
        using_password: !answer.is_empty(),
    }
}

/// Is it MySQL's own client library of a version that has lost mysql_native_password?
fn has_no_native(attributes: &Attributes) -> bool {
    let value = |name: &[u8]| {
        let found = attributes.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| std::str::from_utf8(value).unwrap_or(""))
    };
    let major = value(b"_client_version").split('.').next();
    let major = major.and_then(|major| major.parse::<u32>().ok());
    value(b"_client_name") == "libmysql" && major.is_some_and(|major| major >= NATIVE_GONE_SINCE)
}

#[cfg(test)]
mod tests;
