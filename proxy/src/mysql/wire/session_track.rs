//! The blocks in which an OK packet says what changed in the session (protocol.md B.5; MySQL manual, "Session
//! State Information").

use super::lenenc::ReadLenenc;
use super::lenenc::put_lenenc;
use super::lenenc::put_lenenc_bytes;
use crate::wire::Malformed;
use crate::wire::Reader;

const SYSTEM_VARIABLES: u8 = 0;
const SCHEMA: u8 = 1;
const STATE_CHANGE: u8 = 2;
const TRANSACTION_CHARACTERISTICS: u8 = 4;
const TRANSACTION_STATE: u8 = 5;

/// One thing that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// What is not read here: GTIDs, and what later versions add. Type and data.
    Other(u8, &'a [u8]),
    /// The current database; empty: none.
    Schema(&'a [u8]),
    /// Something changed of which no details are told.
    State,
    /// Statements that would open the same transaction again.
    TransactionCharacteristics(&'a [u8]),
    /// Eight characters; see [`TransactionState`].
    TransactionState(TransactionState),
    /// A system variable has this value now.
    Variable {
        /// Its name.
        name: &'a [u8],
        /// Its value as text.
        value: &'a [u8],
    },
}

/// `TRANSACTION_STATE`'s eight characters, each its letter or `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionState(pub [u8; 8]);

impl TransactionState {
    /// Is a transaction open, by BEGIN (`T`) or by autocommit=0 (`I`)?
    pub fn is_open(self) -> bool {
        matches!(self.0, [b'T' | b'I', ..])
    }

    /// Are tables locked by LOCK TABLES?
    pub fn has_locked_tables(self) -> bool {
        matches!(self.0, [.., b'L'])
    }
}

/// Goes through the blocks of one OK packet. The first malformed one is the last.
#[derive(Debug, Clone)]
pub struct Changes<'a> {
    blocks: Reader<'a>,
    /// What is left of a block of variables: MariaDB puts several into one.
    variables: Reader<'a>,
}

impl<'a> Changes<'a> {
    /// Reads [`super::status::OkPacket::session_state`].
    pub fn new(session_state: &'a [u8]) -> Self {
        Self {
            blocks: Reader::new(session_state),
            variables: Reader::new(&[]),
        }
    }

    fn change(&mut self) -> Result<Option<Change<'a>>, Malformed> {
        if !self.variables.is_empty() {
            return self.variable().map(Some);
        }
        if self.blocks.is_empty() {
            return Ok(None);
        }
        let kind = self.blocks.u8()?;
        let data = self.blocks.lenenc_bytes()?;
        let mut reader = Reader::new(data);
        Ok(Some(match kind {
            SYSTEM_VARIABLES => {
                self.variables = reader;
                return self.variable().map(Some);
            }
            SCHEMA => Change::Schema(reader.lenenc_bytes()?),
            STATE_CHANGE => Change::State,
            TRANSACTION_CHARACTERISTICS => {
                Change::TransactionCharacteristics(reader.lenenc_bytes()?)
            }
            TRANSACTION_STATE => {
                let letters = reader.lenenc_bytes()?.try_into();
                Change::TransactionState(TransactionState(letters.map_err(|_| Malformed)?))
            }
            other => Change::Other(other, data),
        }))
    }

    fn variable(&mut self) -> Result<Change<'a>, Malformed> {
        Ok(Change::Variable {
            name: self.variables.lenenc_bytes()?,
            value: self.variables.lenenc_bytes()?,
        })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let change = self.change();
        if change.is_err() {
            *self = Self::new(&[]);
        }
        change.transpose()
    }
}

/// Appends one block.
pub fn put_change(out: &mut Vec<u8>, change: Change<'_>) {
    let mut data = Vec::new();
    let kind = match change {
        Change::Other(kind, other) => {
            data.extend_from_slice(other);
            kind
        }
        Change::Schema(name) => {
            put_lenenc_bytes(&mut data, name);
            SCHEMA
        }
        Change::State => {
            put_lenenc_bytes(&mut data, b"1");
            STATE_CHANGE
        }
        Change::TransactionCharacteristics(text) => {
            put_lenenc_bytes(&mut data, text);
            TRANSACTION_CHARACTERISTICS
        }
        Change::TransactionState(TransactionState(letters)) => {
            put_lenenc_bytes(&mut data, letters);
            TRANSACTION_STATE
        }
        Change::Variable { name, value } => {
            put_lenenc_bytes(&mut data, name);
            put_lenenc_bytes(&mut data, value);
            SYSTEM_VARIABLES
        }
    };
    out.push(kind);
    put_lenenc(out, data.len() as u64);
    out.extend_from_slice(&data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_round_trips() {
        let changes = [
            Change::Variable {
                name: b"character_set_client",
                value: b"utf8mb4",
            },
            Change::Schema(b""),
            Change::State,
            Change::Other(3, b"\0\x01x"),
            Change::TransactionCharacteristics(b"START TRANSACTION;"),
            Change::TransactionState(TransactionState(*b"T_____SL")),
        ];
        let mut out = Vec::new();
        for change in changes {
            put_change(&mut out, change);
        }
        let read: Result<Vec<_>, _> = Changes::new(&out).collect();
        assert_eq!(read.unwrap(), changes);
    }

    #[test]
    fn several_variables_in_one_block() {
        let block = b"\x00\x08\x01a\x011\x01b\x012";
        let read: Vec<_> = Changes::new(block).map(Result::unwrap).collect();
        let variable = |name, value| Change::Variable { name, value };
        assert_eq!(read, [variable(b"a", b"1"), variable(b"b", b"2")]);
    }

    #[test]
    fn a_malformed_block_is_told_once() {
        for bytes in [
            &b"\x01"[..],
            b"\x00\x02\x01a",
            b"\x05\x02\x01T",
            b"\x01\xfb",
        ] {
            let read: Vec<_> = Changes::new(bytes).collect();
            assert_eq!(read, [Err(Malformed)], "{bytes:?}");
        }
    }

    #[test]
    fn letters_of_the_transaction_state() {
        assert!(TransactionState(*b"T_______").is_open());
        assert!(TransactionState(*b"I_______").is_open());
        assert!(!TransactionState(*b"________").is_open());
        assert!(TransactionState(*b"_______L").has_locked_tables());
    }
}
