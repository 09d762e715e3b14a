//! Fetches that fail: retries, backoff, holds, probes.

use super::*;

/// TL-32: two retries with full jitter, then the fetch has failed.
#[test]
fn a_fetch_retries_twice() {
    for seed in 0..100 {
        let mut sim = Sim::with(policy(), seed);
        sim.begin();
        let Next::Retry(at) = sim.fail(FetchErrorKind::Transient) else { panic!("a first retry") };
        assert!(at.since(sim.now) <= secs(0.25));
        sim.pass_to(at);
        sim.attempt();
        let Next::Retry(at) = sim.fail(FetchErrorKind::Transient) else { panic!("a second retry") };
        assert!(at.since(sim.now) <= secs(1.0));
        sim.pass_to(at);
        sim.attempt();
        assert_eq!(sim.fail(FetchErrorKind::Transient), Next::Ended);
    }
}

/// TL-32: with nothing usable, backoff doubles from 0.5..1 s to at most 30 s.
#[test]
fn backoff_doubles_while_nothing_is_usable() {
    for seed in 0..50 {
        let mut sim = Sim::with(policy(), seed);
        sim.begin();
        for n in 0..10 {
            sim.fail_through();
            let pause = sim.until_tick_begins().as_secs_f64();
            let base = f64::from(1 << n);
            assert!((0.5 * base).min(30.0) <= pause && pause <= base.min(30.0), "pause {pause} after failure {n}");
            sim.attempt();
        }
    }
}

/// TL-22, TL-32: while a token serves, backoff is at most 60 s or a quarter of what is left, at least 250 ms, and starts
/// anew at death.
#[test]
fn backoff_never_outlasts_the_token() {
    for seed in 0..50 {
        let mut sim = Sim::with(policy(), seed);
        sim.fetch(Some(HOUR));
        sim.until_tick_begins();
        sim.attempt();
        let mut failures = 0;
        loop {
            sim.fail_through();
            failures += 1;
            let usable = sim.dead().since(sim.now);
            if usable.is_zero() {
                break;
            }
            assert!(sim.takes(), "nobody waits");
            let late = sim.now >= sim.late();
            let pause = sim.until_tick_begins();
            assert!(
                pause >= secs(0.25) && pause <= secs(60.0).min(usable / 4).max(secs(0.25)),
                "{pause:?} of {usable:?}"
            );
            assert!(!late || pause <= secs(5.0).min(usable / 4).max(secs(0.25)), "{pause:?} of {usable:?} while late");
            sim.attempt();
        }
        assert!(failures > 15);
        let pause = sim.until_tick_begins();
        assert!(pause <= secs(1.0), "n starts anew at death, not {pause:?}");
        sim.attempt();
        sim.fail_through();
        assert!(sim.until_tick_begins() <= secs(2.0));
    }
}

/// TL-23: as a token turns late, a longer pause that began before ends.
#[test]
fn a_pause_ends_as_the_token_turns_late() {
    for seed in 0..100 {
        let mut sim = Sim::with(policy(), seed);
        sim.fetch(Some(secs(600.0)));
        sim.pass_to(sim.late().before(secs(3.0)));
        sim.begin();
        // Many failures: backoff alone would be a quarter of what is left.
        for _ in 0..8 {
            sim.machine.backoff.failed(sim.now, error(FetchErrorKind::Transient), None, 0.0);
        }
        sim.fail_through();
        let late = sim.late();
        sim.until_tick_begins();
        assert!(sim.now <= late, "the next try is {:?} late", sim.now.since(late));
    }
}

/// TL-32: an attempt has 10 s; while a token serves half of its rest, but 1 s and twice the last successful attempt; 30 s in all.
#[test]
fn attempts_are_bounded() {
    let mut sim = Sim::new();
    assert_eq!(sim.begin(), secs(10.0));
    sim.pass(0.1);
    sim.grant(Some(secs(20.0)));
    sim.pass_to(sim.dead().before(secs(3.0)));
    assert_eq!(sim.begin(), secs(1.5));
    let Next::Retry(at) = sim.fail(FetchErrorKind::Transient) else { panic!() };
    sim.pass_to(at.max(sim.dead().before(secs(1.0))));
    assert_eq!(sim.attempt(), secs(1.0));
    sim.pass(0.5);
    let Next::Retry(at) = sim.fail(FetchErrorKind::Transient) else { panic!() };
    sim.pass_to(at.max(sim.dead()));
    assert_eq!(sim.attempt(), secs(10.0), "nothing serves any more");
    sim.pass(3.0);
    sim.grant(Some(secs(20.0)));
    sim.pass_to(sim.dead().before(secs(2.0)));
    assert_eq!(sim.begin(), secs(6.0), "twice what the last one took");
}

/// TL-32: 30 s in all.
#[test]
fn a_fetch_is_bounded() {
    let mut sim = Sim::new();
    sim.begin();
    let begun = sim.now;
    sim.pass(9.9);
    let Next::Retry(at) = sim.fail(FetchErrorKind::Transient) else { panic!() };
    sim.pass_to(at);
    assert_eq!(sim.attempt(), secs(10.0));
    sim.pass_to(begun.after(secs(28.0)));
    let Next::Retry(at) = sim.fail(FetchErrorKind::Transient) else { panic!() };
    sim.pass_to(at);
    let left = begun.after(secs(30.0)).since(sim.now);
    assert_eq!(sim.attempt(), left);
    let mut sim = Sim::new();
    sim.begin();
    sim.pass(30.0);
    assert_eq!(sim.fail(FetchErrorKind::Transient), Next::Ended);
}

/// TL-25: with nothing usable, a request waits for a try that is due within 2 s and its deadline, else fails at once.
#[test]
fn requests_wait_for_a_try_that_is_near() {
    let mut sim = Sim::new();
    sim.begin();
    sim.fail(FetchErrorKind::RateLimited { retry_after: Some(secs(12.0)) });
    assert_eq!(sim.machine.state(sim.now), "backing_off");
    let (Asked::Fail(TokenUnavailable::Temporarily { error: Some(error), retry_after }), false) = sim.ask() else {
        panic!("it fails at once")
    };
    assert_eq!((&*error.text, retry_after), ("it did not work", secs(12.0)));
    sim.pass(10.0);
    let next = sim.now.after(secs(2.0));
    assert!(matches!(sim.ask(), (Asked::WaitUntil(at), false) if at == next), "2 s inclusive");
    let asked = sim.machine.request(sim.now, next.before(Duration::from_nanos(1)));
    assert!(matches!(asked, (Asked::Fail(_), false)), "not beyond its own deadline");
    sim.pass_to(next);
    assert!(matches!(sim.ask(), (Asked::Join, true)), "who waited begins the try");
    let mut sim = Sim::new();
    sim.begin();
    sim.fail(FetchErrorKind::RateLimited { retry_after: Some(secs(2.001)) });
    assert!(matches!(sim.ask(), (Asked::Fail(_), false)));
}

/// TL-26: a refusal is answered from the cache, and probed at 5 s x 2^n up to 5 min, not retried within the fetch.
#[test]
fn refusals_are_probed_slowly() {
    let mut sim = Sim::new();
    sim.begin();
    for n in 0..10 {
        assert_eq!(sim.fail(FetchErrorKind::Refused), Next::Ended);
        assert_eq!(sim.machine.state(sim.now), "refused");
        assert!(matches!(sim.ask(), (Asked::Fail(TokenUnavailable::Refused { .. }), false)));
        assert_eq!(sim.until_tick_begins(), secs((5 << n) as f64).min(secs(300.0)));
        assert!(matches!(sim.ask(), (Asked::Fail(TokenUnavailable::Refused { .. }), false)), "also during a probe");
        sim.attempt();
    }
    sim.grant(Some(HOUR));
    assert!(sim.takes());
}

/// TL-26: after a long time without traffic, the request that comes is worth a try of its own.
#[test]
fn a_request_after_a_probe_is_due_makes_it() {
    let mut sim = Sim::new();
    sim.begin();
    sim.fail(FetchErrorKind::Refused);
    sim.pass(5.0);
    assert!(matches!(sim.ask(), (Asked::Join, true)));
    assert!(matches!(sim.ask(), (Asked::Join, false)));
}

/// TL-22, TL-26: a refusal while a token serves disturbs nobody, and is tried again no faster than every 5 s.
#[test]
fn a_refusal_leaves_a_usable_token() {
    let mut sim = Sim::holding(600.0);
    sim.until_tick_begins();
    let mut tries = 0;
    while sim.now < sim.dead() {
        sim.attempt();
        sim.fail(FetchErrorKind::Refused);
        assert!(sim.takes());
        let usable = sim.dead().since(sim.now);
        let pause = sim.until_tick_begins();
        assert!(pause >= secs(5.0) && pause <= (usable / 4).max(secs(5.0)), "{pause:?} of {usable:?}");
        tries += 1;
    }
    assert!((10..=25).contains(&tries), "{tries} tries");
}

/// TL-33: a short `Retry-After` is waited out within the fetch, a longer one ends it, and either holds the client back.
#[test]
fn retry_after_is_kept() {
    let limited = |seconds: f64| FetchErrorKind::RateLimited { retry_after: Some(secs(seconds)) };
    let mut sim = Sim::new();
    sim.begin();
    let Next::Retry(at) = sim.fail(limited(2.0)) else { panic!("2 s are waited out") };
    assert_eq!(at, sim.now.after(secs(2.0)));
    assert_eq!(sim.machine.hold(), at);
    assert_eq!(sim.machine.attempt(sim.now), Attempt::Pause(at), "not before");
    sim.pass_to(at);
    sim.attempt();
    assert_eq!(sim.fail(limited(2.1)), Next::Ended);
    assert_eq!(sim.until_tick_begins(), secs(2.1));
    sim.attempt();
    assert_eq!(sim.fail(limited(1e6)), Next::Ended);
    assert_eq!(sim.until_tick_begins(), HOUR, "1 h at most");
    let mut sim = Sim::new();
    sim.begin();
    assert_eq!(sim.fail(FetchErrorKind::RateLimited { retry_after: None }), Next::Ended);
    assert!(sim.until_tick_begins() <= secs(1.0), "no word on when: backoff");
}

/// TL-33: a client that another cell found held back sends nothing, not even the rest of a fetch that is queued.
#[test]
fn a_hold_by_another_cell_counts() {
    let mut sim = Sim::new();
    sim.machine.set_hold(sim.now.after(secs(60.0)));
    let asked = sim.ask();
    assert!(
        matches!(asked, (Asked::Fail(TokenUnavailable::Temporarily { error: None, retry_after }), false) if retry_after == secs(60.0))
    );
    let mut sim = Sim::new();
    sim.ask();
    sim.machine.set_hold(sim.now.after(secs(60.0)));
    assert_eq!(sim.machine.attempt(sim.now), Attempt::Ended);
    assert!(!sim.machine.fetching());
    assert!(sim.machine.error().is_none(), "nothing was learned");
}

/// TL-31: a fetch whose task is gone has failed.
#[test]
fn an_abandoned_fetch_has_failed() {
    let mut sim = Sim::new();
    sim.begin();
    sim.machine.abandoned(sim.now);
    assert!(!sim.machine.fetching());
    assert_eq!(sim.machine.counters().failed, 1);
    assert!(matches!(sim.ask(), (Asked::WaitUntil(_), false)));
    sim.until_tick_begins();
    sim.attempt();
    sim.grant(Some(HOUR));
    assert!(sim.takes());
    sim.machine.abandoned(sim.now);
    assert!(sim.takes(), "nothing in flight, nothing abandoned");
}
