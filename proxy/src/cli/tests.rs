use super::*;

fn typed(arguments: &[&str]) -> Invocation {
    match parse(all(arguments)) {
        Ok(invocation) => invocation,
        Err(answer) => panic!("{}", answer.text),
    }
}

fn refused(arguments: &[&str]) -> Answer {
    match parse(all(arguments)) {
        Ok(invocation) => panic!("{:?}", invocation.command),
        Err(answer) => answer,
    }
}

fn all(arguments: &[&str]) -> Vec<OsString> {
    std::iter::once("rds-sidecar")
        .chain(arguments.iter().copied())
        .map(OsString::from)
        .collect()
}

fn flag<'a>(invocation: &'a Invocation, name: &str) -> Option<&'a str> {
    invocation
        .flags
        .iter()
        .find(|(spec, _)| spec.name == name)
        .map(|(_, text)| text.as_str())
}

const URL_A: &str = "postgres://ci@a.example.com/app";

#[test]
fn the_command_line_is_well_formed() {
    grammar::command().debug_assert();
}

#[test]
fn no_command_serves() {
    let plain = typed(&["--mode", "session", URL_A, "mysql://b"]);
    assert_eq!((plain.command, plain.urls.len()), (Command::Run, 2));
    let named = typed(&["run", URL_A, "--role-arn=x"]);
    assert_eq!(
        (&named.command, named.urls.as_slice()),
        (&Command::Run, &[URL_A.to_owned()][..])
    );
    assert_eq!(flag(&named, "role_arn"), Some("x"));
    assert_eq!(typed(&[]).command, Command::Run);
}

#[test]
fn options_stand_on_either_side_of_the_command() {
    let invocation = typed(&[
        "--region",
        "eu-west-1",
        "--mode",
        "a",
        URL_A,
        "config",
        "--mode",
        "b",
        "--check",
    ]);
    assert_eq!(invocation.command, Command::Config { check: true });
    assert_eq!(
        (flag(&invocation, "region"), flag(&invocation, "mode")),
        (Some("eu-west-1"), Some("b"))
    );
    assert_eq!(invocation.urls, [URL_A]);
}

#[test]
fn a_switch_stands_alone_or_takes_a_value_after_an_equals_sign() {
    assert_eq!(
        flag(&typed(&["--scope-down", URL_A]), "scope_down"),
        Some("true")
    );
    assert_eq!(
        flag(&typed(&["--scope-down=false"]), "scope_down"),
        Some("false")
    );
    assert_eq!(
        flag(&typed(&["--assume", "a", "--assume", "b c"]), "assume"),
        Some("a b c")
    );
}

#[test]
fn the_other_commands() {
    assert_eq!(
        typed(&["token", URL_A]).command,
        Command::Token {
            url: URL_A.to_owned()
        }
    );
    assert_eq!(typed(&["token", URL_A]).urls, [URL_A]);
    assert_eq!(
        typed(&["wait"]).command,
        Command::Wait {
            timeout: Duration::from_secs(30)
        }
    );
    assert_eq!(
        typed(&["wait", "--timeout=1m30s"]).command,
        Command::Wait {
            timeout: Duration::from_secs(90)
        }
    );
    assert_eq!(
        typed(&["healthcheck", "--admin", ":1"]).command,
        Command::Healthcheck
    );
    assert_eq!(typed(&["stop"]).command, Command::Stop);
    assert_eq!(
        typed(&["completion", "bash"]).command,
        Command::Completion { shell: Shell::Bash }
    );
}

#[test]
fn bad_usage_ends_with_64() {
    for arguments in [
        &["--no-such-flag"][..],
        &["tokn"],
        &["doctor"],
        &["token"],
        &["wait", "--timeout", "30"],
        &["wait", "--mode", "session"],
        &["completion", "sh"],
        &["--region"],
        &["--region", "a", "--region", "b"],
        &["stop", "now"],
    ] {
        let answer = refused(arguments);
        assert_eq!(
            answer.exit_code, EXIT_USAGE,
            "{arguments:?}: {}",
            answer.text
        );
    }
}

#[test]
fn help_and_version_end_with_0() {
    assert_eq!(
        refused(&["--version"]).text,
        format!("rds-sidecar {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = refused(&["--help"]);
    assert_eq!(help.exit_code, 0);
    for spec in options::ALL.iter().filter(|spec| spec.flag().is_some()) {
        let shown = help.text.contains(&format!("{} ", spec.flag().unwrap()))
            || help.text.contains(&format!("{}[", spec.flag().unwrap()));
        assert_eq!(shown, spec.built, "{}", spec.name);
    }
    for later in ["exec", "doctor", "policy"] {
        assert!(!help.text.contains(&format!("\n  {later}")), "{later}");
    }
}

#[test]
fn a_misspelt_flag_is_answered_with_the_right_one_and_not_its_value() {
    let answer = refused(&["--pasword=hunter2"]);
    assert!(
        answer.text.contains("--password") && !answer.text.contains("hunter2"),
        "{}",
        answer.text
    );
}

#[test]
fn a_misspelt_command_is_answered_with_the_right_one() {
    assert!(
        refused(&["tokn"])
            .text
            .contains("similar command exists: 'token'")
    );
    assert!(!refused(&["elephant"]).text.contains("similar"));
}

#[test]
fn help_names_every_variable() {
    let help = refused(&["--help"]).text;
    for name in options::ALL
        .iter()
        .filter(|spec| spec.built)
        .filter_map(|spec| spec.variable())
    {
        assert!(help.contains(&name), "{name}");
    }
}

#[test]
fn completion_knows_the_flags() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = completion(shell);
        assert!(
            script.contains("role-arn") && script.contains("healthcheck"),
            "{shell}"
        );
    }
}

#[test]
fn the_file_comes_from_the_flag_then_from_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("a.toml"), "a").unwrap();
    std::fs::write(path("b.toml"), "b").unwrap();
    let environment = || {
        [(
            OsString::from("RDS_SIDECAR_CONFIG"),
            OsString::from(path("b.toml")),
        )]
    };
    let text = |arguments: &[&str]| {
        typed(arguments)
            .input(environment())
            .ok()
            .and_then(|input| input.file)
            .unwrap()
            .1
    };
    assert_eq!(text(&["--config", &path("a.toml")]), "a");
    assert_eq!(text(&[]), "b");
    let problems = typed(&["--config", &path("c.toml")])
        .input(environment())
        .err()
        .unwrap();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].at == "--config" && problems[0].what.contains("c.toml"),
        "{problems:?}"
    );
}

#[test]
fn a_file_without_end_is_refused() {
    let problems = typed(&["--config", "/dev/zero"]).input([]).err().unwrap();
    assert!(problems[0].what.contains("1 MiB"), "{problems:?}");
}

#[cfg(unix)]
#[test]
fn only_our_variables_must_be_utf_8() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = || OsString::from_vec(vec![0xff]);
    let refused = typed(&[])
        .input([(OsString::from("RDS_SIDECAR_MODE"), bad())])
        .err()
        .unwrap();
    assert_eq!(refused[0].to_string(), "RDS_SIDECAR_MODE: is not UTF-8");
    assert!(
        typed(&[])
            .input([(OsString::from("LS_COLORS"), bad())])
            .is_ok()
    );
}

#[test]
fn only_commands_that_need_a_database_ask_for_one() {
    let asks = |arguments: &[&str]| typed(arguments).input([]).ok().unwrap().databases;
    assert_eq!(asks(&["stop"]), Databases::Optional);
    assert_eq!(asks(&["config"]), Databases::Served);
    assert_eq!(asks(&["token", "postgres://u@h"]), Databases::Named);
}
