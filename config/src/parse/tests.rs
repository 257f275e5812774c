use super::*;

#[test]
fn durations_add_up() {
    for (text, milliseconds) in [
        ("500ms", 500),
        ("15s", 15_000),
        ("1h30m", 5_400_000),
        ("1d", 86_400_000),
        ("0s", 0),
        ("1m1s1ms", 61_001),
    ] {
        assert_eq!(
            duration(text),
            Ok(Duration::from_millis(milliseconds)),
            "{text}"
        );
    }
}

#[test]
fn other_texts_are_no_durations() {
    for text in [
        "",
        "s",
        "15",
        "1.5h",
        "-1s",
        "15 s",
        "1s1",
        "15S",
        "366d",
        "99999999999999999999s",
        "1µs",
        "1é",
    ] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn zero_is_off_only_by_name() {
    assert_eq!(duration_or_off("off"), Ok(None));
    assert!(
        duration_or_off("0s")
            .is_err_and(|wrong| wrong.suggestion.is_some_and(|text| text.contains("off")))
    );
    assert!(duration_or_off("on").is_err());
}

#[test]
fn regions_have_a_shape() {
    for text in [
        "eu-west-1",
        "us-gov-east-1",
        "cn-north-1",
        "us-isob-east-1",
        "ap-southeast-4",
        "eusc-de-east-1",
    ] {
        assert_eq!(region(text).as_deref(), Ok(text));
    }
    for text in [
        "",
        "eu",
        "eu-west",
        "EU-WEST-1",
        "eu-west-1a",
        "eu_west_1",
        "eu--1",
        "1-2-3",
    ] {
        assert!(region(text).is_err(), "{text}");
    }
}

#[test]
fn role_arns_have_a_shape() {
    for text in [
        "arn:aws:iam::123456789012:role/ci",
        "arn:aws-us-gov:iam::123456789012:role/path/to/ci+=,.@_-x",
        "arn:aws-cn:iam::123456789012:role/ci",
    ] {
        assert_eq!(role_arn(text).as_deref(), Ok(text));
    }
    for text in [
        "ci",
        "arn:aws:iam::1234:role/ci",
        "arn:aws:iam::123456789012:user/ci",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:sts::123456789012:assumed-role/ci/me",
        "arn:aws:iam::123456789012:role/a b",
    ] {
        assert!(role_arn(text).is_err(), "{text}");
    }
}

#[test]
fn a_bare_word_in_the_log_filter_is_a_level() {
    for text in [
        "info",
        "WARN",
        "info,rds_sidecar=debug",
        "rds_sidecar::pool=trace,off",
    ] {
        assert!(log_filter(text).is_ok(), "{text}");
    }
    for text in ["verbose", "", "rds_sidecar", "a=b", "info,"] {
        assert!(log_filter(text).is_err(), "{text}");
    }
}
