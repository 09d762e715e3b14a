//! Reloads: changed proofs and policies.

use super::*;

/// TL-03: a new proof makes the token soft; it serves until a fetch with the new proof succeeds.
#[test]
fn a_new_proof_softens_the_token() {
    let mut sim = Sim::holding(3600.0);
    sim.pass(10.0);
    sim.machine.proof_changed(sim.now);
    assert_eq!(sim.machine.state(sim.now), "soft");
    assert_eq!(sim.until_tick_begins(), Duration::ZERO);
    sim.attempt();
    assert_eq!(sim.fail(FetchErrorKind::Refused), Next::Ended);
    assert!(sim.takes(), "the new proof does not work, the old token does");
    sim.until_tick_begins();
    sim.attempt();
    sim.grant(Some(HOUR));
    assert_eq!(sim.machine.state(sim.now), "fresh");
}

/// TL-03: what the old proof still brings is taken, and is soft.
#[test]
fn a_token_by_the_old_proof_is_soft() {
    for same in [false, true] {
        let mut sim = Sim::holding(3600.0);
        sim.pass_to(sim.soft());
        sim.begin();
        sim.machine.proof_changed(sim.now);
        sim.pass(0.5);
        sim.machine.granted(sim.now, Grant { lifetime: Some(HOUR), refresh_in: None, last: false, same });
        assert_eq!(sim.machine.state(sim.now), "soft");
        assert!(matches!(sim.ask(), (Asked::Take, true)));
    }
}

/// TL-03, TL-26: a new proof resets the refused state, and is tried at once.
#[test]
fn a_new_proof_resets_a_refusal() {
    let mut sim = Sim::new();
    sim.begin();
    sim.fail(FetchErrorKind::Refused);
    sim.pass(1.0);
    sim.machine.proof_changed(sim.now);
    assert_eq!(sim.machine.state(sim.now), "empty");
    assert_eq!(sim.until_tick_begins(), Duration::ZERO);
    assert!(matches!(sim.ask().0, Asked::Join));
}

/// TL-03: the refusal of a proof that was replaced while it was being tried is followed by the new proof, in the same fetch.
#[test]
fn a_refusal_of_the_old_proof_says_nothing() {
    let mut sim = Sim::new();
    sim.begin();
    sim.machine.proof_changed(sim.now);
    assert_eq!(sim.fail(FetchErrorKind::Refused), Next::Retry(sim.now));
    sim.attempt();
    assert_eq!(sim.fail(FetchErrorKind::Refused), Next::Ended);
    assert_eq!(sim.machine.state(sim.now), "refused");
}

/// TL-04: a policy that stays leaves everything; a new window moves only when the token turns soft.
#[test]
fn a_policy_moves_only_its_own_deadlines() {
    let mut sim = Sim::holding(3600.0);
    let (soft, dead) = (sim.soft(), sim.dead());
    sim.machine.set_policy(sim.now, policy());
    assert_eq!((sim.soft(), sim.dead()), (soft, dead));
    sim.machine.set_policy(sim.now, Policy { refresh_before: Some(secs(60.0)), ..policy() });
    assert!(sim.soft() > soft);
    assert_eq!((sim.machine.held(), sim.dead()), (Some(Generation(1)), dead));
    sim.machine.proof_changed(sim.now);
    sim.machine.set_policy(sim.now, policy());
    assert_eq!(sim.machine.state(sim.now), "soft", "what made it soft still holds");
}

/// TL-29: `warm` that is switched on later warms an empty cell.
#[test]
fn warm_can_be_switched_on() {
    let mut sim = Sim::new();
    assert_eq!(sim.machine.wake_at(sim.now, None), None);
    sim.machine.set_policy(sim.now, Policy { warm: true, ..policy() });
    assert!(sim.machine.wake_at(sim.now, None).is_some());
    let mut sim = Sim::new();
    sim.begin();
    sim.machine.set_policy(sim.now, Policy { warm: true, ..policy() });
    sim.grant(Some(HOUR));
    sim.pass(20.0);
    assert_eq!(sim.machine.wake_at(sim.now, None), Some(sim.soft()), "a cell that was filled meanwhile is warm");
}
