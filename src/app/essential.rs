//! What the process cannot live without. A panic in it aborts: a proxy of which a part has died silently is worse than
//! one that its supervisor restarts.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::abort;

/// Runs a future; if it panics, the process aborts. The panic hook has said where and why by then.
pub(super) async fn essential<F: Future>(name: &'static str, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(move |cx| or_abort(name, || future.as_mut().poll(cx))).await
}

/// Runs a function; if it panics, the process aborts.
pub(super) fn or_abort<T>(name: &str, function: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(value) => value,
        Err(_) => {
            tracing::error!("{name} panicked, which is a bug of attache: the process aborts");
            super::log::flush();
            abort();
        }
    }
}
