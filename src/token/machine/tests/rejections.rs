//! Rejections by the upstream: suspicion, the guard, and replays.

use super::*;

/// A machine whose token is old enough to be suspected.
fn old_enough() -> Sim {
    let mut sim = Sim::holding(3600.0);
    sim.pass(100.0);
    sim
}

/// Rejects the held token, confirms with a different one, and says how the replay went.
fn confirm(sim: &mut Sim, accepted: bool) {
    let Generation(sent) = sim.machine.held().unwrap();
    assert_eq!(sim.reject(sent, true), (Verdict::Join, true));
    sim.attempt();
    assert_eq!(sim.grant(Some(HOUR)), Adopted::New(Generation(sent + 1)));
    assert!(sim.machine.replaced(sim.now, Generation(sent)));
    sim.machine.replayed(Generation(sent + 1), accepted);
}

/// TL-40, TL-41: a rejection starts one confirming fetch; others take the suspect token meanwhile, or join.
#[test]
fn a_rejection_starts_one_fetch() {
    let mut sim = old_enough();
    assert_eq!(sim.reject(1, true), (Verdict::Join, true));
    assert!(sim.machine.suspected(sim.now));
    assert_eq!(sim.reject(1, true), (Verdict::Join, false));
    assert_eq!(sim.reject(1, false), (Verdict::PassThrough, false));
    assert!(matches!(sim.ask(), (Asked::Take, false)), "a suspect token is still usable");
    sim.attempt();
    assert_eq!(sim.grant(Some(HOUR)), Adopted::New(Generation(2)));
    assert!(!sim.machine.suspected(sim.now));
    assert!(sim.machine.replaced(sim.now, Generation(1)));
    assert_eq!(sim.machine.counters().rejections, 3);
}

/// TL-40: a request that cannot be replayed starts the fetch too, and gets the upstream's answer at once.
#[test]
fn what_cannot_be_replayed_starts_the_fetch_too() {
    let mut sim = old_enough();
    assert_eq!(sim.reject(1, false), (Verdict::PassThrough, true));
    assert!(sim.machine.fetching());
}

/// TL-40: while a fetch is backing off none is started; the rejected request waits as TL-25 says.
#[test]
fn a_rejection_respects_backoff() {
    let mut sim = old_enough();
    sim.pass_to(sim.soft());
    sim.begin();
    sim.fail(FetchErrorKind::RateLimited { retry_after: Some(secs(5.0)) });
    assert_eq!(sim.reject(1, true), (Verdict::PassThrough, false));
    assert!(sim.machine.suspected(sim.now));
    sim.pass(3.0);
    let next = sim.now.after(secs(2.0));
    assert_eq!(sim.reject(1, true), (Verdict::WaitUntil(next), false));
    assert_eq!(sim.reject(1, false), (Verdict::PassThrough, false));
    sim.pass_to(next);
    assert_eq!(sim.reject(1, true), (Verdict::Join, true));
}

/// TL-41: the same token ends suspicion; so do 10 s.
#[test]
fn suspicion_ends() {
    let mut sim = old_enough();
    sim.reject(1, true);
    sim.attempt();
    assert_eq!(sim.grant_same(Some(secs(3500.0))), Adopted::Same);
    assert!(!sim.machine.suspected(sim.now));
    assert!(!sim.machine.replaced(sim.now, Generation(1)));
    let mut sim = old_enough();
    sim.reject(1, true);
    sim.attempt();
    sim.pass(10.0);
    assert!(sim.machine.suspected(sim.now));
    sim.pass(0.001);
    assert!(!sim.machine.suspected(sim.now));
}

/// TL-41: a failure leaves the generation suspect, and the fetch is tried again until it succeeds, counting nothing for
/// the guard.
#[test]
fn a_failed_confirmation_is_tried_again() {
    let mut sim = old_enough();
    assert_eq!(sim.reject(1, true), (Verdict::Join, true));
    sim.attempt();
    for n in 0..5 {
        sim.fail_through();
        assert!(sim.machine.suspected(sim.now));
        assert!(sim.now < sim.soft(), "renewal is not due yet");
        assert!(sim.takes());
        let pause = sim.until_tick_begins();
        assert!(pause <= secs(f64::from(1 << n)), "{pause:?}");
        sim.attempt();
    }
    sim.grant(Some(HOUR));
    assert!(!sim.machine.suspected(sim.now));
    sim.machine.replayed(Generation(2), true);
    sim.pass(10.0);
    assert_eq!(sim.reject(2, true), (Verdict::Join, true), "failures counted nothing");
}

/// TL-42: a rejection of a replaced generation is replayed with the new one, without a fetch.
#[test]
fn a_replaced_generation_is_replayed() {
    let mut sim = old_enough();
    sim.pass_to(sim.soft());
    sim.fetch(Some(HOUR));
    sim.pass(100.0);
    assert_eq!(sim.reject(1, true), (Verdict::Replay, false));
    assert_eq!(sim.reject(1, false), (Verdict::PassThrough, false));
    assert!(!sim.machine.suspected(sim.now) && !sim.machine.fetching());
    assert_eq!(sim.machine.counters().rejections, 0);
}

/// TL-43: a confirming fetch that brought the same token blocks others for 30 s, doubling to 5 min.
#[test]
fn the_guard_doubles_while_nothing_is_proved() {
    for same in [true, false] {
        let mut sim = Sim::holding(1e6);
        sim.pass(1000.0);
        for pause in [30.0, 60.0, 120.0, 240.0, 300.0, 300.0] {
            let Generation(sent) = sim.machine.held().unwrap();
            assert_eq!(sim.reject(sent, true), (Verdict::Join, true));
            sim.attempt();
            if same {
                sim.grant_same(Some(secs(1e6)));
            } else {
                sim.grant(Some(secs(1e6)));
                sim.machine.replayed(Generation(sent + 1), false);
            }
            let Generation(sent) = sim.machine.held().unwrap();
            sim.pass(pause - 0.001);
            assert_eq!(sim.reject(sent, true), (Verdict::PassThrough, false), "within {pause} s");
            assert!(!sim.machine.suspected(sim.now));
            sim.pass(0.001);
        }
        sim.pass(400.0);
        let Generation(sent) = sim.machine.held().unwrap();
        sim.reject(sent, true);
        sim.attempt();
        sim.grant_same(Some(secs(1e6)));
        sim.pass(30.0);
        assert_eq!(sim.reject(sent, true), (Verdict::Join, true), "after a quiet time it starts anew");
    }
}

/// TL-43: after an accepted replay, only a young token starts none: 10 s, or a tenth of its life.
#[test]
fn an_accepted_replay_lifts_the_guard() {
    let mut sim = old_enough();
    confirm(&mut sim, true);
    sim.pass(9.999);
    assert_eq!(sim.reject(2, true), (Verdict::PassThrough, false));
    sim.pass(0.001);
    confirm(&mut sim, true);
    for (lifetime, young) in [(Some(secs(20.0)), 2.0), (None, 10.0)] {
        let mut sim = Sim::new();
        sim.fetch(lifetime);
        sim.pass(young - 0.001);
        assert_eq!(sim.reject(1, true), (Verdict::PassThrough, false));
        sim.pass(0.001);
        assert_eq!(sim.reject(1, true), (Verdict::Join, true));
    }
}

/// TL-43: one accepted replay is enough, whatever came before or after it.
#[test]
fn one_accepted_replay_is_enough() {
    let mut sim = old_enough();
    confirm(&mut sim, false);
    sim.machine.replayed(Generation(2), true);
    sim.machine.replayed(Generation(2), false);
    sim.pass(10.0);
    confirm(&mut sim, false);
    sim.machine.replayed(Generation(2), true);
    sim.pass(10.0);
    assert_eq!(sim.reject(3, true), (Verdict::PassThrough, false), "a replay with another token proves nothing");
    assert_eq!(sim.machine.counters().replays_accepted, 2);
}

/// TL-43: a rejection that may start none joins a fetch in flight.
#[test]
fn a_guarded_rejection_joins_a_renewal() {
    let mut sim = Sim::holding(100.0);
    sim.pass_to(sim.soft());
    sim.reject(1, true);
    sim.attempt();
    sim.grant_same(Some(secs(20.0)));
    let at = sim.until_tick_begins();
    assert!(at < secs(30.0), "renewal is due while the guard holds");
    assert_eq!(sim.reject(1, true), (Verdict::Join, false));
    sim.attempt();
    sim.grant(Some(HOUR));
    assert!(sim.machine.replaced(sim.now, Generation(1)));
    sim.pass(100.0);
    assert_eq!(sim.reject(2, true), (Verdict::Join, true), "a renewal counts nothing for the guard");
}

/// TL-14, TL-41: a confirming fetch that brings a token for its waiters only, and one that says the token is over.
#[test]
fn uncacheable_confirmations() {
    let mut sim = old_enough();
    sim.reject(1, true);
    sim.attempt();
    assert_eq!(sim.grant(Some(Duration::ZERO)), Adopted::Uncacheable(Generation(2)));
    assert!(sim.takes(), "the suspect token is still the best there is");
    assert_eq!(sim.until_tick_begins(), secs(1.0));
    let mut sim = old_enough();
    sim.reject(1, true);
    sim.attempt();
    assert_eq!(sim.grant_same(Some(Duration::ZERO)), Adopted::Uncacheable(Generation(1)));
    assert_eq!(sim.machine.state(sim.now), "dead");
    assert!(!sim.takes());
}
