//! What is wrong, or odd, only when several values are seen together.

use std::net::IpAddr;
use std::net::SocketAddr;

use super::database::Checked;
use super::findings::Findings;
use crate::database::ClientAuth;
use crate::database::UpstreamAuth;
use crate::identity::IdTokenSource;
use crate::identity::Identity;
use crate::layers::Layers;
use crate::options;
use crate::options::Kind;
use crate::options::Spec;
use crate::origin::Origin;
use crate::problem::Problem;
use crate::problem::Wrong;
use crate::server::Server;
use crate::values::Listen;

/// What cannot be opened beside something else. Only for who opens ports.
pub(crate) fn check_listeners(all: &[Checked], server: Option<&Server>, found: &mut Findings) {
    for (index, one) in all.iter().enumerate() {
        let before = all.get(..index).unwrap_or_default();
        same_listener(one, before, server, found);
        dials_itself(one, found);
    }
}

/// What cannot be true together.
pub(crate) fn check(layers: &Layers<'_>, all: &[Checked], found: &mut Findings) {
    for (index, one) in all.iter().enumerate() {
        same_name(one, all.get(..index).unwrap_or_default(), found);
    }
    unused(layers, all, &options::PASSWORD, found, |checked| {
        checked
            .database
            .as_ref()
            .is_none_or(|database| matches!(database.auth, UpstreamAuth::Password(_)))
    });
    unused(layers, all, &options::CLIENT_PASSWORD, found, |checked| {
        checked
            .database
            .as_ref()
            .is_none_or(|database| matches!(database.client_auth, ClientAuth::Password(_)))
    });
}

fn same_name(one: &Checked, before: &[Checked], found: &mut Findings) {
    let Some((name, origin)) = &one.name else {
        return;
    };
    let other = before
        .iter()
        .find(|other| other.name.as_ref().is_some_and(|(other, _)| other == name));
    if let Some(other) = other {
        let wrong = Wrong::new(format!("the name `{name}` is taken by {}", other.place));
        found.problems.push(
            wrong
                .try_instead("give each database a name of its own")
                .at(written(origin, one)),
        );
    }
}

fn same_listener(one: &Checked, before: &[Checked], server: Option<&Server>, found: &mut Findings) {
    let Some((listen, origin)) = &one.listen else {
        return;
    };
    let other = before.iter().find(|other| {
        other
            .listen
            .as_ref()
            .is_some_and(|(other, _)| clash(listen, other))
    });
    if let Some(other) = other {
        let wrong = Wrong::new(format!("{listen} is taken by {}", other.place));
        let suggestion =
            "give each database a port of its own, or a host alone for the engine's port";
        found
            .problems
            .push(wrong.try_instead(suggestion).at(written(origin, one)));
    }
    let admin = server.and_then(|server| server.admin).map(Listen::Tcp);
    if admin.is_some_and(|admin| clash(listen, &admin)) {
        let wrong = Wrong::new(format!("{listen} is taken by the admin server"));
        found.problems.push(
            wrong
                .try_instead("move one of them: --admin :9091, or --admin off")
                .at(written(origin, one)),
        );
    }
}

/// A sidecar that dials its own listener would wait for itself for ever.
fn dials_itself(one: &Checked, found: &mut Findings) {
    let (Some(database), Some((Listen::Tcp(listen), _))) = (&one.database, &one.listen) else {
        return;
    };
    let upstream = &database.upstream;
    let address = upstream
        .host
        .parse::<IpAddr>()
        .ok()
        .map(|host| SocketAddr::new(host, upstream.port));
    let is_local =
        upstream.host == "localhost" && (listen.ip().is_loopback() || listen.ip().is_unspecified());
    let same_port = listen.port() == upstream.port;
    let same = address.is_some_and(|address| {
        overlap(&address, listen) && (!listen.ip().is_unspecified() || address.ip().is_loopback())
    });
    if (is_local && same_port) || same {
        let wrong = Wrong::new(format!(
            "the database is at {upstream}, which is where this sidecar listens"
        ));
        let suggestion = "give it another `listen`: add ?listen=:PORT to the URL";
        found
            .problems
            .push(wrong.try_instead(suggestion).at(&one.place));
    }
}

/// A secret given for all databases that none of them uses.
fn unused(
    layers: &Layers<'_>,
    all: &[Checked],
    spec: &Spec,
    found: &mut Findings,
    uses: impl Fn(&Checked) -> bool,
) {
    let Some(setting) = layers
        .flags
        .find(spec)
        .or_else(|| layers.variables.find(spec))
    else {
        return;
    };
    if !all.is_empty() && !all.iter().any(uses) {
        let option = if spec.name == options::PASSWORD.name {
            "auth"
        } else {
            "client_auth"
        };
        let wrong = Wrong::new(format!(
            "is given, but no database has {option} = \"password\", so it would not be used"
        ));
        found.problems.push(
            wrong
                .try_instead(format!("set {option} = \"password\", or take it out"))
                .at(&setting.origin),
        );
    }
}

/// What works, and is probably not meant.
pub(crate) fn warn(
    layers: &Layers<'_>,
    all: &[Checked],
    identity: Option<&Identity>,
    found: &mut Findings,
) {
    let in_gitlab = identity.is_some_and(|identity| identity.gitlab.is_some());
    for one in all {
        let open = one
            .database
            .as_ref()
            .is_some_and(|database| matches!(database.client_auth, ClientAuth::Trust));
        if let Some((Listen::Tcp(address), _)) = &one.listen
            && open
            && !in_gitlab
            && !address.ip().is_loopback()
        {
            let what =
                format!("{address} lets in everybody who can reach it, as the configured identity");
            warning(
                found,
                &one.place,
                what,
                "set client_auth = \"password\", or listen on loopback",
            );
        }
    }
    let layers_with_secrets =
        std::iter::once(&layers.flags).chain(layers.databases.iter().map(|entry| &entry.query));
    for settings in layers_with_secrets {
        for spec in options::ALL.iter().filter(|spec| spec.kind == Kind::Secret) {
            if let Some(setting) = settings
                .find(spec)
                .filter(|setting| setting.origin.is_in_process_list())
            {
                let what =
                    "a secret on the command line is visible to every user of this machine (ps)";
                let variable = spec.variable().unwrap_or_default();
                warning(
                    found,
                    &setting.origin,
                    what.to_owned(),
                    &format!("use {variable} instead"),
                );
            }
        }
    }
    if let Some(identity) = identity {
        warn_identity(layers, identity, found);
    }
}

fn warn_identity(layers: &Layers<'_>, identity: &Identity, found: &mut Findings) {
    if let (None, IdTokenSource::Variable { name, .. }) = (&identity.role_arn, &identity.id_token) {
        let what = "holds an ID token, but no role is named to assume with it, so AWS's default chain is used";
        warning(
            found,
            &Origin::Variable(name.clone()),
            what.to_owned(),
            "set RDS_SIDECAR_ROLE_ARN",
        );
    }
    let endpoint = layers
        .process()
        .into_iter()
        .find_map(|settings| settings.find(&options::STS_ENDPOINT));
    if let Some(setting) = endpoint
        && let Some(rest) = setting.text.strip_prefix("http://")
        && !["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .any(|host| rest.starts_with(host))
    {
        let what = "the ID token would travel unencrypted";
        warning(found, &setting.origin, what.to_owned(), "write https://");
    }
}

fn warning(found: &mut Findings, at: &Origin, what: String, suggestion: &str) {
    found.warnings.push(Problem {
        at: at.to_string(),
        what,
        suggestion: Some(suggestion.to_owned()),
    });
}

/// Where the user can change the value: its own place, or the database's where it is a default.
fn written<'a>(origin: &'a Origin, one: &'a Checked) -> &'a Origin {
    if *origin == Origin::Default {
        &one.place
    } else {
        origin
    }
}

fn clash(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Tcp(one), Listen::Tcp(other)) => overlap(one, other),
        (Listen::Unix(one), Listen::Unix(other)) => one == other,
        (Listen::Tcp(_), Listen::Unix(_)) | (Listen::Unix(_), Listen::Tcp(_)) => false,
    }
}

/// Port 0 is any free one and never clashes. `[::]` also takes IPv4 on Linux (ipv6(7), IPV6_V6ONLY).
fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let takes = |any: &SocketAddr, ip: &SocketAddr| {
        any.ip().is_unspecified() && (any.is_ipv6() || ip.is_ipv4())
    };
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || takes(one, other) || takes(other, one))
}
