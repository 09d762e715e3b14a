//! Requests that wait: for a token, or for the confirmation of a rejection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Finished, Flight, Inner, Rejected, TokenCell};
use crate::clock::Boot;
use crate::token::machine::constants::WAIT_MAX;
use crate::token::machine::{Asked, Rejection, Verdict};
use crate::token::{Generation, Token, TokenUnavailable};

/// One step of a request that waits.
enum Step {
    Done(Result<Arc<Token>, TokenUnavailable>),
    Join(Flight),
    WaitUntil(Boot),
}

impl TokenCell {
    /// The token, waiting for the fetch if there is none (TL-20, TL-24, TL-25). `deadline` is the request's own;
    /// the wait is at most 10 s anyway.
    pub async fn take(self: &Arc<Self>, deadline: Duration) -> Result<Arc<Token>, TokenUnavailable> {
        let now = self.shared.clock.now();
        self.note_use(now);
        let until = now.after(deadline.min(WAIT_MAX));
        let mut asked = self.ask(until);
        let _waiting = Waiting::new(&self.waiting);
        loop {
            match asked {
                Step::Done(result) => return result,
                Step::Join(flight) => {
                    if let Some(Finished::Uncached(token)) = self.finished(flight, until).await {
                        return Ok(token);
                    }
                }
                Step::WaitUntil(at) => self.sleep_until(at).await,
            }
            let waited_enough = self.shared.clock.now() >= until;
            asked = if waited_enough { self.waited_enough() } else { self.ask(until) };
        }
    }

    /// The upstream rejected a request that carried this generation. With `can_replay`, waits for the confirming
    /// fetch; without, starts it and returns at once (TL-40).
    pub async fn rejected(self: &Arc<Self>, sent: Generation, can_replay: bool, deadline: Duration) -> Rejected {
        let deadline = self.shared.clock.now().after(deadline.min(WAIT_MAX));
        let mut rejection = Rejection { sent, can_replay, deadline, again: false };
        let _waiting = can_replay.then(|| Waiting::new(&self.waiting));
        loop {
            let (verdict, begun, token, flight) = self.update(|inner, now| {
                let (verdict, begin) = inner.machine.rejected(now, rejection);
                inner.take_off(begin);
                (verdict, begin, inner.token.clone(), inner.flight.clone())
            });
            if begun {
                let generation = sent.0;
                tracing::info!(
                    credential = &*self.name(),
                    generation,
                    "the upstream rejected the token, asking for another one"
                );
            }
            match (verdict, token, flight) {
                (Verdict::Replay, Some(token), _) => return Rejected::Replay(token),
                (Verdict::Join, _, Some(flight)) => return self.confirmed(sent, flight, deadline).await,
                (Verdict::WaitUntil(at), ..) => self.sleep_until(at).await,
                (Verdict::PassThrough | Verdict::Replay | Verdict::Join, ..) => return Rejected::PassThrough,
            }
            rejection.again = true;
        }
    }

    fn ask(self: &Arc<Self>, until: Boot) -> Step {
        self.update(|inner, now| {
            let (asked, begin) = inner.machine.request(now, until);
            inner.take_off(begin);
            match (asked, self.closed(inner, now)) {
                // Its own refusal says more.
                (Asked::WaitUntil(_) | Asked::Fail(TokenUnavailable::Temporarily { .. }), Some(closed)) => {
                    Step::Done(Err(closed.why))
                }
                (asked, _) => inner.step(asked, now),
            }
        })
    }

    fn waited_enough(self: &Arc<Self>) -> Step {
        self.update(|inner, now| inner.step(inner.machine.waited_enough(now), now))
    }

    /// Waits for the confirming fetch, and reads the state again (TL-28, TL-41).
    async fn confirmed(&self, sent: Generation, flight: Flight, until: Boot) -> Rejected {
        if let Some(Finished::Uncached(token)) = self.finished(flight, until).await {
            return if token.generation == sent { Rejected::PassThrough } else { Rejected::Replay(token) };
        }
        let inner = self.lock();
        match &inner.token {
            Some(token) if inner.machine.replaced(self.shared.clock.now(), sent) => Rejected::Replay(token.clone()),
            _ => Rejected::PassThrough,
        }
    }

    /// How the fetch ended; `None`: not by then, or nobody said.
    async fn finished(&self, mut flight: Flight, until: Boot) -> Option<Finished> {
        let left = until.since(self.shared.clock.now());
        let ended = tokio::time::timeout(left, flight.wait_for(Option::is_some)).await;
        ended.ok()?.ok()?.clone()
    }

    pub(super) async fn sleep_until(&self, at: Boot) {
        tokio::time::sleep(at.since(self.shared.clock.now())).await;
    }
}

impl Inner {
    fn step(&self, asked: Asked, now: Boot) -> Step {
        match (asked, &self.token, &self.flight) {
            (Asked::Take, Some(token), _) => Step::Done(Ok(token.clone())),
            (Asked::Join, _, Some(flight)) => Step::Join(flight.clone()),
            (Asked::WaitUntil(at), ..) => Step::WaitUntil(at),
            (Asked::Fail(why), ..) => Step::Done(Err(why)),
            (Asked::Take | Asked::Join, ..) => Step::Done(Err(self.machine.unavailable(now))),
        }
    }
}

/// A request that waits, as long as this is held.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
