//! Real drivers on the way a test suite would use them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use futures_util::SinkExt;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use rds_sandbox::Sidecar;
use tokio_postgres::AsyncMessage;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::support::iam_sidecar;
use crate::support::world;

/// Where the newest PostgreSQL keeps its programs.
pub(crate) fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| version(path));
    newest.unwrap().join("bin")
}

/// Runs a script through psql: what it wrote to stdout and to stderr, or its error.
pub(crate) fn psql(
    target: &str,
    env: &[(&str, &str)],
    script: &str,
) -> Result<(String, String), String> {
    let mut psql = Command::new("psql")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-w", target])
        .env("PGCONNECT_TIMEOUT", "20")
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = psql.stdin.take().unwrap();
    // Broken where psql could not connect: its own words say why.
    let _ = input.write_all(script.as_bytes());
    drop(input);
    let output = psql.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok((text(&output.stdout), text(&output.stderr))),
        false => Err(text(&output.stderr)),
    }
}

/// As applications see it: any user, no password, no TLS, an IAM token behind.
fn sidecar() -> &'static Sidecar {
    static SHARED: std::sync::OnceLock<Sidecar> = std::sync::OnceLock::new();
    SHARED.get_or_init(|| iam_sidecar(&world().sandbox))
}

/// What scripts/drivers.sh installed.
fn installed(path: &str) -> PathBuf {
    let target = std::env::current_exe().unwrap();
    // target/debug/deps/it-0123456789abcdef
    let found = target
        .ancestors()
        .nth(3)
        .unwrap()
        .join("drivers")
        .join(path);
    assert!(
        found.exists(),
        "{} is missing\n    scripts/drivers.sh",
        found.display()
    );
    found
}

/// Runs a driver's suite against the sidecar.
fn suite(program: &Path, script: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers")
        .join(script);
    let url = format!("postgres://anybody@127.0.0.1:{}/app", sidecar().port());
    let output = Command::new(program)
        .arg(script)
        .arg(url)
        .env("NODE_PATH", installed("node/node_modules"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told == "ok\n",
        "{told}{error}\n{}",
        sidecar().log()
    );
}

#[test]
fn psycopg2() {
    suite(&installed("python/bin/python"), "psycopg2_suite.py");
}

#[test]
fn psycopg3() {
    suite(&installed("python/bin/python"), "psycopg3_suite.py");
}

#[test]
fn asyncpg() {
    suite(&installed("python/bin/python"), "asyncpg_suite.py");
}

#[test]
fn node_postgres() {
    suite(Path::new("node"), "pg_suite.js");
}

#[test]
fn psql_scripts() {
    let url = sidecar().url("anybody", "app");
    let file = world().sandbox.work_dir().path().join("psql.txt");
    let script = format!(
        r#"
        SELECT current_user, session_user, current_database();
        \conninfo
        CREATE TEMP TABLE t (i int, x text);
        \copy t FROM STDIN
1	one
2	two
\.
        \copy t TO '{file}'
        \copy t FROM '{file}'
        SELECT count(*) FROM t;
        BEGIN;
        \lo_import '{file}'
        \echo large object :LASTOID
        ROLLBACK;
        SELECT 1 AS a, 'x' AS b \gdesc
        SELECT format('SELECT %s', i) FROM generate_series(7, 8) i \gexec
        \set FETCH_COUNT 10
        SELECT sum(i) FROM generate_series(1, 100) i;
        \c - - - -
        SELECT to_regclass('t') IS NULL;
        \d pg_class
        "#,
        file = file.display()
    );
    let (told, error) = psql(
        &url,
        &[("PGOPTIONS", "-c work_mem=7MB -c search_path=pg_catalog")],
        &script,
    )
    .unwrap();
    assert_eq!(error, "");
    let lines: Vec<_> = told.lines().take(9).collect();
    let port = sidecar().port();
    let connected = format!(
        "You are connected to database \"app\" as user \"anybody\" on host \"127.0.0.1\" at port \"{port}\"."
    );
    assert_eq!(lines[..3], ["iam_app|iam_app|app", &connected, "4"]);
    assert!(lines[3].starts_with("large object "), "{told}");
    assert_eq!(lines[4..], ["a|integer", "b|text", "7", "8", "5050"]);
    assert!(
        told.contains("\nt\n") && told.contains("relname|name|"),
        "{told}"
    );
    let shown = psql(&url, &[("PGOPTIONS", "-c work_mem=7MB")], "SHOW work_mem").unwrap();
    assert_eq!(shown.0, "7MB\n");
}

#[test]
fn a_dump_and_its_restore() {
    let url = sidecar().url("anybody", "app");
    psql(&url, &[], "CREATE DATABASE dumped").unwrap();
    let dumped = sidecar().url("anybody", "dumped");
    psql(
        &dumped,
        &[],
        "CREATE TABLE t AS SELECT i, md5(i::text) AS x FROM generate_series(1, 1000) i",
    )
    .unwrap();
    let dump = Command::new(programs().join("pg_dump"))
        .args(["--clean", "-w", &dumped])
        .output()
        .unwrap();
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    psql(&dumped, &[], &String::from_utf8(dump.stdout).unwrap()).unwrap();
    assert_eq!(
        psql(&dumped, &[], "SELECT count(*), max(i) FROM public.t")
            .unwrap()
            .0,
        "1000|1000\n"
    );
    psql(&url, &[], "DROP DATABASE dumped").unwrap();
}

#[test]
fn pgbench_in_every_protocol() {
    let url = sidecar().url("anybody", "app");
    psql(&url, &[], "CREATE DATABASE pgbench").unwrap();
    let database = sidecar().url("anybody", "pgbench");
    let run = |args: &[&str]| {
        let output = Command::new(programs().join("pgbench"))
            .args(args)
            .arg(&database)
            .output()
            .unwrap();
        let (told, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{args:?}: {told}{error}");
        told.into_owned()
    };
    run(&["-i", "-q"]);
    for protocol in ["simple", "extended", "prepared"] {
        let told = run(&["-n", "-c", "4", "-t", "25", "-M", protocol]);
        assert!(
            told.contains("number of transactions actually processed: 100/100"),
            "{told}"
        );
    }
    let told = run(&["-n", "-C", "-S", "-c", "2", "-t", "25"]);
    assert!(told.contains("number of failed transactions: 0"), "{told}");
    psql(&url, &[], "DROP DATABASE pgbench").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres() {
    let url = sidecar().url("anybody", "app");
    let (mut client, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                heard.send(notification.payload().to_owned()).unwrap();
            }
        }
    });
    pipelined(&client).await;
    client
        .batch_execute("CREATE TEMP TABLE t (i int PRIMARY KEY)")
        .await
        .unwrap();
    let transaction = client.transaction().await.unwrap();
    let portal = transaction
        .bind("SELECT generate_series(1, 10)", &[])
        .await
        .unwrap();
    assert_eq!(transaction.query_portal(&portal, 4).await.unwrap().len(), 4);
    assert_eq!(transaction.query_portal(&portal, 0).await.unwrap().len(), 6);
    transaction
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    let twice = transaction
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap_err();
    assert_eq!(twice.code(), Some(&SqlState::UNIQUE_VIOLATION));
    transaction.rollback().await.unwrap();

    copied(&client).await;
    client
        .batch_execute("LISTEN tokio_channel; NOTIFY tokio_channel, 'hello'")
        .await
        .unwrap();
    assert_eq!(hears.recv().await.as_deref(), Some("hello"));
}

async fn pipelined(client: &tokio_postgres::Client) {
    let add = client.prepare("SELECT $1::int + $2::int").await.unwrap();
    // Pipelined: all are sent before the first is answered.
    let sums = (0..200).map(|number| {
        let add = &add;
        async move {
            client
                .query_one(add, &[&number, &1])
                .await
                .unwrap()
                .get::<_, i32>(0)
        }
    });
    let sums = futures_util::future::join_all(sums).await;
    assert!(sums.into_iter().eq(1..=200));
}

async fn copied(client: &tokio_postgres::Client) {
    let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    for number in 0..1_000 {
        sink.send(bytes::Bytes::from(format!("{number}\n")))
            .await
            .unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 1_000);
    let copied: Vec<_> = client
        .copy_out("COPY t TO STDOUT")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        copied
            .concat()
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count(),
        1_000
    );
}
