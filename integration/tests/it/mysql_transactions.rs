//! Transactions of MySQL clients, and what a client leaves to the next (cases 101 to 103 of the catalogue).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use tokio::time::Instant;

use crate::mysql_raw::NEW;
use crate::mysql_raw::OLD;
use crate::mysql_raw::Raw;
use crate::mysql_raw::Stage;
use crate::mysql_raw::error;
use crate::mysql_raw::sidecar;
use crate::mysql_raw::stages;

fn table(stage: &Stage, name: &str) {
    stage.admin(&format!(
        "DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (id INT PRIMARY KEY, n INT) ENGINE=InnoDB; \
         INSERT INTO {name} VALUES (1, 0), (2, 0)"
    ));
}

#[test]
fn without_autocommit_a_client_sees_its_own_snapshot() {
    for stage in stages() {
        table(stage, "snapshot");
        let (mut one, mut two) = (stage.through(NEW), stage.through(OLD));
        one.run("SET autocommit = 0");
        assert!(!one.in_transaction());
        assert_eq!(one.value("SELECT n FROM snapshot WHERE id = 1"), "0");
        assert!(one.in_transaction());
        two.run("UPDATE snapshot SET n = 5 WHERE id = 1");
        assert_eq!(one.value("SELECT n FROM snapshot WHERE id = 1"), "0");
        one.run("COMMIT");
        assert!(!one.in_transaction());
        assert_eq!(one.value("SELECT n FROM snapshot WHERE id = 1"), "5");
    }
}

#[test]
fn savepoints_without_autocommit() {
    for stage in stages() {
        table(stage, "saved");
        let mut client = stage.through(NEW);
        client.run("SET autocommit = 0");
        client.run("SAVEPOINT a");
        client.run("INSERT INTO saved VALUES (3, 0)");
        client.run("SAVEPOINT b");
        client.run("INSERT INTO saved VALUES (4, 0)");
        client.run("ROLLBACK TO b");
        assert_eq!(client.value("SELECT COUNT(*) FROM saved"), "3");
        client.run("ROLLBACK TO a");
        assert_eq!(client.value("SELECT COUNT(*) FROM saved"), "2");
        assert_eq!(error(&client.query("ROLLBACK TO b")[0]), 1305);
    }
}

/// 1205 undoes the statement, 1213 the transaction.
#[test]
fn lock_waits_and_deadlocks() {
    for stage in stages() {
        table(stage, "locked");
        let (mut one, mut two) = (stage.through(NEW), stage.through(NEW));
        one.run("BEGIN");
        two.run("BEGIN");
        one.run("UPDATE locked SET n = 1 WHERE id = 1");
        two.run("UPDATE locked SET n = 2 WHERE id = 2");
        assert_eq!(
            error(&two.query("UPDATE locked SET n = 2 WHERE id = 1")[0]),
            1205
        );
        assert!(two.in_transaction());
        two.write(&[(0, b"\x03UPDATE locked SET n = 2 WHERE id = 1")]);
        // The other's statement closes the circle when the first waits; before, it would wait itself.
        while stage.admin(
            "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
        ) != "1"
        {}
        let second = one.query("UPDATE locked SET n = 1 WHERE id = 2").remove(0);
        let first = two.read();
        let (victim, other) = if first.1[0] == 0xff {
            (two, one)
        } else {
            (one, two)
        };
        let (lost, won) = if first.1[0] == 0xff {
            (first, second)
        } else {
            (second, first)
        };
        assert_eq!((error(&lost), won.1[0]), (1213, 0));
        let (mut victim, mut other) = (victim, other);
        assert!(!victim.in_transaction() && other.in_transaction());
    }
}

/// Whatever a client leaves behind, and wherever it stops, the next one on the same connection sees nothing of it.
#[test]
fn the_next_client_finds_a_clean_connection() {
    for stage in stages() {
        table(stage, "`left`");
        let sidecar = sidecar(&stage.sandbox, 1);
        let port = sidecar.mysql_port().unwrap();
        let stops: [fn(&mut Raw); 9] = [
            |_| {},
            |client| {
                client.run("SET @a = 1, sql_mode = '', autocommit = 0, SESSION wait_timeout = 77")
            },
            |client| client.run("SET NAMES latin1"),
            |client| {
                client.run("BEGIN");
                client.run("UPDATE `left` SET n = 9");
            },
            |client| client.run("CREATE TEMPORARY TABLE temporary (a INT)"),
            |client| {
                client.value("SELECT GET_LOCK('mine', 0)");
                client.run("LOCK TABLES `left` WRITE");
            },
            |client| {
                client.run("USE mysql");
                client.run("BEGIN");
                assert_eq!(error(&client.query("SELECT nonsense")[0]), 1054);
            },
            |client| client.write(&[(0, b"\x03SELECT REPEAT('x', 9000000)")]),
            |client| client.write(&[(0, b"\x03SELECT SLEEP(100)")]),
        ];
        for (number, stop) in stops.iter().enumerate() {
            let mut client = Raw::connect(port, "anybody", NEW);
            stop(&mut client);
            drop(client);
            let began = Instant::now();
            let mut next = Raw::connect(port, "anybody", NEW);
            assert!(began.elapsed() < Duration::from_secs(8), "stop {number}");
            let state = "SELECT CONCAT_WS('|', IFNULL(@a, '-'), IF(@@autocommit, 1, 0), @@character_set_client, DATABASE(), \
                         @@wait_timeout > 77, @@sql_mode <> '', IS_FREE_LOCK('mine'), (SELECT SUM(n) FROM `left`))";
            assert_eq!(
                next.value(state),
                "-|1|utf8mb4|app|1|1|1|0",
                "stop {number}"
            );
            assert_eq!(error(&next.query("SELECT * FROM temporary")[0]), 1146);
            assert!(!next.in_transaction());
        }
        let alive = stage.admin(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(100)'",
        );
        assert_eq!(
            alive, "0",
            "the statement of a client that is gone was stopped"
        );
    }
}

/// Half a file must not be loaded when its sender vanishes.
#[test]
fn a_client_that_vanishes_in_the_middle_of_its_file_loads_nothing() {
    for stage in stages() {
        stage.admin("DROP TABLE IF EXISTS half; CREATE TABLE half (id INT) ENGINE=InnoDB");
        let mut client = stage.through(NEW);
        client.write(&[(0, b"\x03LOAD DATA LOCAL INFILE 'x' INTO TABLE half")]);
        assert_eq!(client.read().1[0], 0xfb);
        client.write(&[(2, b"1\n2\n3\n")]);
        drop(client);
        let running =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'LOAD DATA%half'";
        let deadline = Instant::now() + Duration::from_secs(10);
        while stage.admin(running) != "0" {
            assert!(Instant::now() < deadline, "still loading");
        }
        assert_eq!(stage.admin("SELECT COUNT(*) FROM half"), "0");
    }
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_a_command_harms_nobody() {
    for stage in stages() {
        let sidecar = sidecar(&stage.sandbox, 1);
        let port = sidecar.mysql_port().unwrap();
        for cut in [1, 3, 4, 5, 20, 2000] {
            let mut client = Raw::connect(port, "anybody", NEW);
            let text = [&b"\x03SELECT '"[..], &vec![b'x'; 4000], b"'"].concat();
            client.write_cut(&text, cut);
            drop(client);
            let mut next = Raw::connect(port, "anybody", NEW);
            assert_eq!(next.value("SELECT 7"), "7", "cut at {cut}");
        }
    }
}
