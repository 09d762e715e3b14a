//! What takes its time is done beside the worker, whose other requests go on meanwhile, and whose deadlines can be kept.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::{JoinHandle, spawn_blocking};

/// Up to this size of what is worked on, in bytes, it takes less time than it would to have another thread do it.
pub(super) const AT_ONCE_BYTES_MAX: usize = 32 * 1024;

/// Does it on another thread. Dropped, it is not begun; if it was begun already, it is done to its end, for nothing: so it has
/// to be bounded.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let mut task = Wanted(spawn_blocking(work));
    match (&mut task.0).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime is at its end, and so is whoever waits.
        Err(Err(_)) => pending().await,
    }
}

/// Work that waits for a thread is worth nothing without whoever waits for it.
struct Wanted<T>(JoinHandle<T>);

impl<T> Drop for Wanted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Likewise, if it may take long; else at once, since that takes less than another thread would.
pub(super) async fn aside_if<T: Send + 'static>(long: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    if long { aside(work).await } else { work() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// What is done aside waits for what this very thread does meanwhile: on one thread that would never end.
    #[test]
    fn others_go_on_meanwhile() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sender, receiver) = mpsc::channel();
        let got = runtime.block_on(async {
            let slow = aside(move || receiver.recv_timeout(Duration::from_secs(60)));
            let other = async { sender.send(7).unwrap() };
            tokio::join!(slow, other).0
        });
        assert_eq!(got, Ok(7));
    }

    /// What waits for a thread behind other work is not done once nobody waits for it.
    #[test]
    fn what_is_given_up_is_not_begun() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let (sender, receiver) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        runtime.block_on(async {
            let first = tokio::spawn(aside(move || receiver.recv_timeout(Duration::from_secs(60))));
            let second = tokio::spawn(aside(move || begun.send(()).unwrap()));
            tokio::task::yield_now().await;
            second.abort();
            assert!(second.await.unwrap_err().is_cancelled());
            sender.send(7).unwrap();
            assert_eq!(first.await.unwrap(), Ok(7));
            aside(|| ()).await;
        });
        assert!(has_begun.try_recv().is_err());
    }

    #[test]
    fn a_panic_is_that_of_whoever_waits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let panic = std::panic::catch_unwind(|| runtime.block_on(aside(|| panic!("on purpose")))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    }
}
