//! The few statements a session-mode proxy must recognise before they run. Pure.
//!
//! `KILL` names a session by the id that its client was greeted with, and that is one of ours. `GRANT` and its like
//! change what a new session may do: a connection that was opened before must not be lent to those that come after.

/// The part of a statement's text that is looked at, in bytes. All that matters stands at the beginning.
pub const HEAD_BYTES: usize = 1024;

/// What a KILL ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The session.
    Connection,
    /// What it runs.
    Query,
}

/// A KILL of a session by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// The id, as the client's greeting told it.
    pub id: u32,
    /// What ends.
    pub scope: Scope,
}

/// `KILL [HARD | SOFT] [CONNECTION | QUERY [ID]] n`, and nothing else than a number. `QUERY ID` is another kind of
/// number (MariaDB manual, "KILL"), and `USER name` another kind of victim: both are left to the server.
pub fn kill(text: &[u8]) -> Option<Kill> {
    if !begins_like(text, b"kK") {
        return None;
    }
    let mut words = Words { rest: text };
    if !is(words.next()?, "kill") {
        return None;
    }
    let mut word = words.next()?;
    if is(word, "hard") || is(word, "soft") {
        word = words.next()?;
    }
    let mut scope = Scope::Connection;
    if is(word, "connection") || is(word, "query") {
        if is(word, "query") {
            scope = Scope::Query;
        }
        word = words.next()?;
    }
    let id = std::str::from_utf8(word).ok()?.parse().ok()?;
    let rest = words.find(|word| *word != b";");
    rest.is_none().then_some(Kill { id, scope })
}

/// May sessions opened after this statement look different from those opened before?
pub fn changes_new_sessions(text: &[u8]) -> bool {
    if !begins_like(text, b"aAdDfFgGrRsS") {
        return false;
    }
    let mut words = Words { rest: text };
    let Some(verb) = words.next() else {
        return false;
    };
    if is(verb, "grant") || is(verb, "revoke") {
        return true;
    }
    let object = words.next().unwrap_or_default();
    let about = |verbs: &[&str], objects: &[&str]| {
        verbs.iter().any(|word| is(verb, word)) && objects.iter().any(|word| is(object, word))
    };
    about(&["alter", "drop", "rename"], &["user"])
        || about(&["drop"], &["role"])
        || about(&["flush"], &["privileges"])
        || about(&["set"], &["default", "password", "global", "persist"])
        || (is(verb, "set")
            && object == b"@"
            && words.next() == Some(b"@")
            && words
                .next()
                .is_some_and(|scope| is(scope, "global") || is(scope, "persist")))
}

/// One comparison throws out almost everything. Comments may stand before anything.
fn begins_like(text: &[u8], letters: &[u8]) -> bool {
    text.iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|first| letters.contains(first) || matches!(first, b'/' | b'-' | b'#'))
}

fn is(word: &[u8], expected: &str) -> bool {
    word.eq_ignore_ascii_case(expected.as_bytes())
}

/// Words, numbers and single symbols; white space and comments are passed over. Quotes are symbols like others.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn skip_blank(&mut self) {
        loop {
            self.rest = self.rest.trim_ascii_start();
            let end = match self.rest {
                // "--" begins a comment only before white space (MySQL manual, "Comments").
                [b'#', ..] | [b'-', b'-', b' ' | b'\t' | b'\n' | b'\r', ..] => {
                    end_of(self.rest, b"\n")
                }
                // What "/*!" and "/*M!" enclose is run.
                [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => return,
                [b'/', b'*', ..] => end_of(self.rest, b"*/"),
                _ => return,
            };
            self.rest = self.rest.get(end..).unwrap_or_default();
        }
    }
}

/// Where the first `mark` behind the comment's beginning ends; the whole text where there is none.
fn end_of(text: &[u8], mark: &[u8]) -> usize {
    let body = text.get(2..).unwrap_or_default();
    let from = if mark.len() == 1 { text } else { body };
    let skipped = text.len() - from.len();
    from.windows(mark.len())
        .position(|window| window == mark)
        .map_or(text.len(), |at| skipped + at + mark.len())
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.skip_blank();
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'$';
        let length = self
            .rest
            .iter()
            .take_while(|byte| word(byte))
            .count()
            .max(1);
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kills_by_id() {
        let id = 0x4000_0007;
        for (text, scope) in [
            ("KILL 1073741831", Scope::Connection),
            ("kill query 1073741831;", Scope::Query),
            (" KILL CONNECTION\n1073741831 ; ", Scope::Connection),
            ("KILL SOFT QUERY 1073741831", Scope::Query),
            ("KILL HARD 1073741831", Scope::Connection),
            (
                "/* app */ -- why\n# or\nKILL/**/QUERY 1073741831",
                Scope::Query,
            ),
        ] {
            assert_eq!(kill(text.as_bytes()), Some(Kill { id, scope }), "{text}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_server() {
        for text in [
            "",
            "KILL",
            "KILL QUERY",
            "KILL QUERY ID 5",
            "KILL USER bob",
            "KILL @id",
            "KILL CONNECTION_ID()",
            "KILL 5 + 1",
            "KILL 5; SELECT 1",
            "KILL 99999999999",
            "KILL -1",
            "SELECT 'KILL 5'",
            "/*! KILL 5 */",
            "/* KILL 5",
            "-- KILL 5",
            "--KILL 5",
        ] {
            assert_eq!(kill(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn statements_after_which_sessions_differ() {
        for text in [
            "GRANT ALL ON *.* TO u",
            "revoke select on x from u",
            "ALTER USER u IDENTIFIED BY 'x'",
            "DROP USER u",
            "RENAME USER a TO b",
            "DROP ROLE r",
            "SET PASSWORD FOR u = 'x'",
            "SET DEFAULT ROLE r",
            "FLUSH PRIVILEGES",
            "SET GLOBAL max_allowed_packet = 1",
            "SET @@GLOBAL.init_connect = ''",
            "SET PERSIST x = 1",
        ] {
            assert!(changes_new_sessions(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "SET NAMES utf8mb4",
            "SET @x = 1",
            "SET @@session.sql_mode = ''",
            "ALTER TABLE user ADD x int",
            "DROP TABLE user",
            "FLUSH TABLES",
            "SELECT 'GRANT'",
            "DELETE FROM t",
        ] {
            assert!(!changes_new_sessions(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            kill(&text);
            changes_new_sessions(&text);
            kill(&[b"/*", &text[..]].concat());
            changes_new_sessions(&[b"SET ", &text[..]].concat());
        }
    }
}
