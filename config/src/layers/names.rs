//! Names that mean nothing, and what was probably meant.

use crate::options;
use crate::options::Section;
use crate::options::Spec;
use crate::options::VARIABLE_PREFIX;
use crate::problem::Problem;
use crate::problem::Wrong;
use crate::suggest;

/// A variable that begins as ours do, and is none of ours.
pub(crate) fn unknown_variable(name: &str, value: &str) -> Option<Problem> {
    let rest = name.strip_prefix(VARIABLE_PREFIX)?;
    let known: Vec<String> = options::ALL
        .iter()
        .filter_map(|spec| spec.variable())
        .collect();
    if known.iter().any(|variable| variable == name) || is_link(name, value) {
        return None;
    }
    let wrong = Wrong::new("no such variable");
    let same_key = options::ALL
        .iter()
        .filter(|spec| spec.key.eq_ignore_ascii_case(rest));
    let same_key: Vec<String> = same_key.filter_map(|spec| spec.variable()).collect();
    let built: Vec<String> = options::ALL
        .iter()
        .filter(|spec| spec.built)
        .filter_map(|spec| spec.variable())
        .collect();
    let rests = built
        .iter()
        .filter_map(|variable| variable.strip_prefix(VARIABLE_PREFIX));
    let wrong = if !same_key.is_empty() {
        wrong.try_instead(format!("did you mean {}?", same_key.join(" or ")))
    } else if rest == "URL" || rest == "DATABASE_URL" || rest == "DATABASE" {
        wrong.try_instead(format!("did you mean {VARIABLE_PREFIX}DATABASES?"))
    } else if let Some(near) = suggest::nearest(rest, rests) {
        wrong.try_instead(format!("did you mean {VARIABLE_PREFIX}{near}?"))
    } else {
        wrong.try_instead("`rds-sidecar --help` lists the variables")
    };
    Some(wrong.at(name))
}

/// Variables that Kubernetes sets for a Service named `rds-sidecar`, and Docker for a linked container of that
/// alias (Kubernetes: "Service environment variables"; Docker: "Legacy container links"). They are not ours.
pub(crate) fn is_link(name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
        return false;
    };
    let is_port = rest == "PORT"
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_docker_name = rest == "NAME" && value.starts_with('/');
    is_port
        || is_docker_name
        || rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || rest.starts_with("ENV_")
}

/// A key in the query of a URL. Quoted only where it resembles a known one: a `?` in a password that was not
/// percent-encoded makes a query of the rest.
pub(crate) fn unknown_url_key(key: &str) -> Wrong {
    let known = options::ALL
        .iter()
        .filter(|spec| spec.in_url() && spec.built)
        .map(|spec| spec.key);
    let quoted = || Wrong::new(format!("unknown key `{key}` in the query"));
    if let Some(told) = suggest::foreign(key) {
        return quoted().try_instead(told);
    }
    if let Some(spec) = options::ALL.iter().find(|spec| spec.key == key) {
        return quoted().try_instead(elsewhere(spec));
    }
    if let Some(near) = suggest::nearest(key, known.clone()) {
        return quoted().try_instead(format!("did you mean `{near}`?"));
    }
    let known: Vec<&str> = known.collect();
    Wrong::new("unknown key in the query").try_instead(format!("known keys: {}", known.join(", ")))
}

/// A key in a section of the file.
pub(crate) fn unknown_key(section: Section, key: &str) -> Wrong {
    let wrong = Wrong::new("unknown key");
    let known: Vec<&str> = in_section(section)
        .filter(|spec| spec.built)
        .map(|spec| spec.key)
        .collect();
    let near_here = suggest::nearest(key, known.iter().copied());
    let others: Vec<&&Spec> = options::ALL
        .iter()
        .filter(|spec| spec.in_file() && spec.key == key)
        .collect();
    if let Some(spec) = others.first() {
        return wrong.try_instead(format!("`{key}` belongs in {}", spec.section.header()));
    }
    if let Some(near) = near_here {
        return wrong.try_instead(format!("did you mean `{near}`?"));
    }
    if let (Section::Database | Section::Pool, Some(told)) = (section, suggest::foreign(key)) {
        return wrong.try_instead(told);
    }
    let anywhere = options::ALL
        .iter()
        .filter(|spec| spec.in_file() && spec.built);
    match suggest::nearest(key, anywhere.clone().map(|spec| spec.key)) {
        Some(near) => {
            let section = anywhere
                .clone()
                .find(|spec| spec.key == near)
                .map_or("", |spec| spec.section.header());
            wrong.try_instead(format!("did you mean `{near}` in {section}?"))
        }
        None => wrong.try_instead(format!("known keys here: {}", known.join(", "))),
    }
}

/// A key at the top of the file.
pub(crate) fn unknown_section(key: &str) -> Wrong {
    if let Some(spec) = options::ALL
        .iter()
        .find(|spec| spec.in_file() && spec.key == key)
    {
        return Wrong::new("unknown key")
            .try_instead(format!("`{key}` belongs in {}", spec.section.header()));
    }
    let wrong = Wrong::new("unknown section");
    match suggest::nearest(key, ["identity", "database", "server", "pool"]) {
        Some("database") => wrong.try_instead("did you mean [[database]]?"),
        Some("pool") => wrong.try_instead("did you mean [database.pool], after a [[database]]?"),
        Some(near) => wrong.try_instead(format!("did you mean [{near}]?")),
        None => {
            wrong.try_instead("known sections: [identity], [[database]], [database.pool], [server]")
        }
    }
}

pub(crate) fn in_section(section: Section) -> impl Iterator<Item = &'static Spec> {
    options::ALL
        .iter()
        .copied()
        .filter(move |spec| spec.in_file() && spec.section == section)
}

fn elsewhere(spec: &Spec) -> String {
    match (spec.flag(), spec.variable()) {
        (Some(flag), Some(variable)) => {
            format!("it is not a matter of one database: use {flag} or {variable}")
        }
        _ => "it cannot stand in a URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_links_are_not_ours() {
        for (name, value) in [
            ("RDS_SIDECAR_PORT", "tcp://10.0.0.1:5432"),
            ("RDS_SIDECAR_PORT_5432_TCP_ADDR", "10.0.0.1"),
            ("RDS_SIDECAR_SERVICE_HOST", "10.0.0.1"),
            ("RDS_SIDECAR_SERVICE_PORT_PG", "5432"),
            ("RDS_SIDECAR_NAME", "/runner-1/rds-sidecar"),
            ("RDS_SIDECAR_ENV_PGDATA", "/x"),
            ("PATH", "/bin"),
        ] {
            assert_eq!(unknown_variable(name, value), None, "{name}");
        }
        assert!(unknown_variable("RDS_SIDECAR_PORTS", "").is_some());
    }

    #[test]
    fn an_ambiguous_variable_names_both() {
        let problem = unknown_variable("RDS_SIDECAR_MAX_LIFETIME", "1h").unwrap();
        assert_eq!(
            problem.suggestion.as_deref(),
            Some("did you mean RDS_SIDECAR_POOL_MAX_LIFETIME or RDS_SIDECAR_SERVER_MAX_LIFETIME?")
        );
    }
}
