//! Rows and values of any size pass in bounded memory, at the speed of the slower side (protocol.md E, 40 and 41).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::io::Read;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rds_sandbox::Sidecar;

use crate::raw::Client;
use crate::raw::message;
use crate::scene;
use crate::scene::sandbox;

/// The promise of the README.
const RSS_KIB_MAX: u64 = 64 * 1024;
const GIGABYTE: usize = 1_000_000_000;
/// PostgreSQL's own limit of a value is 1 GiB, and `repeat` of a bytea takes it twice.
const VALUE_BYTES: usize = 500_000_000;

/// The greatest resident memory while `work` ran, by `/proc`'s own record and by looking on.
fn peak_during(sidecar: &Sidecar, work: impl FnOnce()) -> u64 {
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let watch = threads.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(sidecar.rss_kib().unwrap());
                std::thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        let outcome = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let peak = watch.join().unwrap();
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
        peak.max(sidecar.peak_rss_kib().unwrap())
    })
}

fn assert_bounded(sidecar: &Sidecar, what: &str, work: impl FnOnce()) {
    let peak = peak_during(sidecar, work);
    assert!(peak < RSS_KIB_MAX, "{what}: {peak} KiB");
}

/// Reads `count` bytes and keeps none of them.
fn swallow(from: &mut impl Read, count: usize) {
    let mut buffer = vec![0; 256 * 1024];
    let mut left = count;
    while left > 0 {
        let part = left.min(buffer.len());
        let read = from.read(&mut buffer[..part]).unwrap();
        assert!(read > 0, "the connection ended with {left} bytes to come");
        left -= read;
    }
}

/// The length of the next message of this tag, whose body is still to be read.
fn announced(client: &mut Client, wanted: u8) -> usize {
    let mut header = [0; 5];
    client.stream.read_exact(&mut header).unwrap();
    assert_eq!(char::from(header[0]), char::from(wanted));
    u32::from_be_bytes(header[1..].try_into().unwrap()) as usize - 4
}

#[test]
fn a_gigabyte_of_copy_passes_out_and_in() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let mut client = Client::connect(sidecar.port(), "app", "copy_gigabyte");
    assert_bounded(&sidecar, "COPY out", || {
        client.ask("COPY (SELECT repeat('x', 9999) FROM generate_series(1, 100000)) TO STDOUT");
        client.skip_to(b'H');
        let mut bytes = 0;
        loop {
            let mut header = [0; 5];
            client.stream.read_exact(&mut header).unwrap();
            let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize - 4;
            swallow(&mut client.stream, length);
            if header[0] != b'd' {
                assert_eq!(header[0], b'c');
                break;
            }
            bytes += length;
        }
        assert_eq!(bytes, GIGABYTE);
        assert_eq!(client.answer().tags, ["COPY 100000"]);
    });
    client.run("CREATE UNLOGGED TABLE gigabyte (line text)");
    // Rows are read and thrown away: what is measured is the sidecar, not the disk.
    client.run(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    );
    client.run(
        "CREATE TRIGGER nothing BEFORE INSERT ON gigabyte FOR EACH ROW EXECUTE FUNCTION nothing()",
    );
    assert_bounded(&sidecar, "COPY in", || {
        client.ask("COPY gigabyte FROM STDIN");
        client.skip_to(b'G');
        let lines = [&[b'x'; 9_999][..], b"\n"].concat().repeat(10);
        let data = message(b'd', &lines);
        for _ in 0..GIGABYTE / lines.len() {
            client.stream.write_all(&data).unwrap();
        }
        client.send(b'c', b"");
        let answer = client.answer();
        assert!(answer.error.is_none(), "{answer:?}");
        assert_eq!(answer.status, Some('I'));
    });
    client.run("DROP TABLE gigabyte");
    client.run("DROP FUNCTION nothing");
}

#[test]
fn a_value_of_half_a_gigabyte_passes_both_ways() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let mut client = Client::connect(sidecar.port(), "app", "half_a_gigabyte");
    // Text comes out as it is; a bytea's text form is twice as long, so it goes in binary below.
    assert_bounded(&sidecar, "a parameter and a result in one", || {
        let bind = bind_bytea();
        client
            .stream
            .write_all(&message(b'P', b"\0SELECT $1::bytea\0\0\0"))
            .unwrap();
        client.stream.write_all(&bind).unwrap();
        let zeros = vec![0; 1_000_000];
        for _ in 0..VALUE_BYTES / zeros.len() {
            client.stream.write_all(&zeros).unwrap();
        }
        // One result column, in binary.
        client.stream.write_all(&[0, 1, 0, 1]).unwrap();
        client
            .stream
            .write_all(&message(b'E', b"\0\0\0\0\0"))
            .unwrap();
        client.send(b'S', b"");
        client.skip_to(b'2');
        let row = announced(&mut client, b'D');
        assert_eq!(row, 2 + 4 + VALUE_BYTES);
        swallow(&mut client.stream, row);
        assert_eq!(client.answer().tags, ["SELECT 1"]);
    });
}

/// The beginning of a Bind with one binary parameter of [`VALUE_BYTES`]; four bytes of result formats follow it.
fn bind_bytea() -> Vec<u8> {
    let value = u32::try_from(VALUE_BYTES).unwrap();
    let mut body = b"\0\0".to_vec();
    body.extend_from_slice(&[0, 1, 0, 1, 0, 1]);
    body.extend_from_slice(&value.to_be_bytes());
    let length = u32::try_from(4 + body.len() + VALUE_BYTES + 4).unwrap();
    [&b"B"[..], &length.to_be_bytes(), &body].concat()
}

#[test]
fn a_slow_reader_holds_the_server_back() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let mut watcher = Client::connect(sidecar.port(), "app", "slow_watcher");
    let mut slow = Client::connect(sidecar.port(), "app", "slow_reader");
    let sent = "SELECT wait_event FROM pg_stat_activity WHERE application_name = 'slow_reader'";
    assert_bounded(&sidecar, "nobody reads", || {
        slow.ask("SELECT repeat('x', 1000000) FROM generate_series(1, 300)");
        scene::until(Duration::from_secs(20), "the server waits", || {
            watcher.value(sent) == "ClientWrite"
        });
        // It still waits, and others are served meanwhile.
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(10));
            assert_eq!(watcher.value(sent), "ClientWrite");
        }
    });
    assert_bounded(&sidecar, "then all is read", || {
        let answer = slow.answer();
        assert_eq!(answer.rows.len(), 300);
        assert!(answer.rows.iter().all(|row| row[0].len() == 1_000_000));
    });
}

#[test]
fn a_slow_server_holds_the_client_back() {
    let sidecar = scene::sidecar(sandbox(), &[]);
    let mut client = Client::connect(sidecar.port(), "app", "slow_server");
    client.run("CREATE TEMP TABLE slow (line text)");
    client.run(
        "CREATE FUNCTION pg_temp.slowly() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(CASE WHEN NEW.line = ''first'' THEN 1 ELSE 0 END); RETURN NULL; END'",
    );
    client.run(
        "CREATE TRIGGER slowly BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION pg_temp.slowly()",
    );
    assert_bounded(&sidecar, "the server does not read", || {
        client.ask("COPY slow FROM STDIN");
        client.skip_to(b'G');
        client.send(b'd', b"first\n");
        let data = message(b'd', &[&[b'x'; 99_999][..], b"\n"].concat());
        for _ in 0..1_000 {
            client.stream.write_all(&data).unwrap();
        }
        client.send(b'c', b"");
        assert_eq!(client.answer().tags, ["COPY 0"]);
    });
}
