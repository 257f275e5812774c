//! The few statements a session-mode proxy must recognise before or after they run. Pure.
//!
//! `DROP DATABASE` and its like fail while anybody is connected to the database (SQLSTATE 55006, after 5 s), and an
//! idle pooled connection is somebody: it must be closed first (protocol.md A.9). `ALTER ROLE ... SET` and its like
//! change what a new session looks like: idle connections must not be lent to those that come after.

/// The part of a statement's text that is looked at, in bytes. All that matters stands at the beginning.
pub const HEAD_BYTES: usize = 1024;

/// The database that nobody may be connected to while this statement runs, if it is such a statement.
pub fn needs_database_free(text: &[u8]) -> Option<Vec<u8>> {
    // One comparison throws out almost everything.
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if !matches!(first, b'a' | b'A' | b'c' | b'C' | b'd' | b'D' | b'-' | b'/') {
        return None;
    }
    let mut tokens = Tokens { rest: text };
    let verb = tokens.next()?;
    if !tokens.next()?.is_word("database") {
        return None;
    }
    if verb.is_word("drop") {
        let name = tokens.next()?;
        if !name.is_word("if") {
            return Some(name.identifier());
        }
        tokens.next().filter(|token| token.is_word("exists"))?;
        return tokens.next().map(Token::identifier);
    }
    let name = tokens.next()?.identifier();
    if verb.is_word("alter") {
        let action = tokens.next()?;
        let moves = action.is_word("set") && tokens.next()?.is_word("tablespace");
        return (action.is_word("rename") || moves).then_some(name);
    }
    if !verb.is_word("create") {
        return None;
    }
    while let Some(token) = tokens.next() {
        if token.is_word("template") {
            let next = tokens.next()?;
            let template = if next == Token::Symbol(b'=') {
                tokens.next()?
            } else {
                next
            };
            return Some(template.identifier());
        }
    }
    Some(b"template1".to_vec())
}

/// Does this CommandComplete tag say that sessions opened from now on may look different?
#[inline]
pub fn changes_new_sessions(tag: &[u8]) -> bool {
    const TAGS: [&[u8]; 8] = [
        b"ALTER DATABASE\0",
        b"ALTER ROLE\0",
        b"ALTER SYSTEM\0",
        // A connection that fell back to the default database may now be in the wrong one.
        b"CREATE DATABASE\0",
        b"CREATE EXTENSION\0",
        b"DROP ROLE\0",
        b"GRANT ROLE\0",
        b"REVOKE ROLE\0",
    ];
    matches!(tag.first(), Some(b'A' | b'C' | b'D' | b'G' | b'R')) && TAGS.contains(&tag)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// Between double quotes, which are not included; a doubled quote inside is still doubled.
    Quoted(&'a [u8]),
    Symbol(u8),
    Word(&'a [u8]),
}

impl Token<'_> {
    fn is_word(self, word: &str) -> bool {
        matches!(self, Token::Word(text) if text.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The name it stands for: quoted as written, otherwise in lower case (manual, 4.1.1).
    fn identifier(self) -> Vec<u8> {
        match self {
            Token::Quoted(text) => {
                let mut name = Vec::with_capacity(text.len());
                let mut bytes = text.iter().copied().peekable();
                while let Some(byte) = bytes.next() {
                    if byte == b'"' {
                        bytes.next_if_eq(&b'"');
                    }
                    name.push(byte);
                }
                name
            }
            Token::Symbol(symbol) => vec![symbol],
            Token::Word(text) => text.to_ascii_lowercase(),
        }
    }
}

/// Words, quoted identifiers and symbols; white space and comments are passed over.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self
            .rest
            .iter()
            .position(|&byte| !keep(byte))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(|byte| byte.is_ascii_whitespace());
            if self.rest.starts_with(b"--") {
                self.take_while(|byte| byte != b'\n');
            } else if self.rest.starts_with(b"/*") {
                self.skip_block_comment();
            } else {
                return;
            }
        }
    }

    /// Block comments nest (manual, 4.1.5). One that does not end swallows the rest.
    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            self.rest = match self.rest {
                [b'/', b'*', rest @ ..] => {
                    depth += 1;
                    rest
                }
                [b'*', b'/', rest @ ..] => {
                    depth -= 1;
                    rest
                }
                [_, rest @ ..] => rest,
                [] => return,
            };
            if depth == 0 {
                return;
            }
        }
    }

    fn quoted(&mut self) -> Token<'a> {
        let text = self.rest;
        let mut end = 0;
        loop {
            match text.get(end..) {
                Some([b'"', b'"', ..]) => end += 2,
                Some([b'"', rest @ ..]) => {
                    self.rest = rest;
                    break;
                }
                Some([_, ..]) => end += 1,
                _ => {
                    self.rest = &[];
                    break;
                }
            }
        }
        Token::Quoted(text.get(..end).unwrap_or(text))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let (&first, rest) = self.rest.split_first()?;
        if first == b'"' {
            self.rest = rest;
            return Some(self.quoted());
        }
        let word = self.take_while(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
        });
        if word.is_empty() {
            self.rest = rest;
            return Some(Token::Symbol(first));
        }
        Some(Token::Word(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn freed(text: &str) -> Option<String> {
        needs_database_free(text.as_bytes()).map(|name| String::from_utf8(name).unwrap())
    }

    #[test]
    fn statements_that_need_a_database_free() {
        for (text, name) in [
            ("DROP DATABASE test_app", "test_app"),
            ("  drop database if exists Test_App;", "test_app"),
            ("DROP DATABASE \"Test \"\"App\" WITH (FORCE)", "Test \"App"),
            ("/* a /* nested */ b */ -- c\n DROP /**/ DATABASE x", "x"),
            ("ALTER DATABASE a RENAME TO b", "a"),
            ("ALTER DATABASE a SET TABLESPACE fast", "a"),
            ("CREATE DATABASE b TEMPLATE a", "a"),
            (
                "CREATE DATABASE b WITH ENCODING 'UTF8' TEMPLATE = \"A\"",
                "A",
            ),
            ("CREATE DATABASE b OWNER me", "template1"),
            ("DROP DATABASE größe", "größe"),
        ] {
            assert_eq!(freed(text).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn all_others_do_not() {
        for text in [
            "",
            "SELECT 1",
            "DROP TABLE database",
            "ALTER DATABASE a SET work_mem = '7MB'",
            "CREATE TABLE t (database text)",
            "COMMENT ON DATABASE a IS 'x'",
            "DELETE FROM x",
            "DROP DATABASE",
            "/* DROP DATABASE x",
            "-- DROP DATABASE x",
        ] {
            assert_eq!(freed(text), None, "{text}");
        }
    }

    #[test]
    fn tags_that_change_new_sessions() {
        assert!(changes_new_sessions(b"ALTER ROLE\0"));
        assert!(changes_new_sessions(b"ALTER DATABASE\0"));
        assert!(!changes_new_sessions(b"ALTER TABLE\0"));
        assert!(!changes_new_sessions(b"SELECT 1\0"));
        assert!(!changes_new_sessions(b""));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            needs_database_free(&text);
            let mut text = text;
            text.splice(0..0, *b"drop database ");
            needs_database_free(&text);
        }
    }
}
