//! A checked cursor: the only way bytes from a peer are read.

use std::str;

/// The peer sent fewer bytes than the message needs, or bytes that cannot be what they claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

/// A cursor over a message body. Every getter is checked; nothing indexes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A big-endian `Int16` (Postgres).
    pub fn i16_be(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    /// A big-endian `Int32` (Postgres).
    pub fn i32_be(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// A big-endian unsigned 32-bit integer (Postgres).
    pub fn u32_be(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A little-endian unsigned 16-bit integer (MySQL).
    pub fn u16_le(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// A little-endian unsigned 24-bit integer (MySQL).
    pub fn u24_le(&mut self) -> Result<u32, Malformed> {
        self.array()
            .map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// A little-endian unsigned 32-bit integer (MySQL).
    pub fn u32_le(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// A little-endian unsigned 64-bit integer (MySQL).
    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes up to the next NUL, which is consumed and not returned.
    pub fn cstr(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(Malformed)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// A NUL-terminated string that must be UTF-8.
    pub fn cstr_utf8(&mut self) -> Result<&'a str, Malformed> {
        self.cstr()
            .and_then(|text| str::from_utf8(text).map_err(|_| Malformed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_stops_at_the_end() {
        let mut reader = Reader::new(b"\x00\x00\x01\x02user\0rest");
        assert_eq!(reader.i32_be(), Ok(258));
        assert_eq!(reader.cstr_utf8(), Ok("user"));
        assert_eq!(reader.take(4), Ok(&b"rest"[..]));
        assert!(reader.is_empty());
        assert_eq!(reader.u8(), Err(Malformed));
    }

    #[test]
    fn a_failed_read_consumes_nothing() {
        let mut reader = Reader::new(b"\x01\x02");
        assert_eq!(reader.i32_be(), Err(Malformed));
        assert_eq!(reader.cstr(), Err(Malformed));
        assert_eq!(reader.i16_be(), Ok(258));
    }

    #[test]
    fn little_endian_integers_of_every_width() {
        let mut reader = Reader::new(&[1, 2, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(reader.u16_le(), Ok(0x0201));
        assert_eq!(reader.u24_le(), Ok(0x03_0201));
        assert_eq!(reader.u32_le(), Ok(0x0403_0201));
        assert_eq!(reader.u64_le(), Ok(0x0807_0605_0403_0201));
        assert_eq!(reader.u16_le(), Err(Malformed));
    }

    #[test]
    fn text_must_be_utf8() {
        assert_eq!(Reader::new(b"\xff\0").cstr_utf8(), Err(Malformed));
    }
}
