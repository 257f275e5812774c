//! Real clients use MySQL as a test suite would, directly and through rds-sidecar: what they say must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use mysql_async::prelude::Query;
use mysql_async::prelude::Queryable;

use crate::mysql_clients::DRIVERS;
use crate::mysql_clients::installed;
use crate::mysql_raw::stages;

/// Lets a client speak with the server and with the sidecar, and compares.
fn same(client: impl Fn(u16, &str) -> String) {
    for stage in stages() {
        let direct = client(stage.sandbox.mysql().unwrap().port(), "direct");
        let through = client(stage.sidecar.mysql_port().unwrap(), "anybody");
        assert!(direct.len() > 100, "{:?}: {direct}", stage.flavor);
        assert_eq!(direct, through, "{:?}", stage.flavor);
    }
}

/// Runs a script that is told port and user last; what it wrote.
fn script(program: &Path, arguments: &[&str]) {
    same(|port, user| {
        let output = Command::new("timeout")
            .arg("60")
            .arg(program)
            .args(arguments)
            .args([&port.to_string(), user])
            .current_dir(DRIVERS)
            .env("NODE_PATH", installed("node/node_modules"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} {user}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    });
}

fn python(driver: &str) {
    script(
        &installed("python/bin/python"),
        &["mysql_commands.py", driver],
    );
}

#[test]
fn pymysql() {
    python("pymysql");
}

#[test]
fn mysqlclient() {
    python("mysqlclient");
}

#[test]
fn mysql_connector_python() {
    python("mysql-connector-python");
}

#[test]
fn node_mysql2() {
    script(Path::new("node"), &["mysql_commands.js", "mysql2"]);
}

#[test]
fn node_mariadb() {
    script(Path::new("node"), &["mysql_commands.js", "mariadb"]);
}

#[test]
fn php_mysqli() {
    let permitted = "mysqli.allow_local_infile=On";
    script(Path::new("php"), &["-d", permitted, "mysql_commands.php"]);
}

#[test]
fn mariadb_cli() {
    const SQL: &str = "DELIMITER //
        CREATE PROCEDURE of_the_cli() BEGIN SELECT 1; SELECT 'two'; END //
        DELIMITER ;
        CALL of_the_cli();
        SELECT nonsense;
        SHOW WARNINGS;
        CREATE TEMPORARY TABLE t (a VARCHAR(100));
        LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t;
        SELECT COUNT(*) > 3 FROM t;
        LOAD DATA LOCAL INFILE '/not there' INTO TABLE t;
        PREPARE p FROM 'SELECT ? + 1';
        SET @a = 4;
        EXECUTE p USING @a;
        USE mysql;
        SELECT DATABASE();
        DROP PROCEDURE app.of_the_cli;
        status";
    same(|port, user| {
        let mut client = Command::new("mariadb")
            .args(["--no-defaults", "-vvv", "--force", "--local-infile=1"])
            .args(["--protocol=tcp", "--host=127.0.0.1", "--database=app"])
            .args([format!("--port={port}"), format!("--user={user}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = client.stdin.take().unwrap();
        input.write_all(SQL.as_bytes()).unwrap();
        drop(input);
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        // How long it took, and what is each connection's own.
        let lines = said.lines().map(|line| line.split(" (0.").next().unwrap());
        let own = [
            "Connection id",
            "Current user",
            "TCP port",
            "Uptime",
            "Threads:",
            "SSL:",
        ];
        let common = lines.filter(|line| !own.iter().any(|word| line.starts_with(word)));
        common.collect::<Vec<_>>().join("\n")
    });
}

#[tokio::test]
async fn mysql_async() {
    for stage in stages() {
        let direct = with_mysql_async(stage.sandbox.mysql().unwrap().port(), "direct").await;
        let through = with_mysql_async(stage.sidecar.mysql_port().unwrap(), "anybody").await;
        assert_eq!(direct.unwrap(), through.unwrap(), "{:?}", stage.flavor);
    }
}

async fn with_mysql_async(port: u16, user: &str) -> mysql_async::Result<Vec<String>> {
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .prefer_socket(false)
        .user(Some(user))
        .db_name(Some("app"));
    let mut connection = mysql_async::Conn::new(options).await?;
    let mut said = Vec::new();
    let rows: Vec<(i64, Option<String>)> = connection
        .query("SELECT 1, NULL UNION SELECT 2, 'x'")
        .await?;
    said.push(format!("{rows:?}"));
    connection
        .query_drop("CREATE TEMPORARY TABLE t (n INT)")
        .await?;
    let numbers = (0..200).map(|n| (n,));
    connection
        .exec_batch("INSERT INTO t VALUES (?)", numbers)
        .await?;
    let sum: Option<(i64, i64)> = connection
        .exec_first(
            "SELECT COUNT(*), CAST(SUM(n) AS SIGNED) FROM t WHERE n > ?",
            (10,),
        )
        .await?;
    said.push(format!("{sum:?}"));
    let mut results = "SELECT 1; DO 1; SELECT 2, 3".run(&mut connection).await?;
    while !results.is_empty() {
        said.push(format!(
            "{:?}",
            results.collect::<mysql_async::Row>().await?
        ));
    }
    drop(results);
    let refused = connection.query_drop("SELECT nonsense").await.unwrap_err();
    said.push(refused.to_string());
    let mut transaction = connection
        .start_transaction(mysql_async::TxOpts::new())
        .await?;
    transaction
        .exec_drop("DELETE FROM t WHERE n > ?", (5,))
        .await?;
    said.push(transaction.affected_rows().to_string());
    transaction.rollback().await?;
    let count: Option<i64> = connection.query_first("SELECT COUNT(*) FROM t").await?;
    said.push(format!("{count:?}"));
    connection.query_drop("SET @a = 1").await?;
    said.push(connection.reset().await?.to_string());
    let gone: Option<Option<i64>> = connection.query_first("SELECT @a").await?;
    said.push(format!("{gone:?}"));
    connection.ping().await?;
    connection.disconnect().await?;
    Ok(said)
}
