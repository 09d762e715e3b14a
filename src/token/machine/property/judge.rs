//! Holds what it sees to the promises. It keeps books of its own: of what the machine says of itself, only when a failed
//! fetch is tried again is taken, and that is held to its bounds.

mod rejections;

use std::collections::BTreeMap;
use std::time::Duration;

use rejections::Suspicion;

use crate::clock::Boot;
use crate::token::{FetchErrorKind, Policy};

const MS: Duration = Duration::from_millis(1);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What is known of the token that should be held.
#[derive(Debug, Clone, Copy)]
struct Token {
    value: u64,
    lifetime: Option<Duration>,
    got: Boot,
    /// It must not be sent from then on.
    dead_at: Boot,
    /// It is not renewed before, unless something happens.
    rest_until: Boot,
    expiry: Boot,
}

/// The fetch in flight.
#[derive(Debug)]
struct Fetch {
    begun: Boot,
    started: Option<Boot>,
    attempts: usize,
    by_rejection: bool,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Judge {
    token: Option<Token>,
    last_lifetime: Option<Duration>,
    last_attempt: Option<Duration>,
    fetch: Option<Fetch>,
    last_begun: Option<Boot>,
    /// No fetch may begin before; what a failure or a hold says.
    not_before: Boot,
    pub(super) hold: Boot,
    /// Fetches that failed in a row, and when the last one did.
    failures: u32,
    failed_at: Option<Boot>,
    /// Exchanges in a row of which nobody knows whether they were carried out (TL-52).
    ambiguous: u32,
    refusals: u32,
    uncacheable: u32,
    /// Rejections may begin no fetch before, and how often in a row that was so.
    guard_until: Boot,
    strikes: u32,
    trial: Option<u64>,
    suspicion: Suspicion,
    pub(super) seen: BTreeMap<&'static str, usize>,
}

/// Who began a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Request,
    Use,
    Timer,
    Rejection,
}

impl Judge {
    pub(super) fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub(super) fn usable(&self, now: Boot) -> bool {
        self.token.is_some_and(|token| now < token.dead_at)
    }

    /// A request takes the held token.
    pub(super) fn takes(&mut self, now: Boot, policy: &Policy) {
        let token = self.token.expect("a token that is taken was granted");
        if now < token.dead_at {
            return self.note("taken");
        }
        assert!(now < token.expiry.after(policy.stale_if_error), "an expired token is sent");
        assert!(!policy.stale_if_error.is_zero(), "a dead token is sent");
        self.note("taken stale");
    }

    /// A request does not take the held token.
    pub(super) fn goes_without(&self, now: Boot) {
        assert!(!self.usable(now), "a request waits or fails while a usable token exists");
    }

    pub(super) fn joins(&self) {
        assert!(self.fetch.is_some(), "a request waits for a fetch that is not in flight");
    }

    pub(super) fn waits_for_try(&mut self, now: Boot, at: Boot, until: Boot) {
        assert!(self.fetch.is_none(), "it could join the fetch in flight");
        assert!(at <= now.after(secs(2)) && at <= until, "it waits for a try that is far off");
        self.note("waited for a try");
    }

    /// The hot path would take the token without thinking until then.
    pub(super) fn easy_until(&self, now: Boot, until: Option<Boot>) {
        match until {
            Some(until) if until > now => assert!(self.token.is_some_and(|token| until <= token.dead_at)),
            _ => {}
        }
    }

    pub(super) fn begins(&mut self, now: Boot, by: By) {
        assert!(self.fetch.is_none(), "two fetches at once");
        assert!(now >= self.not_before, "a fetch begins {:?} too early", self.not_before.since(now));
        assert!(now >= self.hold, "a fetch begins while the client is held back");
        if let Some(last) = self.last_begun {
            assert!(now.since(last) >= 250 * MS, "fetches begin {:?} apart", now.since(last));
        }
        let owed = self.suspicion == Suspicion::Owed;
        if by == By::Rejection && self.usable(now) && !owed {
            self.note("confirmation begun");
        }
        if let Some(token) = self.token.filter(|token| now < token.dead_at && by != By::Rejection && !owed) {
            assert!(now >= token.rest_until, "a token is renewed {:?} early", token.rest_until.since(now));
        }
        self.note(match by {
            By::Request => "begun by request",
            By::Use => "begun by use",
            By::Timer => "begun by timer",
            By::Rejection => "begun by rejection",
        });
        let by_rejection = self.usable(now) && (owed || by == By::Rejection);
        self.fetch = Some(Fetch { begun: now, started: None, attempts: 0, by_rejection });
        self.last_begun = Some(now);
    }

    pub(super) fn attempts(&mut self, now: Boot, timeout: Duration) {
        let usable = self.token.filter(|token| now < token.dead_at).map(|token| token.dead_at.since(now));
        let last = self.last_attempt.unwrap_or_default();
        let fetch = self.fetch.as_mut().expect("an attempt belongs to a fetch");
        let started = *fetch.started.get_or_insert(now);
        fetch.attempts += 1;
        assert!(now >= self.hold, "an attempt is made while the client is held back");
        assert!(now.since(started) + timeout <= secs(30), "a fetch takes longer than 30 s");
        assert!(!timeout.is_zero() && timeout <= secs(10));
        if let Some(usable) = usable {
            assert!(timeout <= secs(1).max(usable / 2).max(last * 2), "an attempt may outlast the token");
        }
    }

    /// An attempt failed, and another one follows then.
    pub(super) fn retries(&mut self, now: Boot, at: Boot, failed: Failed, proof_changed: bool) {
        let Failed { kind, sent, .. } = failed;
        if sent {
            assert!(at == now, "what may be carried out already is not put off");
            assert!(failed.is_ambiguous() || proof_changed, "an exchange is repeated that was answered");
            if failed.is_ambiguous() {
                assert_eq!(self.ambiguous, 0, "an exchange is repeated more than once");
                self.ambiguous = 1;
                self.note("exchange repeated");
            }
            return;
        }
        let usable = self.token.filter(|token| now < token.dead_at);
        let attempts = self.fetch.as_ref().expect("in flight").attempts;
        let pause = at.since(now);
        match kind {
            FetchErrorKind::Transient => assert!(pause <= if attempts == 1 { 250 * MS } else { secs(1) }),
            FetchErrorKind::RateLimited { retry_after } => {
                let after = retry_after.expect("without a time it is not retried at once");
                assert!(after <= secs(2) && pause >= after, "retried against `Retry-After`");
            }
            FetchErrorKind::Refused
            | FetchErrorKind::RefusedForAll
            | FetchErrorKind::RefusedUnclear
            | FetchErrorKind::SubjectRefused
            | FetchErrorKind::NeedsReauthorization => {
                assert!(proof_changed, "a refusal is retried");
                return;
            }
        }
        assert!(attempts <= 2, "more than two retries");
        if let (Some(token), FetchErrorKind::Transient) = (usable, kind) {
            assert!(
                pause <= (250 * MS).max(token.dead_at.since(now) / 4),
                "a retry that the token may not live to see"
            );
        }
        self.note("retried");
    }

    pub(super) fn limited(&mut self, now: Boot, kind: FetchErrorKind) {
        if let FetchErrorKind::RateLimited { retry_after: Some(after) } = kind {
            self.hold = self.hold.max(now.after(after.min(secs(3600))));
        }
    }

    /// The fetch has failed; `next` is when the machine would begin the next one.
    pub(super) fn fails(&mut self, now: Boot, failed: Failed, next: Boot) {
        let kind = failed.kind;
        if failed.sent && failed.is_ambiguous() {
            self.ambiguous += 1;
            self.note("exchange in doubt");
        }
        self.fetch = None;
        self.not_confirmed(now);
        let died =
            self.token.is_some_and(|token| token.dead_at <= now && self.failed_at.is_some_and(|at| at < token.dead_at));
        if died {
            self.failures = 0;
        }
        let (gap, held) = (next.since(now), self.hold > now);
        assert!(next >= self.hold && gap >= 250 * MS);
        let usable = self.token.filter(|token| now < token.dead_at).map(|token| token.dead_at.since(now));
        let late_at = self.token.and_then(|token| Some(token.expiry.before(secs(60).min(token.lifetime? / 10))));
        let late = late_at.is_some_and(|late_at| late_at <= now);
        if kind == FetchErrorKind::NeedsReauthorization {
            assert_eq!(next, Boot::NEVER, "a refresh token that was refused is probed");
        } else if kind.is_refusal() {
            let probe = (secs(5) * (1 << self.refusals.min(10))).min(secs(300));
            assert!(gap >= secs(5) && (held || gap <= probe), "a refused credential is probed after {gap:?}");
            assert!(usable.is_some() || gap >= probe, "probed after {gap:?}, not {probe:?}");
            self.refusals += 1;
        } else if let Some(usable) = usable {
            let max = if late { secs(5) } else { secs(60) }.min(usable / 4).max(250 * MS);
            assert!(held || gap <= max, "backoff of {gap:?} while a token serves for {usable:?}");
            let over_late = late_at.is_some_and(|late_at| now < late_at && late_at.max(now.after(250 * MS)) < next);
            assert!(held || !over_late, "a pause goes on although the token is late");
        } else {
            let max = (secs(1) * (1 << self.failures.min(10))).min(secs(30));
            let min = (max / 2).min(secs(15));
            assert!(gap + MS >= min && (held || gap <= max), "backoff of {gap:?} after {} failures", self.failures);
        }
        self.failures += 1;
        self.failed_at = Some(now);
        self.not_before = next;
        self.note(match kind {
            FetchErrorKind::Transient => "failed transient",
            FetchErrorKind::RateLimited { .. } => "failed limited",
            FetchErrorKind::Refused
            | FetchErrorKind::RefusedForAll
            | FetchErrorKind::RefusedUnclear
            | FetchErrorKind::SubjectRefused => "failed refused",
            FetchErrorKind::NeedsReauthorization => "failed for good",
        });
    }

    /// Whether the last exchange may have been carried out.
    pub(super) fn doubts(&self) -> bool {
        self.ambiguous > 0
    }

    /// The fetch ended without having sent anything.
    pub(super) fn gives_up(&mut self, now: Boot) {
        self.fetch = None;
        self.not_confirmed(now);
        self.not_before = self.not_before.max(now.after(250 * MS));
        self.note("held back");
    }

    /// What was to come when may have changed.
    pub(super) fn rescheduled(&mut self) {
        if let Some(token) = &mut self.token {
            token.rest_until = Boot::default();
        }
    }

    /// The proof changed; a refusal is forgotten.
    pub(super) fn proof_changed(&mut self, refused: bool) {
        self.rescheduled();
        if refused {
            self.not_before = self.failed_at.map_or(Boot::default(), |at| at.after(250 * MS));
            (self.refusals, self.failures, self.failed_at) = (0, 0, None);
        }
    }

    /// A token was granted. Returns whether it must have been kept.
    pub(super) fn granted(&mut self, now: Boot, sent: Boot, value: u64, said: Option<Duration>) -> Kept {
        let fetch = self.fetch.take().expect("a grant belongs to a fetch");
        self.ambiguous = 0;
        self.last_attempt = Some(now.since(sent));
        self.last_lifetime = said.filter(|life| !life.is_zero()).or(self.last_lifetime);
        let lifetime = said.or(self.last_lifetime);
        let same = self.token.is_some_and(|token| token.value == value);
        let (expiry, dead) = match lifetime {
            Some(life) => (sent.after(life), sent.after(life).before(secs(5).min(life / 20))),
            None => (Boot::NEVER, Boot::NEVER),
        };
        let late = lifetime.map_or(Boot::NEVER, |life| expiry.before(secs(60).min(life / 10)));
        let rest_until = sent.after(pause_min(lifetime)).min(late);
        if fetch.by_rejection && same {
            self.strike(now);
            self.trial = None;
        }
        if dead <= now {
            if let Some(token) = self.token.as_mut().filter(|_| same) {
                (token.dead_at, token.expiry) = (token.dead_at.min(now), token.expiry.min(now));
                self.suspicion = Suspicion::None;
            }
            self.not_confirmed(now);
            self.uncacheable += 1;
            if self.uncacheable > 2 {
                return Kept::Failed;
            }
            self.succeeds(now.after(secs(1)));
            return Kept::No;
        }
        self.uncacheable = 0;
        self.suspicion = Suspicion::None;
        self.succeeds(fetch.begun.after(250 * MS));
        match &mut self.token {
            Some(token) if same => {
                let moved = token.expiry.since(expiry).max(expiry.since(token.expiry));
                let least = secs(2).max(token.lifetime.unwrap_or_default() / 100);
                let unmoved = token.expiry < Boot::NEVER && (said.is_none() || moved < least);
                if !unmoved || token.dead_at <= now {
                    (token.lifetime, token.dead_at, token.expiry) = (lifetime, dead, expiry);
                    token.rest_until = rest_until;
                } else {
                    token.rest_until = now.after(pause_min(token.lifetime)).min(token.dead_at);
                }
                Kept::Same
            }
            _ => {
                if fetch.by_rejection {
                    self.strike(now);
                    self.trial = Some(value);
                }
                self.token = Some(Token { value, lifetime, got: now, dead_at: dead, rest_until, expiry });
                Kept::New
            }
        }
    }

    fn succeeds(&mut self, not_before: Boot) {
        (self.refusals, self.failures, self.failed_at) = (0, 0, None);
        self.not_before = not_before;
    }
}

/// The least time that a token is left alone after it came.
fn pause_min(lifetime: Option<Duration>) -> Duration {
    secs(5).min((250 * MS).max(lifetime.unwrap_or(Duration::MAX) / 20))
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    pub kind: FetchErrorKind,
    /// It was an exchange of a refresh token, and bytes of it may have left.
    pub sent: bool,
    /// The endpoint gave it a name.
    pub named: bool,
}

impl Failed {
    fn is_ambiguous(self) -> bool {
        self.kind == FetchErrorKind::Transient && !self.named
    }
}

/// What should have become of a granted token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    New,
    Same,
    No,
    Failed,
}
