//! IAM's patterns: `*` is any run of characters, `?` is any one, `${*}` `${?}` `${$}` are those characters
//! themselves.

use anyhow::Result;
use anyhow::bail;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    AnyOne,
    AnyRun,
    Literal(char),
}

/// Refuses policy variables: the sandbox does not fill them in.
pub(super) fn check(pattern: &str) -> Result<()> {
    match pieces(pattern) {
        Some(_) => Ok(()),
        None => bail!("{pattern:?} has a policy variable that is not known to the sandbox"),
    }
}

/// Whether `value` is one of those that `pattern` means.
pub(super) fn like(pattern: &str, value: &str) -> bool {
    let Some(pieces) = pieces(pattern) else {
        return false;
    };
    let value: Vec<char> = value.chars().collect();
    let (mut at_piece, mut at_char) = (0, 0);
    // The last run seen, and how much of the value it has eaten: where to go on after a mismatch.
    let mut run: Option<(usize, usize)> = None;
    while let Some(found) = value.get(at_char) {
        match pieces.get(at_piece) {
            Some(Piece::AnyRun) => {
                run = Some((at_piece, at_char));
                at_piece += 1;
                continue;
            }
            Some(Piece::AnyOne) => {}
            Some(Piece::Literal(wanted)) if wanted == found => {}
            Some(Piece::Literal(_)) | None => {
                let Some((piece, eaten)) = run else {
                    return false;
                };
                run = Some((piece, eaten + 1));
                (at_piece, at_char) = (piece + 1, eaten + 1);
                continue;
            }
        }
        (at_piece, at_char) = (at_piece + 1, at_char + 1);
    }
    pieces
        .iter()
        .skip(at_piece)
        .all(|piece| *piece == Piece::AnyRun)
}

fn pieces(pattern: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        pieces.push(match next {
            '*' => Piece::AnyRun,
            '?' => Piece::AnyOne,
            '$' if rest.as_str().starts_with('{') => {
                let (name, after) = rest.as_str().get(1..)?.split_once('}')?;
                rest = after.chars();
                match name {
                    "*" => Piece::Literal('*'),
                    "?" => Piece::Literal('?'),
                    "$" => Piece::Literal('$'),
                    _ => return None,
                }
            }
            literal => Piece::Literal(literal),
        });
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_and_back_up() {
        for (pattern, value, wanted) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "a--b-b-c", true),
            ("a*b*c", "a--b-b-", false),
            ("*ab", "aab", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("ü*", "üß", true),
            (
                "project_path:acme/*:ref:main",
                "project_path:acme/a:b:ref:main",
                true,
            ),
        ] {
            assert_eq!(like(pattern, value), wanted, "{pattern} {value}");
        }
        let (pattern, value) = ("*a".repeat(40), "a".repeat(39) + "b");
        assert!(!like(&pattern, &value), "and it does so in polynomial time");
    }

    #[test]
    fn braces_take_the_meaning_away() {
        assert!(like("dbuser:*/a${*}b${?}${$}", "dbuser:db-1/a*b?$"));
        assert!(!like("a${*}b", "axb"));
        assert!(like("a$b", "a$b"));
        let error = check("arn:*/${aws:username}").unwrap_err().to_string();
        assert_eq!(
            error,
            "\"arn:*/${aws:username}\" has a policy variable that is not known to the sandbox"
        );
    }
}
