//! State that one thread changes and another waits on.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::DEADLINE;

/// A value whose changes can be waited for, so that no test sleeps.
#[derive(Debug, Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub fn new(value: T) -> Self {
        Watched { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Changes the value and wakes whoever waits.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Waits until `ready` returns something.
    ///
    /// # Panics
    /// After [`DEADLINE`], naming what was waited for.
    pub fn wait<R>(&self, what: &str, ready: impl FnMut(&mut T) -> Option<R>) -> R {
        self.wait_at_most(DEADLINE, ready).unwrap_or_else(|| panic!("waited in vain for {what}"))
    }

    /// Waits until `ready` returns something, or for this long.
    pub fn wait_at_most<R>(
        &self,
        at_most: std::time::Duration,
        mut ready: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let mut result = None;
        let not_ready = |value: &mut T| {
            result = ready(value);
            result.is_none()
        };
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, not_ready);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        result
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
