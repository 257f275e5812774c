//! `[server]`.

use std::time::Duration;

use secrecy::SecretString;

use super::findings::Findings;
use super::findings::Scope;
use super::findings::quoted;
use crate::address;
use crate::effective::Shown;
use crate::layers::Layers;
use crate::options;
use crate::origin::Origin;
use crate::parse;
use crate::problem::Problem;
use crate::server::LogFormat;
use crate::server::Server;

/// Port of the admin server where only a host is given.
const ADMIN_PORT: u16 = 9090;

pub(crate) fn check(layers: &Layers<'_>, found: &mut Findings) -> Option<Server> {
    let scope = Scope {
        stack: layers.process(),
        database: None,
    };
    let admin = found.value(&scope, &options::ADMIN, |text| match text {
        "off" => Ok(None),
        text => address::tcp(text, ADMIN_PORT).map(Some),
    });
    let admin_token = found.value(&scope, &options::ADMIN_TOKEN, |text| {
        Ok(SecretString::from(text))
    });
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log = found.value(&scope, &options::LOG, |text| parse::choice(text, &formats));
    let log_level = found.value(&scope, &options::LOG_LEVEL, parse::log_filter);
    let shutdown_grace = found.value(&scope, &options::SHUTDOWN_GRACE, parse::duration);
    let max_lifetime = max_lifetime(layers, &scope, found);
    let exit_when_idle = found.value(&scope, &options::EXIT_WHEN_IDLE, parse::duration_or_off);
    found.not_yet(&scope, &options::REPORT);
    Some(Server {
        admin: admin?,
        admin_token,
        log: log?,
        log_level: log_level?,
        shutdown_grace: shutdown_grace?,
        max_lifetime,
        exit_when_idle: exit_when_idle?,
    })
}

/// Never outlives its job: in GitLab the default is the job's own timeout.
fn max_lifetime(layers: &Layers<'_>, scope: &Scope<'_>, found: &mut Findings) -> Option<Duration> {
    const VARIABLE: &str = "CI_JOB_TIMEOUT";
    let spec = &options::SERVER_MAX_LIFETIME;
    let in_gitlab = layers.variable("CI_JOB_ID").is_some();
    let timeout = layers
        .variable(VARIABLE)
        .filter(|_| in_gitlab && scope.find(spec).is_none());
    let Some(timeout) = timeout else {
        return found.value(scope, spec, parse::duration_or_off).flatten();
    };
    match parse::some_duration(&format!("{timeout}s")) {
        Ok(duration) => {
            found.record(
                scope,
                spec,
                Shown::Toml(quoted(&format!("{timeout}s"))),
                Origin::Gitlab(VARIABLE),
            );
            Some(duration)
        }
        Err(_) => {
            found.warnings.push(Problem {
                at: VARIABLE.to_owned(),
                what: "is not a number of seconds, so it does not limit this process's life"
                    .to_owned(),
                suggestion: Some("set RDS_SIDECAR_SERVER_MAX_LIFETIME".to_owned()),
            });
            None
        }
    }
}
