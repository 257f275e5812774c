//! Every command answers as a direct connection's does (cases 91 to 104 of the catalogue).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use rds_sandbox::Flavor;

use crate::mysql_raw::FOUND_ROWS;
use crate::mysql_raw::Flags;
use crate::mysql_raw::IGNORE_SPACE;
use crate::mysql_raw::LOCAL_FILES;
use crate::mysql_raw::NEW;
use crate::mysql_raw::OLD;
use crate::mysql_raw::Raw;
use crate::mysql_raw::error;
use crate::mysql_raw::same;
use crate::mysql_raw::same_for;
use crate::mysql_raw::stages;

#[test]
fn results_of_every_shape() {
    same(|client| {
        for sql in [
            "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL",
            "SELECT '', NULL",
            "SELECT 1 FROM DUAL WHERE 0",
            "SELECT CAST('x' AS SIGNED)",
            "SHOW WARNINGS",
            "SELECT CAST('x' AS SIGNED), @@warning_count",
            "SHOW WARNINGS",
            "SELECT nonsense",
            "SELECT 1; DO 1; SELECT 2, 3; SET @a = 1",
            "SELECT 1; SELECT nonsense; SELECT 2",
            "SELECT 1 FROM DUAL WHERE 0; SELECT 2",
            "USE absent",
            "SELECT DATABASE()",
            "USE app",
            "SET NAMES latin1",
            "SELECT @@character_set_client, @@sql_mode",
            "",
        ] {
            client.query(sql);
        }
    });
}

#[test]
fn errors_in_the_middle_of_rows() {
    same(|client| {
        client.query("CREATE TEMPORARY TABLE t (a INT)");
        client.query("INSERT INTO t VALUES (1), (3), (3)");
        client.query("SELECT x.a, REPEAT('x', 9), (SELECT a FROM t AS y WHERE y.a = x.a) FROM (SELECT 1 AS a UNION ALL SELECT 2 UNION ALL SELECT 3) AS x");
        client.query("DROP TEMPORARY TABLE t");
    });
}

#[test]
fn procedures_with_results_and_out_parameters() {
    for stage in stages() {
        let mut direct = stage.direct(NEW);
        direct.run("DROP PROCEDURE IF EXISTS several");
        direct.run("CREATE PROCEDURE several(IN a INT, OUT b INT) BEGIN SELECT a; SELECT a, 2; SET b = 7; END");
    }
    same(|client| {
        client.query("CALL several(1, @b)");
        client.query("SELECT @b");
        let statement = client.prepare("CALL several(?, ?)");
        client.execute(statement, 0, b"\0\x01\x03\0\x03\0\x01\0\0\0\x02\0\0\0");
        client.execute(statement, 0, b"\0\0\x05\0\0\0\x02\0\0\0");
    });
}

#[test]
fn files_from_the_client() {
    same(|client| {
        client.query("CREATE TEMPORARY TABLE t (a INT PRIMARY KEY)");
        let load = "LOAD DATA LOCAL INFILE 'x' INTO TABLE t";
        client.load(load, &[b"1\n2\n", b"3\n"]);
        client.load(load, &[]);
        client.load(load, &[b"word\n1\n"]);
        client.load(&format!("{load}; SELECT COUNT(*) FROM t"), &[b"9\n"]);
        let long = "12345678\n".repeat(300_000);
        client.load(&format!("{load} (@x)"), &[long.as_bytes(), b"7\n"]);
        client.query("SHOW WARNINGS LIMIT 2");
        client.load("LOAD DATA LOCAL INFILE 'x' INTO TABLE absent", &[b"1\n"]);
        client.query("SELECT COUNT(*) FROM t");
    });
}

#[test]
fn no_file_from_a_client_that_has_none() {
    for stage in stages() {
        let mut client = stage.through(Flags(OLD.0 & !LOCAL_FILES, 0));
        client.run("CREATE TEMPORARY TABLE t (a INT)");
        let answer = client.query("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t");
        assert!(
            [1148, 3948, 4166].contains(&error(&answer[0])),
            "{answer:?}"
        );
    }
}

#[test]
fn prepared_statements() {
    same(|client| {
        client.query("CREATE TEMPORARY TABLE t (a INT, b VARCHAR(9))");
        for sql in [
            "DO 1",
            "SELECT 1, 2",
            "INSERT INTO t VALUES (?, ?)",
            "SELECT a FROM t WHERE a = ? OR b = ?",
        ] {
            client.prepare(sql);
        }
        let statement = client.prepare("SELECT ?, 'x'");
        client.execute(statement, 0, b"\0\x01\x03\0\x05\0\0\0");
        client.execute(statement, 0, b"\0\0\x06\0\0\0");
        client.command(&[&b"\x1a"[..], &statement].concat());
        client.execute(statement, 0, b"\0\0\x07\0\0\0");
        client.command(&[&b"\x19"[..], &statement].concat());
        let long = client.prepare("SELECT LENGTH(?), CRC32(?)");
        let data = |number: u8, length: usize| {
            [&b"\x18"[..], &long, &[number, 0], &vec![b'x'; length]].concat()
        };
        client.commands(&[&data(0, 100), &data(0, 3_000_000), &data(1, 1)]);
        client.execute(long, 0, b"\0\x01\xfb\0\xfb\0");
        client.command(b"\x16SELECT nonsense");
    });
}

#[test]
fn cursors() {
    same(|client| {
        let numbers = "SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3";
        for sql in [
            numbers.to_owned(),
            format!("SELECT n FROM ({numbers}) AS x WHERE n > 3"),
        ] {
            let statement = client.prepare(&sql);
            client.execute(statement, 1, b"");
            let fetch = [&b"\x1c"[..], &statement, &[2, 0, 0, 0]].concat();
            client.command(&fetch);
            client.command(&fetch);
            client.query("DO 1");
            client.command(&[&b"\x19"[..], &statement].concat());
        }
    });
}

/// 1,000 times prepare and close, and what a client leaves behind.
#[test]
fn statements_are_not_left_on_the_server() {
    for stage in stages() {
        let count = || -> u64 {
            let line = stage.admin("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'");
            line.split_whitespace().last().unwrap().parse().unwrap()
        };
        let mut client = stage.through(NEW);
        for _ in 0..1000 {
            let id = client.prepare("SELECT ?");
            client.write(&[(0, &[&b"\x19"[..], &id].concat())]);
        }
        client.prepare("SELECT 1");
        drop(client);
        // Other tests' clients have a few.
        for _ in 0..500 {
            if count() < 50 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(count() < 50, "{} statements are left", count());
    }
}

#[test]
fn commands_without_text() {
    for stage in stages() {
        stage.admin("CREATE TABLE IF NOT EXISTS listed (a INT DEFAULT 3, b VARCHAR(5))");
    }
    same(|client| {
        for payload in [
            &b"\x02app"[..],
            b"\x0e",
            b"\x0d",
            b"\x07\x01",
            b"\x04listed\0",
            b"\x04listed\0b",
            b"\x04absent\0",
            b"\x1b\x01\0",
            b"\x03SELECT 1; SELECT 2",
            b"\x1b\0\0",
            b"\x0c\xff\xff\xff\x0f",
            b"\x55",
            b"\xfe",
            b"\x1f",
        ] {
            client.command(payload);
        }
    });
}

#[test]
fn commands_sent_ahead_are_answered_in_order() {
    same(|client| {
        client.commands(&[
            b"\x1f",
            b"\x03SET NAMES latin1",
            b"\x03SELECT @@character_set_client",
        ]);
        client.commands(&[
            b"\x03SELECT 1",
            b"\x0e",
            b"\x03DO 1; SELECT 3",
            b"\x1f",
            b"\x03SELECT nonsense",
            b"\x0e",
        ]);
        let many = vec![&b"\x03SELECT 'and so on, and so on'"[..]; 2000];
        client.commands(&many);
    });
}

/// User variables, temporary tables and locks are gone; schema and statement ids are as the server has it.
#[test]
fn a_reset_of_the_clients_own() {
    same(|client| {
        client.query("SET @a = 1, NAMES latin1");
        client.query("SET sql_mode = ''");
        client.query("CREATE TEMPORARY TABLE gone (a INT)");
        client.query("USE mysql");
        let statement = client.prepare("SELECT 1");
        client.query("BEGIN");
        client.command(b"\x1f");
        client.query("SELECT @a, @@character_set_client, @@sql_mode, DATABASE()");
        client.query("SELECT * FROM app.gone");
        let answer = client.execute(statement, 0, b"");
        assert_eq!(error(&answer[0]), 1243);
        client.command(b"\x0e");
    });
}

#[test]
fn rows_of_forty_mebibytes_and_queries_of_sixty_four() {
    for stage in stages() {
        let before = stage.sidecar.rss_kib().unwrap();
        let kind = if stage.flavor == Flavor::MySql {
            OLD
        } else {
            NEW
        };
        let mut client = stage.through(kind);
        let answer = client.query("SELECT REPEAT('x', 40 * 1024 * 1024), 1");
        let row = &answer[answer.len() - 2].1;
        assert_eq!(row.len(), 9 + 40 * 1024 * 1024 + 2);
        assert!(row[9..row.len() - 2].iter().all(|byte| *byte == b'x'));
        let text = format!("SELECT LENGTH('{}')", "y".repeat(64 << 20));
        assert_eq!(client.value(&text), (64_u32 << 20).to_string());
        assert_eq!(client.value("SELECT 7"), "7");
        let grown = stage.sidecar.rss_kib().unwrap().saturating_sub(before);
        assert!(grown < 16 * 1024, "{grown} KiB more");
    }
}

/// Payloads of exactly one and two full packets, up and down, and one byte to either side.
#[test]
fn payloads_that_end_with_an_empty_packet() {
    const FULL: usize = 0xff_ffff;
    same_for(
        |kind| kind == NEW,
        |client| {
            for payload in [FULL - 1, FULL, FULL + 1, 2 * FULL] {
                let around = "\u{3}SELECT LENGTH('')".len();
                client.query(&format!(
                    "SELECT LENGTH('{}')",
                    "y".repeat(payload - around)
                ));
                // A length of three or eight bytes stands before the text.
                let head = if payload > FULL + 4 { 9 } else { 4 };
                let answer = client.query(&format!("SELECT REPEAT('x', {})", payload - head));
                assert!(
                    answer.iter().any(|(_, row)| row.len() == payload),
                    "{payload}"
                );
            }
            client.query("SELECT 'still in step'");
        },
    );
}

#[test]
fn flags_that_change_what_statements_mean_are_each_clients_own() {
    for stage in stages() {
        stage.admin("DROP TABLE IF EXISTS flagged; CREATE TABLE flagged (a INT); INSERT INTO flagged VALUES (1)");
        let mut plain = stage.through(NEW);
        let mut found = stage.through(Flags(NEW.0 | FOUND_ROWS, 0));
        let mut spaced = stage.through(Flags(NEW.0 | IGNORE_SPACE, 0));
        for _ in 0..3 {
            let rows = |client: &mut Raw| client.query("UPDATE flagged SET a = 1")[0].1[1];
            assert_eq!((rows(&mut plain), rows(&mut found)), (0, 1));
            assert_eq!(spaced.value("SELECT COUNT (*) FROM flagged"), "1");
            let refused = plain.query("SELECT COUNT (*) FROM flagged");
            assert!(
                matches!(error(&refused[0]), 1064 | 1305 | 1630),
                "{refused:?}"
            );
            // The same, on connections that others had before.
            plain = stage.through(NEW);
            found = stage.through(Flags(NEW.0 | FOUND_ROWS, 0));
            spaced = stage.through(Flags(NEW.0 | IGNORE_SPACE, 0));
        }
    }
}
