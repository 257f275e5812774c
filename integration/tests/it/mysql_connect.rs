//! MySQL from the first byte to the first command: the greeting, odd clients, two engines (cases 84 to 87).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use rds_sandbox::Flavor;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::sidecar::SidecarOptions;

use crate::mysql_wire::Greeting;
use crate::mysql_wire::Login;
use crate::mysql_wire::SSL;
use crate::mysql_wire::Wire;
use crate::mysql_wire::anybody;
use crate::mysql_wire::error;
use crate::mysql_wire::session;
use crate::mysql_world::mariadb;
use crate::mysql_world::sidecar;
use crate::mysql_world::url;
use crate::mysql_world::worlds;

const COM_INIT_DB: u8 = 2;
const COM_CHANGE_USER: u8 = 17;
const COM_STMT_PREPARE: u8 = 22;
const COM_STMT_EXECUTE: u8 = 23;
const OK: u8 = 0;

fn greeting(port: u16) -> Greeting {
    Wire::connect(port).greeting()
}

/// Case 87.
#[test]
fn the_greeting_is_the_servers_own() {
    for world in worlds() {
        let direct = greeting(world.sandbox.mysql().unwrap().port());
        let (first, second) = (greeting(world.trust), greeting(world.trust));
        assert_eq!(first.version, direct.version);
        assert_eq!(first.charset, direct.charset);
        assert_eq!(first.status, direct.status);
        assert_eq!(first.plugin, "mysql_native_password");
        assert_ne!(first.thread_id, second.thread_id);
        assert!(first.thread_id < 1 << 31, "signed in some clients");
        assert_ne!(first.scramble, second.scramble);
        assert_eq!(first.scramble.len(), 20);
        assert!(first.scramble.iter().all(|byte| (1..128).contains(byte)));
        let name = |capabilities: u32| format!("{capabilities:032b}");
        // COMPRESS, SSL, OPTIONAL_RESULTSET_METADATA, ZSTD, QUERY_ATTRIBUTES, MULTI_FACTOR, and MariaDB's PROGRESS.
        let never = 1 << 5 | SSL | 1 << 25 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29;
        assert_eq!(
            name(first.capabilities & never),
            name(0),
            "offered what is not relayed"
        );
        assert_eq!(
            name(first.capabilities & !direct.capabilities),
            name(0),
            "more than upstream"
        );
        let needed = 0x00bf_a30a & !SSL;
        assert_eq!(
            name(first.capabilities & needed),
            name(direct.capabilities & needed)
        );
        assert_eq!(
            first.capabilities & 1,
            direct.capabilities & 1,
            "MySQL or MariaDB"
        );
        assert_ne!(greeting(world.strict).capabilities & SSL, 0);
    }
}

/// Case 84.
#[test]
fn odd_clients_are_let_in() {
    for world in worlds() {
        let plain = anybody();
        let user = |wire: &mut Wire| wire.row("SELECT CURRENT_USER(), DATABASE()");
        let app = ["iam_app@%", "app"];
        assert_eq!(user(&mut session(world.trust, &plain)), app, "no plugin");
        let empty = Login {
            database: Some(""),
            ..plain.clone()
        };
        // DB in the URL is for clients that name none.
        assert_eq!(
            user(&mut session(world.trust, &empty)),
            app,
            "an empty database"
        );
        let none = Login {
            database: None,
            ..plain.clone()
        };
        assert_eq!(user(&mut session(world.trust, &none)), app, "no database");
        let attributes = (0..64).map(|i| (format!("name{i}"), "v".repeat(1_000)));
        let long = Login {
            plugin: Some("mysql_native_password"),
            attributes: attributes.collect(),
            ..plain
        };
        assert_eq!(
            user(&mut session(world.trust, &long)),
            app,
            "64 kB of attributes"
        );
    }
}

/// Case 86.
#[test]
fn an_unknown_database_is_the_servers_to_refuse() {
    for world in worlds() {
        let mut wire = Wire::connect(world.trust);
        wire.greeting();
        let refused = wire.log_in(&Login {
            database: Some("not_there"),
            ..anybody()
        });
        let unknown = (
            1049,
            "42000".to_owned(),
            "Unknown database 'not_there'".to_owned(),
        );
        assert_eq!(error(&refused), Some(unknown.clone()));
        assert_eq!(wire.packet(), None, "closed after it");

        let mut wire = session(world.trust, &anybody());
        let init = [&[COM_INIT_DB], b"not_there".as_slice()].concat();
        assert_eq!(error(&wire.command(&init)), Some(unknown.clone()));
        let used = wire.command(b"\x03USE not_there");
        assert_eq!(error(&used), Some(unknown));
        assert_eq!(wire.row("SELECT DATABASE()"), ["app"]);
        assert_eq!(
            wire.command(&[&[COM_INIT_DB], b"mysql".as_slice()].concat())[0],
            OK
        );
        assert_eq!(wire.row("SELECT DATABASE()"), ["mysql"]);
    }
}

/// Case 85.
#[test]
fn changing_the_user_starts_afresh() {
    for world in worlds() {
        let mut wire = session(world.trust, &anybody());
        wire.row("SELECT @kept := 1");
        let prepared = wire.command(&[&[COM_STMT_PREPARE], b"DO 1".as_slice()].concat());
        assert_eq!(prepared[0], OK, "{:?}", error(&prepared));
        let id = prepared[1..5].to_vec();
        let change = |user: &str, database: &str| {
            let mut packet = vec![COM_CHANGE_USER];
            packet.extend_from_slice(user.as_bytes());
            packet.extend_from_slice(&[0, 0]);
            packet.extend_from_slice(database.as_bytes());
            packet.extend_from_slice(&[0, 45, 0]);
            packet
        };
        let mut answer = wire.command(&change("somebody", "mysql"));
        if answer[0] == 0xfe {
            wire.send(&[]);
            answer = wire.packet().unwrap();
        }
        assert_eq!(answer[0], OK, "{:?}", error(&answer));
        let now = wire.row("SELECT DATABASE(), CURRENT_USER(), COALESCE(@kept, 'gone')");
        assert_eq!(now, ["mysql", "iam_app@%", "gone"]);
        let execute = [&[COM_STMT_EXECUTE], id.as_slice(), &[0, 1, 0, 0, 0]].concat();
        let (code, state, _) = error(&wire.command(&execute)).expect("the statement is gone");
        assert_eq!((code, state.as_str()), (1243, "HY000"));
    }
}

#[test]
fn secrets_are_in_no_log() {
    let sandbox = Sandbox::start(&Options::mysql(Flavor::MariaDb)).unwrap();
    let know = "&client_auth=password&client_password=no-such-horse";
    let url = url(&sandbox, know);
    let sidecar = sidecar(&sandbox, &url, &[("RDS_SIDECAR_LOG_LEVEL", "trace")]);
    for password in ["no-such-horse", "another-horse"] {
        let mut client = mariadb(sidecar.port());
        client
            .env("MYSQL_PWD", password)
            .args(["-e", "SELECT 'a-value-of-mine'"]);
        assert_eq!(
            client.output().unwrap().status.success(),
            password == "no-such-horse"
        );
    }
    let log = sidecar.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    let env = sandbox.env().unwrap();
    let id_token = env.iter().find(|(name, _)| name == "RDS_SIDECAR_ID_TOKEN");
    let id_token = id_token.unwrap().1.rsplit_once('.').unwrap().1;
    for secret in [
        "horse",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
        "a-value-of-mine",
        id_token,
    ] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// `rds-sidecar postgres://... mysql://...` serves both.
#[test]
fn one_process_serves_two_engines() {
    let sandbox = Sandbox::start(&Options {
        mysql: Some(Flavor::MariaDb),
        ..Options::default()
    })
    .unwrap();
    let sidecar = Sidecar::start(&sandbox, &SidecarOptions::default()).unwrap();
    let mut wire = session(sidecar.mysql_port().unwrap(), &anybody());
    assert_eq!(wire.row("SELECT CURRENT_USER()"), ["iam_app@%"]);
    let psql = std::process::Command::new("psql")
        .args([
            "-XAtqc",
            "SELECT current_user",
            &sidecar.url("anybody", "app"),
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&psql.stdout),
        "iam_app\n",
        "{}",
        sidecar.log()
    );
    let users: Vec<_> = sandbox
        .verdicts()
        .iter()
        .map(|verdict| verdict.accepted)
        .collect();
    assert!(users.len() >= 2 && users.iter().all(|accepted| *accepted));
    assert_eq!(sandbox.sts_calls().len(), 1, "one identity for both");
}

/// A probe that only connects is greeted, costs no STS call once a login was seen, and is not in the log.
#[test]
fn a_probe_makes_no_noise() {
    let sandbox = Sandbox::start(&Options::mysql(Flavor::MariaDb)).unwrap();
    let sidecar = Sidecar::start(&sandbox, &SidecarOptions::default()).unwrap();
    for _ in 0..20 {
        drop(std::net::TcpStream::connect(("127.0.0.1", sidecar.port())).unwrap());
    }
    let mut wire = session(sidecar.port(), &anybody());
    assert_eq!(wire.row("SELECT 1"), ["1"]);
    assert!(!sidecar.log().contains("WARN"), "{}", sidecar.log());
    assert!(sandbox.sts_calls().len() <= 1);
}
