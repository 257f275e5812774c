//! The extended protocol and the function call answer byte for byte as a direct connection does.

use crate::session::Session;
use crate::session::same_answers;
use crate::support::World;
use crate::support::sidecar;
use crate::support::world;
use crate::wire::bind;
use crate::wire::close;
use crate::wire::describe;
use crate::wire::execute;
use crate::wire::flush;
use crate::wire::message;
use crate::wire::parse;
use crate::wire::query;
use crate::wire::status;
use crate::wire::sync;
use crate::wire::tags;
use crate::wire::terminate;

/// `SELECT 1/0` fails already when it is planned, which is at Bind.
const FAILS_WHEN_RUN: &str = "SELECT 1 / (0 * pg_backend_pid())";

#[test]
fn ten_thousand_syncs_in_a_row() {
    same_answers(|session| {
        session.send(&vec![sync(); 10_000]);
        for number in 0..10_000 {
            assert_eq!(tags(&session.ready()), "Z", "at {number}");
        }
        assert_eq!(session.value("SELECT 'alive'"), "alive");
    });
}

#[test]
fn a_long_pipeline() {
    same_answers(|session| {
        session.send(&[parse("add", "SELECT $1::int + 1"), sync()]);
        session.ready();
        let mut batch = Vec::new();
        for number in 0..5_000 {
            batch.extend([bind("", "add", &[&number.to_string()]), execute("", 0)]);
        }
        session.send(&[batch.concat(), sync()]);
        let answers = session.ready();
        let rows = answers.iter().filter(|message| message.tag == b'D');
        assert!(
            rows.map(|row| row.row()[0].clone().unwrap())
                .eq((1..=5_000).map(|n| n.to_string()))
        );
    });
}

#[test]
fn an_error_in_a_pipeline_skips_to_the_next_sync() {
    same_answers(|session| {
        let select = |sql: &str| {
            [
                parse("", sql),
                bind("", "", &[]),
                describe(b'P', ""),
                execute("", 0),
            ]
            .concat()
        };
        session.send(&[
            select("SELECT 1"),
            select(FAILS_WHEN_RUN),
            select("SELECT 2"),
            parse("never", "SELECT 3"),
            flush(),
            sync(),
            select("SELECT 4"),
            sync(),
            bind("", "never", &[]),
            sync(),
        ]);
        assert_eq!(tags(&session.ready()), "12TDC12TEZ");
        assert_eq!(tags(&session.ready()), "12TDCZ");
        let unknown = session.ready();
        assert!(unknown[0].words().contains("C=26000"), "{}", unknown[0]);
    });
}

#[test]
fn prepare_and_flush_first_execute_later() {
    same_answers(|session| {
        session.send(&[parse("s", "SELECT $1::text"), describe(b'S', "s"), flush()]);
        assert_eq!(tags(&session.until(b'T')), "1tT");
        session.send(&[
            bind("", "s", &["x"]),
            execute("", 0),
            close(b'S', "s"),
            sync(),
        ]);
        assert_eq!(tags(&session.ready()), "2DC3Z");
        session.send(&[
            parse("insert", "SET work_mem = '5MB'"),
            describe(b'S', "insert"),
            sync(),
        ]);
        assert_eq!(tags(&session.ready()), "1tnZ");
    });
}

#[test]
fn a_portal_is_paged_through_across_flushes() {
    same_answers(|session| {
        session.send(&[
            parse("", "SELECT * FROM generate_series(1, 3)"),
            bind("p", "", &[]),
            flush(),
        ]);
        assert_eq!(tags(&session.until(b'2')), "12");
        for _ in 0..3 {
            session.send(&[execute("p", 1), flush()]);
            assert_eq!(tags(&session.until(b's')), "Ds");
        }
        session.send(&[execute("p", 1), sync()]);
        assert_eq!(tags(&session.ready()), "CZ");
        session.send(&[execute("p", 1), sync()]);
        let gone = session.ready();
        assert!(gone[0].words().contains("C=34000"), "{}", gone[0]);
    });
}

#[test]
fn a_query_after_extended_messages_without_a_sync() {
    same_answers(|session| {
        session.send(&[
            parse("", "SELECT 1"),
            bind("", "", &[]),
            execute("", 0),
            query("SELECT 2"),
        ]);
        assert_eq!(tags(&session.ready()), "12DCTDCZ", "one ReadyForQuery");
        session.send(&[
            parse("", FAILS_WHEN_RUN),
            bind("", "", &[]),
            execute("", 0),
            query("SELECT 2"),
            sync(),
        ]);
        assert_eq!(tags(&session.ready()), "12EZ", "the Query is skipped");
        session.query("SELECT 'alive'");
    });
}

#[test]
fn larger_than_any_buffer() {
    same_answers(|session| {
        let name = "n".repeat(5_000);
        let filler = "x".repeat(3_000_000);
        session.send(&[
            parse(&name, &format!("SELECT length($1), '{filler}' AS filler")),
            bind("", &name, &[&filler]),
            execute("", 0),
            sync(),
        ]);
        let answers = session.ready();
        assert_eq!(tags(&answers), "12DCZ");
        assert_eq!(answers[2].row(), [Some("3000000".to_owned()), Some(filler)]);
        session.send(&[close(b'S', &name), sync()]);
        session.ready();
    });
}

#[test]
fn preparing_a_name_twice_and_using_one_nobody_prepared() {
    same_answers(|session| {
        session.send(&[
            parse("twice", "SELECT 1"),
            sync(),
            parse("twice", "SELECT 2"),
            sync(),
        ]);
        session.ready();
        let again = session.ready();
        assert!(again[0].words().contains("C=42P05"), "{}", again[0]);
        for unknown in [
            bind("", "unknown", &[]),
            describe(b'S', "unknown"),
            describe(b'P', "unknown"),
        ] {
            session.send(&[unknown, sync()]);
            assert_eq!(tags(&session.ready()), "EZ");
        }
        session.query("BEGIN");
        session.send(&[bind("", "unknown", &[]), sync()]);
        assert_eq!(status(&session.ready()), 'E');
        session.query("ROLLBACK");
        session.send(&[bind("", "twice", &[]), execute("", 0), sync()]);
        assert_eq!(tags(&session.ready()), "2DCZ");
        session.send(&[close(b'S', "unknown"), close(b'P', "unknown"), sync()]);
        assert_eq!(tags(&session.ready()), "33Z");
    });
}

#[test]
fn statements_survive_a_rollback_and_die_by_their_commands() {
    same_answers(|session| {
        session.query("BEGIN");
        session.send(&[parse("s", "SELECT 1"), sync()]);
        session.ready();
        session.query("ROLLBACK");
        session.send(&[bind("", "s", &[]), execute("", 0), sync()]);
        assert_eq!(tags(&session.ready()), "2DCZ");
        for end in [
            "DEALLOCATE s",
            "DEALLOCATE s",
            "DEALLOCATE ALL",
            "DISCARD ALL",
        ] {
            session.query(end);
        }
    });
}

#[test]
fn function_calls() {
    // FunctionCall of int4abs(int4), in binary: the fast path that libpq's large objects go.
    let call = |oid: u32, value: i32| {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend_from_slice(&[0, 1, 0, 1, 0, 1, 0, 0, 0, 4]);
        body.extend_from_slice(&value.to_be_bytes());
        body.extend_from_slice(&[0, 1]);
        message(b'F', &body)
    };
    same_answers(|session| {
        session.send(&[call(1397, -7)]);
        assert_eq!(tags(&session.ready()), "VZ");
        session.send(&[call(1397, i32::MIN)]);
        assert_eq!(tags(&session.ready()), "EZ");
        session.send(&[call(1, 1), query("SELECT 1")]);
        assert_eq!(tags(&session.ready()), "EZ");
        session.ready();
    });
}

#[test]
fn a_client_that_leaves_a_portal_behind_gives_its_connection_back() {
    let sidecar = sidecar(
        &world().sandbox,
        &["max_connections=1", "checkout_timeout=10s"],
        &[],
    );
    let mut first = Session::open(sidecar.port(), World::PARAMETERS);
    first.send(&[
        parse("left", "SELECT generate_series(1, 3)"),
        bind("p", "left", &[]),
        execute("p", 1),
        flush(),
    ]);
    first.until(b's');
    first.send(&[terminate()]);
    let mut second = Session::open(sidecar.port(), World::PARAMETERS);
    assert_eq!(second.pid, first.pid);
    assert_eq!(
        second.value("SELECT count(*) FROM pg_prepared_statements"),
        "0"
    );
}
