//! Fresh, soft, late, dead, and what is done without traffic.

use super::*;

/// TL-13, TL-21, TL-22: the deadlines are where the docs put them, for short and long lives.
#[test]
fn deadlines_follow_from_the_lifetime() {
    for (lifetime, window, late, dead) in
        [(10.0, 2.5, 1.0, 0.5), (3600.0, 900.0, 60.0, 5.0), (100.0, 25.0, 10.0, 5.0), (864_000.0, 3600.0, 60.0, 5.0)]
    {
        for seed in 0..50 {
            let mut sim = Sim::with(policy(), seed);
            sim.fetch(Some(secs(lifetime)));
            let expiry = sim.now.after(secs(lifetime));
            let ahead = expiry.since(sim.soft()).as_secs_f64();
            assert!((0.8 * window..=window).contains(&ahead), "soft {ahead} s before the expiry of {lifetime} s");
            assert_eq!(expiry.since(sim.late()), secs(late));
            assert_eq!(expiry.since(sim.dead()), secs(dead));
        }
    }
}

/// TL-22: the server's wish wins over the default window, the configuration over both; nonsense counts for nothing.
#[test]
fn refresh_windows_are_ranked() {
    let soft_of = |refresh_before: Option<f64>, refresh_in: Option<f64>| {
        let mut sim = Sim::with(Policy { refresh_before: refresh_before.map(secs), ..policy() }, 3);
        sim.begin();
        let refresh_in = refresh_in.map(secs);
        sim.machine.granted(sim.now, Grant { lifetime: Some(HOUR), refresh_in, last: false, same: false });
        sim.soft().since(sim.now).as_secs_f64()
    };
    let between = |soft: f64, window: f64| assert!((3600.0 - window..=3600.0 - 0.8 * window).contains(&soft), "{soft}");
    between(soft_of(None, None), 900.0);
    between(soft_of(None, Some(1800.0)), 1800.0);
    between(soft_of(Some(600.0), Some(1800.0)), 600.0);
    between(soft_of(Some(3600.0), Some(1800.0)), 1800.0);
    between(soft_of(Some(7200.0), Some(7200.0)), 900.0);
    assert_eq!(soft_of(Some(0.0), None), 3540.0, "soft is never after late");
    assert!((5.0..=720.0).contains(&soft_of(None, Some(0.001))));
    for seed in 0..500 {
        let mut sim = Sim::with(Policy { refresh_before: Some(secs(99.9)), ..policy() }, seed);
        sim.fetch(Some(secs(100.0)));
        assert!(sim.soft() >= sim.now.after(secs(5.0)), "no window makes a token soft as it arrives");
    }
}

/// TL-13: without a lifetime a token never dies and is renewed every 45 min; a later answer without one reuses the last.
#[test]
fn a_token_without_lifetime_never_dies() {
    let mut sim = Sim::new();
    sim.fetch(None);
    assert_eq!(sim.soft(), sim.now.after(secs(45.0 * 60.0)));
    assert_eq!(sim.machine.expires_in(sim.now), None);
    sim.pass(1e8);
    assert!(sim.takes());
    sim.attempt();
    sim.grant(Some(HOUR));
    sim.pass(3600.0);
    sim.fetch(None);
    assert_eq!(sim.machine.expires_in(sim.now), Some(HOUR));
}

/// TL-13: where a new token ends the one before it, a token without lifetime is not renewed unasked: only a rejection or
/// the server's wish replaces it. A reload that says so stops the renewal that was due.
#[test]
fn a_single_active_token_without_lifetime_is_left_alone() {
    let single_active = || Policy { single_active: true, ..policy() };
    let mut sim = Sim::with(single_active(), 1);
    sim.fetch(None);
    assert_eq!(sim.soft(), Boot::NEVER);
    sim.pass(1e8);
    assert!(sim.takes() && !sim.machine.fetching());
    let (verdict, begin) = sim.reject(1, true);
    assert!(begin, "a rejection is confirmed: {verdict:?}");

    let mut told = Sim::with(single_active(), 1);
    told.begin();
    told.machine.granted(told.now, Grant { lifetime: None, refresh_in: Some(HOUR), last: false, same: false });
    assert_eq!(told.soft(), told.now.after(HOUR));

    let mut reloaded = Sim::new();
    reloaded.fetch(None);
    reloaded.machine.set_policy(reloaded.now, single_active());
    assert_eq!(reloaded.soft(), Boot::NEVER);
}

/// TL-15: life counts from the instant before the request was sent, not from the answer.
#[test]
fn life_counts_from_the_request() {
    let mut sim = Sim::new();
    sim.begin();
    sim.pass(4.0);
    sim.grant(Some(secs(100.0)));
    assert_eq!(sim.machine.expires_in(sim.now), Some(secs(96.0)));
}

/// TL-20: the first request begins the one fetch, others join it; one that waited enough gets a time to come back.
#[test]
fn an_empty_cell_fetches_once() {
    let mut sim = Sim::new();
    assert_eq!(sim.machine.state(sim.now), "empty");
    let (asked, begin) = sim.ask();
    assert!(matches!(asked, Asked::Join) && begin);
    for _ in 0..100 {
        let (asked, begin) = sim.ask();
        assert!(matches!(asked, Asked::Join) && !begin);
    }
    let Asked::Fail(TokenUnavailable::Temporarily { error: None, retry_after }) = sim.machine.waited_enough(sim.now)
    else {
        panic!("waiting in vain is temporary")
    };
    assert_eq!(retry_after, secs(1.0));
}

/// TL-21, TL-22, TL-23, TL-24: through a token's life, with a renewal that hangs.
#[test]
fn a_token_ages() {
    let mut sim = Sim::holding(100.0);
    let soft = sim.soft();
    sim.pass_to(soft.before(Duration::from_nanos(1)));
    assert_eq!((sim.machine.state(sim.now), sim.machine.easy_until(sim.now)), ("fresh", Some(soft)));
    assert!(matches!(sim.ask(), (Asked::Take, false)));
    sim.pass_to(soft);
    assert_eq!(sim.machine.state(sim.now), "soft");
    assert!(matches!(sim.ask(), (Asked::Take, true)), "one refresh begins");
    assert!(matches!(sim.ask(), (Asked::Take, false)), "and only one");
    assert_eq!(sim.machine.easy_until(sim.now), Some(sim.dead()), "nothing to think about until death");
    sim.pass_to(sim.late());
    assert_eq!(sim.machine.state(sim.now), "late");
    assert_eq!(sim.machine.counters().late, 0);
    assert!(matches!(sim.ask(), (Asked::Take, false)));
    sim.ask();
    assert_eq!(sim.machine.counters().late, 1, "seen once");
    sim.pass_to(sim.dead().before(Duration::from_nanos(1)));
    assert!(sim.takes());
    sim.pass_to(sim.dead());
    assert_eq!(sim.machine.easy_until(sim.now), None);
    assert!(matches!(sim.ask(), (Asked::Join, false)), "an expired token is never sent");
}

/// TL-23: the timer sees that a token is late, also while nobody asks.
#[test]
fn lateness_is_seen_without_traffic() {
    let mut sim = Sim::holding(100.0);
    sim.until_tick_begins();
    let at = sim.machine.wake_at(sim.now, None).unwrap();
    assert_eq!(at, sim.late());
    sim.pass_to(at);
    sim.machine.tick(sim.now, None);
    assert_eq!(sim.machine.counters().late, 1);
    assert_eq!(sim.machine.wake_at(sim.now, None), None);
}

/// TL-24: an expired token stands in only where that was asked for, only for so long, and only if none can be had.
#[test]
fn a_stale_token_stands_in_if_asked_for() {
    let mut sim = Sim::with(Policy { stale_if_error: secs(60.0), ..policy() }, 1);
    sim.fetch(Some(secs(100.0)));
    sim.pass(100.0);
    sim.begin();
    assert!(matches!(sim.ask().0, Asked::Join), "a new one may still be had");
    assert!(matches!(sim.machine.waited_enough(sim.now), Asked::Take));
    sim.fail_through();
    assert!(sim.takes());
    sim.pass(59.0);
    sim.ask();
    assert!(!sim.takes() || sim.machine.expires_in(sim.now).is_some());
    sim.pass(2.0);
    assert!(!sim.takes());
}

/// TL-29: a token that is used is renewed without traffic, an idle one is not.
#[test]
fn renewal_without_traffic_ends_with_use() {
    let mut sim = Sim::holding(3600.0);
    let soft = sim.soft();
    assert_eq!(sim.machine.wake_at(sim.now, None), Some(soft));
    sim.pass_to(soft);
    assert!(!sim.machine.tick(sim.now, None), "never kept warm");
    assert!(!sim.machine.tick(sim.now, Some(soft.before(Duration::from_nanos(1)))), "not used lately");
    assert_eq!(sim.machine.wake_at(sim.now, None), None, "the timer does not spin");
    assert!(sim.machine.tick(sim.now, Some(soft)));
    assert!(!sim.machine.tick(sim.now, Some(soft)), "once");
}

/// TL-29: fetches at start are spread over 10 s, and happen once.
#[test]
fn warm_fetches_are_spread() {
    let mut waits = Vec::new();
    for seed in 0..200 {
        let mut sim = Sim::with(Policy { warm: true, keep_warm: Duration::ZERO, ..policy() }, seed);
        let at = sim.machine.wake_at(sim.now, None).expect("a fetch at start");
        waits.push(at.since(sim.now).as_secs_f64());
        sim.pass_to(at);
        assert!(sim.machine.tick(sim.now, None));
        sim.attempt();
        sim.grant(Some(HOUR));
        sim.pass(1.0);
        assert!(!sim.machine.tick(sim.now, None));
    }
    assert!(waits.iter().all(|wait| *wait <= 10.0));
    for second in 0..10 {
        let range = f64::from(second)..f64::from(second + 1);
        assert!(waits.iter().any(|wait| range.contains(wait)), "none in {range:?}");
    }
}

/// TL-32: however short tokens live, fetches begin at least 250 ms apart.
#[test]
fn tiny_lifetimes_do_not_spin() {
    let mut sim = Sim::new();
    sim.fetch(Some(secs(0.02)));
    sim.pass(0.0195);
    let (asked, begin) = sim.ask();
    assert!(!begin);
    let Asked::WaitUntil(at) = asked else { panic!("it waits for the next fetch, not {asked:?}") };
    sim.pass_to(at);
    assert!(sim.ask().1);
    assert_eq!(sim.now, Boot::default().after(HOUR).after(secs(0.25)));
}

/// TL-14: a token whose life is over goes to those who waited; twice it is asked for again after 1 s, then that is a failure.
#[test]
fn tokens_that_are_over_are_not_kept() {
    for lifetime in [Some(Duration::ZERO), Some(secs(0.5))] {
        let mut sim = Sim::new();
        sim.begin();
        sim.pass(0.6);
        assert_eq!(sim.grant(lifetime), Adopted::Uncacheable(Generation(1)));
        assert_eq!(sim.machine.held(), None);
        assert!(matches!(sim.ask(), (Asked::WaitUntil(at), false) if at == sim.now.after(secs(1.0))));
        assert_eq!(sim.until_tick_begins(), secs(1.0));
        sim.attempt();
        sim.pass(0.6);
        assert_eq!(sim.grant(lifetime), Adopted::Uncacheable(Generation(2)));
        assert_eq!(sim.until_tick_begins(), secs(1.0));
        sim.attempt();
        sim.pass(0.6);
        assert_eq!(sim.grant(lifetime), Adopted::Failed);
        assert!(sim.machine.error().is_some());
        sim.until_tick_begins();
        sim.attempt();
        assert_eq!(sim.grant(Some(HOUR)), Adopted::New(Generation(3)), "a token that lives ends it");
    }
}

/// TL-36: the same token with the same expiry is a success that is tried again at half of what remains, never in a spin.
#[test]
fn the_same_token_is_asked_for_at_halves() {
    let mut sim = Sim::holding(210.0);
    let (dead, expiry) = (sim.dead(), sim.now.after(secs(210.0)));
    sim.until_tick_begins();
    let mut tries = 0;
    loop {
        sim.attempt();
        let left = expiry.since(sim.now).as_secs().max(1);
        assert_eq!(sim.grant_same(Some(Duration::from_secs(left))), Adopted::Same);
        assert_eq!(sim.machine.held(), Some(Generation(1)));
        assert_eq!(sim.machine.state(sim.now), if sim.now < sim.late() { "fresh" } else { "late" });
        let usable = dead.since(sim.now);
        let pause = sim.until_tick_begins();
        tries += 1;
        if sim.now >= dead {
            break;
        }
        assert_eq!(pause, (usable / 2).max(secs(5.0)));
    }
    assert_eq!(sim.now, dead, "the pause does not outlast the token");
    assert!((3..=6).contains(&tries), "{tries} tries");
}

/// TL-36: the same token with a new expiry lives on, in the same generation.
#[test]
fn the_same_token_can_be_prolonged() {
    let mut sim = Sim::holding(100.0);
    sim.pass(90.0);
    sim.begin();
    assert_eq!(sim.grant_same(Some(secs(100.0))), Adopted::Same);
    assert_eq!(sim.machine.expires_in(sim.now), Some(secs(100.0)));
    assert_eq!(sim.machine.state(sim.now), "fresh");
    assert_eq!(sim.machine.held(), Some(Generation(1)));
    sim.pass(90.0);
    sim.begin();
    assert_eq!(sim.grant_same(None), Adopted::Same);
    assert_eq!(sim.machine.expires_in(sim.now), Some(secs(10.0)), "no word about its life prolongs nothing");
    sim.pass(96.0);
}
