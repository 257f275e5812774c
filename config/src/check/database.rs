//! `[[database]]` and `[database.pool]`.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use secrecy::SecretString;

use super::findings::Findings;
use super::findings::Scope;
use super::findings::not_built;
use super::findings::quoted;
use crate::address;
use crate::database::ClientAuth;
use crate::database::ClientTls;
use crate::database::Database;
use crate::database::Pool;
use crate::database::PoolMode;
use crate::database::UpstreamAuth;
use crate::effective::Shown;
use crate::layers::Entry;
use crate::layers::Layers;
use crate::options;
use crate::origin::Origin;
use crate::parse;
use crate::problem::Wrong;
use crate::url::DatabaseUrl;
use crate::values::Endpoint;
use crate::values::Engine;
use crate::values::Listen;

/// One database, and what the checks across databases need to know of it.
pub(crate) struct Checked {
    /// None where something was wrong with it.
    pub(crate) database: Option<Database>,
    /// Where the user wrote this database.
    pub(crate) place: Origin,
    pub(crate) engine: Option<Engine>,
    /// The listener and where it was asked for; none where the text was wrong.
    pub(crate) listen: Option<(Listen, Origin)>,
    pub(crate) name: Option<(String, Origin)>,
}

pub(crate) fn check_all(layers: &Layers<'_>, found: &mut Findings) -> Vec<Checked> {
    let mut all: Vec<Checked> = Vec::new();
    for (index, entry) in layers.databases.iter().enumerate() {
        let scope = Scope {
            stack: layers.of_database(entry),
            database: Some(index),
        };
        let checked = match &entry.url {
            Some(url) => check(entry, url, &scope, (&all, found)),
            None => {
                // Its values are still looked at, so that all problems show at once.
                options_of(&scope, Engine::Postgres.default_port(), found);
                Checked {
                    database: None,
                    place: entry.origin.clone(),
                    engine: None,
                    listen: None,
                    name: None,
                }
            }
        };
        all.push(checked);
    }
    all
}

fn check(
    entry: &Entry,
    url: &DatabaseUrl,
    scope: &Scope<'_>,
    (before, found): (&[Checked], &mut Findings),
) -> Checked {
    let name = name(scope, url.engine, before, found);
    found.record(
        scope,
        &options::URL,
        Shown::Toml(quoted(&masked_url(url))),
        entry.origin.clone(),
    );
    let listen = listen(entry, url.engine, scope, (before, found));
    let rest = options_of(scope, url.endpoint.port, found);
    let database = match (&name, &listen, rest) {
        (Some((name, _)), Some((listen, _)), Some(rest)) => Some(Database {
            name: name.clone(),
            engine: url.engine,
            upstream: url.endpoint.clone(),
            user: url.user.clone(),
            default_database: url.database.clone(),
            listen: listen.clone(),
            auth: rest.auth,
            sign_host: rest.sign_host,
            client_auth: rest.client_auth,
            client_tls: rest.client_tls,
            tls_ca_file: rest.tls_ca_file,
            connect_timeout: rest.connect_timeout,
            pool: rest.pool,
        }),
        _ => None,
    };
    Checked {
        database,
        place: entry.origin.clone(),
        engine: Some(url.engine),
        listen,
        name,
    }
}

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The URL without password and query: those are shown as keys of their own.
fn masked_url(url: &DatabaseUrl) -> String {
    let user = url
        .user
        .as_deref()
        .map(|user| format!("{}@", utf8_percent_encode(user, RESERVED)));
    let database = url
        .database
        .as_deref()
        .map(|name| format!("/{}", utf8_percent_encode(name, RESERVED)));
    let (user, database) = (user.unwrap_or_default(), database.unwrap_or_default());
    format!("{}://{user}{}{database}", url.engine.name(), url.endpoint)
}

fn name(
    scope: &Scope<'_>,
    engine: Engine,
    before: &[Checked],
    found: &mut Findings,
) -> Option<(String, Origin)> {
    if let Some(setting) = scope.find(&options::NAME) {
        let name = found.value(scope, &options::NAME, parse::name)?;
        return Some((name, setting.origin.clone()));
    }
    let taken = |name: &str| {
        before
            .iter()
            .any(|other| other.name.as_ref().is_some_and(|(other, _)| other == name))
    };
    let numbered = (2..).map(|number| format!("{}-{number}", engine.name()));
    let name = std::iter::once(engine.name().to_owned())
        .chain(numbered)
        .find(|name| !taken(name))?;
    found.record(
        scope,
        &options::NAME,
        Shown::Toml(quoted(&name)),
        Origin::Default,
    );
    Some((name, Origin::Default))
}

fn listen(
    entry: &Entry,
    engine: Engine,
    scope: &Scope<'_>,
    (before, found): (&[Checked], &mut Findings),
) -> Option<(Listen, Origin)> {
    let port = engine.default_port();
    let (text, origin) = match scope.find(&options::LISTEN) {
        Some(setting) => (setting.text.clone(), setting.origin.clone()),
        None => {
            let first = before.iter().find(|other| {
                other.engine == Some(engine)
                    && other
                        .listen
                        .as_ref()
                        .is_some_and(|(_, origin)| *origin == Origin::Default)
            });
            if let Some(first) = first {
                found.problems.push(
                    Wrong::new(format!(
                        "needs its own `listen`: {} listens on port {port} already",
                        first.place
                    ))
                    .try_instead(format!(
                        "add listen = \":{}\", or ?listen=:{} to its URL",
                        port + 1,
                        port + 1
                    ))
                    .at(&entry.origin),
                );
                return None;
            }
            (format!(":{port}"), Origin::Default)
        }
    };
    match address::listen(&text, port) {
        Ok(listen) => {
            found.record(
                scope,
                &options::LISTEN,
                Shown::Toml(quoted(&listen.to_string())),
                origin.clone(),
            );
            Some((listen, origin))
        }
        Err(wrong) => {
            found.problems.push(wrong.at(origin));
            None
        }
    }
}

/// The options that do not depend on the other databases.
struct Rest {
    auth: UpstreamAuth,
    sign_host: Option<Endpoint>,
    client_auth: ClientAuth,
    client_tls: ClientTls,
    tls_ca_file: Option<PathBuf>,
    connect_timeout: Duration,
    pool: Pool,
}

fn options_of(scope: &Scope<'_>, port: u16, found: &mut Findings) -> Option<Rest> {
    let auth = auth(scope, found);
    found.not_yet(scope, &options::SECRET_ID);
    found.not_yet(scope, &options::ROTATE_ON_EXIT);
    let sign_host = found.value(scope, &options::SIGN_HOST, |text| {
        address::endpoint(text, port)
    });
    let client_auth = client_auth(scope, found);
    let client_tls = found.value(scope, &options::CLIENT_TLS, parse::client_tls);
    let tls_ca_file = found.value(scope, &options::TLS_CA_FILE, |text| Ok(PathBuf::from(text)));
    let connect_timeout = found.value(scope, &options::CONNECT_TIMEOUT, parse::some_duration);
    let pool = pool(scope, found);
    Some(Rest {
        auth: auth?,
        sign_host,
        client_auth: client_auth?,
        client_tls: client_tls?,
        tls_ca_file,
        connect_timeout: connect_timeout?,
        pool: pool?,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Auth {
    Iam,
    None,
    Password,
}

fn auth(scope: &Scope<'_>, found: &mut Findings) -> Option<UpstreamAuth> {
    let words = [
        ("iam", Auth::Iam),
        ("password", Auth::Password),
        ("none", Auth::None),
    ];
    let auth = found.value(scope, &options::AUTH, |text| match text {
        "secret" => Err(not_built("auth = \"secret\"").try_instead("write iam, password or none")),
        text => parse::choice(text, &words),
    });
    let setting = scope.find(&options::PASSWORD);
    let password = found.value(scope, &options::PASSWORD, |text| {
        Ok(SecretString::from(text))
    });
    match (auth?, password, setting) {
        (Auth::Password, Some(password), _) => Some(UpstreamAuth::Password(password)),
        (Auth::Password, None, _) => {
            let at = scope
                .find(&options::AUTH)
                .map_or(Origin::Default, |setting| setting.origin.clone());
            let wrong = Wrong::new("auth = \"password\" needs a password");
            found
                .problems
                .push(wrong.try_instead("set RDS_SIDECAR_PASSWORD").at(at));
            None
        }
        // A password for all databases is not for those that say otherwise; `conflicts` sees to it that one uses it.
        (Auth::Iam | Auth::None, _, Some(setting)) if belongs_to_one(&setting.origin) => {
            let wrong = Wrong::new(
                "a password is given, but `auth` is not \"password\", so it would not be used",
            );
            let suggestion =
                "set auth = \"password\" (?auth=password in a URL), or take the password out";
            found
                .problems
                .push(wrong.try_instead(suggestion).at(&setting.origin));
            None
        }
        (Auth::Iam, ..) => Some(UpstreamAuth::Iam),
        (Auth::None, ..) => Some(UpstreamAuth::None),
    }
}

fn client_auth(scope: &Scope<'_>, found: &mut Findings) -> Option<ClientAuth> {
    let words = [("trust", false), ("password", true)];
    let wanted = found.value(scope, &options::CLIENT_AUTH, |text| {
        parse::choice(text, &words)
    });
    let setting = scope.find(&options::CLIENT_PASSWORD);
    let password = found.value(scope, &options::CLIENT_PASSWORD, |text| {
        Ok(SecretString::from(text))
    });
    match (wanted?, password, setting) {
        (true, Some(password), _) => Some(ClientAuth::Password(password)),
        (true, None, _) => {
            let at = scope
                .find(&options::CLIENT_AUTH)
                .map_or(Origin::Default, |setting| setting.origin.clone());
            let wrong = Wrong::new("client_auth = \"password\" needs a client_password");
            found
                .problems
                .push(wrong.try_instead("set RDS_SIDECAR_CLIENT_PASSWORD").at(at));
            None
        }
        (false, _, Some(setting)) if belongs_to_one(&setting.origin) => {
            let wrong =
                Wrong::new("a client_password is given, but client_auth = \"trust\" asks for none");
            let suggestion = "set client_auth = \"password\", or take the client_password out";
            found
                .problems
                .push(wrong.try_instead(suggestion).at(&setting.origin));
            None
        }
        (false, ..) => Some(ClientAuth::Trust),
    }
}

/// True where the user gave the value to one database, not to all of them.
fn belongs_to_one(origin: &Origin) -> bool {
    match origin {
        Origin::Argument(_) | Origin::File { .. } => true,
        Origin::Variable(place) => place.contains(' '),
        Origin::Aws(_) | Origin::Default | Origin::Flag(_) | Origin::Gitlab(_) => false,
    }
}

fn pool(scope: &Scope<'_>, found: &mut Findings) -> Option<Pool> {
    let mode =
        found.value(scope, &options::MODE, |text| match text {
            "auto" | "transaction" => Err(not_built(&format!("mode = \"{text}\""))
                .try_instead("write session, or leave it out")),
            text => parse::choice(text, &[("session", PoolMode::Session)]),
        });
    let max_connections = found.value(scope, &options::MAX_CONNECTIONS, |text| {
        parse::count(text, 1)
    });
    let min_idle = found.value(scope, &options::MIN_IDLE, |text| parse::count(text, 0));
    let idle_timeout = found.value(scope, &options::IDLE_TIMEOUT, parse::some_duration);
    let max_lifetime = found.value(scope, &options::POOL_MAX_LIFETIME, parse::some_duration);
    let checkout_timeout = found.value(scope, &options::CHECKOUT_TIMEOUT, parse::some_duration);
    let connects_per_second = found.value(scope, &options::CONNECTS_PER_SECOND, |text| {
        parse::count(text, 1)
    });
    found.not_yet(scope, &options::FLEET_MAX_CONNECTIONS);
    if let (Some(most), Some(least)) = (max_connections, min_idle)
        && least > most
    {
        let spec = if scope.find(&options::MIN_IDLE).is_some() {
            &options::MIN_IDLE
        } else {
            &options::MAX_CONNECTIONS
        };
        let at = scope
            .find(spec)
            .map_or(Origin::Default, |setting| setting.origin.clone());
        let wrong = Wrong::new(format!(
            "min_idle ({least}) is more than max_connections ({most})"
        ));
        found.problems.push(
            wrong
                .try_instead("lower min_idle, or raise max_connections")
                .at(at),
        );
    }
    Some(Pool {
        mode: mode?,
        max_connections: usize::try_from(max_connections?).ok()?,
        min_idle: usize::try_from(min_idle?).ok()?,
        idle_timeout: idle_timeout?,
        max_lifetime: max_lifetime?,
        checkout_timeout: checkout_timeout?,
        connects_per_second: connects_per_second?,
    })
}
