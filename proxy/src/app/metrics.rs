//! Gathers from the rooms what `/metrics` tells. Names: STYLE.md, "Metrics".

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::build::App;
use crate::admin::Metrics;
use crate::admin::Samples;
use crate::identity::IdentityState;
use crate::pool::Stats;
use crate::session::Snapshot;

/// How a count of one listener is read.
type ReadCount = fn(&Snapshot) -> u64;
/// How the counts of one pool are read.
type ReadPool = fn(&mut Samples, &str, &Stats);

/// The function that writes the page.
pub(super) fn page(app: &Arc<App>) -> Arc<dyn Fn() -> String + Send + Sync> {
    let mut metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    identity(&mut metrics, app);
    clients(&mut metrics, app);
    pools(&mut metrics, app);
    Arc::new(move || metrics.page())
}

fn identity(metrics: &mut Metrics, app: &Arc<App>) {
    let of = Arc::clone(&app.identity);
    metrics.counter(
        "identity_refreshes",
        "Attempts to obtain AWS credentials, by outcome",
        move |out| {
            let counters = of.counters();
            out.add(&[("outcome", "ok")], counters.refreshes);
            out.add(&[("outcome", "failed")], counters.refresh_failures);
        },
    );
    let of = Arc::clone(&app.identity);
    metrics.counter("identity_rds_tokens", "RDS IAM tokens signed", move |out| {
        out.add(&[], of.counters().rds_tokens);
    });
    let of = Arc::clone(&app.identity);
    metrics.gauge(
        "identity_credentials_expiry_timestamp_seconds",
        "When the AWS credentials held end; absent while there are none that end",
        move |out| {
            if let IdentityState::Ready(ready) = &*of.subscribe().borrow()
                && let Some(expiry) = ready
                    .expires_at
                    .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            {
                out.add(&[], expiry.as_secs_f64());
            }
        },
    );
}

fn clients(metrics: &mut Metrics, app: &Arc<App>) {
    let counters: [(&'static str, &'static str, ReadCount); 8] = [
        ("clients_opened", "Client connections accepted", |s| {
            s.clients_opened
        }),
        ("clients_closed", "Client connections that ended", |s| {
            s.clients_closed
        }),
        ("sessions_ended", "Sessions that ended after a login", |s| {
            s.sessions_ended
        }),
        (
            "clients_refused",
            "Clients that were told an error instead of a session",
            |s| s.refusals,
        ),
        (
            "cancels",
            "Cancel requests and KILLs that named a client of ours",
            |s| s.cancels,
        ),
        (
            "statements",
            "Statements from clients, of ended sessions",
            |s| s.statements,
        ),
        (
            "client_received_bytes",
            "Bytes from clients, of ended sessions",
            |s| s.bytes_up,
        ),
        (
            "client_sent_bytes",
            "Bytes to clients, of ended sessions",
            |s| s.bytes_down,
        ),
    ];
    for (name, help, read) in counters {
        let of = Arc::clone(app);
        metrics.counter(name, help, move |out| {
            for service in &of.services {
                out.add(
                    &[("database", &service.database().name)],
                    read(&service.counts()),
                );
            }
        });
    }
}

fn pools(metrics: &mut Metrics, app: &Arc<App>) {
    each_pool(
        metrics,
        app,
        "pool_connections",
        "Upstream connections, by state",
        |out, database, stats| {
            for (state, count) in [
                ("leased", stats.leased),
                ("resetting", stats.resetting),
                ("idle", stats.idle),
                ("dialling", stats.dialling),
                ("closing", stats.closing),
            ] {
                out.add(&[("database", database), ("state", state)], count as u64);
            }
        },
    );
    each_pool(
        metrics,
        app,
        "pool_waiting_clients",
        "Clients waiting for a connection",
        |out, database, stats| {
            out.add(&[("database", database)], stats.waiting as u64);
        },
    );
    each_pool(
        metrics,
        app,
        "pool_connections_max",
        "The limit in force",
        |out, database, stats| {
            out.add(&[("database", database)], stats.limit() as u64);
        },
    );
    pool_counters(metrics, app);
}

fn pool_counters(metrics: &mut Metrics, app: &Arc<App>) {
    let counters: [(&'static str, &'static str, ReadPool); 6] = [
        (
            "pool_leases_opened",
            "Connections lent",
            |out, database, stats| {
                out.add(&[("database", database)], stats.counters.leases.opened);
            },
        ),
        (
            "pool_leases_closed",
            "Connections given back or lost",
            |out, database, stats| {
                let leases = &stats.counters.leases;
                for (how, count) in [
                    ("released", leases.released),
                    ("discarded", leases.discarded),
                    ("dropped", leases.dropped),
                    ("undelivered", leases.undelivered),
                ] {
                    out.add(&[("database", database), ("how", how)], count);
                }
            },
        ),
        (
            "pool_dials",
            "Upstream logins that worked",
            |out, database, stats| {
                out.add(&[("database", database)], stats.counters.dials_ok);
            },
        ),
        (
            "pool_dial_failures",
            "Upstream logins that failed, by blame",
            |out, database, stats| {
                for (reason, count) in stats.counters.dials_failed.by_reason() {
                    out.add(&[("database", database), ("reason", reason)], count);
                }
            },
        ),
        (
            "pool_closings",
            "Upstream connections closed, by reason",
            |out, database, stats| {
                for (reason, count) in stats.counters.closings.by_reason() {
                    out.add(&[("database", database), ("reason", reason)], count);
                }
            },
        ),
        (
            "pool_wait_seconds_sum",
            "Time clients spent waiting for a connection",
            |out, database, stats| {
                out.add(
                    &[("database", database)],
                    stats.counters.waits.sum.as_secs_f64(),
                );
            },
        ),
    ];
    for (name, help, read) in counters {
        let of = Arc::clone(app);
        metrics.counter(name, help, move |out| {
            for service in &of.services {
                read(out, &service.database().name, &service.pool_stats());
            }
        });
    }
}

fn each_pool(
    metrics: &mut Metrics,
    app: &Arc<App>,
    name: &'static str,
    help: &'static str,
    read: ReadPool,
) {
    let of = Arc::clone(app);
    metrics.gauge(name, help, move |out| {
        for service in &of.services {
            read(out, &service.database().name, &service.pool_stats());
        }
    });
}
