//! Whatever is typed: nothing panics, and no secret comes out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use config::Input;
use config::options;
use config::parse;
use config::url;
use proptest::prelude::*;

/// Stands in every secret; nothing else contains it.
const MARK: &str = "hunter2";

proptest! {
    #[test]
    fn any_text_is_a_duration_or_is_not(text in any::<String>()) {
        let _ = parse::duration(&text);
    }

    #[test]
    fn durations_are_read_back(hours in 0_u64..100, minutes in 0_u64..100, seconds in 0_u64..100) {
        let read = parse::duration(&format!("{hours}h{minutes}m{seconds}s")).unwrap();
        prop_assert_eq!(read.as_secs(), hours * 3600 + minutes * 60 + seconds);
    }

    #[test]
    fn any_text_is_a_url_or_is_not(text in "(postgres|mysql)?(://)?[a-z%@:/?=&\\[\\]0-9.é]{0,40}") {
        let _ = url::parse(&text);
    }

    #[test]
    fn any_file_is_read_or_refused(text in "[\\[\\]a-z_=\"'{}#\n .,0-9é]{0,120}") {
        let input = Input { file: Some(("f".to_owned(), text)), urls: vec!["postgres://a".to_owned()], ..Input::default() };
        let _ = config::load(&input);
    }

    #[test]
    fn any_value_of_any_option_is_taken_or_refused(index in 0..options::ALL.len(), text in any::<String>()) {
        let spec = options::ALL[index];
        let mut input = Input { urls: vec!["postgres://a".to_owned()], ..Input::default() };
        if let Some(variable) = spec.variable() {
            input.variables.insert(variable, text.clone());
        }
        let _ = config::load(&input);
        input.variables.clear();
        input.flags.push((spec, text));
        let _ = config::load(&input);
    }

    #[test]
    fn a_password_in_a_url_never_comes_out(
        before in "[a-z:@/?%&=#. ]{0,6}", after in "[a-z:@/?%&=#. ]{0,6}", rest in "(@h|@h/d|@h:1|@h:x|@|)", query in "(\\?auth=password|\\?a=b|)",
    ) {
        // Where nothing marks the host, an `@` before the secret would make the secret the host.
        let before = if rest.contains('@') { before } else { before.replace('@', "") };
        let urls = vec![format!("postgres://u:{before}{MARK}{after}{rest}{query}")];
        let variables = [("RDS_SIDECAR_DATABASES".to_owned(), urls[0].clone())].into();
        let file = format!("[[database]]\nurl = {:?}\n", urls[0]);
        said_no_secret(&Input { urls, ..Input::default() })?;
        said_no_secret(&Input { variables, ..Input::default() })?;
        said_no_secret(&Input { file: Some(("f".to_owned(), file)), ..Input::default() })?;
    }

    #[test]
    fn a_secret_in_a_broken_file_never_comes_out(before in "[\"' a]{0,4}", after in "[\"'\n=\\[ a]{0,4}") {
        let text = format!("[[database]]\nurl = \"postgres://a?auth=password\"\npassword = {before}{MARK}{after}\n");
        said_no_secret(&Input { file: Some(("f".to_owned(), text)), ..Input::default() })?;
    }

    #[test]
    fn a_secret_given_for_all_never_comes_out(text in ".{0,8}") {
        let secret = format!("{text}{MARK}{text}");
        for spec in [&options::PASSWORD, &options::CLIENT_PASSWORD, &options::ADMIN_TOKEN, &options::ID_TOKEN] {
            for url in ["postgres://a", "postgres://a?auth=password&client_auth=password"] {
                let mut input = Input { urls: vec![url.to_owned()], ..Input::default() };
                input.variables.insert(spec.variable().unwrap(), secret.clone());
                said_no_secret(&input)?;
                if spec.flag().is_some() {
                    input.flags.push((spec, secret.clone()));
                    said_no_secret(&input)?;
                }
            }
        }
    }
}

fn said_no_secret(input: &Input) -> Result<(), TestCaseError> {
    let said = match config::load(input) {
        Ok(loaded) => format!("{loaded:?}"),
        Err(problems) => format!("{problems:?}"),
    };
    prop_assert!(!said.contains(MARK), "{said}");
    Ok(())
}
