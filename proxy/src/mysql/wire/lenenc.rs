//! Length-encoded integers and strings (MySQL manual, "Integer Types", "String Types").

use crate::wire::Malformed;
use crate::wire::Reader;

/// Reads what MySQL encodes with a length in front.
pub trait ReadLenenc<'a> {
    /// A length-encoded integer. `FB` (NULL) and `FF` (an ERR packet) are none.
    fn lenenc(&mut self) -> Result<u64, Malformed>;

    /// A length-encoded string.
    fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed>;
}

impl<'a> ReadLenenc<'a> for Reader<'a> {
    fn lenenc(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            small @ 0..=0xfa => Ok(small.into()),
            0xfc => self.u16_le().map(u64::from),
            0xfd => self.u24_le().map(u64::from),
            0xfe => self.u64_le(),
            0xfb | 0xff => Err(Malformed),
        }
    }

    fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.lenenc()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }
}

/// Appends a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, value: u64) {
    let [a, b, c, ..] = value.to_le_bytes();
    match value {
        0..=0xfa => out.push(a),
        0xfb..=0xffff => out.extend_from_slice(&[0xfc, a, b]),
        0x1_0000..=0xff_ffff => out.extend_from_slice(&[0xfd, a, b, c]),
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends a length-encoded string.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    let text = text.as_ref();
    put_lenenc(out, text.len() as u64);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_one_three_four_or_nine_bytes() {
        for (value, length) in [
            (0, 1),
            (250, 1),
            (251, 3),
            (0xffff, 3),
            (0x1_0000, 4),
            (0xff_ffff, 4),
            (0x100_0000, 9),
            (u64::MAX, 9),
        ] {
            let mut out = Vec::new();
            put_lenenc(&mut out, value);
            assert_eq!(out.len(), length, "{value}");
            let mut reader = Reader::new(&out);
            assert_eq!(reader.lenenc(), Ok(value));
            assert!(reader.is_empty());
            assert_eq!(
                Reader::new(&out[..length - 1]).lenenc(),
                Err(Malformed),
                "{value} cut short"
            );
        }
    }

    #[test]
    fn null_and_err_are_no_integers() {
        assert_eq!(Reader::new(b"\xfb").lenenc(), Err(Malformed));
        assert_eq!(Reader::new(b"\xff").lenenc(), Err(Malformed));
    }

    #[test]
    fn strings() {
        let mut out = Vec::new();
        put_lenenc_bytes(&mut out, [7; 300]);
        assert_eq!(Reader::new(&out).lenenc_bytes(), Ok(&[7; 300][..]));
        assert_eq!(Reader::new(&out[..302]).lenenc_bytes(), Err(Malformed));
        assert_eq!(
            Reader::new(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff").lenenc_bytes(),
            Err(Malformed)
        );
    }
}
