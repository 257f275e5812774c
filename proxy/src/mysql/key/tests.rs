//! Who shares with whom.

use super::*;

fn database(url: &str) -> config::Database {
    let input = config::Input {
        urls: vec![url.to_owned()],
        ..config::Input::default()
    };
    config::load(&input).unwrap().config.databases.remove(0)
}

fn response(database: &str, attributes: &[(&str, &str)]) -> Response {
    let attribute =
        |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    Response {
        capabilities: Capabilities::PROTOCOL_41
            | Capabilities::LONG_PASSWORD
            | Capabilities::FOUND_ROWS
            | Capabilities::DEPRECATE_EOF
            | Capabilities::CONNECT_ATTRS
            | Capabilities::SSL,
        packet_max: 1 << 24,
        charset: 45,
        user: b"anybody".to_vec(),
        auth: Vec::new(),
        database: database.as_bytes().to_vec(),
        plugin: None,
        attributes: attributes.iter().map(attribute).collect(),
    }
}

const URL: &str = "mysql://ci@db.abc.eu-west-1.rds.amazonaws.com/app";

fn offered() -> Capabilities {
    Capabilities::FOUND_ROWS | Capabilities::PROTOCOL_41 | Capabilities::CONNECT_ATTRS
}

#[test]
fn user_and_database_of_the_url_take_the_clients_place() {
    let key = Key::new(&response("", &[]), offered(), &database(URL));
    assert_eq!(
        (key.user_text(), key.database_text()),
        ("ci".into(), "app".into())
    );
    let named = Key::new(&response("test_1", &[]), offered(), &database(URL));
    assert_eq!(named.database_text(), "test_1");
    let open = database("mysql://db.abc.eu-west-1.rds.amazonaws.com");
    let key = Key::new(&response("", &[]), offered(), &open);
    assert_eq!(
        (key.user_text(), key.database_text()),
        ("anybody".into(), String::new())
    );
}

#[test]
fn capabilities_are_the_clients_own_as_far_as_they_were_offered() {
    let key = Key::new(&response("", &[]), offered(), &database(URL));
    assert_eq!(
        key.capabilities,
        Capabilities::LONG_PASSWORD | Capabilities::FOUND_ROWS
    );
    let more = offered() | Capabilities::DEPRECATE_EOF;
    let other = Key::new(&response("", &[]), more, &database(URL));
    assert_ne!(key, other, "the form of packets differs");
}

#[test]
fn processes_of_one_program_share() {
    let key = |pid| {
        let attributes = [("program_name", "pytest"), ("_pid", pid)];
        Key::new(&response("", &attributes), offered(), &database(URL))
    };
    assert_eq!(key("1"), key("2"));
    assert_eq!(
        key("1").attributes,
        [(b"program_name".to_vec(), b"pytest".to_vec())]
    );
}

#[test]
fn a_change_of_user_keeps_what_belongs_to_the_connection() {
    let open = database("mysql://db.abc.eu-west-1.rds.amazonaws.com");
    let before = Key::new(&response("app", &[("program_name", "x")]), offered(), &open);
    let change = ChangeUser {
        user: b"bob".to_vec(),
        auth: Vec::new(),
        database: b"other".to_vec(),
        charset: None,
        plugin: None,
        attributes: Attributes::new(),
    };
    let expected = Key {
        user: b"bob".to_vec(),
        database: b"other".to_vec(),
        ..before.clone()
    };
    assert_eq!(before.changed(&change, &open), expected);
}

#[test]
fn debug_shows_no_attribute() {
    let key = Key::new(
        &response("d", &[("secret", "hunter2")]),
        offered(),
        &database(URL),
    );
    assert_eq!(
        format!("{key:?}"),
        r#"Key { user: "ci", database: "d", .. }"#
    );
}
