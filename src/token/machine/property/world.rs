//! The simulated world: clients, an endpoint, an upstream, a timer, and the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::{By, Failed, Judge, Kept};
use super::{Endpoint, Op, Outcome};
use crate::clock::Boot;
use crate::token::machine::tests::error;
use crate::token::machine::{Adopted, Asked, Attempt, Grant, Machine, Next, Rejection, Verdict};
use crate::token::{FetchErrorKind, Generation, Policy};

/// A timer fires at most this late.
const TIMER_LATE_MAX_MS: u64 = 20;
/// More than a timer of tokens with the shortest lives has reason to fire.
const TICKS_PER_SECOND_MAX: u32 = 40;

/// Everything, at one moment.
#[derive(Debug)]
pub(super) struct World {
    machine: Machine,
    policy: Policy,
    /// Fetches exchange a refresh token.
    exchanges: bool,
    pub(super) judge: Judge,
    now: Boot,
    random: fastrand::Rng,
    /// By time, then by order of making.
    agenda: BTreeMap<(Boot, u64), Event>,
    made: u64,
    endpoint: Endpoint,
    upstream_accepts: bool,
    /// The fetch task in flight; tasks of former fetches find that it is no longer theirs.
    fetch: Option<Task>,
    fetches: u64,
    waiters: Vec<Waiter>,
    used: Option<Boot>,
    /// Values granted, by generation; and the last one.
    values: BTreeMap<u64, u64>,
    last_value: u64,
    held_value: Option<u64>,
    proofs: u64,
    /// How often the timer fired since when.
    ticks: (Boot, u32),
}

#[derive(Debug)]
struct Task {
    number: u64,
    sent: Boot,
    proof: u64,
    /// An attempt is under way.
    attempting: bool,
}

#[derive(Debug)]
enum Event {
    Tick,
    /// The fetch's turn, its first or its next.
    Attempt(u64),
    Answer(u64, Outcome),
    /// A waiter's own timer.
    Wake(u64),
}

/// A request that waits.
#[derive(Debug)]
struct Waiter {
    number: u64,
    /// When it must be answered.
    until: Boot,
    what: Waits,
}

#[derive(Debug, Clone, Copy)]
enum Waits {
    /// For a token: for the fetch in flight, or for its own timer.
    Token { joined: bool },
    /// For the confirmation of a rejection, or to ask again.
    Rejected { sent: u64, joined: bool },
}

impl World {
    pub(super) fn new(policy: Policy, endpoint: Endpoint, seed: u64) -> Self {
        // Of a bit that decides nothing else.
        let exchanges = seed.count_ones().is_multiple_of(2);
        let now = Boot::default().after(Duration::from_secs(3600));
        let mut world = World {
            machine: Machine::new(policy.clone(), now, seed),
            used: policy.warm.then_some(now),
            policy,
            exchanges,
            judge: Judge::default(),
            now,
            random: fastrand::Rng::with_seed(seed ^ 0x5eed),
            agenda: BTreeMap::new(),
            made: 0,
            endpoint,
            upstream_accepts: true,
            fetch: None,
            fetches: 0,
            waiters: Vec::new(),
            values: BTreeMap::new(),
            last_value: 0,
            held_value: None,
            proofs: 0,
            ticks: (now, 0),
        };
        world.settle();
        world
    }

    /// Lets time pass, and everything happen that is due by then.
    pub(super) fn run_for(&mut self, pause: Duration) {
        let end = self.now.after(pause);
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
            self.settle();
        }
        self.now = end;
    }

    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::Requests { count, patience } => (0..count).for_each(|_| self.request(patience)),
            Op::Cancel(which) if which < self.waiters.len() => {
                self.waiters.remove(which);
                self.judge.note("cancelled");
            }
            Op::Cancel(_) => {}
            Op::Rejections { count, back, can_replay, patience } => {
                if let Some(Generation(held)) = self.machine.held().filter(|held| held.0 > back) {
                    (0..count).for_each(|_| self.reject(held - back, can_replay, patience));
                }
            }
            Op::Endpoint(endpoint) => self.endpoint = endpoint,
            Op::Upstream { accepts } => self.upstream_accepts = accepts,
            Op::Policy(policy) => {
                self.judge.rescheduled();
                self.policy = *policy.clone();
                self.machine.set_policy(self.now, *policy);
            }
            Op::Proof => {
                self.proofs += 1;
                let refused = self.machine.error().is_some_and(|error| error.kind.is_lasting());
                self.machine.proof_changed(self.now);
                self.judge.proof_changed(refused);
            }
            Op::HoldByAnother(pause) => {
                self.judge.hold = self.judge.hold.max(self.now.after(pause));
                self.machine.set_hold(self.judge.hold);
            }
            Op::Panic => self.abandon(),
            Op::Suspend(pause) => self.now = self.now.after(pause),
        }
        self.settle();
    }

    /// The endpoint gets well. What waits must end, and a token must be had: by a request, and where it is kept warm without.
    pub(super) fn recover(&mut self) {
        let hour = Duration::from_secs(3600);
        let outcomes = vec![Outcome::Token { lifetime: Some(24 * hour), refresh_in: None }];
        self.endpoint = Endpoint { latency_max: Duration::from_millis(100), queue_max: Duration::ZERO, outcomes };
        self.run_for(Duration::from_secs(41));
        assert!(self.waiters.is_empty(), "waiters are lost: {:?}", self.waiters);
        if self.machine.next_start() == Boot::NEVER {
            // Nothing but an operator helps.
            self.apply(Op::Proof);
        }
        // Probes are at most 5 min apart, holds end; what an old life of a token says may take its time.
        self.run_for(self.judge.hold.since(self.now) + Duration::from_secs(301));
        let active = self.active_until().is_some_and(|until| self.now <= until);
        assert!(!active || self.judge.usable(self.now), "a token that is kept warm was not renewed");
        self.request(Duration::from_secs(10));
        self.run_for(Duration::from_secs(11));
        assert!(self.judge.usable(self.now), "no token although one could be had");
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => {
                let active = self.active_until();
                if self.machine.tick(self.now, active) {
                    self.begin(By::Timer);
                }
                let second = Duration::from_secs(1);
                let (since, ticks) = self.ticks;
                self.ticks = if self.now.since(since) < second { (since, ticks + 1) } else { (self.now, 0) };
                assert!(ticks < TICKS_PER_SECOND_MAX, "the timer spins");
            }
            Event::Attempt(number) if self.is_in_flight(number) => self.attempt(number),
            Event::Answer(number, outcome) if self.is_in_flight(number) => self.answer(number, outcome),
            Event::Attempt(_) | Event::Answer(..) => {}
            Event::Wake(number) => self.wake(number),
        }
    }

    /// After every event: the timer is set anew, and what the hot path would do is looked at.
    fn settle(&mut self) {
        self.judge.easy_until(self.now, self.machine.easy_until(self.now));
        self.agenda.retain(|_, event| !matches!(event, Event::Tick));
        if let Some(at) = self.machine.wake_at(self.now, self.active_until()) {
            let late = Duration::from_millis(self.random.u64(0..=TIMER_LATE_MAX_MS));
            self.plan(at.max(self.now).after(late), Event::Tick);
        }
        assert_eq!(self.machine.doubtful(), self.judge.doubts(), "whether an exchange is in doubt");
        assert_eq!(self.machine.suspected(self.now), self.judge.suspects(self.now), "whether the token is suspect");
        let active = self.active_until().is_some_and(|until| self.now <= until);
        if let Some(due) = self.judge.owes_a_fetch().filter(|due| active && *due < Boot::NEVER) {
            let wake_at = self.machine.wake_at(self.now, self.active_until());
            assert!(
                wake_at.is_some_and(|at| at <= due.max(self.now)),
                "a confirmation is owed at {due:?}, and forgotten"
            );
        }
        let late = self.machine.counters().late as usize;
        self.judge.seen.insert("late", late);
    }

    fn plan(&mut self, at: Boot, event: Event) {
        self.made += 1;
        self.agenda.insert((at, self.made), event);
    }

    fn active_until(&self) -> Option<Boot> {
        self.used.filter(|_| !self.policy.keep_warm.is_zero()).map(|used| used.after(self.policy.keep_warm))
    }

    fn request(&mut self, patience: Duration) {
        self.used = Some(self.now);
        self.made += 1;
        let until = self.now.after(patience.min(Duration::from_secs(10)));
        // The hot path: if it may be taken without asking, it is.
        if self.machine.easy_until(self.now).is_some() && self.random.bool() {
            if self.machine.renew(self.now) {
                self.begin(By::Use);
            }
            return self.judge.takes(self.now, &self.policy);
        }
        let waiter = Waiter { number: self.made, until, what: Waits::Token { joined: false } };
        self.plan(until, Event::Wake(waiter.number));
        self.ask(waiter);
    }

    /// A request asks for a token, for the first time or again; `until` has not come yet.
    fn ask(&mut self, mut waiter: Waiter) {
        let (asked, begin) = self.machine.request(self.now, waiter.until);
        let usable = self.judge.usable(self.now);
        if begin {
            self.begin(if usable { By::Use } else { By::Request });
        }
        if !matches!(asked, Asked::Take) {
            self.judge.goes_without(self.now);
        }
        match asked {
            Asked::Take => self.judge.takes(self.now, &self.policy),
            Asked::Join => {
                self.judge.joins();
                self.judge.note("joined");
                waiter.what = Waits::Token { joined: true };
                self.waiters.push(waiter);
            }
            Asked::WaitUntil(at) => {
                self.judge.waits_for_try(self.now, at, waiter.until);
                waiter.what = Waits::Token { joined: false };
                self.plan(at, Event::Wake(waiter.number));
                self.waiters.push(waiter);
            }
            Asked::Fail(_) => self.judge.note("failed fast"),
        }
    }

    fn reject(&mut self, sent: u64, can_replay: bool, patience: Duration) {
        self.made += 1;
        let until = self.now.after(patience.min(Duration::from_secs(10)));
        let waiter = Waiter { number: self.made, until, what: Waits::Rejected { sent, joined: false } };
        self.plan(until, Event::Wake(waiter.number));
        self.rejected(waiter, sent, can_replay, false);
    }

    fn rejected(&mut self, mut waiter: Waiter, sent: u64, can_replay: bool, again: bool) {
        let rejection = Rejection { sent: Generation(sent), can_replay, deadline: waiter.until, again };
        let (of_held, counted) = (self.machine.held() == Some(rejection.sent), self.machine.counters().rejections);
        let (verdict, begin) = self.machine.rejected(self.now, rejection);
        if of_held {
            assert_eq!(begin, self.judge.rejects(self.now), "whether a rejection begins a fetch");
        } else {
            self.judge.rejects_replaced(self.now, can_replay, verdict, begin);
            assert_eq!(self.machine.counters().rejections, counted, "a token that was replaced counts nothing");
        }
        if begin {
            self.begin(By::Rejection);
        }
        assert!(can_replay || verdict == Verdict::PassThrough, "what cannot be replayed does not wait");
        match verdict {
            Verdict::Replay => {
                self.judge.note("rejected: replay");
                self.replay();
            }
            Verdict::PassThrough => self.judge.note("rejected: pass through"),
            Verdict::Join => {
                self.judge.joins();
                self.judge.note("rejected: join");
                waiter.what = Waits::Rejected { sent, joined: true };
                self.waiters.push(waiter);
            }
            Verdict::WaitUntil(at) => {
                self.judge.waits_for_try(self.now, at, waiter.until);
                self.judge.note("rejected: wait");
                waiter.what = Waits::Rejected { sent, joined: false };
                self.plan(at, Event::Wake(waiter.number));
                self.waiters.push(waiter);
            }
        }
    }

    /// A rejected request is sent again with the held token.
    fn replay(&mut self) {
        self.judge.takes(self.now, &self.policy);
        let generation = self.machine.held().expect("a token to replay with");
        self.machine.replayed(generation, self.upstream_accepts);
        self.judge.replayed(self.values[&generation.0], self.upstream_accepts);
    }

    /// A waiter's own timer: its try is due, or its time is over.
    fn wake(&mut self, number: u64) {
        let Some(index) = self.waiters.iter().position(|waiter| waiter.number == number) else { return };
        let waiter = self.waiters.remove(index);
        match waiter.what {
            _ if self.now >= waiter.until => self.time_is_over(waiter),
            Waits::Token { joined: false } => self.ask(waiter),
            Waits::Rejected { sent, joined: false } => self.rejected(waiter, sent, true, true),
            Waits::Token { joined: true } | Waits::Rejected { joined: true, .. } => self.waiters.push(waiter),
        }
    }

    fn time_is_over(&mut self, waiter: Waiter) {
        match waiter.what {
            Waits::Rejected { .. } => self.judge.note("rejected: pass through"),
            Waits::Token { .. } => match self.machine.waited_enough(self.now) {
                Asked::Take => self.judge.takes(self.now, &self.policy),
                _ => {
                    self.judge.goes_without(self.now);
                    self.judge.note("timed out");
                }
            },
        }
    }

    fn begin(&mut self, by: By) {
        self.judge.begins(self.now, by);
        self.fetches += 1;
        let number = self.fetches;
        self.fetch = Some(Task { number, sent: self.now, proof: self.proofs, attempting: false });
        let queued = self.part_of(self.endpoint.queue_max);
        self.plan(self.now.after(queued), Event::Attempt(number));
    }

    fn is_in_flight(&self, number: u64) -> bool {
        self.fetch.as_ref().is_some_and(|task| task.number == number)
    }

    fn part_of(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.random.f64())
    }

    fn attempt(&mut self, number: u64) {
        match self.machine.attempt(self.now) {
            Attempt::Make { timeout } => {
                self.judge.attempts(self.now, timeout);
                self.fetch = Some(Task { number, sent: self.now, proof: self.proofs, attempting: true });
                let outcome = self.endpoint.outcomes[self.random.usize(..self.endpoint.outcomes.len())];
                let latency = self.part_of(self.endpoint.latency_max);
                let (latency, outcome) = match outcome {
                    // What only an exchange can hear.
                    Outcome::Fail(FetchErrorKind::NeedsReauthorization) if !self.exchanges => {
                        (latency, Outcome::Fail(FetchErrorKind::Refused))
                    }
                    Outcome::Hang => (timeout, Outcome::Fail(FetchErrorKind::Transient)),
                    _ if latency > timeout => (timeout, Outcome::Fail(FetchErrorKind::Transient)),
                    outcome => (latency, outcome),
                };
                self.plan(self.now.after(latency), Event::Answer(number, outcome));
            }
            Attempt::Pause(at) => {
                assert!(at > self.now && at.since(self.now) <= Duration::from_secs(2));
                self.plan(at, Event::Attempt(number));
            }
            Attempt::Ended => {
                match self.machine.error().filter(|_| self.machine.counters().failed > 0).cloned() {
                    // It was cut off between attempts: what the last one said counts.
                    Some(error) if self.failures_counted() => {
                        self.fails(Failed { kind: error.kind, sent: false, named: false });
                    }
                    _ => {
                        self.judge.gives_up(self.now);
                        self.end(None);
                    }
                }
            }
        }
    }

    /// Whether the machine has counted a failure that the judge has not been told of.
    fn failures_counted(&self) -> bool {
        let told: usize = ["failed transient", "failed limited", "failed refused", "failed for good"]
            .iter()
            .map(|what| self.judge.seen.get(what).copied().unwrap_or_default())
            .sum();
        self.machine.counters().failed as usize > told
    }

    fn answer(&mut self, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::Fail(kind) => self.attempt_failed(number, kind, false),
            Outcome::Named => self.attempt_failed(number, FetchErrorKind::Transient, true),
            Outcome::Unconnected => self.unconnected(number),
            Outcome::Token { lifetime, refresh_in } => {
                self.last_value += 1;
                self.granted(self.last_value, lifetime, refresh_in);
            }
            Outcome::Same { lifetime } => self.granted(self.last_value, lifetime, None),
            Outcome::Hang => unreachable!("a hang is a timeout"),
        }
    }

    /// There was no connection: nothing was sent.
    fn unconnected(&mut self, number: u64) {
        self.failed(number, Failed { kind: FetchErrorKind::Transient, sent: false, named: false });
    }

    fn attempt_failed(&mut self, number: u64, kind: FetchErrorKind, named: bool) {
        if self.exchanges {
            self.machine.exchange_sent(named);
        }
        self.failed(number, Failed { kind, sent: self.exchanges, named });
    }

    fn failed(&mut self, number: u64, failed: Failed) {
        let kind = failed.kind;
        if let Some(task) = &mut self.fetch {
            task.attempting = false;
        }
        let proof_changed = self.fetch.as_ref().is_some_and(|task| task.proof != self.proofs);
        self.judge.limited(self.now, kind);
        match self.machine.failed(self.now, error(kind)) {
            Next::Retry(at) => {
                self.judge.retries(self.now, at, failed, proof_changed);
                self.plan(at, Event::Attempt(number));
            }
            Next::Ended => self.fails(failed),
        }
        assert!(self.machine.hold() == self.judge.hold, "holds differ");
    }

    fn granted(&mut self, value: u64, lifetime: Option<Duration>, refresh_in: Option<Duration>) {
        if self.exchanges {
            self.machine.exchange_sent(false);
        }
        let Task { sent, proof, .. } = *self.fetch.as_ref().expect("in flight");
        let same = self.held_value == Some(value);
        let adopted = self.machine.granted(self.now, Grant { lifetime, refresh_in, last: false, same });
        let kept = self.judge.granted(self.now, sent, value, lifetime);
        if proof != self.proofs {
            self.judge.rescheduled();
        }
        match (adopted, kept) {
            (Adopted::New(generation), Kept::New) => {
                assert!(self.values.insert(generation.0, value).is_none(), "a generation is given out twice");
                self.held_value = Some(value);
                self.judge.note("granted new");
                self.end(None);
            }
            (Adopted::Same, Kept::Same) => {
                self.judge.note("granted same");
                self.end(None);
            }
            (Adopted::Uncacheable(generation), Kept::No) => {
                assert!(same || self.values.insert(generation.0, value).is_none(), "a generation is given out twice");
                self.judge.note("granted uncacheable");
                self.end(Some(generation));
            }
            (Adopted::Failed, Kept::Failed) => {
                self.judge.note("granted one too many");
                self.fails(Failed { kind: FetchErrorKind::Transient, sent: false, named: false });
            }
            (adopted, kept) => panic!("the machine says {adopted:?}, the judge {kept:?}"),
        }
    }

    fn fails(&mut self, failed: Failed) {
        self.judge.fails(self.now, failed, self.machine.next_start());
        self.end(None);
    }

    fn abandon(&mut self) {
        if let Some(task) = &self.fetch {
            let sent = self.exchanges && task.attempting;
            if sent {
                self.machine.exchange_sent(false);
            }
            self.machine.abandoned(self.now);
            self.judge.note("abandoned");
            self.fails(Failed { kind: FetchErrorKind::Transient, sent, named: false });
        }
    }

    /// The fetch has ended: everybody who waited for it goes on.
    fn end(&mut self, uncached: Option<Generation>) {
        self.fetch = None;
        assert!(!self.machine.fetching(), "the machine believes in a fetch that has ended");
        let joined = |waiter: &Waiter| {
            matches!(waiter.what, Waits::Token { joined: true } | Waits::Rejected { joined: true, .. })
        };
        let (woken, others) = std::mem::take(&mut self.waiters).into_iter().partition(joined);
        self.waiters = others;
        let woken: Vec<Waiter> = woken;
        for waiter in woken {
            match (waiter.what, uncached) {
                (Waits::Token { .. }, Some(_)) => self.judge.note("taken uncached"),
                (Waits::Token { .. }, None) if self.now >= waiter.until => self.time_is_over(waiter),
                (Waits::Token { .. }, None) => self.ask(waiter),
                (Waits::Rejected { sent, .. }, Some(generation)) => {
                    assert!(generation.0 >= sent);
                }
                (Waits::Rejected { sent, .. }, None) => {
                    if self.machine.replaced(self.now, Generation(sent)) {
                        self.replay();
                    } else {
                        self.judge.note("rejected: pass through");
                    }
                }
            }
        }
    }
}
