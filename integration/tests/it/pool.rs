//! Many clients, few servers (protocol.md E, 14 and 76 to 81).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::sidecar::built_binary;
use tokio::time::Instant;

use crate::disconnect::assert_clean;
use crate::raw::Client;
use crate::raw::Said;
use crate::raw::Stream;
use crate::scene;
use crate::scene::admin;
use crate::scene::metric;
use crate::scene::pooled;
use crate::scene::sandbox;
use crate::scene::until;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn waiting_clients_are_served_in_the_order_they_came() {
    let sidecar = scene::sidecar(sandbox(), &["--max-connections", "1"]);
    let port = sidecar.port();
    let mut first = Client::connect(port, "app", "fifo");
    first.run("BEGIN");
    first.run("CREATE TABLE fifo (place int, at timestamptz DEFAULT clock_timestamp())");
    std::thread::scope(|threads| {
        for place in 0..8_u64 {
            let mut client = Client::begin(Stream::plain(port), "app", "fifo");
            until(SOON, "the client waits", || {
                metric(&sidecar, "pool_waiting_clients", "") == place + 1
            });
            threads.spawn(move || {
                client.finish_login().unwrap();
                client.query(&format!("INSERT INTO fifo VALUES ({place})"));
                client.goodbye();
            });
        }
        first.run("COMMIT");
        first.goodbye();
    });
    let mut last = Client::connect(port, "app", "fifo");
    assert_eq!(
        last.value("SELECT string_agg(place::text, '' ORDER BY at) FROM fifo"),
        "01234567"
    );
    last.run("DROP TABLE fifo");
    assert_eq!(metric(&sidecar, "pool_dials_total", ""), 1);
}

#[test]
fn who_waits_too_long_is_told_what_holds_the_pool() {
    let args = ["--max-connections", "1", "--checkout-timeout", "6s"];
    let sidecar = scene::sidecar(sandbox(), &args);
    let port = sidecar.port();
    let mut holder = Client::connect(port, "app", "holder");
    holder.run("BEGIN");
    let began = Instant::now();
    let mut waiting = Client::begin(Stream::plain(port), "app", "waiting");
    let said = waiting.finish_login().unwrap_err();
    let waited = began.elapsed();
    assert!((5..9).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!((&*said.severity, &*said.sqlstate), ("FATAL", "53300"));
    assert!(
        said.message
            .contains("no upstream connection became free within 6s: 1 of 1 in use by 1 client"),
        "{said:?}"
    );
    assert!(
        said.hint.contains("max_connections") && said.hint.contains("checkout_timeout"),
        "{said:?}"
    );
    let [notice] = &waiting.notices[..] else {
        panic!("one notice after 5 s: {:?}", waiting.notices)
    };
    assert_eq!(notice.severity, "NOTICE");
    assert!(notice.message.starts_with("rds-sidecar: "), "{notice:?}");
    assert_eq!(holder.query("COMMIT").tags, ["COMMIT"]);
}

#[test]
fn a_roles_connection_limit_is_learned_and_no_client_sees_it() {
    let sandbox = sandbox();
    admin(
        sandbox,
        "app",
        "CREATE ROLE limited LOGIN CONNECTION LIMIT 2 PASSWORD 'limited_password'",
    );
    let url =
        Sandbox::sidecar_url(sandbox.postgres().unwrap().port()).replace("iam_app", "limited");
    let sidecar = scene::sidecar_env(
        sandbox,
        &["--max-connections", "5", "--auth", "password", &url],
        &[("RDS_SIDECAR_PASSWORD", "limited_password")],
    );
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for _ in 0..3 {
                    let mut client = Client::connect(sidecar.port(), "app", "limited");
                    let answer = client.query("SELECT pg_sleep(0.05)");
                    assert!(answer.error.is_none(), "{answer:?}");
                    client.goodbye();
                }
            });
        }
    });
    assert!(
        metric(&sidecar, "pool_dial_failures_total", "reason=\"limit\"") >= 1,
        "the limit was met"
    );
    assert_eq!(
        metric(&sidecar, "pool_connections_max{", ""),
        2,
        "what was learned"
    );
}

#[test]
fn a_full_server_is_waited_for_and_then_named() {
    let sandbox = scene::own(&Options {
        max_connections: 6,
        settings: vec![("superuser_reserved_connections".into(), "2".into())],
        ..Options::default()
    });
    let holder = scene::sidecar(&sandbox, &[]);
    let held: Vec<_> = (0..4)
        .map(|_| Client::connect(holder.port(), "app", "filler"))
        .collect();
    let sidecar = scene::sidecar(&sandbox, &["--checkout-timeout", "2s"]);
    let said = refused(&sidecar);
    assert_eq!(said.sqlstate, "53300");
    assert!(
        said.message.contains("the server refused more: ")
            && (said
                .message
                .contains("remaining connection slots are reserved")
                || said.message.contains("too many clients already")),
        "{said:?}"
    );
    let mut waiting = Client::begin(Stream::plain(sidecar.port()), "app", "waiting");
    until(SOON, "the client waits", || {
        metric(&sidecar, "pool_waiting_clients", "") == 1
    });
    drop(held);
    drop(holder);
    waiting.finish_login().unwrap();
    assert_eq!(waiting.value("SELECT 1"), "1");
}

fn refused(sidecar: &Sidecar) -> Said {
    match Client::try_connect(Stream::plain(sidecar.port()), "app", "refused") {
        Ok(_) => panic!("let in"),
        Err(said) => said,
    }
}

#[test]
fn a_server_restart_ends_its_sessions_and_nothing_else() {
    let mut sandbox = scene::own(&Options::default());
    let sidecar = scene::sidecar(&sandbox, &[]);
    let port = sidecar.port();
    let mut in_session = Client::connect(port, "app", "restart");
    let idle: Vec<_> = (0..4)
        .map(|_| Client::connect(port, "app", "restart"))
        .collect();
    idle.into_iter().for_each(Client::goodbye);
    until(SOON, "four idle", || pooled(&sidecar, "idle") == 4);
    sandbox.postgres_mut().unwrap().restart().unwrap();
    let last = in_session.answer();
    assert_eq!(
        (last.sqlstate(), last.status),
        ("57P01", None),
        "as on a direct connection"
    );
    std::thread::scope(|threads| {
        for _ in 0..30 {
            threads.spawn(|| assert_clean(port, "restart"));
        }
    });
    assert_eq!(metric(&sidecar, "pool_dial_failures_total", "upstream"), 0);
    assert_eq!(sidecar.admin("GET", "/readiness", "").unwrap().0, 200);
}

#[test]
fn five_hundred_clients_at_once_are_few_handshakes_upstream() {
    let sidecar = scene::sidecar(
        sandbox(),
        &["--max-connections", "20", "--connects-per-second", "1000"],
    );
    let (served, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|threads| {
        let watch = threads.spawn(|| {
            let (mut dialling, mut held) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                dialling = dialling.max(pooled(&sidecar, "dialling"));
                held = held.max(pooled(&sidecar, "leased") + pooled(&sidecar, "dialling"));
            }
            (dialling, held)
        });
        let clients: Vec<_> = (0..500)
            .map(|_| {
                threads.spawn(|| {
                    let mut client = Client::connect(sidecar.port(), "app", "crowd");
                    assert_eq!(client.value("SELECT 1"), "1");
                    client.goodbye();
                    served.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let panicked = clients.into_iter().filter_map(|client| client.join().err());
        assert_eq!(panicked.count(), 0);
        done.store(true, Ordering::Relaxed);
        let (dialling, held) = watch.join().unwrap();
        assert!(dialling <= 8, "{dialling} handshakes at once");
        // The two figures are read one after the other.
        assert!(held <= 28, "{held} connections");
    });
    assert_eq!(served.into_inner(), 500);
    assert!(metric(&sidecar, "pool_dials_total", "") <= 20);
    assert_eq!(metric(&sidecar, "pool_dial_failures_total", "upstream"), 0);
}

#[test]
fn idle_servers_are_given_back_but_for_min_idle() {
    let args = ["--idle-timeout", "300ms", "--min-idle", "1"];
    let sidecar = scene::sidecar(sandbox(), &args);
    let port = sidecar.port();
    let mut holder = Client::connect(port, "app", "idle_limit");
    let more: Vec<_> = (0..3)
        .map(|_| Client::connect(port, "app", "idle_limit"))
        .collect();
    more.into_iter().for_each(Client::goodbye);
    until(SOON, "all but one are closed", || {
        pooled(&sidecar, "idle") == 1
            && metric(&sidecar, "pool_closings_total", "reason=\"idle_timeout\"") >= 2
    });
    let dials = metric(&sidecar, "pool_dials_total", "");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(pooled(&sidecar, "idle"), 1, "kept");
    assert_eq!(
        metric(&sidecar, "pool_dials_total", ""),
        dials,
        "the same one"
    );
    until(SOON, "the server knows", || {
        scene::sessions(&mut holder, "idle_limit") == 2
    });
}

#[test]
fn a_server_in_use_outlives_max_lifetime_and_an_idle_one_does_not() {
    let sidecar = scene::sidecar(sandbox(), &["--pool-max-lifetime", "1s"]);
    let port = sidecar.port();
    let mut holder = Client::connect(port, "app", "lifetime");
    holder.run("BEGIN");
    Client::connect(port, "app", "lifetime").goodbye();
    until(SOON, "the idle one is closed", || {
        metric(&sidecar, "pool_closings_total", "reason=\"max_lifetime\"") == 1
            && scene::sessions(&mut holder, "lifetime") == 1
    });
    // Lives are shortened by chance, each its own: now this one's is over too.
    std::thread::sleep(Duration::from_millis(200));
    let pid = holder.key.pid;
    assert_eq!(holder.query("COMMIT").tags, ["COMMIT"]);
    holder.goodbye();
    assert_ne!(assert_clean(port, "lifetime"), pid, "closed at release");
}

#[test]
fn one_client_too_many_is_told_and_the_others_go_on() {
    // 128 descriptors are reserved, a client counts for two: room for 16.
    let wrapper = sandbox().work_dir().path().join("few-descriptors");
    let binary = built_binary().unwrap();
    fs::write(
        &wrapper,
        format!(
            "#!/bin/sh\nulimit -n 160\nexec {} \"$@\"\n",
            binary.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut options = scene::options(&["--max-connections", "16"], &[]);
    options.binary = Some(wrapper);
    let sidecar = Sidecar::start(sandbox(), &options).unwrap();
    let mut clients: Vec<_> = (0..16)
        .map(|_| Client::connect(sidecar.port(), "app", "too_many"))
        .collect();
    for _ in 0..3 {
        let said = refused(&sidecar);
        assert_eq!((&*said.severity, &*said.sqlstate), ("FATAL", "53300"));
        assert!(said.message.contains("too many clients"), "{said:?}");
    }
    for client in &mut clients {
        assert_eq!(client.value("SELECT 1"), "1");
    }
    clients.pop().unwrap().goodbye();
    until(SOON, "a place is free", || {
        Client::try_connect(Stream::plain(sidecar.port()), "app", "too_many").is_ok()
    });
}
