//! The wish to end, as something a session can look at for the price of one atomic load.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Waker;

use tokio_util::sync::CancellationToken;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Tells sessions that the process wants to end: finish what runs, start nothing new.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Drain {
    /// Begins to drain; there is no way back.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Has it begun?
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits until it begins. Cancel safe.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// A watch for a hand-written poll loop.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch {
            drain: self.clone(),
            wait: Box::pin(self.token.clone().cancelled_owned()),
            registered: None,
        }
    }
}

/// Wakes the task that polls it once, when draining begins. Polling takes no lock unless the task changed.
#[derive(Debug)]
pub struct DrainWatch {
    drain: Drain,
    wait: Pin<Box<WaitForCancellationFutureOwned>>,
    registered: Option<Waker>,
}

impl DrainWatch {
    /// Has draining begun? Otherwise the current task is woken when it does.
    #[inline]
    pub fn poll_begun(&mut self, cx: &mut Context<'_>) -> bool {
        if self.drain.has_begun() {
            return true;
        }
        if !self
            .registered
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.registered = Some(cx.waker().clone());
            return self.wait.as_mut().poll(cx).is_ready();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_waiting_task_is_woken() {
        let drain = Drain::default();
        let mut watch = drain.watch();
        let waiting = tokio::spawn(poll_fn(move |cx| {
            if watch.poll_begun(cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drain.begin();
        waiting.await.unwrap();
        assert!(drain.has_begun());
        drain.begun().await;
    }
}
