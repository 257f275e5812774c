//! Which layer wins, and what GitLab and AWS say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use config::ClientAuth;
use config::Config;
use config::Databases;
use config::Engine;
use config::IdTokenSource;
use config::Input;
use config::Listen;
use config::UpstreamAuth;
use config::options;
use config::options::Spec;
use secrecy::ExposeSecret;

const URL: &str = "postgres://ci@a.example.com/app";

fn input(variables: &[(&str, &str)]) -> Input {
    Input {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        urls: vec![URL.to_owned()],
        ..Input::default()
    }
}

fn load(input: &Input) -> Config {
    config::load(input).unwrap().config
}

fn with_file(mut input: Input, text: &str) -> Input {
    input.file = Some(("rds-sidecar.toml".to_owned(), text.to_owned()));
    input
}

#[test]
fn flag_over_variable_over_aws_over_file_over_nothing() {
    let region = |input: &Input| load(input).identity.region;
    let mut all = with_file(
        input(&[
            ("RDS_SIDECAR_REGION", "eu-west-2"),
            ("AWS_REGION", "eu-west-3"),
            ("AWS_DEFAULT_REGION", "eu-west-4"),
        ]),
        "[identity]\nregion = \"eu-west-5\"",
    );
    all.flags.push((&options::REGION, "eu-west-1".to_owned()));
    assert_eq!(region(&all).as_deref(), Some("eu-west-1"));
    all.flags.clear();
    assert_eq!(region(&all).as_deref(), Some("eu-west-2"));
    all.variables
        .insert("RDS_SIDECAR_REGION".to_owned(), String::new());
    assert_eq!(
        region(&all).as_deref(),
        Some("eu-west-3"),
        "an empty variable is absent"
    );
    all.variables.remove("AWS_REGION");
    assert_eq!(region(&all).as_deref(), Some("eu-west-4"));
    all.variables.clear();
    assert_eq!(region(&all).as_deref(), Some("eu-west-5"));
    all.file = None;
    assert_eq!(region(&all), None);
}

#[test]
fn a_url_key_beats_a_flag_beats_the_section() {
    let file = "[[database]]\nurl = \"postgres://ci@a/x?max_connections=3\"\n[database.pool]\nmin_idle = 1\nmax_connections = 4\n\
                [[database]]\nurl = \"mysql://ci@b/x\"\n[database.pool]\nmin_idle = 2\nmax_connections = 5\n";
    let mut input = with_file(Input::default(), file);
    let pools = |input: &Input| -> Vec<(usize, usize)> {
        load(input)
            .databases
            .iter()
            .map(|database| (database.pool.max_connections, database.pool.min_idle))
            .collect()
    };
    assert_eq!(pools(&input), [(3, 1), (5, 2)]);
    input
        .variables
        .insert("RDS_SIDECAR_MAX_CONNECTIONS".to_owned(), "7".to_owned());
    assert_eq!(pools(&input), [(3, 1), (7, 2)]);
    input
        .flags
        .push((&options::MAX_CONNECTIONS, "8".to_owned()));
    assert_eq!(pools(&input), [(3, 1), (8, 2)]);
}

#[test]
fn the_highest_layer_that_names_databases_supplies_the_list() {
    let file = "[[database]]\nurl = \"postgres://ci@file/x\"\nconnect_timeout = \"1s\"";
    let hosts = |input: &Input| -> Vec<String> {
        load(input)
            .databases
            .into_iter()
            .map(|database| database.upstream.host)
            .collect()
    };
    let mut input = with_file(
        input(&[("RDS_SIDECAR_DATABASES", " postgres://b/x\n\tmysql://c/x ")]),
        file,
    );
    assert_eq!(hosts(&input), ["a.example.com"]);
    input.urls.clear();
    assert_eq!(hosts(&input), ["b", "c"]);
    assert_eq!(
        load(&input).databases[0].connect_timeout,
        Duration::from_secs(15),
        "the file's section is not theirs"
    );
    input.variables.clear();
    assert_eq!(hosts(&input), ["file"]);
    assert_eq!(
        load(&input).databases[0].connect_timeout,
        Duration::from_secs(1)
    );
}

#[test]
fn the_defaults_of_a_database() {
    let config = load(&Input {
        urls: vec![
            "postgres://db".to_owned(),
            "mariadb://db".to_owned(),
            "mysql://db?listen=0.0.0.0:1".to_owned(),
        ],
        ..Input::default()
    });
    let shown: Vec<_> = config
        .databases
        .iter()
        .map(|database| {
            (
                database.name.as_str(),
                database.engine,
                database.listen.to_string(),
                database.upstream.port,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (
                "postgres",
                Engine::Postgres,
                "127.0.0.1:5432".to_owned(),
                5432
            ),
            ("mysql", Engine::Mysql, "127.0.0.1:3306".to_owned(), 3306),
            ("mysql-2", Engine::Mysql, "0.0.0.0:1".to_owned(), 3306),
        ]
    );
    assert!(config.databases[0].user.is_none() && config.databases[0].default_database.is_none());
    assert!(matches!(config.databases[0].auth, UpstreamAuth::Iam));
    assert_eq!(config.server.admin.unwrap().to_string(), "127.0.0.1:9090");
}

#[test]
fn a_host_alone_listens_on_each_engines_port() {
    let mut input = input(&[("RDS_SIDECAR_LISTEN", "0.0.0.0")]);
    input.urls.push("mysql://b".to_owned());
    let listens: Vec<String> = load(&input)
        .databases
        .iter()
        .map(|database| database.listen.to_string())
        .collect();
    assert_eq!(listens, ["0.0.0.0:5432", "0.0.0.0:3306"]);
}

#[test]
fn nothing_listens_beyond_loopback_unless_it_was_written() {
    let config = load(&input(&[]));
    let Listen::Tcp(address) = &config.databases[0].listen else {
        panic!()
    };
    assert!(address.ip().is_loopback() && config.server.admin.unwrap().ip().is_loopback());
}

const GITLAB: [(&str, &str); 5] = [
    ("GITLAB_CI", "true"),
    ("CI_JOB_ID", "4242"),
    ("CI_PROJECT_PATH", "group/My.App"),
    ("CI_JOB_TIMEOUT", "3600"),
    ("CI_BUILDS_DIR", "/builds/"),
];

#[test]
fn gitlab_gives_defaults() {
    let config = load(&input(&GITLAB));
    assert_eq!(config.identity.session_name, "gitlab-group-my-app-4242");
    assert_eq!(config.server.max_lifetime, Some(Duration::from_secs(3600)));
    let IdTokenSource::File(path) = &config.identity.id_token else {
        panic!()
    };
    assert_eq!(path, Path::new("/builds/.rds-sidecar-4242.jwt"));
    let job = config.identity.gitlab.unwrap();
    assert_eq!(
        (job.job_id.as_str(), job.timeout_seconds),
        ("4242", Some(3600))
    );
}

#[test]
fn what_the_user_says_beats_gitlab() {
    let mut input = input(&GITLAB);
    for (name, value) in [
        ("AWS_ROLE_SESSION_NAME", "me"),
        ("RDS_SIDECAR_SERVER_MAX_LIFETIME", "off"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "t.jwt"),
    ] {
        input.variables.insert(name.to_owned(), value.to_owned());
    }
    let config = load(&input);
    assert_eq!(
        (
            config.identity.session_name.as_str(),
            config.server.max_lifetime
        ),
        ("me", None)
    );
    assert!(
        matches!(&config.identity.id_token, IdTokenSource::File(path) if path == Path::new("t.jwt"))
    );
}

#[test]
fn outside_gitlab_there_is_none_of_it() {
    let config = load(&input(&[("CI_JOB_TIMEOUT", "3600")]));
    assert!(config.identity.gitlab.is_none() && config.server.max_lifetime.is_none());
    assert_eq!(config.identity.session_name, "rds-sidecar");
    assert!(matches!(config.identity.id_token, IdTokenSource::Pushed));
}

#[test]
fn the_token_is_looked_for_in_order() {
    let source = |input: &Input| match load(input).identity.id_token {
        IdTokenSource::Variable { name, .. } => name,
        IdTokenSource::File(path) => path.display().to_string(),
        IdTokenSource::Pushed => "pushed".to_owned(),
    };
    let mut all = input(&[
        ("RDS_SIDECAR_ID_TOKEN", "a.b.c"),
        ("RDS_SIDECAR_TOKEN_B", "\na.b.c\n"),
    ]);
    all.flags
        .push((&options::ID_TOKEN_ENV, "RDS_SIDECAR_TOKEN_B".to_owned()));
    all.flags
        .push((&options::ID_TOKEN_FILE, "t.jwt".to_owned()));
    assert_eq!(source(&all), "RDS_SIDECAR_TOKEN_B");
    all.variables
        .insert("RDS_SIDECAR_TOKEN_B".to_owned(), "\n".to_owned());
    assert_eq!(source(&all), "RDS_SIDECAR_ID_TOKEN");
    all.variables.remove("RDS_SIDECAR_ID_TOKEN");
    assert_eq!(source(&all), "t.jwt");
    all.flags.pop();
    assert_eq!(source(&all), "pushed");
}

#[test]
fn no_option_is_read_and_ignored() {
    let plain = format!("{:?}", load(&input(&[])));
    for (spec, text) in SAMPLES {
        let mut flag = input(&[]);
        flag.flags.push((spec, (*text).to_owned()));
        let variable = input(&[(&spec.variable().unwrap(), text)]);
        let [flag, variable] = [flag, variable].map(|given| format!("{:?}", load(&given)));
        assert!(
            flag == variable && flag != plain,
            "{} is ignored",
            spec.name
        );
    }
    let sampled = |spec: &Spec| SAMPLES.iter().any(|(sample, _)| sample.name == spec.name);
    let missing = options::ALL
        .iter()
        .filter(|spec| spec.built && spec.flag().is_some() && !sampled(spec));
    let missing: Vec<_> = missing.map(|spec| spec.name).collect();
    // `config` names the file, which `load` is handed; `id_token_env` and the passwords have tests of their own;
    // `mode` knows one word in this version.
    assert_eq!(
        missing,
        [
            "config",
            "id_token_env",
            "password",
            "client_auth",
            "client_password",
            "mode"
        ]
    );
}

const SAMPLES: &[(&Spec, &str)] = &[
    (&options::ROLE_ARN, "arn:aws:iam::123456789012:role/a"),
    (
        &options::ASSUME,
        "arn:aws:iam::123456789012:role/b arn:aws:iam::123456789012:role/c",
    ),
    (&options::ID_TOKEN_FILE, "t.jwt"),
    (&options::REGION, "eu-west-1"),
    (&options::SESSION_NAME, "me"),
    (&options::SESSION_DURATION, "20m"),
    (&options::SCOPE_DOWN, "false"),
    (&options::PROFILE, "dev"),
    (&options::STS_ENDPOINT, "https://sts.example.com"),
    (&options::AWS_CA_BUNDLE, "aws.pem"),
    (&options::NAME, "app"),
    (&options::LISTEN, ":5433"),
    (&options::AUTH, "none"),
    (&options::SIGN_HOST, "real.example.com"),
    (&options::CLIENT_TLS, "self-signed"),
    (&options::TLS_CA_FILE, "ca.pem"),
    (&options::CONNECT_TIMEOUT, "3s"),
    (&options::MAX_CONNECTIONS, "3"),
    (&options::MIN_IDLE, "3"),
    (&options::IDLE_TIMEOUT, "3s"),
    (&options::POOL_MAX_LIFETIME, "3s"),
    (&options::CHECKOUT_TIMEOUT, "3s"),
    (&options::CONNECTS_PER_SECOND, "3"),
    (&options::ADMIN, "off"),
    (&options::ADMIN_TOKEN, "t"),
    (&options::LOG, "json"),
    (&options::LOG_LEVEL, "debug"),
    (&options::SHUTDOWN_GRACE, "0s"),
    (&options::SERVER_MAX_LIFETIME, "3h"),
    (&options::EXIT_WHEN_IDLE, "3m"),
];

#[test]
fn passwords_reach_the_databases_that_ask_for_them() {
    let mut input = input(&[
        ("RDS_SIDECAR_PASSWORD", "for all"),
        ("RDS_SIDECAR_CLIENT_PASSWORD", "of clients"),
    ]);
    input.urls = vec![
        "postgres://a?auth=password".to_owned(),
        "postgres://u:own@b?auth=password&listen=:1&client_auth=password".to_owned(),
        "mysql://c".to_owned(),
    ];
    let databases = load(&input).databases;
    let upstream = |index: usize| match &databases[index].auth {
        UpstreamAuth::Password(password) => Some(password.expose_secret().to_owned()),
        UpstreamAuth::Iam | UpstreamAuth::None => None,
    };
    assert_eq!(
        [upstream(0), upstream(1), upstream(2)],
        [Some("for all".to_owned()), Some("own".to_owned()), None]
    );
    let asks = |index: usize| match &databases[index].client_auth {
        ClientAuth::Password(password) => Some(password.expose_secret().to_owned()),
        ClientAuth::Trust => None,
    };
    assert_eq!(
        [asks(0), asks(1), asks(2)],
        [None, Some("of clients".to_owned()), None]
    );
}

#[test]
fn commands_that_need_no_database_may_have_none() {
    let mut input = Input {
        databases: Databases::Optional,
        ..Input::default()
    };
    assert!(load(&input).databases.is_empty());
    input.databases = Databases::Served;
    assert!(config::load(&input).is_err());
}

/// `ssh -L 5432:mydb...:5432`: a token for it has nothing to do with the port a sidecar would open.
#[test]
fn a_token_for_a_tunnel_on_the_default_port_is_no_conflict() {
    let url = "postgres://u@127.0.0.1:5432/app?sign_host=mydb.abc123.eu-west-1.rds.amazonaws.com";
    let mut input = Input {
        urls: vec![url.into()],
        ..Input::default()
    };
    assert!(
        config::load(&input).is_err(),
        "to serve it would be to dial oneself"
    );
    input.databases = Databases::Named;
    assert!(config::load(&input).is_ok());
}
