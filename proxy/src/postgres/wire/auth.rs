//! Authentication messages of both directions.

use crate::wire::Malformed;
use crate::wire::Reader;
use crate::wire::length_prefixed;
use crate::wire::put_cstr;

/// AuthenticationOk.
pub const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";

/// What the server asks for (manual, "Message Formats", `Authentication...`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// A password in clear text.
    CleartextPassword,
    /// An MD5 of password, user and this salt.
    Md5Password([u8; 4]),
    /// Nothing more.
    Ok,
    /// Something else, by its code: Kerberos 2, SCM 6, GSS 7 and 8, SSPI 9.
    Other(u32),
    /// SASL; the mechanisms offered.
    Sasl(Vec<&'a str>),
    /// SASL data.
    SaslContinue(&'a [u8]),
    /// SASL outcome.
    SaslFinal(&'a [u8]),
}

impl<'a> Request<'a> {
    /// Reads the body of an `R` message.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        Ok(match reader.u32_be()? {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => Self::Md5Password(reader.array()?),
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    match reader.cstr_utf8()? {
                        "" => break Self::Sasl(mechanisms),
                        mechanism => mechanisms.push(mechanism),
                    }
                }
            }
            11 => Self::SaslContinue(reader.rest()),
            12 => Self::SaslFinal(reader.rest()),
            code => Self::Other(code),
        })
    }
}

/// Appends an `R` message with SASL mechanisms.
pub fn put_sasl(out: &mut Vec<u8>, mechanism: &str) {
    out.push(b'R');
    length_prefixed(out, |out| {
        out.extend_from_slice(&10_u32.to_be_bytes());
        put_cstr(out, mechanism);
        out.push(0);
    });
}

/// Appends an `R` message with SASL data, the last one or not.
pub fn put_sasl_data(out: &mut Vec<u8>, last: bool, data: &[u8]) {
    out.push(b'R');
    length_prefixed(out, |out| {
        out.extend_from_slice(&(if last { 12_u32 } else { 11 }).to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// Appends a PasswordMessage.
pub fn put_password(out: &mut Vec<u8>, password: &[u8]) {
    out.push(b'p');
    length_prefixed(out, |out| put_cstr(out, password));
}

/// Appends a SASLInitialResponse.
pub fn put_sasl_initial(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    out.push(b'p');
    length_prefixed(out, |out| {
        put_cstr(out, mechanism);
        out.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// Appends a SASLResponse.
pub fn put_sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    out.push(b'p');
    length_prefixed(out, |out| out.extend_from_slice(data));
}

/// Reads the body of a SASLInitialResponse: mechanism and data.
pub fn sasl_initial(body: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let mut reader = Reader::new(body);
    let mechanism = reader.cstr_utf8()?;
    let length = usize::try_from(reader.i32_be()?).map_err(|_| Malformed)?;
    let data = reader.take(length)?;
    if reader.is_empty() {
        Ok((mechanism, data))
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(Request::parse(&AUTHENTICATION_OK[5..]), Ok(Request::Ok));
        assert_eq!(
            Request::parse(b"\0\0\0\x03"),
            Ok(Request::CleartextPassword)
        );
        assert_eq!(
            Request::parse(b"\0\0\0\x05salt"),
            Ok(Request::Md5Password(*b"salt"))
        );
        assert_eq!(Request::parse(b"\0\0\0\x05sal"), Err(Malformed));
        assert_eq!(
            Request::parse(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
            Ok(Request::Sasl(vec!["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]))
        );
        assert_eq!(Request::parse(b"\0\0\0\x0aSCRAM-SHA-256\0"), Err(Malformed));
        assert_eq!(Request::parse(b"\0\0\0\x07"), Ok(Request::Other(7)));
    }

    #[test]
    fn initial_response_round_trip() {
        let mut out = Vec::new();
        put_sasl_initial(&mut out, "SCRAM-SHA-256", b"n,,n=,r=abc");
        assert_eq!(
            sasl_initial(&out[5..]),
            Ok(("SCRAM-SHA-256", &b"n,,n=,r=abc"[..]))
        );
        assert_eq!(sasl_initial(&out[5..out.len() - 1]), Err(Malformed));
    }
}
