use config::Input;

use super::*;

fn loaded(file: &str, variables: &[(&str, &str)]) -> Loaded {
    let input = Input {
        file: Some(("rds-sidecar.toml".to_owned(), file.to_owned())),
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Input::default()
    };
    config::load(&input).unwrap()
}

const FILE: &str = r#"
[identity]
assume = ["arn:aws:iam::123456789012:role/b"]

[[database]]
url = "postgres://ci%40x@db.abc.eu-west-1.rds.amazonaws.com/my%20db?max_connections=3"
client_tls = { cert = "a.pem", key = "b \" c.pem" }
client_auth = "password"
client_password = "hunter2"

[[database]]
name = "other"
url = "mysql://root:hunter2@[::1]:3307/?auth=password"
listen = "unix:/run/my.sock"

[database.pool]
min_idle = 2
"#;

#[test]
fn every_value_has_an_origin_and_no_secret_shows() {
    let variables = [
        ("RDS_SIDECAR_REGION", "eu-west-1"),
        ("AWS_PROFILE", "dev"),
        ("RDS_SIDECAR_ID_TOKEN", "aGVhZGVy.aHVudGVyMg.c2ln"),
        ("RDS_SIDECAR_ADMIN_TOKEN", "hunter2"),
        ("CI_JOB_ID", "42"),
        ("CI_JOB_TIMEOUT", "3600"),
    ];
    let loaded = loaded(FILE, &variables);
    let text = render(&loaded);
    let words = |text: &str| {
        text.split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let spaced_once = words(&text);
    for expected in [
        "# id_token = \"******\", from RDS_SIDECAR_ID_TOKEN\n",
        "region = \"eu-west-1\" # RDS_SIDECAR_REGION\n",
        "profile = \"dev\" # AWS_PROFILE\n",
        "session_name = \"gitlab-42\" # GitLab CI_JOB_ID\n",
        "max_lifetime = \"3600s\" # GitLab CI_JOB_TIMEOUT\n",
        "max_connections = 3 # rds-sidecar.toml:6\n",
        "max_connections = 10 # default\n",
        "min_idle = 2 # rds-sidecar.toml:17\n",
        "client_password = \"******\" # rds-sidecar.toml:9\n",
        "password = \"******\" # rds-sidecar.toml:13\n",
        "url = \"mysql://root@[::1]:3307\" # rds-sidecar.toml:13\n",
        "# role_arn is not set: AWS's default chain",
    ] {
        assert!(spaced_once.contains(expected), "{expected}\n{text}");
    }
    let debug = format!("{loaded:?}");
    for secret in ["hunter2", "aHVudGVyMg"] {
        assert!(
            !text.contains(secret) && !debug.contains(secret),
            "{secret}\n{text}\n{debug}"
        );
    }
}

#[test]
fn what_it_prints_is_a_file_that_means_the_same() {
    let first = loaded(FILE, &[]);
    let again = loaded(&render(&first), &[]);
    assert_eq!(format!("{:?}", first.config), format!("{:?}", again.config));
}

#[test]
fn problems_are_counted() {
    let problem = |what: &str| Problem {
        at: "--mode".to_owned(),
        what: what.to_owned(),
        suggestion: None,
    };
    assert_eq!(
        problems(&[problem("a")]),
        "rds-sidecar: 1 problem in the configuration\n--mode: a\n"
    );
    assert!(problems(&[problem("a"), problem("b")]).starts_with("rds-sidecar: 2 problems"));
}
