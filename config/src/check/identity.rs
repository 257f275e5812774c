//! `[identity]`.

use std::path::PathBuf;

use secrecy::SecretString;

use super::findings::Findings;
use super::findings::Scope;
use super::findings::quoted;
use super::findings::shown;
use crate::effective::Effective;
use crate::effective::Shown;
use crate::identity::GitlabJob;
use crate::identity::IdTokenSource;
use crate::identity::Identity;
use crate::layers::Layers;
use crate::options;
use crate::origin::Origin;
use crate::parse;
use crate::problem::Problem;
use crate::problem::Wrong;

pub(crate) fn check(layers: &Layers<'_>, found: &mut Findings) -> Option<Identity> {
    let scope = Scope {
        stack: layers.process(),
        database: None,
    };
    let gitlab = gitlab(layers, &scope);
    let role_arn = found.value(&scope, &options::ROLE_ARN, parse::role_arn);
    let assume = assume(&scope, found);
    let id_token = id_token(layers, &scope, gitlab.as_ref(), found);
    let region = found.value(&scope, &options::REGION, parse::region);
    let session_name = session_name(&scope, gitlab.as_ref(), found);
    let session_seconds = found.value(&scope, &options::SESSION_DURATION, parse::session_seconds);
    let scope_down = found.value(&scope, &options::SCOPE_DOWN, parse::switch);
    let profile = found.value(&scope, &options::PROFILE, |text| Ok(text.to_owned()));
    let sts_endpoint = found.value(&scope, &options::STS_ENDPOINT, sts_endpoint);
    let aws_ca_bundle = found.value(&scope, &options::AWS_CA_BUNDLE, |text| {
        Ok(PathBuf::from(text))
    });
    Some(Identity {
        role_arn,
        assume: assume?,
        id_token: id_token?,
        region,
        session_name: session_name?,
        session_seconds,
        scope_down: scope_down?,
        profile,
        sts_endpoint,
        aws_ca_bundle,
        gitlab,
    })
}

fn assume(scope: &Scope<'_>, found: &mut Findings) -> Option<Vec<String>> {
    if scope.find(&options::ASSUME).is_none() {
        found.record(
            scope,
            &options::ASSUME,
            Shown::Toml("[]".to_owned()),
            Origin::Default,
        );
        return Some(Vec::new());
    }
    found.value(scope, &options::ASSUME, |text| {
        text.split_whitespace().map(parse::role_arn).collect()
    })
}

/// Where the token comes from: the variable that `id_token_env` names, `RDS_SIDECAR_ID_TOKEN`, `id_token_file`,
/// `PUT /identity`, in this order.
fn id_token(
    layers: &Layers<'_>,
    scope: &Scope<'_>,
    gitlab: Option<&GitlabJob>,
    found: &mut Findings,
) -> Option<IdTokenSource> {
    let named = found.value(scope, &options::ID_TOKEN_ENV, parse::variable_name);
    let file = id_token_file(layers, scope, gitlab, found);
    if let (Some(name), Some(setting)) = (&named, scope.find(&options::ID_TOKEN_ENV)) {
        match layers.variable(name).map(str::trim) {
            Some(token) if !token.is_empty() => return variable(name.clone(), token, found),
            _ => found.warnings.push(Problem {
                at: setting.origin.to_string(),
                what: format!("the variable {name} is not set or empty, so it holds no ID token"),
                suggestion: gitlab.map(|_| EMPTY_IN_GITLAB.to_owned()),
            }),
        }
    }
    if let Some(setting) = layers.variables.find(&options::ID_TOKEN) {
        return variable(setting.origin.to_string(), &setting.text, found);
    }
    if gitlab.is_some() && named.is_none() && is_blank(layers, "RDS_SIDECAR_ID_TOKEN") {
        found.warnings.push(Problem {
            at: "RDS_SIDECAR_ID_TOKEN".to_owned(),
            what: "is set but empty, so it holds no ID token".to_owned(),
            suggestion: Some(EMPTY_IN_GITLAB.to_owned()),
        });
    }
    Some(file.map_or(IdTokenSource::Pushed, IdTokenSource::File))
}

/// What runners before 19.3 make of `services:variables` that name an ID token (facts/gitlab.md, section 0).
const EMPTY_IN_GITLAB: &str = "GitLab runners before 19.3 empty it in `services: variables:`; set it in the job's own `variables:` instead";

fn variable(name: String, token: &str, found: &mut Findings) -> Option<IdTokenSource> {
    if let Err(wrong) = jwt_shape(token) {
        found.problems.push(wrong.at(name));
        return None;
    }
    found.origins.push(Effective {
        spec: &options::ID_TOKEN,
        database: None,
        value: shown(&options::ID_TOKEN, token),
        origin: Origin::Variable(name.clone()),
    });
    Some(IdTokenSource::Variable {
        name,
        token: SecretString::from(token),
    })
}

/// Three base64url parts (RFC 7519, section 3). Whether they say anything is the identity room's business.
fn jwt_shape(token: &str) -> Result<(), Wrong> {
    if token.starts_with('$') {
        return Err(Wrong::new(
            "holds the name of a variable that nobody expanded, not an ID token",
        )
        .try_instead("check that the job's `id_tokens:` declares that name"));
    }
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if token.split('.').count() == 3 && token.split('.').all(is_part) {
        return Ok(());
    }
    Err(Wrong::new(
        "is not an ID token (a JWT: three parts separated by dots)",
    ))
}

fn id_token_file(
    layers: &Layers<'_>,
    scope: &Scope<'_>,
    gitlab: Option<&GitlabJob>,
    found: &mut Findings,
) -> Option<PathBuf> {
    let given = scope.find(&options::ID_TOKEN_FILE).is_some();
    let builds = layers.variable("CI_BUILDS_DIR");
    if let (false, Some(job), Some(builds)) = (given, gitlab, builds) {
        let path = format!(
            "{}/.rds-sidecar-{}.jwt",
            builds.trim_end_matches('/'),
            job.job_id
        );
        found.record(
            scope,
            &options::ID_TOKEN_FILE,
            shown(&options::ID_TOKEN_FILE, &path),
            Origin::Gitlab("CI_JOB_ID"),
        );
        return Some(PathBuf::from(path));
    }
    found.value(scope, &options::ID_TOKEN_FILE, |text| {
        Ok(PathBuf::from(text))
    })
}

fn session_name(
    scope: &Scope<'_>,
    gitlab: Option<&GitlabJob>,
    found: &mut Findings,
) -> Option<String> {
    if scope.find(&options::SESSION_NAME).is_some() {
        return found.value(scope, &options::SESSION_NAME, parse::session_name);
    }
    let (name, origin) = match gitlab {
        Some(job) => (gitlab_session_name(job), Origin::Gitlab("CI_JOB_ID")),
        None => ("rds-sidecar".to_owned(), Origin::Default),
    };
    found.record(
        scope,
        &options::SESSION_NAME,
        Shown::Toml(quoted(&name)),
        origin,
    );
    Some(name)
}

/// `gitlab-<project path slug>-<job id>`, cut at the front of the slug: the project's own name tells more than
/// its group's, and the job id is what people search CloudTrail for.
fn gitlab_session_name(job: &GitlabJob) -> String {
    const PREFIX: &str = "gitlab";
    let id: String = job
        .job_id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(20)
        .collect();
    let dashed = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let slug: String = job
        .project_path
        .as_deref()
        .unwrap_or_default()
        .chars()
        .map(dashed)
        .collect();
    let room = parse::SESSION_NAME_BYTES_MAX - PREFIX.len() - 2 - id.len();
    let slug = slug
        .get(slug.len().saturating_sub(room)..)
        .unwrap_or_default()
        .trim_matches('-');
    let parts = [PREFIX, slug, &id];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

fn sts_endpoint(text: &str) -> Result<String, Wrong> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_clean = |rest: &str| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', ' ', '?', '#'])
    };
    match rest {
        Some(rest) if is_clean(rest) => Ok(text.to_owned()),
        _ => {
            Err(Wrong::new("is not the URL of an endpoint")
                .try_instead("write https://HOST[:PORT]"))
        }
    }
}

fn gitlab(layers: &Layers<'_>, scope: &Scope<'_>) -> Option<GitlabJob> {
    let job_id = layers.variable("CI_JOB_ID")?.to_owned();
    let named = scope.find(&options::ID_TOKEN_ENV);
    Some(GitlabJob {
        job_id,
        project_path: layers.variable("CI_PROJECT_PATH").map(str::to_owned),
        timeout_seconds: layers
            .variable("CI_JOB_TIMEOUT")
            .and_then(|text| text.parse().ok()),
        id_token_was_empty: is_blank(layers, "RDS_SIDECAR_ID_TOKEN")
            || named.is_some_and(|setting| is_blank(layers, &setting.text)),
    })
}

/// Set, to nothing.
fn is_blank(layers: &Layers<'_>, name: &str) -> bool {
    layers
        .environment
        .get(name)
        .is_some_and(|text| text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(project: &str, id: &str) -> String {
        gitlab_session_name(&GitlabJob {
            job_id: id.to_owned(),
            project_path: Some(project.to_owned()),
            timeout_seconds: None,
            id_token_was_empty: false,
        })
    }

    #[test]
    fn session_names_keep_the_job_id() {
        assert_eq!(name("group/My.App", "4242"), "gitlab-group-my-app-4242");
        assert_eq!(name("", "1"), "gitlab-1");
        let long = name(&"group/".repeat(40), "12345678901234567890");
        assert!(
            long.len() <= 64 && long.ends_with("-12345678901234567890"),
            "{long}"
        );
        assert_eq!(name("ä/ö", "7"), "gitlab-7");
        assert!(parse::session_name(&name("a/b", "!!")).is_ok());
    }
}
