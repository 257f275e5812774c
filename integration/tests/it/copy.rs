//! COPY in both directions, and what is too big for any buffer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use rds_sandbox::Sidecar;

use crate::session::Session;
use crate::session::same_answers;
use crate::support::World;
use crate::support::sidecar;
use crate::support::world;
use crate::wire::bind;
use crate::wire::copy_data;
use crate::wire::copy_done;
use crate::wire::copy_fail;
use crate::wire::execute;
use crate::wire::flush;
use crate::wire::message;
use crate::wire::parse;
use crate::wire::query;
use crate::wire::sync;
use crate::wire::terminate;

const COPY: &str = "COPY t FROM STDIN";
const MEGABYTE: usize = 1_000_000;
/// What a sidecar may hold, whatever passes through: itself, and a few buffers per connection.
const RSS_KIB_MAX: u64 = 64 * 1024;

/// What it is called, the messages that leave the server reading rows, the messages after the last row.
type Way = (&'static str, Vec<Vec<u8>>, Vec<Vec<u8>>);

/// How a COPY is asked for.
fn ways() -> Vec<Way> {
    let run = |name: &str| vec![bind("", name, &[]), execute("", 0)];
    let extended = [vec![parse("", COPY)], run("")].concat();
    let prepared = [vec![parse("c", COPY), sync()], run("c")].concat();
    vec![
        ("simple", vec![query(COPY)], vec![]),
        (
            "extended",
            [&extended[..], &[flush()]].concat(),
            vec![sync()],
        ),
        // As libpq does: the first Sync is read in copy mode and ignored.
        (
            "extended, synced early",
            [&extended[..], &[sync()]].concat(),
            vec![sync()],
        ),
        (
            "prepared",
            [&prepared[..], &[sync()]].concat(),
            vec![sync()],
        ),
    ]
}

/// How the rows end.
fn endings() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let (good, bad) = (copy_data("1\n2\n"), copy_data("1\nno number\n"));
    vec![
        ("success", vec![good.clone(), copy_done()]),
        ("no rows", vec![copy_done()]),
        (
            "a bad row, then more",
            vec![bad.clone(), good.clone(), good.clone(), copy_done()],
        ),
        (
            "a bad last row",
            vec![good.clone(), bad.clone(), copy_done()],
        ),
        ("a row too short", vec![copy_data("1\t2\n"), copy_done()]),
        ("given up", vec![good, copy_fail("the client gave up")]),
        (
            "given up after a bad row",
            vec![bad, copy_fail("the client gave up")],
        ),
        (
            "end of data inside",
            vec![copy_data("1\n\\.\n"), copy_done()],
        ),
    ]
}

fn copy_in(session: &mut Session, ask: &[Vec<u8>], rows: &[Vec<u8>], end: &[Vec<u8>]) {
    session.send(ask);
    session.until(b'G');
    session.send(rows);
    session.send(end);
    session.ready();
}

#[test]
fn copy_in_of_every_kind() {
    for (_, ask, end) in ways() {
        same_answers(|session| {
            session.query("CREATE TEMP TABLE t (i int)");
            for (ending, rows) in endings() {
                copy_in(session, &ask, &rows, &end);
                session.query(&format!(
                    "SELECT '{ending}', count(*) FROM t; TRUNCATE t; DEALLOCATE ALL"
                ));
                session.query("BEGIN; INSERT INTO t VALUES (0)");
                copy_in(session, &ask, &rows, &end);
                session.query("SELECT count(*) FROM t");
                session.query("COMMIT");
                session.query("SELECT count(*) FROM t; TRUNCATE t; DEALLOCATE ALL");
            }
        });
    }
}

#[test]
fn everything_in_one_packet() {
    for (_, ask, end) in ways() {
        same_answers(|session| {
            session.query("CREATE TEMP TABLE t (i int)");
            for (_, rows) in endings() {
                session.send(&[&ask[..], &rows, &end, &[query("SELECT count(*) FROM t")]].concat());
                let mut seen = Vec::new();
                while !seen.contains(&b'D') {
                    seen.extend(session.ready().iter().map(|message| message.tag));
                }
                session.query("DEALLOCATE ALL");
            }
        });
    }
}

#[test]
fn the_connection_is_free_again_after_every_copy() {
    let sidecar = sidecar(
        &world().sandbox,
        &["max_connections=1", "checkout_timeout=10s"],
        &[],
    );
    let mut pids = Vec::new();
    for (way, ask, end) in ways() {
        for (ending, rows) in endings() {
            let mut session = Session::open(sidecar.port(), World::PARAMETERS);
            session.query("CREATE TEMP TABLE t (i int)");
            copy_in(&mut session, &ask, &rows, &end);
            session.send(&[terminate()]);
            pids.push((session.pid, way, ending));
        }
    }
    let first = pids[0].0;
    let others: Vec<_> = pids.iter().filter(|(pid, ..)| *pid != first).collect();
    assert!(
        others.is_empty(),
        "closed instead of reused before: {others:?}"
    );
}

#[test]
fn a_client_that_leaves_before_it_is_asked_for_rows() {
    let sidecar = sidecar(
        &world().sandbox,
        &["max_connections=1", "checkout_timeout=5s"],
        &[],
    );
    let mut pids = std::collections::HashSet::new();
    for (_, ask, _) in ways() {
        for goodbye in [vec![terminate()], vec![]] {
            let mut session = Session::open(sidecar.port(), World::PARAMETERS);
            session.query("CREATE TEMP TABLE t (i int)");
            session.send(&[&ask[..], &goodbye].concat());
            pids.insert(session.pid);
        }
    }
    assert_eq!(pids.len(), 1, "closed instead of reused");
}

#[test]
fn copy_out() {
    same_answers(|session| {
        session.query(
            "CREATE TEMP TABLE t AS SELECT i, repeat('x', i % 50) FROM generate_series(1, 5000) i",
        );
        session.query("COPY t TO STDOUT");
        session.query(
            "COPY t TO STDOUT (FORMAT binary); COPY (SELECT 1 WHERE false) TO STDOUT; SELECT 1",
        );
        session.query("COPY (SELECT 1 / (3 - i) FROM generate_series(1, 5) i) TO STDOUT");
        session.send(&[
            parse("", "COPY t TO STDOUT"),
            bind("", "", &[]),
            execute("", 0),
            parse("", "SELECT 1"),
            bind("", "", &[]),
            execute("", 0),
            sync(),
        ]);
        session.ready();
    });
}

#[test]
fn notices_come_between_the_rows_they_belong_to() {
    same_answers(|session| {
        session.query(
            "CREATE OR REPLACE FUNCTION loud_in_copy(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'at %', i; \
             RETURN i; END $$",
        );
        let told =
            session.query("COPY (SELECT loud_in_copy(i) FROM generate_series(1, 3) i) TO STDOUT");
        let tags: String = told.iter().map(|message| message.tag as char).collect();
        assert_eq!(tags, "HNdNdNdcCZ");
    });
}

fn own_sidecar() -> Sidecar {
    sidecar(&world().sandbox, &["max_connections=2"], &[])
}

fn assert_small(sidecar: &Sidecar) {
    let peak = sidecar.peak_rss_kib().unwrap();
    assert!(peak < RSS_KIB_MAX, "{peak} KiB at its peak");
}

#[test]
fn copy_out_streams() {
    let sidecar = own_sidecar();
    let mut session = Session::open(sidecar.port(), World::PARAMETERS);
    session.send(&[query(
        "COPY (SELECT repeat('x', 999999) FROM generate_series(1, 300)) TO STDOUT",
    )]);
    let (mut bytes, mut message) = (0, session.wire.receive().unwrap());
    while message.tag != b'Z' {
        bytes += if message.tag == b'd' {
            message.body.len()
        } else {
            0
        };
        message = session.wire.receive().unwrap();
    }
    assert_eq!(bytes, 300 * MEGABYTE);
    assert_small(&sidecar);
}

#[test]
fn copy_in_streams() {
    let sidecar = own_sidecar();
    let mut session = Session::open(sidecar.port(), World::PARAMETERS);
    session.query("CREATE TEMP TABLE t (x text); ALTER TABLE t ALTER x SET STORAGE EXTERNAL");
    session.query("CREATE TEMP TABLE lengths (n int)");
    // Rows are counted, not stored: the disk is not what is tested.
    session.query(
        "CREATE FUNCTION pg_temp.count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO lengths VALUES \
         (length(NEW.x)); RETURN NULL; END $$; \
         CREATE TRIGGER count BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pg_temp.count()",
    );
    session.send(&[query("COPY t FROM STDIN")]);
    session.until(b'G');
    let row = copy_data(&format!("{}\n", "y".repeat(MEGABYTE)));
    for _ in 0..100 {
        session.send(std::slice::from_ref(&row));
    }
    session.send(&[copy_done()]);
    session.ready();
    assert_eq!(
        session.value("SELECT count(*) || ' of ' || max(n) FROM lengths"),
        "100 of 1000000"
    );
    assert_small(&sidecar);
}

#[test]
fn one_huge_value_in_each_direction() {
    let sidecar = own_sidecar();
    let mut session = Session::open(sidecar.port(), World::PARAMETERS);
    // Bind with one binary bytea parameter and a binary result.
    let value = vec![7; 100 * MEGABYTE];
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    let body = [
        &b"\0\0\0\x01\0\x01\0\x01"[..],
        &length,
        &value,
        b"\0\x01\0\x01",
    ]
    .concat();
    session.send(&[
        parse("", "SELECT $1::bytea"),
        message(b'B', &body),
        execute("", 0),
        sync(),
    ]);
    loop {
        let message = session.wire.receive().unwrap();
        match message.tag {
            b'D' => assert!(
                message.body[6..] == value[..],
                "the value came back changed"
            ),
            b'Z' => break,
            b'E' => panic!("{}", message.words()),
            _ => {}
        }
    }
    assert_small(&sidecar);
}

#[test]
fn a_reader_that_does_not_read_holds_the_server_back() {
    let sidecar = own_sidecar();
    let mut slow = Session::open(sidecar.port(), World::PARAMETERS);
    slow.send(&[query(
        "SELECT repeat('x', 999999) FROM generate_series(1, 100)",
    )]);
    let mut other = Session::open(sidecar.port(), World::PARAMETERS);
    let state = format!(
        "SELECT wait_event FROM pg_stat_activity WHERE pid = {} AND wait_event = 'ClientWrite'",
        slow.pid
    );
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !other
        .query(&state)
        .iter()
        .any(|message| message.tag == b'D')
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the server is not held back"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut rows = 0;
    loop {
        match slow.wire.receive().unwrap().tag {
            b'D' => rows += 1,
            b'Z' => break,
            _ => {}
        }
    }
    assert_eq!(rows, 100);
    assert_small(&sidecar);
}
