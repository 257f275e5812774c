//! ErrorResponse and NoticeResponse (manual, "Error and Notice Message Fields").

use crate::fault::ClientError;
use crate::wire::Malformed;
use crate::wire::Reader;
use crate::wire::length_prefixed;
use crate::wire::put_cstr;

/// How bad it is. `Fatal` when the connection closes afterwards, `Error` otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
    /// Nothing failed; sent as NoticeResponse.
    Notice,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
        }
    }
}

/// What a server said: the fields a proxy cares about. The rest (file, line, routine) is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notice {
    /// `S`, not localized where the server sends `V`.
    pub severity: String,
    /// `C`.
    pub sqlstate: String,
    /// `M`.
    pub message: String,
    /// `D`.
    pub detail: Option<String>,
    /// `H`.
    pub hint: Option<String>,
}

impl Notice {
    /// Reads the body of an ErrorResponse or NoticeResponse. Text that is not UTF-8 is shown with replacement marks.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut notice = Self::default();
        loop {
            let field = reader.u8()?;
            if field == 0 {
                return Ok(notice);
            }
            let text = String::from_utf8_lossy(reader.cstr()?);
            match field {
                b'S' if notice.severity.is_empty() => notice.severity = text.into_owned(),
                b'V' => notice.severity = text.into_owned(),
                b'C' => notice.sqlstate = text.into_owned(),
                b'M' => notice.message = text.into_owned(),
                b'D' => notice.detail = Some(text.into_owned()),
                b'H' => notice.hint = Some(text.into_owned()),
                _ => {}
            }
        }
    }
}

/// Appends an ErrorResponse (or, for [`Severity::Notice`], a NoticeResponse) with S, V, C, M and, where given, D and H.
pub fn put_error(out: &mut Vec<u8>, severity: Severity, error: &ClientError) {
    out.push(if severity == Severity::Notice {
        b'N'
    } else {
        b'E'
    });
    length_prefixed(out, |out| {
        let mut field = |code: u8, text: &str| {
            out.push(code);
            put_cstr(out, text);
        };
        field(b'S', severity.text());
        field(b'V', severity.text());
        field(b'C', &error.sqlstate);
        field(b'M', &error.message);
        if let Some(detail) = &error.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &error.hint {
            field(b'H', hint);
        }
        out.push(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_we_can_read() {
        let error = ClientError {
            sqlstate: "53300".into(),
            message: "no room".into(),
            detail: None,
            hint: Some("wait".into()),
        };
        let mut out = Vec::new();
        put_error(&mut out, Severity::Fatal, &error);
        assert_eq!(out[0], b'E');
        let notice = Notice::parse(&out[5..]).unwrap();
        assert_eq!(
            (notice.severity.as_str(), notice.sqlstate.as_str()),
            ("FATAL", "53300")
        );
        assert_eq!(
            (
                notice.message.as_str(),
                notice.detail,
                notice.hint.as_deref()
            ),
            ("no room", None, Some("wait"))
        );
    }

    /// Captured from PostgreSQL 15.20 (Debian 12), `psql -d nowhere`.
    #[test]
    fn reads_a_real_server_cut_at_every_byte() {
        let body = b"SFATAL\0VFATAL\0C3D000\0Mdatabase \"nowhere\" does not exist\0Fpostinit.c\0L941\0RInitPostgres\0\0";
        let notice = Notice::parse(body).unwrap();
        assert_eq!(
            (notice.sqlstate.as_str(), notice.message.as_str()),
            ("3D000", "database \"nowhere\" does not exist")
        );
        for cut in 0..body.len() {
            assert_eq!(Notice::parse(&body[..cut]), Err(Malformed), "cut at {cut}");
        }
    }
}
