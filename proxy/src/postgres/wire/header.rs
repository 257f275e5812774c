//! The five bytes before every message: a tag and a length.

use crate::wire::Malformed;

/// Bytes of a tag and a length.
pub const HEADER_BYTES: usize = 5;

/// What stands before a message body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message type, an ASCII letter or digit.
    pub tag: u8,
    /// Bytes of the body: the length on the wire less the four of the length itself.
    pub body: usize,
}

impl Header {
    /// Bytes of the whole message.
    pub fn total(self) -> usize {
        HEADER_BYTES.saturating_add(self.body)
    }

    /// Reads a header; `None` means that more bytes are needed.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        // The server's own ceiling: PQ_LARGE_MESSAGE_LIMIT = MaxAllocSize - 1 (libpq/libpq.h, utils/memutils.h).
        if !(4..0x3fff_ffff).contains(&length) {
            return Err(Malformed);
        }
        Ok(Some(Self {
            tag,
            body: length as usize - 4,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_five_bytes_and_a_length_that_counts_itself() {
        let bytes = b"Z\0\0\0\x05I";
        for cut in 0..5 {
            assert_eq!(Header::parse(&bytes[..cut]), Ok(None));
        }
        assert_eq!(
            Header::parse(bytes),
            Ok(Some(Header { tag: b'Z', body: 1 }))
        );
        assert_eq!(Header::parse(b"Z\0\0\0\x03"), Err(Malformed));
        assert_eq!(Header::parse(b"Z\xff\xff\xff\xff"), Err(Malformed));
    }
}
