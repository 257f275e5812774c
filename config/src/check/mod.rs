//! Layers -> [`Config`], collecting every problem.

mod conflicts;
mod database;
mod findings;
mod identity;
mod server;

use findings::Findings;

use crate::Config;
use crate::Databases;
use crate::Input;
use crate::Loaded;
use crate::layers::Layers;
use crate::options;
use crate::problem::Problem;
use crate::problem::Wrong;

pub(crate) fn load(input: &Input) -> Result<Loaded, Vec<Problem>> {
    let mut found = Findings::default();
    let (layers, readable) = Layers::read(input, &mut found.problems, &mut found.warnings);
    if !readable {
        return Err(found.problems);
    }
    let identity = identity::check(&layers, &mut found);
    let entries = database::check_all(&layers, &mut found);
    let server = server::check(&layers, &mut found);
    let tried = found
        .problems
        .iter()
        .any(|problem| problem.at.ends_with(" database"));
    if layers.databases.is_empty() && input.databases != Databases::Optional && !tried {
        found.problems.push(
            Wrong::new("no database is named")
                .try_instead("rds-sidecar postgres://USER@HOST:5432/DB, or RDS_SIDECAR_DATABASES, or [[database]] in rds-sidecar.toml")
                .at("database"),
        );
    }
    conflicts::check(&layers, &entries, &mut found);
    if input.databases == Databases::Served {
        conflicts::check_listeners(&entries, server.as_ref(), &mut found);
    }
    conflicts::warn(&layers, &entries, identity.as_ref(), &mut found);
    match (identity, server) {
        (Some(identity), Some(server)) if found.problems.is_empty() => {
            let databases = entries
                .into_iter()
                .filter_map(|entry| entry.database)
                .collect();
            let mut origins = found.origins;
            origins.sort_by_key(|effective| {
                let position = options::ALL
                    .iter()
                    .position(|spec| spec.name == effective.spec.name);
                (effective.spec.section.rank(effective.database), position)
            });
            Ok(Loaded {
                config: Config {
                    identity,
                    databases,
                    server,
                },
                warnings: found.warnings,
                origins,
            })
        }
        _ => Err(found.problems),
    }
}
