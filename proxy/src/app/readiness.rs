//! Gathers from the rooms what `/startup` and `/readiness` tell.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::build::App;
use super::service::Failures;
use super::service::Service;
use crate::admin::Condition;
use crate::admin::Readiness;
use crate::admin::Stage;
use crate::identity::IdentityState;
use crate::net::Drain;

/// A watch that follows identity and databases until `ended`.
pub(super) fn watch(
    app: &Arc<App>,
    background: &TaskTracker,
    ended: &CancellationToken,
    drain: &Drain,
) -> watch::Receiver<Readiness> {
    let mut identity = app.identity.subscribe();
    let mut failures: Vec<_> = app.services.iter().map(Service::failures).collect();
    let app = Arc::clone(app);
    let (tell, told) = watch::channel(gather(&app, &mut identity, &mut failures, Stage::Serving));
    let drain = drain.clone();
    let follow = async move {
        loop {
            let draining = drain.has_begun();
            let stage = if draining {
                Stage::Stopping
            } else {
                Stage::Serving
            };
            tell.send_replace(gather(&app, &mut identity, &mut failures, stage));
            tokio::select! {
                _ = identity.changed() => {}
                () = any_changed(&mut failures) => {}
                () = drain.begun(), if !draining => {}
            }
        }
    };
    background.spawn(ended.clone().run_until_cancelled_owned(follow));
    told
}

async fn any_changed(failures: &mut [Failures]) {
    let mut waits: Vec<_> = failures
        .iter_mut()
        .map(|failure| Box::pin(failure.changed()))
        .collect();
    std::future::poll_fn(|cx| {
        let changed = waits
            .iter_mut()
            .any(|wait| wait.as_mut().poll(cx).is_ready());
        if changed {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

fn gather(
    app: &App,
    identity: &mut watch::Receiver<IdentityState>,
    failures: &mut [Failures],
    stage: Stage,
) -> Readiness {
    let identity = if app.identity_needed {
        identity_condition(&identity.borrow_and_update())
    } else {
        Condition::Ready("not needed".into())
    };
    let databases = app.services.iter().zip(failures).map(|(service, failure)| {
        let condition = match failure.see() {
            Some(error) => Condition::NotReady(error),
            None => Condition::Ready(format!(
                "{} {}",
                service.database().engine.name(),
                service.database().upstream
            )),
        };
        (service.database().name.clone(), condition)
    });
    Readiness {
        stage,
        identity,
        databases: databases.collect(),
    }
}

fn identity_condition(state: &IdentityState) -> Condition {
    match state {
        IdentityState::Failed { error, .. } => Condition::NotReady(error.to_string()),
        IdentityState::Ready(_) => Condition::Ready("credentials are valid".into()),
        IdentityState::Waiting { awaited } => Condition::NotReady(format!("waiting for {awaited}")),
    }
}
