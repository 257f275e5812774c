//! Messages that report state: ParameterStatus, BackendKeyData, ReadyForQuery.

use crate::wire::Malformed;
use crate::wire::Reader;
use crate::wire::length_prefixed;
use crate::wire::put_cstr;

/// Transaction status, the one byte of ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// `E`: in a failed transaction block.
    Failed,
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    Open,
}

impl Transaction {
    /// Reads the body of ReadyForQuery.
    #[inline]
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        match body {
            b"E" => Ok(Self::Failed),
            b"I" => Ok(Self::Idle),
            b"T" => Ok(Self::Open),
            _ => Err(Malformed),
        }
    }
}

/// The parameters a server has reported, each with its latest value, in the order first reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reported(Vec<(Vec<u8>, Vec<u8>)>);

impl Reported {
    /// Remembers a value. There are about fifteen names, so a search beats a map.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => {
                place.clear();
                place.extend_from_slice(value);
            }
            None => self.0.push((name.to_vec(), value.to_vec())),
        }
    }

    /// The latest value.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| &value[..])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// Takes over what another has heard since.
    pub fn update(&mut self, newer: &Self) {
        for (name, value) in newer.iter() {
            self.set(name, value);
        }
    }
}

/// ReadyForQuery, idle.
pub const READY_IDLE: &[u8] = b"Z\0\0\0\x05I";

/// Reads the body of ParameterStatus: name and value.
pub fn parameter(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut reader = Reader::new(body);
    let pair = (reader.cstr()?, reader.cstr()?);
    if reader.is_empty() {
        Ok(pair)
    } else {
        Err(Malformed)
    }
}

/// Appends a ParameterStatus.
pub fn put_parameter(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(b'S');
    length_prefixed(out, |out| {
        put_cstr(out, name);
        put_cstr(out, value);
    });
}

/// Reads the body of BackendKeyData: process id and secret (4 to 256 bytes).
pub fn backend_key(body: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let mut reader = Reader::new(body);
    let pid = reader.u32_be()?;
    match reader.rest() {
        secret if (4..=256).contains(&secret.len()) => Ok((pid, secret)),
        _ => Err(Malformed),
    }
}

/// Appends a BackendKeyData.
pub fn put_backend_key(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    out.push(b'K');
    length_prefixed(out, |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::wire::header::Header;

    fn body(message: &[u8]) -> &[u8] {
        let header = Header::parse(message).unwrap().unwrap();
        assert_eq!(header.total(), message.len());
        &message[5..]
    }

    #[test]
    fn round_trips() {
        let mut out = Vec::new();
        put_parameter(&mut out, b"TimeZone", b"UTC");
        assert_eq!(parameter(body(&out)), Ok((&b"TimeZone"[..], &b"UTC"[..])));
        out.clear();
        put_backend_key(&mut out, 42, &[9; 32]);
        assert_eq!(backend_key(body(&out)), Ok((42, &[9; 32][..])));
        assert_eq!(Transaction::parse(body(READY_IDLE)), Ok(Transaction::Idle));
    }

    #[test]
    fn rejects_what_no_server_sends() {
        assert_eq!(Transaction::parse(b"X"), Err(Malformed));
        assert_eq!(Transaction::parse(b""), Err(Malformed));
        assert_eq!(backend_key(&[0; 7]), Err(Malformed));
        assert_eq!(parameter(b"a\0b"), Err(Malformed));
    }
}
