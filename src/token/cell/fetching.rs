//! The task of one fetch (TL-30): it belongs to no request, and its end releases the waiters whatever happens (TL-31).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::{Finished, TokenCell};
use crate::clock::Boot;
use crate::config::Attach;
use crate::jws::ProofKey;
use crate::token::machine::{Adopted, Attempt, Grant, Next};
use crate::token::{
    Attached, Exchange, FetchError, FetchErrorKind, FetchRequest, Generation, Granted, Misfit, ProofVersion, Reached,
    Source, Token,
};

/// A source keeps to its time by itself; this much later it is not waited for.
const SOURCE_GRACE: Duration = Duration::from_millis(50);

/// The right to run the fetch that the machine has begun. However the task ends, dropping this tells the machine.
#[derive(Debug)]
pub(super) struct Ticket {
    cell: Arc<TokenCell>,
    done: watch::Sender<Option<Finished>>,
}

/// A token as it came, with what can be made of it before it has a generation.
struct Prepared {
    granted: Granted,
    requested_at: SystemTime,
    attached: Attached,
    /// What `attached` was made for.
    attach: Arc<Attach>,
    proof_key: Option<Arc<ProofKey>>,
}

/// A warning if it is news, else for information. The level of an event is fixed where it stands.
macro_rules! at_level {
    ($news:expr, $($event:tt)+) => {
        if $news { tracing::warn!($($event)+) } else { tracing::info!($($event)+) }
    };
}

/// Runs a fetch to its end.
pub(super) async fn run(ticket: Ticket) {
    let cell = ticket.cell.clone();
    let gate = cell.locate();
    let begun = cell.shared.clock.now();
    let (mut adopted, mut changed) = (false, false);
    let (mut refused, mut turn) = (None, None);
    loop {
        // The disk is waited for without a turn, which others may need more, and before the token's time begins.
        let exchange = cell.begin_exchange().await;
        changed |= exchange.is_some();
        if turn.is_none() {
            turn = Some(gate.enter(cell.waiting.clone()).await);
        }
        if let Some(error) = cell.subjects.as_ref().and_then(|subjects| subjects.refused_since(begun)) {
            let asked_for = cell.lock().source.asks_for();
            // It goes on if it has another proof meanwhile, of which the refusal says nothing.
            if ticket.failed(asked_for, error) == Next::Ended {
                return;
            }
        }
        let (attempt, source, attach, claims) = cell.update(|inner, now| {
            let claims = inner.claims.clone().filter(|claims| refused.as_ref() != Some(claims));
            (inner.machine.attempt(now), inner.source.clone(), inner.attach.clone(), claims)
        });
        let next = match attempt {
            Attempt::Make { timeout } => {
                let requested_at = cell.shared.clock.wall();
                let result = attempt_within(&*source, timeout, exchange.clone(), claims.clone()).await;
                let result = result.and_then(|granted| prepare(granted, requested_at, &attach, &*source));
                turn = turn.filter(|_| exchange.is_none());
                cell.end_exchange().await;
                changed |= result.is_ok();
                if claims.is_some() && is_lasting(&result) {
                    // Without them, for the token that serves may be about to expire.
                    cell.lock().claims_answered(claims.as_ref());
                    refused = claims;
                    continue;
                }
                if !adopted && needs_reauthorization(&result) && cell.adopt_sibling(exchange).await {
                    adopted = true;
                    continue;
                }
                // What it is held back by is held where it has been found to be.
                cell.locate();
                ticket.attempted(source.asks_for(), claims.as_ref().or(refused.as_ref()), result)
            }
            Attempt::Pause(at) => Next::Retry(at),
            Attempt::Ended => ticket.given_up(),
        };
        match next {
            Next::Retry(at) => cell.sleep_until(at).await,
            Next::Ended => break,
        }
    }
    drop(turn);
    // No request waits for this: the token is published already. The end of an exchange that brought none is news, too.
    if changed {
        cell.save().await;
    }
}

/// Whether the server answered that it gives nothing like that, which waiting does not change.
fn is_lasting(result: &Result<Prepared, FetchError>) -> bool {
    result.as_ref().is_err_and(|error| error.kind.is_lasting())
}

fn needs_reauthorization(result: &Result<Prepared, FetchError>) -> bool {
    result.as_ref().is_err_and(|error| error.kind == FetchErrorKind::NeedsReauthorization)
}

async fn attempt_within(
    source: &dyn Source,
    timeout: Duration,
    exchange: Option<Exchange>,
    claims: Option<Arc<str>>,
) -> Result<Granted, FetchError> {
    let attempt = source.fetch(FetchRequest { attempt_timeout: timeout, exchange, claims });
    match tokio::time::timeout(timeout + SOURCE_GRACE, attempt).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("the token endpoint {} did not answer within {timeout:?}", source.origin());
            Err(FetchError { kind: FetchErrorKind::Transient, reached: Reached::Silent, code: None, text: text.into() })
        }
    }
}

fn prepare(
    granted: Granted,
    requested_at: SystemTime,
    attach: &Arc<Attach>,
    source: &dyn Source,
) -> Result<Prepared, FetchError> {
    match Attached::of_token(attach, &granted.value, &granted.further) {
        Ok(attached) => {
            let proof_key = source.proof_key().cloned();
            Ok(Prepared { granted, requested_at, attached, attach: attach.clone(), proof_key })
        }
        Err(misfit) => {
            let (kind, why) = match misfit {
                Misfit::Value(why) => (FetchErrorKind::Transient, why),
                Misfit::BaseUrl(why) => (FetchErrorKind::Refused, why),
            };
            let text = format!("the token endpoint granted a token, but {why}").into();
            Err(FetchError { kind, reached: Reached::Answered, code: None, text })
        }
    }
}

impl Prepared {
    fn token(self, generation: Generation) -> Arc<Token> {
        let Granted { value, further, .. } = self.granted;
        Arc::new(Token { generation, value, further, attached: self.attached, proof_key: self.proof_key })
    }
}

impl Ticket {
    /// Made under the lock, in the same moment as the machine began the fetch.
    pub(super) fn new(cell: &Arc<TokenCell>, done: watch::Sender<Option<Finished>>) -> Self {
        cell.shared.in_flight.send_modify(|fetches| *fetches += 1);
        Ticket { cell: cell.clone(), done }
    }

    /// Tells the machine how an attempt ended, and the waiters if it was the last. `asked_for`: by the source that made it;
    /// `claims`: the last that this fetch asked for besides.
    /// Where a reload wants something else meanwhile, neither a token nor a refusal is an answer to that: what came of the
    /// refresh token is kept already (TL-53), and a failure says what it always does, also of the exchange (TL-52).
    fn attempted(
        &self,
        asked_for: Option<ProofVersion>,
        claims: Option<&Arc<str>>,
        result: Result<Prepared, FetchError>,
    ) -> Next {
        match result {
            Ok(prepared) => self.granted(asked_for, claims, prepared),
            Err(error) => self.failed(asked_for, error),
        }
    }

    fn granted(&self, asked_for: Option<ProofVersion>, claims: Option<&Arc<str>>, prepared: Prepared) -> Next {
        let lifetime = prepared.granted.lifetime;
        let granted = self.cell.update(|inner, now| {
            // Here, since a reload can come until the lock is taken.
            if asked_for != inner.source.asks_for() {
                inner.machine.exchange_answered();
                return Err(Next::Retry(now));
            }
            inner.claims_answered(claims);
            let suspect = inner.machine.suspected(now);
            let granted = &prepared.granted;
            let is_same = |held: &Arc<Token>| held.value == granted.value && held.further == granted.further;
            let same = inner.token.as_ref().is_some_and(is_same);
            let grant = Grant { lifetime, refresh_in: granted.refresh_in, last: granted.last, same };
            let adopted = inner.machine.granted(now, grant);
            let mut finished = Finished::Ended;
            let moved = !Arc::ptr_eq(&prepared.attach, &inner.attach);
            if matches!(adopted, Adopted::New(_) | Adopted::Same) {
                inner.granted = Some((prepared.requested_at, granted.refresh_in));
            }
            match adopted {
                Adopted::New(generation) => inner.token = Some(prepared.token(generation)),
                Adopted::Uncacheable(generation) => finished = Finished::Uncached(prepared.token(generation)),
                Adopted::Same | Adopted::Failed => {}
            }
            if moved {
                inner.attach_anew();
            }
            inner.flight = None;
            let window = inner.machine.useless_window().filter(|_| !inner.window_warned);
            inner.window_warned |= window.is_some();
            let news = match adopted {
                Adopted::New(_) | Adopted::Same => inner.trouble.take().is_some(),
                Adopted::Uncacheable(_) | Adopted::Failed => inner.in_trouble(now),
            };
            Ok((adopted, finished, suspect, inner.machine.last_attempt(), window, news))
        });
        let (adopted, finished, suspect, took, window, news) = match granted {
            Ok(granted) => granted,
            Err(again) => return again,
        };
        self.done.send_replace(Some(finished));
        self.cell.subjects.iter().for_each(|subjects| subjects.granted());
        self.log(adopted, lifetime, took, suspect, news);
        if let Some(window) = window {
            let (refresh_before_s, hint) = (window.as_secs_f64(), "configure less than the tokens' lifetime");
            let credential = &*self.cell.name();
            tracing::warn!(
                credential,
                lifetime_s = lifetime.map(|lifetime| lifetime.as_secs_f64()),
                refresh_before_s,
                hint,
                "`refresh_before` is as long as the token lives, and counts for nothing"
            );
        }
        Next::Ended
    }

    /// `news`: it changes what requests get. Without that, what goes wrong is not warned of again.
    fn log(&self, adopted: Adopted, lifetime: Option<Duration>, took: Option<Duration>, suspect: bool, news: bool) {
        let credential = &*self.cell.name();
        let lifetime_s = lifetime.map(|lifetime| lifetime.as_secs_f64());
        let took_ms = took.map(|took| took.as_millis() as u64);
        match adopted {
            Adopted::New(Generation(generation)) => {
                let reason = match (suspect, news) {
                    (true, _) => "the upstream rejected the last one",
                    (false, true) => "the fetches before it had failed",
                    (false, false) => "the last one is due, or there is none",
                };
                tracing::info!(credential, generation, lifetime_s, took_ms, reason, "token granted");
            }
            Adopted::Same if suspect => {
                let hint = "the upstream rejects it for another reason: look at its scopes, audience, or permissions";
                tracing::warn!(credential, lifetime_s, took_ms, hint, "a rejected token was granted again");
            }
            Adopted::Same => tracing::info!(credential, lifetime_s, took_ms, "the same token was granted again"),
            Adopted::Uncacheable(Generation(generation)) => {
                at_level!(news, credential, generation, took_ms, "the granted token's life is over, it is not kept");
            }
            Adopted::Failed => {
                at_level!(news, credential, took_ms, "every granted token's life is over as it arrives, backing off");
            }
        }
    }

    fn failed(&self, asked_for: Option<ProofVersion>, error: FetchError) -> Next {
        let text = error.text.clone();
        // It concerns a subject, of whom there may be many, and that one learns of it.
        let is_subjects = error.kind == FetchErrorKind::SubjectRefused;
        let (next, next_try, state, news) = self.cell.update(|inner, now| {
            let next = match error.kind.is_refusal() && asked_for != inner.source.asks_for() {
                true => Next::Retry(now),
                false => inner.machine.failed(now, error.clone()),
            };
            if next == Next::Ended {
                inner.flight = None;
            }
            if next == Next::Ended {
                let subject = self.cell.identity;
                self.cell.subjects.iter().for_each(|subjects| subjects.failed(now, subject, &error, inner.proof));
            }
            if next == Next::Ended && error.kind.is_refusal() {
                self.cell.forget_subject_token(inner, now);
            }
            let news = next == Next::Ended && inner.in_trouble(now) && !is_subjects;
            let next_start = inner.machine.next_start();
            let next_try = (next_start < Boot::NEVER).then(|| next_start.since(now));
            (next, next_try, inner.machine.state(now), news)
        });
        let (name, error) = (self.cell.name(), &*text);
        let credential = &*name;
        match next {
            Next::Retry(_) => tracing::info!(credential, error, "an attempt to fetch a token failed, trying again"),
            Next::Ended => {
                self.done.send_replace(Some(Finished::Ended));
                let next_try_s = next_try.map(|after| (after.as_secs_f64() * 1000.0).round() / 1000.0);
                at_level!(news, credential, state, error, next_try_s, "fetching a token failed");
            }
        }
        next
    }

    /// There may be no further attempt: the client is held back, or the fetch's time is over.
    fn given_up(&self) -> Next {
        self.cell.update(|inner, _| {
            inner.take_exchange();
            inner.flight = None;
        });
        self.done.send_replace(Some(Finished::Ended));
        Next::Ended
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.done.borrow().is_none() {
            self.cell.update(|inner, now| {
                inner.take_exchange();
                inner.machine.abandoned(now);
                inner.flight = None;
            });
            self.done.send_replace(Some(Finished::Ended));
            tracing::error!(
                credential = &*self.cell.name(),
                "a token fetch ended unexpectedly: it panicked, or its runtime has ended"
            );
        }
        self.cell.shared.in_flight.send_modify(|fetches| *fetches -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Answer, Endpoint, HOUR, House};
    use super::*;

    /// TL-02, TL-04: what comes while a reload asks for something else is neither published nor a refusal, however late that
    /// is: the fetch goes on, at the new source.
    #[tokio::test(start_paused = true)]
    async fn what_a_reload_no_longer_asks_for_is_no_answer() {
        for answer in [Answer::Token(Some(HOUR)), Answer::Fail(FetchErrorKind::Refused)] {
            let (house, attach) = (House::new(), Arc::new(Attach::authorization("Bearer")));
            let old = Endpoint::new([answer]).asking_for(1);
            let new = Endpoint::new([Answer::Token(Some(HOUR))]).asking_for(2);
            let cell = house.cell(&old);
            let (done, _flight) = watch::channel(None);
            let ticket = cell.update(|inner, now| {
                let (_, begun) = inner.machine.request(now, Boot::NEVER);
                assert!(begun && matches!(inner.machine.attempt(now), Attempt::Make { .. }));
                Ticket::new(&cell, done)
            });
            let result = attempt_within(&old, HOUR, None, None).await;
            let result = result.and_then(|granted| prepare(granted, SystemTime::UNIX_EPOCH, &attach, &old));
            house.cell(&new);
            assert!(matches!(ticket.attempted(old.asks_for(), None, result), Next::Retry(_)));
            assert!(cell.ready().is_none());
            let attempt = cell.update(|inner, now| inner.machine.attempt(now));
            assert!(matches!(attempt, Attempt::Make { .. }), "{attempt:?}");
        }
    }
}
