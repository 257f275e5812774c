//! After any end of a client, at any byte, the next one gets a clean server (protocol.md E, 82; PgDog's drain chaos).
//!
//! The scripts are cut at random places from a fixed seed: each run does the same. A failure names the script and
//! the cut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation
)]

use std::io::Read;
use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::disconnect::assert_clean;
use crate::raw::Client;
use crate::raw::message;
use crate::scene;
use crate::scene::sandbox;

/// Cuts of each script; all scripts together take about ten seconds.
const CUTS: u64 = 12;
const SEED: u64 = 0x5eed_ca05;

/// xorshift64: the same numbers everywhere, for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

fn bind(portal: &str, name: &str) -> Vec<u8> {
    let mut body = format!("{portal}\0{name}\0").into_bytes();
    body.extend_from_slice(&[0; 6]);
    message(b'B', &body)
}

fn execute(portal: &str, rows: u32) -> Vec<u8> {
    let body = [portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat();
    message(b'E', &body)
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// What clients do, each a stream of whole messages.
fn scripts() -> Vec<(&'static str, Vec<u8>)> {
    let slow = [
        query("SELECT pg_sleep(0.05)"),
        query("BEGIN"),
        query("SELECT pg_sleep(1.5)"),
        query("COMMIT"),
    ];
    vec![
        ("a transaction with state of every kind", state()),
        ("pipelined statements with an error among them", pipeline()),
        ("a portal held open without a Sync", portal()),
        ("COPY in", copy_in()),
        ("COPY in by the extended protocol", copy_in_extended()),
        ("COPY out and much to read", copy_out()),
        ("a long statement with others behind it", slow.concat()),
    ]
}

const NUMBERS: &str = "SELECT n FROM generate_series(1, 5000) AS n";

fn state() -> Vec<u8> {
    [
        query("SET app.mark = 'chaos'; PREPARE chaos AS SELECT 1; LISTEN chaos"),
        query("SELECT pg_advisory_lock(815); CREATE TEMP TABLE chaos (n int)"),
        query("BEGIN; INSERT INTO chaos VALUES (1); SAVEPOINT chaos"),
        query("SELECT 1/0"),
        query("ROLLBACK TO chaos; DECLARE chaos CURSOR FOR SELECT 1"),
    ]
    .concat()
}

fn pipeline() -> Vec<u8> {
    [
        parse("a", NUMBERS),
        bind("", "a"),
        execute("", 0),
        parse("b", "SELECT 1/0"),
        bind("", "b"),
        execute("", 0),
        bind("", "a"),
        execute("", 0),
        sync(),
        bind("", "a"),
        execute("", 0),
        sync(),
        query(NUMBERS),
    ]
    .concat()
}

fn portal() -> Vec<u8> {
    [
        parse("", NUMBERS),
        bind("held", ""),
        execute("held", 10),
        flush(),
        execute("held", 10),
        flush(),
        message(b'D', b"Pheld\0"),
        execute("held", 10),
    ]
    .concat()
}

/// Fifty lines of COPY data.
fn rows() -> Vec<u8> {
    (0..50)
        .flat_map(|n| message(b'd', format!("{n}\n").as_bytes()))
        .collect()
}

fn copy_in() -> Vec<u8> {
    [
        query("CREATE TEMP TABLE rows (n int)"),
        query("COPY rows FROM STDIN"),
        rows(),
        message(b'c', b""),
        query("COPY rows FROM STDIN"),
        rows(),
        message(b'd', b"no number\n"),
        rows(),
        message(b'c', b""),
        query("COPY rows FROM STDIN"),
        rows(),
        message(b'f', b"given up\0"),
        query("SELECT count(*) FROM rows"),
    ]
    .concat()
}

fn copy_in_extended() -> Vec<u8> {
    [
        query("CREATE TEMP TABLE rows (n int)"),
        parse("", "COPY rows FROM STDIN"),
        bind("", ""),
        execute("", 0),
        rows(),
        message(b'c', b""),
        sync(),
        query(NUMBERS),
    ]
    .concat()
}

fn copy_out() -> Vec<u8> {
    [
        query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO STDOUT"),
        query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)"),
    ]
    .concat()
}

/// Sends the script up to `cut`, reads some of what comes, and leaves in one of four ways.
fn play(port: u16, script: &[u8], cut: usize, dice: &mut Dice) -> &'static str {
    let mut client = Client::connect(port, "app", "chaos");
    let tcp = client.stream.tcp().try_clone().unwrap();
    // Nobody reads while it sends, so neither may wait for ever: a full buffer is an end like any other.
    tcp.set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    tcp.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let _ = client.stream.write_all(&script[..cut]);
    let mut some = vec![0; 1 + dice.roll(4_000)];
    if dice.roll(2) == 0 {
        let _ = client.stream.read(&mut some);
    }
    match dice.roll(4) {
        0 => {
            client.reset();
            "reset"
        }
        1 => {
            client.vanish();
            "closed"
        }
        2 => {
            tcp.shutdown(std::net::Shutdown::Write).unwrap();
            drop(client);
            "half closed, then dropped"
        }
        _ => {
            client.send(b'X', b"");
            drop(client);
            "said goodbye"
        }
    }
}

#[test]
fn whatever_bytes_a_client_ends_with_the_next_one_gets_a_clean_server() {
    let sidecar = scene::sidecar(
        sandbox(),
        &["--max-connections", "1", "--connects-per-second", "1000"],
    );
    let port = sidecar.port();
    let mut dice = Dice(SEED);
    for (name, script) in scripts() {
        for _ in 0..CUTS {
            let cut = dice.roll(script.len() + 1);
            let way = play(port, &script, cut, &mut dice);
            let left = Instant::now();
            let outcome = std::panic::catch_unwind(|| assert_clean(port, "chaos"));
            if let Err(panic) = outcome {
                eprintln!("after {name:?} cut at {cut} of {} and {way}", script.len());
                std::panic::resume_unwind(panic);
            }
            assert!(
                left.elapsed() < Duration::from_secs(15),
                "{name:?} cut at {cut}, {way}: {:?}",
                left.elapsed()
            );
        }
    }
    let (lent, dials) = (
        scene::metric(&sidecar, "pool_leases_opened_total", ""),
        scene::metric(&sidecar, "pool_dials_total", ""),
    );
    assert!(
        dials * 2 < lent,
        "most servers are lent again: {dials} logins for {lent} sessions"
    );
}
