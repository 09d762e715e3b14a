//! Several futures at once, in place: dropped, they are all cancelled. Only those that were woken are polled again, so that
//! many that wait cost nothing for the one that goes on.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Futures under way, each with a number that says which it is.
pub(super) struct Together<'a, T> {
    members: Vec<Member<'a, T>>,
}

struct Member<'a, T> {
    number: usize,
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    alarm: Option<Arc<Alarm>>,
}

/// Wakes whoever waits for all of them, and remembers which one it was.
struct Alarm {
    rung: AtomicBool,
    parent: Waker,
}

impl<'a, T> Together<'a, T> {
    pub(super) fn new() -> Self {
        Together { members: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn add(&mut self, number: usize, future: impl Future<Output = T> + 'a) {
        self.members.push(Member { number, future: Box::pin(future), alarm: None });
    }

    /// Cancels those that are no longer wanted.
    pub(super) fn keep(&mut self, mut is_wanted: impl FnMut(usize) -> bool) {
        self.members.retain(|member| is_wanted(member.number));
    }

    /// The next one that ends; of several that are ready the one that was added first. `None`: none is under way.
    pub(super) async fn next(&mut self) -> Option<(usize, T)> {
        poll_fn(|cx| match self.poll(cx) {
            None if !self.members.is_empty() => Poll::Pending,
            ended => Poll::Ready(ended),
        })
        .await
    }

    /// The next one that has ended already. `None`: all that are under way would have to be waited for.
    pub(super) async fn next_of_this_turn(&mut self) -> Option<(usize, T)> {
        poll_fn(|cx| Poll::Ready(self.poll(cx))).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Option<(usize, T)> {
        for place in 0..self.members.len() {
            if let Poll::Ready(output) = self.members[place].poll(cx) {
                return Some((self.members.remove(place).number, output));
            }
        }
        None
    }
}

impl<T> Member<'_, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let alarm = match &self.alarm {
            Some(alarm) if alarm.parent.will_wake(cx.waker()) => {
                if !alarm.rung.swap(false, Ordering::Acquire) {
                    return Poll::Pending;
                }
                alarm.clone()
            }
            // New, or another task waits for it than before.
            _ => {
                let alarm = Arc::new(Alarm { rung: AtomicBool::new(false), parent: cx.waker().clone() });
                self.alarm.insert(alarm).clone()
            }
        };
        self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(alarm)))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.parent.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_ends_first_comes_first_and_only_it_is_polled() {
        let polls = Cell::new(0);
        let mut together = Together::new();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel::<char>()).unzip();
        for (number, mut receiver) in receivers.into_iter().enumerate() {
            let polls = &polls;
            together.add(number, async move {
                poll_fn(|cx| {
                    polls.set(polls.get() + 1);
                    Pin::new(&mut receiver).poll(cx)
                })
                .await
                .unwrap()
            });
        }
        let mut senders: Vec<_> = senders.into_iter().map(Some).collect();
        for (polled, (number, letter)) in [(1, 'b'), (2, 'c'), (0, 'a')].into_iter().enumerate() {
            let mut next = Box::pin(together.next());
            assert!(poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await);
            assert_eq!(polls.get(), 3 + polled, "each once at first, then those that were woken");
            senders[number].take().unwrap().send(letter).unwrap();
            assert_eq!(next.await, Some((number, letter)));
        }
        assert_eq!((together.next().await, together.len()), (None, 0));
    }

    #[tokio::test]
    async fn what_is_no_longer_wanted_is_dropped() {
        let mut together = Together::new();
        let (kept, dropped) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        together.add(1, async { drop(kept.1.await) });
        together.add(2, async { drop(dropped.1.await) });
        together.keep(|number| number == 1);
        assert!(dropped.0.is_closed() && !kept.0.is_closed());
        drop(together);
        assert!(kept.0.is_closed());
    }
}
