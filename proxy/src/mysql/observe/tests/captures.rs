//! What MariaDB 10.11 answered to every command; `captures/record.py` says how the files were made.

use std::fs;

use super::*;

/// One direction's bytes, and whether they are the client's.
type Said = (bool, Vec<u8>);

struct Capture {
    name: String,
    capabilities: Capabilities,
    said: Vec<Said>,
}

fn captures() -> Vec<Capture> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/mysql/captures");
    let mut captures: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "bin"))
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            let mut reader = Reader::new(&bytes);
            let capabilities =
                Capabilities::new(reader.u32_le().unwrap(), reader.u32_le().unwrap());
            let mut said = Vec::new();
            while !reader.is_empty() {
                let from_client = reader.u8().unwrap() == b'>';
                let length = reader.u32_le().unwrap() as usize;
                said.push((from_client, reader.take(length).unwrap().to_vec()));
            }
            Capture {
                name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
                capabilities,
                said,
            }
        })
        .collect();
    assert!(captures.len() > 40, "{} captures", captures.len());
    captures.sort_by(|a, b| a.name.cmp(&b.name));
    captures
}

impl Capture {
    /// Where the server stands when all is said.
    fn end(&self) -> Standing {
        let (conversation, _) = self.name.split_once('.').unwrap();
        match conversation {
            "transaction_open" => Standing::Ready(Transaction::Open),
            "query_error"
            | "query_error_behind_rows"
            | "multi_statement_error"
            | "failing_commands"
            | "field_list_error"
            | "load_local_error"
            | "prepared_error" => Standing::Ready(Transaction::Unknown),
            "binlog_dump" => Standing::Busy,
            _ => IDLE,
        }
    }

    fn streams(&self) -> bool {
        self.name.starts_with("binlog")
    }
}

/// Feeds bytes in pieces as the relay does: what is held comes again with the next piece before it, and once more
/// when the other side has spoken.
fn feed(observer: &mut Observer, from_client: bool, held: &mut Vec<u8>, piece: &[u8]) -> Vec<u8> {
    held.extend_from_slice(piece);
    let pass = if from_client {
        let seen = observer.client(held);
        assert_eq!((seen.drop, seen.asked), (0, Asked::Nothing));
        seen.pass
    } else {
        observer.server(held, &mut Told::default()).pass
    };
    held.drain(..pass).collect()
}

#[test]
fn the_server_is_ready_exactly_when_its_whole_answer_has_passed() {
    for capture in captures() {
        let mut observer = Observer::new(capture.capabilities);
        for (index, (from_client, bytes)) in capture.said.iter().enumerate() {
            let place = format!("{} [{index}]", capture.name);
            let mut held = Vec::new();
            for (at, byte) in bytes.iter().enumerate() {
                feed(&mut observer, *from_client, &mut held, &[*byte]);
                let last = at + 1 == bytes.len();
                if !from_client && !capture.streams() {
                    let busy = observer.standing() == Standing::Busy;
                    // Several answers in one piece: in between the server may look ready to a client in lock-step.
                    assert_eq!(busy, !last, "{place} byte {at}");
                }
            }
            assert!(held.is_empty(), "{place}: {held:?}");
            assert!(observer.client_message_complete(), "{place}");
        }
        assert_eq!(observer.standing(), capture.end(), "{}", capture.name);
    }
}

#[test]
fn a_conversation_cut_at_every_byte_means_the_same() {
    for capture in captures() {
        for (cut_index, (_, cut_bytes)) in capture.said.iter().enumerate() {
            for cut in 0..=cut_bytes.len() {
                let mut observer = Observer::new(capture.capabilities);
                for (index, (from_client, bytes)) in capture.said.iter().enumerate() {
                    let at = if index == cut_index { cut } else { 0 };
                    let (head, tail) = bytes.split_at(at);
                    let mut held = Vec::new();
                    let mut passed = feed(&mut observer, *from_client, &mut held, head);
                    passed.extend(feed(&mut observer, *from_client, &mut held, tail));
                    assert_eq!(&passed, bytes, "{} [{index}] cut at {cut}", capture.name);
                }
                assert_eq!(
                    observer.standing(),
                    capture.end(),
                    "{} [{cut_index}] cut at {cut}",
                    capture.name
                );
            }
        }
    }
}

#[test]
fn a_server_that_reads_a_file_says_so() {
    for flags in ["eof", "ok"] {
        let name = format!("load_local.{flags}");
        let captures = captures();
        let capture = captures.iter().find(|it| it.name == name).unwrap();
        let mut observer = Observer::new(capture.capabilities);
        let mut stood = Vec::new();
        for (from_client, bytes) in &capture.said {
            feed(&mut observer, *from_client, &mut Vec::new(), bytes);
            stood.push(observer.standing());
        }
        assert_eq!(
            stood[..5],
            [
                Standing::Busy,
                Standing::File,
                Standing::File,
                Standing::Busy,
                IDLE
            ]
        );
    }
}
