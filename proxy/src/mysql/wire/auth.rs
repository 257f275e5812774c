//! Authentication: digests over a password, and the packets that carry them (MySQL manual, "Authentication Methods").

use ring::digest;
use subtle::ConstantTimeEq;

use super::handshake::Scramble;
use crate::wire::Malformed;
use crate::wire::Reader;
use crate::wire::put_cstr;

/// SHA-1 over the scramble and the password; the default up to MySQL 5.7 and in MariaDB.
pub const NATIVE: &[u8] = b"mysql_native_password";
/// SHA-256 with a cache in the server; the default since MySQL 8.0.
pub const CACHING_SHA2: &[u8] = b"caching_sha2_password";
/// The password itself, inside TLS.
pub const SHA256: &[u8] = b"sha256_password";
/// The password itself: what `AWSAuthenticationPlugin` and PAM ask for.
pub const CLEAR: &[u8] = b"mysql_clear_password";

/// First byte of an AuthSwitchRequest.
pub const AUTH_SWITCH: u8 = 0xfe;
/// First byte of AuthMoreData.
pub const AUTH_MORE: u8 = 0x01;
/// AuthMoreData of caching_sha2_password: the digest was right, OK follows.
pub const FAST_AUTH_SUCCESS: u8 = 0x03;
/// AuthMoreData of caching_sha2_password: the server does not know the password's digest yet and wants to see it.
pub const FULL_AUTHENTICATION: u8 = 0x04;

/// `SHA1(password) XOR SHA1(scramble SHA1(SHA1(password)))`; empty for an empty password.
pub fn native_digest(password: &[u8], scramble: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let sha1 = |parts: &[&[u8]]| hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts);
    let once = sha1(&[password]);
    let twice = sha1(&[once.as_ref()]);
    xor(&once, &sha1(&[scramble, twice.as_ref()]))
}

/// `SHA256(password) XOR SHA256(SHA256(SHA256(password)) scramble)`; empty for an empty password.
pub fn caching_sha2_digest(password: &[u8], scramble: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let sha256 = |parts: &[&[u8]]| hash(&digest::SHA256, parts);
    let once = sha256(&[password]);
    let twice = sha256(&[once.as_ref()]);
    xor(&once, &sha256(&[twice.as_ref(), scramble]))
}

/// Was `answer` made by mysql_native_password with this password?
pub fn native_proves(answer: &[u8], password: &[u8], scramble: &Scramble) -> bool {
    native_digest(password, scramble).ct_eq(answer).into()
}

/// Was `answer` made by caching_sha2_password with this password? aiomysql and asyncmy hash the scramble's NUL with it
/// after an AuthSwitchRequest (protocol.md C.2).
pub fn caching_sha2_proves(answer: &[u8], password: &[u8], scramble: &Scramble) -> bool {
    let mut with_nul = scramble.to_vec();
    with_nul.push(0);
    let plain: bool = caching_sha2_digest(password, scramble).ct_eq(answer).into();
    let nul: bool = caching_sha2_digest(password, &with_nul)
        .ct_eq(answer)
        .into();
    plain || nul
}

/// Reads an AuthSwitchRequest: the plugin and its data, without the data's NUL. The single byte `FE` is the
/// request for the hash of before 4.1, which nobody may answer: [`Malformed`].
pub fn auth_switch(payload: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut reader = Reader::new(payload);
    if reader.u8()? != AUTH_SWITCH {
        return Err(Malformed);
    }
    let plugin = reader.cstr()?;
    let data = reader.rest();
    Ok((plugin, data.strip_suffix(&[0]).unwrap_or(data)))
}

/// Appends an AuthSwitchRequest.
pub fn put_auth_switch(out: &mut Vec<u8>, plugin: &[u8], scramble: &Scramble) {
    out.push(AUTH_SWITCH);
    put_cstr(out, plugin);
    put_cstr(out, scramble);
}

fn hash(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

fn xor(a: &digest::Digest, b: &digest::Digest) -> Vec<u8> {
    let pairs = a.as_ref().iter().zip(b.as_ref());
    pairs.map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAMBLE: &Scramble = b"01234567890123456789";

    /// Values from PyMySQL 1.1 (`_auth.scramble_native_password`, `scramble_caching_sha2`).
    #[test]
    fn digests_are_those_of_other_clients() {
        let hex =
            |bytes: Vec<u8>| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        assert_eq!(
            hex(native_digest(b"secret", SCRAMBLE)),
            "7abe1a8776b59e931059451f81e596a60dbbf7a8"
        );
        assert_eq!(
            hex(caching_sha2_digest(b"secret", SCRAMBLE)),
            "1a2da2573c2faa367e2afddb54cdfd11a95ed22eef0167151196a6fc8e3d3813"
        );
    }

    #[test]
    fn only_the_right_password_proves() {
        let native = native_digest(b"secret", SCRAMBLE);
        assert!(native_proves(&native, b"secret", SCRAMBLE));
        assert!(!native_proves(&native, b"Secret", SCRAMBLE));
        assert!(!native_proves(b"", b"secret", SCRAMBLE));
        let sha2 = caching_sha2_digest(b"secret", SCRAMBLE);
        let sha2_nul = caching_sha2_digest(b"secret", b"01234567890123456789\0");
        assert!(caching_sha2_proves(&sha2, b"secret", SCRAMBLE));
        assert!(caching_sha2_proves(&sha2_nul, b"secret", SCRAMBLE));
        assert!(!caching_sha2_proves(&sha2, b"Secret", SCRAMBLE));
    }

    #[test]
    fn an_empty_password_has_an_empty_digest() {
        assert!(native_digest(b"", SCRAMBLE).is_empty());
        assert!(caching_sha2_digest(b"", SCRAMBLE).is_empty());
    }

    #[test]
    fn auth_switch_round_trip() {
        let mut out = Vec::new();
        put_auth_switch(&mut out, NATIVE, SCRAMBLE);
        assert_eq!(out.len(), 1 + NATIVE.len() + 1 + 21);
        assert_eq!(auth_switch(&out), Ok((NATIVE, &SCRAMBLE[..])));
        assert_eq!(auth_switch(b"\xfe"), Err(Malformed));
        assert_eq!(
            auth_switch(b"\xfemysql_clear_password\0"),
            Ok((CLEAR, &b""[..]))
        );
    }
}
