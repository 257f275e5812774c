//! The wish to end, as something a session can look at for the price of one atomic load.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Waker;

use tokio_util::sync::CancellationToken;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// How far the end has come. There is no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nobody wants to end.
    Serving,
    /// Finish what runs, start nothing new.
    Draining,
    /// What still runs is stopped.
    Over,
}

/// Tells sessions that the process wants to end.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    stage: Arc<AtomicU8>,
    begun: CancellationToken,
    over: CancellationToken,
}

impl Drain {
    /// Begins to drain; there is no way back.
    pub fn begin(&self) {
        self.stage
            .fetch_max(Stage::Draining as u8, Ordering::AcqRel);
        self.begun.cancel();
    }

    /// Stops what still runs.
    pub fn end(&self) {
        self.stage.fetch_max(Stage::Over as u8, Ordering::AcqRel);
        self.begun.cancel();
        self.over.cancel();
    }

    /// Has it begun?
    pub fn has_begun(&self) -> bool {
        self.stage() != Stage::Serving
    }

    /// Waits until it begins. Cancel safe.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Waits until what still runs is to be stopped. Cancel safe.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// A watch for a hand-written poll loop.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch {
            drain: self.clone(),
            begun: Box::pin(self.begun.clone().cancelled_owned()),
            over: Box::pin(self.over.clone().cancelled_owned()),
            registered: None,
        }
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Serving,
            1 => Stage::Draining,
            _ => Stage::Over,
        }
    }
}

/// Wakes the task that polls it at every step towards the end. Polling takes no lock unless the task changed.
#[derive(Debug)]
pub struct DrainWatch {
    drain: Drain,
    begun: Pin<Box<WaitForCancellationFutureOwned>>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    registered: Option<Waker>,
}

impl DrainWatch {
    /// How far is it? The current task is woken when it goes further.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Stage {
        if !self
            .registered
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.registered = Some(cx.waker().clone());
            // What they answer is read from the stage, after both are registered.
            for wait in [&mut self.begun, &mut self.over] {
                let _ = wait.as_mut().poll(cx);
            }
        }
        self.drain.stage()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_waiting_task_is_woken_at_every_step() {
        let drain = Drain::default();
        let mut watch = drain.watch();
        assert!(!drain.has_begun());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let waiting = tokio::spawn(poll_fn(move |cx| {
            let stage = watch.poll(cx);
            tell.send(stage).unwrap();
            match stage {
                Stage::Over => Poll::Ready(()),
                Stage::Serving | Stage::Draining => Poll::Pending,
            }
        }));
        assert_eq!(told.recv().await, Some(Stage::Serving));
        drain.begin();
        assert_eq!(told.recv().await, Some(Stage::Draining));
        assert!(!waiting.is_finished());
        drain.begun().await;
        drain.end();
        assert_eq!(told.recv().await, Some(Stage::Over));
        waiting.await.unwrap();
        drain.begin();
        assert!(drain.has_begun());
        assert_eq!(drain.stage(), Stage::Over, "there is no way back");
    }
}
