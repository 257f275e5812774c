//! Simple and extended queries answer byte for byte as a direct connection does.

use crate::session::Session;
use crate::session::same;
use crate::session::same_answers;
use crate::support::World;
use crate::support::world;
use crate::wire::Message;
use crate::wire::bind;
use crate::wire::execute;
use crate::wire::flush;
use crate::wire::message;
use crate::wire::parse;
use crate::wire::query;
use crate::wire::status;
use crate::wire::sync;
use crate::wire::tags;

#[test]
fn empty_queries() {
    same_answers(|session| {
        for sql in ["", ";;", " ", "-- nothing"] {
            assert_eq!(tags(&session.query(sql)), "IZ");
        }
        session.send(&[parse("", ""), bind("", "", &[]), execute("", 0), sync()]);
        assert_eq!(tags(&session.ready()), "12IZ");
    });
}

#[test]
fn several_statements_in_one_query() {
    same_answers(|session| {
        session.query("CREATE TEMP TABLE t (i int)");
        let failed =
            session.query("INSERT INTO t VALUES (1); SELECT 1/0; INSERT INTO t VALUES (2)");
        assert_eq!(tags(&failed), "CEZ");
        assert_eq!(
            session.value("SELECT count(*) FROM t"),
            "0",
            "rolled back as a whole"
        );
        assert_eq!(
            status(&session.query("BEGIN; INSERT INTO t VALUES (3); COMMIT; SELECT 1")),
            'I'
        );
        assert_eq!(status(&session.query("SELECT 1; BEGIN; SELECT 2")), 'T');
        assert_eq!(status(&session.query("SELECT nonsense; COMMIT")), 'E');
        assert_eq!(status(&session.query("ROLLBACK; SELECT * FROM t")), 'I');
    });
}

#[test]
fn a_failed_transaction() {
    same_answers(|session| {
        session.query("BEGIN");
        assert_eq!(status(&session.query("SELECT 1/0")), 'E');
        let refused = session.query("SELECT 1");
        assert!(refused[0].words().contains("C=25P02"), "{}", refused[0]);
        session.send(&[parse("late", "SELECT 1"), sync()]);
        assert_eq!(tags(&session.ready()), "EZ");
        let commit = session.query("COMMIT");
        assert_eq!(
            (&commit[0].body[..], status(&commit)),
            (&b"ROLLBACK\0"[..], 'I')
        );
    });
}

#[test]
fn savepoints_and_chains() {
    same_answers(|session| {
        for (sql, expected) in [
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", 'T'),
            ("SAVEPOINT a", 'T'),
            ("SELECT 1/0", 'E'),
            ("ROLLBACK TO a", 'T'),
            ("COMMIT AND CHAIN", 'T'),
            ("SHOW transaction_isolation", 'T'),
            ("ROLLBACK AND CHAIN", 'T'),
            ("COMMIT", 'I'),
            ("COMMIT", 'I'),
            ("PREPARE TRANSACTION 'none'", 'I'),
        ] {
            assert_eq!(status(&session.query(sql)), expected, "{sql}");
        }
    });
}

#[test]
fn notices_come_in_their_place() {
    same_answers(|session| {
        let sql = "DO $$ BEGIN FOR i IN 1..3 LOOP RAISE NOTICE 'number %', i USING DETAIL = 'd', HINT = 'h'; END LOOP; END $$";
        assert_eq!(tags(&session.query(sql)), "NNNCZ");
        session.query("SET client_min_messages = debug1");
        session.query("DROP TABLE IF EXISTS none_such; SELECT 1");
        session.query("SET client_min_messages = error");
        assert_eq!(tags(&session.query(sql)), "CZ");
        session.query("DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'P7777', COLUMN = 'c', TABLE = 't'; END $$");
    });
}

#[test]
fn changed_parameters_are_reported() {
    same_answers(|session| {
        session.query("SET TimeZone = 'Europe/Rome'");
        assert_eq!(
            session.parameter("TimeZone").as_deref(),
            Some("Europe/Rome")
        );
        session.query("BEGIN");
        session.query("SET TimeZone = 'UTC'; SET DateStyle = 'SQL, DMY'");
        session.query("ROLLBACK");
        assert_eq!(
            session.parameter("TimeZone").as_deref(),
            Some("Europe/Rome")
        );
        session.query("SET client_encoding = 'LATIN1'; SELECT chr(233)");
        session.query("SET application_name = 'x'; RESET ALL");
        session.query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY");
    });
}

#[test]
fn listening_while_idle() {
    let notify = |payload: &str| {
        let mut other = world().session(World::PARAMETERS).ok().unwrap();
        other.query(&format!("NOTIFY channel_of_a_test, '{payload}'"));
    };
    // Run alone: a second listener would see the notifications meant for the first.
    same_answers(|session| {
        session.query("BEGIN; LISTEN channel_of_a_test; ROLLBACK");
        notify("never");
        session.query("LISTEN channel_of_a_test");
        notify("from another");
        assert_eq!(tags(&session.until(b'A')), "A", "without a question");
        let own = session.query("NOTIFY channel_of_a_test, 'own'");
        assert_eq!(tags(&own), "CAZ");
        session.query("UNLISTEN *");
        notify("too late");
        session.query("SELECT 1");
    });
}

#[test]
fn idle_in_transaction_timeout() {
    same_answers(|session| {
        session.query("SET idle_in_transaction_session_timeout = '100ms'");
        session.query("BEGIN");
        let end = session.try_until(b'Z');
        assert!(end[0].words().contains("C=25P03"), "{}", end[0]);
    });
    let mut another = world().session(World::PARAMETERS).ok().unwrap();
    assert_eq!(
        another.value("SHOW idle_in_transaction_session_timeout"),
        "0"
    );
}

#[test]
fn cursors_and_large_objects() {
    same_answers(|session| {
        session.query("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT generate_series(1, 100)");
        for sql in [
            "FETCH 3 FROM c",
            "MOVE FORWARD 10 IN c",
            "FETCH BACKWARD 2 FROM c",
            "CLOSE c",
            "COMMIT",
        ] {
            session.query(sql);
        }
        session.query("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 100)");
        session.query("FETCH 3 FROM held");
    });
}

#[test]
fn what_is_not_the_protocol_ends_the_session() {
    for nonsense in [
        message(b'?', b"x"),
        message(b'p', b"late password\0"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let end = |mut session: Session| {
            session.send(std::slice::from_ref(&nonsense));
            let messages = session.try_until(b'Z');
            messages.iter().map(Message::words).collect::<Vec<_>>()
        };
        let direct = end(world().direct(World::PARAMETERS).ok().unwrap());
        let through = end(world().session(World::PARAMETERS).ok().unwrap());
        assert_eq!(direct, through);
        assert!(direct[0].contains("C=08P01"), "{direct:?}");
    }
    for stray in [
        message(b'd', b"row"),
        message(b'c', b""),
        message(b'f', b"no\0"),
        flush(),
    ] {
        same_answers(|session| {
            session.send(&[
                stray.clone(),
                query("SELECT 'copy messages outside of a COPY are dropped'"),
            ]);
            session.ready();
        });
    }
}

#[test]
fn startup_settings_are_what_reset_returns_to() {
    let parameters = [
        World::PARAMETERS,
        &[("work_mem", "7MB"), ("options", "-c TimeZone=Asia/Tokyo")],
    ]
    .concat();
    same(&parameters, |session| {
        session.query("SET work_mem = '9MB'; SET TimeZone = 'UTC'");
        session.query("RESET work_mem; SHOW work_mem");
        session.query("SET work_mem = '9MB'; RESET ALL; SHOW work_mem");
        session.query("SET work_mem = '9MB'");
        session.query("DISCARD ALL");
        assert_eq!(session.value("SHOW work_mem"), "7MB");
        assert_eq!(session.value("SHOW TimeZone"), "Asia/Tokyo");
    });
}
