//! The four bytes before every packet, and payloads of 16 MiB and more (MySQL manual, "MySQL Packets").
//!
//! A payload of 2^24-1 bytes or more travels as several packets; the last of them is shorter, and empty where the
//! length is a multiple of 2^24-1. Only the first one's first byte means anything.

/// Bytes of a length and a sequence number.
pub const HEADER_BYTES: usize = 4;
/// The most one packet carries. A packet this long is continued in the next one.
pub const PAYLOAD_MAX: usize = 0xff_ffff;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload in this packet.
    pub payload: usize,
    /// Counts the packets of one command, both directions; wraps.
    pub sequence: u8,
}

impl Header {
    /// Reads a header; `None` means that more bytes are needed. Any four bytes are a header.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, sequence] = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            payload: u32::from_le_bytes([a, b, c, 0]) as usize,
            sequence,
        })
    }

    /// Bytes of header and payload.
    pub fn total(self) -> usize {
        HEADER_BYTES + self.payload
    }

    /// Is the payload continued in the next packet?
    pub fn is_continued(self) -> bool {
        self.payload == PAYLOAD_MAX
    }
}

/// Appends the payload that `write` appends, as one packet or as many as it takes. Returns the sequence number of
/// the packet that would follow.
pub fn put_packet(out: &mut Vec<u8>, sequence: u8, write: impl FnOnce(&mut Vec<u8>)) -> u8 {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    write(out);
    let payload = out.len() - start - HEADER_BYTES;
    if payload >= PAYLOAD_MAX {
        let whole = out.split_off(start + HEADER_BYTES);
        out.truncate(start);
        return put_split(out, sequence, &whole);
    }
    if let Some(place) = out
        .get_mut(start..)
        .and_then(<[u8]>::first_chunk_mut::<HEADER_BYTES>)
    {
        *place = header_bytes(payload, sequence);
    }
    sequence.wrapping_add(1)
}

fn put_split(out: &mut Vec<u8>, mut sequence: u8, payload: &[u8]) -> u8 {
    let pieces = payload.chunks(PAYLOAD_MAX);
    let ends_full = payload.len().is_multiple_of(PAYLOAD_MAX);
    for piece in pieces.chain(ends_full.then_some(&[][..])) {
        out.extend_from_slice(&header_bytes(piece.len(), sequence));
        out.extend_from_slice(piece);
        sequence = sequence.wrapping_add(1);
    }
    sequence
}

fn header_bytes(payload: usize, sequence: u8) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(payload).unwrap_or(u32::MAX);
    let [a, b, c, _] = length.to_le_bytes();
    [a, b, c, sequence]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(mut bytes: &[u8]) -> Vec<(usize, u8)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let header = Header::parse(bytes).unwrap();
            found.push((header.payload, header.sequence));
            bytes = &bytes[header.total()..];
        }
        found
    }

    #[test]
    fn a_packet_is_length_sequence_payload() {
        let mut out = vec![9];
        let next = put_packet(&mut out, 3, |out| out.extend_from_slice(b"\x0e"));
        assert_eq!((out, next), (b"\x09\x01\0\0\x03\x0e".to_vec(), 4));
        assert_eq!(Header::parse(b"\x01\0\0"), None);
    }

    #[test]
    fn long_payloads_are_split_and_full_ones_end_with_an_empty_packet() {
        for (length, expected) in [
            (PAYLOAD_MAX - 1, vec![(PAYLOAD_MAX - 1, 254)]),
            (PAYLOAD_MAX, vec![(PAYLOAD_MAX, 254), (0, 255)]),
            (PAYLOAD_MAX + 1, vec![(PAYLOAD_MAX, 254), (1, 255)]),
            (
                2 * PAYLOAD_MAX,
                vec![(PAYLOAD_MAX, 254), (PAYLOAD_MAX, 255), (0, 0)],
            ),
        ] {
            let mut out = Vec::new();
            let next = put_packet(&mut out, 254, |out| out.resize(out.len() + length, 7));
            assert_eq!(headers(&out), expected, "{length}");
            assert_eq!(next, expected.last().unwrap().1.wrapping_add(1), "{length}");
        }
    }
}
