//! Writing: lengths are filled in after the body.

/// Appends a four-byte big-endian length that counts itself, and the body that `write` appends.
/// (Postgres: "Int32 length of message contents in bytes, including self".)
pub fn length_prefixed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *place = length.to_be_bytes();
    }
}

/// Appends the text and a NUL. A NUL inside the text would end it early for the peer, so it is cut there.
pub fn put_cstr(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.extend(text.as_ref().iter().copied().take_while(|&byte| byte != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_itself_and_the_body() {
        let mut out = vec![b'Q'];
        length_prefixed(&mut out, |out| put_cstr(out, "x"));
        assert_eq!(out, b"Q\0\0\0\x06x\0");
    }

    #[test]
    fn text_is_cut_at_nul() {
        let mut out = Vec::new();
        put_cstr(&mut out, "a\0b");
        assert_eq!(out, b"a\0");
    }
}
