//! Database URLs: `postgres://[USER[:PASSWORD]@]HOST[:PORT][/DB][?KEY=VALUE...]`.
//!
//! A password may stand anywhere in a URL that is wrong, so no message here quotes any of it: even what looks
//! like a scheme is the rest of a password, where a space in one split it in two.

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use crate::address;
use crate::problem::Wrong;
use crate::suggest;
use crate::values::Endpoint;
use crate::values::Engine;

/// The parts of a database URL, decoded.
pub struct DatabaseUrl {
    /// From the scheme.
    pub engine: Engine,
    /// Host and port; the port defaults to the engine's.
    pub endpoint: Endpoint,
    /// Upstream user.
    pub user: Option<String>,
    /// Upstream password, whatever `auth` says of it.
    pub password: Option<SecretString>,
    /// Default database.
    pub database: Option<String>,
    /// Keys and values of the query, in order.
    pub query: Vec<(String, String)>,
}

const SCHEMES: [(&str, Engine); 4] = [
    ("postgres", Engine::Postgres),
    ("postgresql", Engine::Postgres),
    ("mysql", Engine::Mysql),
    ("mariadb", Engine::Mysql),
];

/// Reads a database URL.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<DatabaseUrl, Wrong> {
    let (engine, rest) = scheme(text)?;
    let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(authority_bytes).unwrap_or((rest, ""));
    if tail.contains('@') {
        return Err(Wrong::new("an `@` stands after the host").try_instead(
            "percent-encode special characters: @ as %40, / as %2F, ? as %3F, : as %3A, % as %25",
        ));
    }
    let (user_info, host) = match authority.rsplit_once('@') {
        Some((user_info, host)) => (Some(user_info), host),
        None => (None, authority),
    };
    let endpoint = address::endpoint(host, engine.default_port())?;
    let (user, password) = match user_info {
        Some(user_info) => credentials(user_info)?,
        None => (None, None),
    };
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let database = decode(path.strip_prefix('/').unwrap_or(path), "database")?;
    Ok(DatabaseUrl {
        engine,
        endpoint,
        user,
        password,
        database,
        query: pairs(query)?,
    })
}

fn scheme(text: &str) -> Result<(Engine, &str), Wrong> {
    let shape = "write postgres://[USER@]HOST[:PORT][/DB] or mysql://[USER@]HOST[:PORT][/DB]";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Wrong::new("is not a database URL").try_instead(shape));
    };
    let lower = scheme.to_ascii_lowercase();
    if let Some((_, engine)) = SCHEMES.iter().find(|(known, _)| *known == lower) {
        return Ok((*engine, rest));
    }
    let wrong = Wrong::new("its scheme is none of postgres, postgresql, mysql and mariadb");
    let word = lower.split('+').next().unwrap_or_default();
    Err(
        match suggest::nearest(word, SCHEMES.map(|(known, _)| known)) {
            Some(known) => wrong.try_instead(format!("did you mean `{known}://`?")),
            None => wrong.try_instead(shape),
        },
    )
}

fn credentials(user_info: &str) -> Result<(Option<String>, Option<SecretString>), Wrong> {
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (user, decode(password, "password")?),
        None => (user_info, None),
    };
    Ok((decode(user, "user")?, password.map(SecretString::from)))
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Wrong> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Wrong::new("the query holds a key without `=`")
                .try_instead("write ?KEY=VALUE&KEY=VALUE"));
        };
        let key = decode(key, "query")?.unwrap_or_default();
        pairs.push((key, decode(value, "query")?.unwrap_or_default()));
    }
    Ok(pairs)
}

/// Empty is none.
fn decode(text: &str, part: &str) -> Result<Option<String>, Wrong> {
    let bytes = text.as_bytes();
    let is_escape = |at: usize| {
        bytes
            .get(at..at + 3)
            .is_some_and(|escape| escape.iter().skip(1).all(u8::is_ascii_hexdigit))
    };
    let stray = bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'%' && !is_escape(at));
    if stray {
        return Err(Wrong::new(format!(
            "a `%` in the {part} is not followed by two hexadecimal digits"
        ))
        .try_instead("write %25 for a percent sign"));
    }
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| Wrong::new(format!("the {part} is not UTF-8 once percent-decoded")))?;
    if decoded.contains('\0') {
        return Err(Wrong::new(format!("the {part} holds a NUL")));
    }
    Ok(Some(decoded.into_owned()).filter(|decoded| !decoded.is_empty()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn every_part() {
        let url =
            parse("postgresql://ci%40app:p%2Fw:x@DB.example.com:6000/my%20db?mode=session&name=a")
                .ok()
                .unwrap();
        assert_eq!(
            (url.engine, url.endpoint.to_string()),
            (Engine::Postgres, "db.example.com:6000".to_owned())
        );
        assert_eq!(url.user.as_deref(), Some("ci@app"));
        assert_eq!(url.password.unwrap().expose_secret(), "p/w:x");
        assert_eq!(url.database.as_deref(), Some("my db"));
        assert_eq!(
            url.query,
            [
                ("mode".to_owned(), "session".to_owned()),
                ("name".to_owned(), "a".to_owned())
            ]
        );
    }

    #[test]
    fn the_least() {
        let url = parse("mariadb://[::1]").ok().unwrap();
        assert_eq!((url.engine, url.endpoint.port), (Engine::Mysql, 3306));
        assert!(
            url.user.is_none()
                && url.password.is_none()
                && url.database.is_none()
                && url.query.is_empty()
        );
    }

    #[test]
    fn an_at_sign_in_the_password_is_found() {
        let url = parse("postgres://u:a@b@host/db").ok().unwrap();
        assert_eq!(url.password.unwrap().expose_secret(), "a@b");
    }

    #[test]
    fn wrong_ones_quote_no_password() {
        for text in [
            "postgres://u:hunter2/x@host/db",
            "postgres://u:hunter2?x@host/db",
            "postgres://u:hunter2@ho st/db",
            "postgres://u:hunter2",
            "postgres://u:hunter2@host:port/db",
            "postgres://u:hunter2%@host/db",
            "postgres://u:%ffhunter2@host/db",
            "hunter2",
            "u:hunter2://x",
            "postgres://host/db?hunter2",
        ] {
            let wrong = parse(text).err().unwrap();
            assert!(
                !format!("{wrong:?}").contains("hunter2"),
                "{text}: {wrong:?}"
            );
        }
    }
}
