//! Every client library logs in with the right, a wrong and no password, over TCP, TLS and a unix socket (case 83).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use mysql_async::prelude::Queryable;
use rds_sandbox::Flavor;
use serde_json::Value;
use serde_json::json;

use crate::mysql_world::SECRET;
use crate::mysql_world::World;
use crate::mysql_world::mariadb;
use crate::mysql_world::worlds;

const DENIED: u64 = 1045;
pub(crate) const DRIVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/drivers");

/// One login, and what is to come of it.
struct Attempt {
    what: &'static str,
    told: Value,
    expected: Expected,
}

#[derive(Clone, Copy)]
enum Expected {
    LoggedIn,
    Denied { password: &'static str },
    UnknownDatabase,
}

/// Right, wrong and no password, in every way there is, and a database that is not there.
fn attempts(world: &World) -> Vec<Attempt> {
    let tcp = |port: u16| json!({ "port": port, "tls": false });
    let ways = [
        ("TCP", tcp(world.strict)),
        ("TLS", json!({ "port": world.strict, "tls": true })),
        ("socket", json!({ "socket": world.socket, "tls": false })),
    ];
    let passwords = [
        (SECRET, Expected::LoggedIn),
        ("wrong", Expected::Denied { password: "YES" }),
        ("", Expected::Denied { password: "NO" }),
    ];
    let mut attempts = Vec::new();
    let mut add = |what, way: &Value, password, database, expected| {
        let mut told = way.clone();
        for (name, value) in [
            ("user", "anybody"),
            ("password", password),
            ("database", database),
        ] {
            told[name] = value.into();
        }
        attempts.push(Attempt {
            what,
            told,
            expected,
        });
    };
    for (what, way) in &ways {
        for (password, expected) in passwords {
            add(what, way, password, "app", expected);
        }
    }
    let trust = tcp(world.trust);
    for password in ["any", ""] {
        add("trust", &trust, password, "app", Expected::LoggedIn);
    }
    add("trust", &trust, "", "not_there", Expected::UnknownDatabase);
    attempts
}

/// Hands the whole list to a script, and holds its answers to what is expected.
fn judge(program: &Path, arguments: &[&str]) {
    for world in worlds() {
        let attempts = attempts(world);
        let list: Vec<&Value> = attempts.iter().map(|attempt| &attempt.told).collect();
        let outcomes = run(program, arguments, &json!(list).to_string());
        assert_eq!(outcomes.len(), attempts.len());
        let version = world.admin("SELECT @@version");
        for (attempt, outcome) in attempts.iter().zip(&outcomes) {
            let case = format!(
                "{arguments:?} {:?} {}: {outcome}",
                world.flavor, attempt.told
            );
            match attempt.expected {
                Expected::LoggedIn => {
                    assert_eq!(
                        outcome["user"],
                        "iam_app@%",
                        "{case}\n{}",
                        world.sidecar.log()
                    );
                    assert_eq!(outcome["answer"], 42, "{case}");
                    let greeted = outcome["version"].as_str().unwrap();
                    assert!(greeted.ends_with(&version), "{case}: not {version}");
                }
                Expected::Denied { password } => {
                    assert_eq!(outcome["code"], DENIED, "{case}");
                    let host = if attempt.what == "socket" {
                        "localhost"
                    } else {
                        "127.0.0.1"
                    };
                    let words = format!(
                        "Access denied for user 'anybody'@'{host}' (using password: {password})"
                    );
                    assert!(
                        outcome["message"].as_str().unwrap().contains(&words),
                        "{case}"
                    );
                }
                Expected::UnknownDatabase => {
                    assert_eq!(outcome["code"], 1049, "{case}");
                    let words = "Unknown database 'not_there'";
                    assert!(
                        outcome["message"].as_str().unwrap().contains(words),
                        "{case}"
                    );
                }
            }
        }
    }
}

fn run(program: &Path, arguments: &[&str], input: &str) -> Vec<Value> {
    let mut child = Command::new("timeout")
        .arg("60")
        .arg(program)
        .args(arguments)
        .current_dir(DRIVERS)
        .env("NODE_PATH", installed("node/node_modules"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("{arguments:?}: {error} ({})\n{errors}", output.status)
    })
}

/// What scripts/drivers.sh installed.
pub(crate) fn installed(path: &str) -> PathBuf {
    let target = std::env::current_exe().unwrap();
    // target/debug/deps/it-0123456789abcdef
    let folder = target.ancestors().nth(3).unwrap();
    let found = folder.join("drivers").join(path);
    assert!(
        found.exists(),
        "{} is missing\n    scripts/drivers.sh",
        found.display()
    );
    found
}

fn python(driver: &str) {
    judge(
        &installed("python/bin/python"),
        &["mysql_logins.py", driver],
    );
}

fn node(driver: &str) {
    judge(Path::new("node"), &["mysql_logins.js", driver]);
}

#[test]
fn pymysql() {
    python("pymysql");
}

#[test]
fn mysql_connector_python() {
    python("connector");
}

#[test]
fn mysqlclient() {
    python("mysqlclient");
}

#[test]
fn node_mysql2() {
    node("mysql2");
}

#[test]
fn node_mysql() {
    node("mysql");
}

#[test]
fn node_mariadb() {
    node("mariadb");
}

#[test]
fn php_mysqlnd() {
    judge(Path::new("php"), &["mysql_logins.php"]);
}

#[test]
fn mariadb_cli() {
    for world in worlds() {
        for attempt in attempts(world) {
            let told = &attempt.told;
            let text = |name: &str| told[name].as_str().unwrap();
            let mut client = match told["port"].as_u64() {
                Some(port) => mariadb(u16::try_from(port).unwrap()),
                None => {
                    let mut client = Command::new("mariadb");
                    client.args(["--no-defaults", "-NB", "--socket", text("socket")]);
                    client
                }
            };
            client.args(["--user", text("user"), "--database", text("database")]);
            client.args(["-e", "SELECT CURRENT_USER(), 6 * 7"]);
            if told["tls"] == true {
                client.args(["--ssl", "--skip-ssl-verify-server-cert"]);
            }
            let output = client.env("MYSQL_PWD", text("password")).output().unwrap();
            let (told, error) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            let host = if attempt.what == "socket" {
                "localhost"
            } else {
                "127.0.0.1"
            };
            let expected = match attempt.expected {
                Expected::LoggedIn => "iam_app@%\t42\n".to_owned(),
                Expected::Denied { password } => format!(
                    "ERROR 1045 (28000): Access denied for user 'anybody'@'{host}' (using password: {password})\n"
                ),
                Expected::UnknownDatabase => {
                    "ERROR 1049 (42000): Unknown database 'not_there'\n".to_owned()
                }
            };
            assert_eq!(format!("{told}{error}"), expected, "{}", attempt.told);
        }
    }
}

/// MariaDB's JDBC driver, by the shell of another database: it runs any driver.
#[test]
fn connector_j() {
    for world in worlds() {
        let run = |port: u16, database: &str, password: &str, more: &str| {
            let url = format!("jdbc:mariadb://127.0.0.1:{port}/{database}{more}");
            let output = Command::new("java")
                .args([
                    "-cp",
                    "/usr/share/java/mariadb-java-client.jar:/usr/share/java/h2.jar",
                ])
                .args(["org.h2.tools.Shell", "-driver", "org.mariadb.jdbc.Driver"])
                .args(["-url", &url, "-user", "anybody", "-password", password])
                .args(["-sql", "SELECT CURRENT_USER(), 6 * 7"])
                .output()
                .unwrap();
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        let tls = "?useSsl=true&trustServerCertificate=true";
        for (port, password, more) in [
            (world.strict, SECRET, ""),
            (world.strict, SECRET, tls),
            (world.trust, "any", "?useServerPrepStmts=true"),
            (world.trust, "", ""),
        ] {
            let told = run(port, "app", password, more);
            assert!(
                told.contains("iam_app@%      | 42"),
                "{more}: {told}\n{}",
                world.sidecar.log()
            );
        }
        for (password, used) in [("wrong", "YES"), ("", "NO")] {
            let told = run(world.strict, "app", password, "");
            let words =
                format!("Access denied for user 'anybody'@'127.0.0.1' (using password: {used})");
            assert!(told.contains(&words), "{told}");
        }
        assert!(run(world.trust, "not_there", "", "").contains("Unknown database 'not_there'"));
    }
}

#[tokio::test]
async fn mysql_async() {
    for world in worlds() {
        for attempt in attempts(world) {
            let told = &attempt.told;
            if told["tls"] == true {
                continue; // It is built without.
            }
            let text = |name: &str| Some(told[name].as_str().unwrap());
            let options = mysql_async::OptsBuilder::default()
                .user(text("user"))
                .pass(text("password").filter(|password| !password.is_empty()))
                .db_name(text("database"))
                .prefer_socket(false);
            let options = match told["port"].as_u64() {
                Some(port) => options
                    .ip_or_hostname("127.0.0.1")
                    .tcp_port(u16::try_from(port).unwrap()),
                None => options.socket(text("socket")),
            };
            let code = match mysql_async::Conn::new(options).await {
                Ok(mut connection) => {
                    let row: Option<(String, i64)> = connection
                        .query_first("SELECT CURRENT_USER(), 6 * 7")
                        .await
                        .unwrap();
                    assert_eq!(row, Some(("iam_app@%".to_owned(), 42)));
                    connection.disconnect().await.unwrap();
                    0
                }
                Err(mysql_async::Error::Server(error)) => error.code,
                Err(error) => panic!("{error}: {told}\n{}", world.sidecar.log()),
            };
            let expected = match attempt.expected {
                Expected::LoggedIn => 0,
                Expected::Denied { .. } => 1045,
                Expected::UnknownDatabase => 1049,
            };
            assert_eq!(code, expected, "{told}");
        }
    }
}

/// Only where the library says so: MariaDB's node driver sends many rows in one packet that MySQL does not know.
#[test]
fn bulk_execute_of_the_mariadb_connector() {
    let script = "const m = require('mariadb'); (async () => { \
        const c = await m.createConnection({ host: '127.0.0.1', port: +process.argv[1], user: 'u', database: 'app' }); \
        await c.query('CREATE OR REPLACE TEMPORARY TABLE bulk (i INT, t TEXT)'); \
        const rows = [...Array(1000).keys()].map((i) => [i, 'x'.repeat(i % 50)]); \
        const done = await c.batch('INSERT INTO bulk VALUES (?, ?)', rows); \
        const [r] = await c.query('SELECT COUNT(*) AS n, SUM(i) AS s FROM bulk'); \
        console.log(JSON.stringify([done.affectedRows, Number(r.n), Number(r.s)])); await c.end(); })()";
    let world = crate::mysql_world::world(Flavor::MariaDb);
    let port = world.trust.to_string();
    let outcome = run(Path::new("node"), &["-e", script, &port], "");
    assert_eq!(outcome, [1_000, 1_000, 499_500], "{}", world.sidecar.log());
}
