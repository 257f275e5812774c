//! A MySQL session after somebody else's is as after a login (case 98; protocol.md C.7, D.2).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::mysql_world::mariadb;
use crate::mysql_world::sidecar;
use crate::mysql_world::url;
use crate::mysql_world::worlds;

/// All that a session can look at, its connection first.
const LOOK: &str = "SELECT CONNECTION_ID(); SELECT CURRENT_ROLE(), DATABASE(), @mine, IS_FREE_LOCK('renewed'); \
    SHOW SESSION VARIABLES";
/// These tell of the moment, not of the session.
const OF_THE_MOMENT: [&str; 6] = [
    "error_count",
    "rand_seed1",
    "rand_seed2",
    "statement_id",
    "timestamp",
    "warning_count",
];
/// Whatever a test leaves behind. What one of the servers does not know fails there, and the rest goes on.
const LEAVE_BEHIND: &str = "SET ROLE renewed_role; SET NAMES cp1250; SET sql_mode = 'ANSI'; SET autocommit = 0; \
    SET time_zone = '+03:00'; SET @mine = 5; SET wait_timeout = 77; SET foreign_key_checks = 0; \
    SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; SET sql_select_limit = 3; SET group_concat_max_len = 7; \
    SET lc_time_names = 'de_DE'; SET max_execution_time = 1234; SET insert_id = 99; SET timestamp = 1; \
    CREATE TEMPORARY TABLE session_left (a INT); PREPARE p FROM 'SELECT 1'; DO GET_LOCK('renewed', 0); \
    START TRANSACTION; USE information_schema;";

/// What a client of this kind sees, without what changes by itself.
fn look(port: u16, arguments: &[&str]) -> Vec<String> {
    let output = mariadb(port)
        .args(arguments)
        .args(["-e", LOOK])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    let stays = |line: &&str| !OF_THE_MOMENT.contains(&line.split('\t').next().unwrap());
    seen.lines().filter(stays).map(str::to_owned).collect()
}

#[test]
fn nothing_of_one_client_is_left_for_the_next() {
    for world in worlds() {
        world.admin("CREATE ROLE IF NOT EXISTS renewed_role");
        world.admin("GRANT renewed_role TO iam_app@'%'");
        let sidecar = sidecar(
            &world.sandbox,
            &url(&world.sandbox, "&max_connections=1"),
            &[],
        );
        let port = sidecar.port();
        // Character set and capabilities make the session what it is, and a reset of the server's forgets both.
        let kinds = [
            &[][..],
            &["--ignore-spaces"],
            &["--default-character-set=latin1"],
        ];
        for arguments in kinds {
            let fresh = look(port, arguments);
            let mut guest = mariadb(port);
            guest.args(arguments).args(["--force", "-e", LEAVE_BEHIND]);
            guest.output().unwrap();
            let renewed = look(port, arguments);
            assert_eq!(renewed.first(), fresh.first(), "another connection");
            assert_eq!(renewed, fresh, "{:?} {arguments:?}", world.flavor);
            let left = mariadb(port)
                .args(arguments)
                .args(["-e", "SELECT * FROM app.session_left"])
                .output()
                .unwrap();
            assert!(!left.status.success(), "a temporary table is left");
        }
    }
}
