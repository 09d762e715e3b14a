//! The property test: a simulated world drives the machine, and a judge that knows nothing of its insides holds it to
//! the invariants at the end of docs/token-lifecycle.md.

mod judge;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use super::tests::policy;
use crate::token::{FetchErrorKind, Policy};
use world::World;

/// What happens from outside.
#[derive(Debug, Clone)]
enum Op {
    /// So many requests that want a token, each with this patience.
    Requests { count: usize, patience: Duration },
    /// A client hangs up: the so-manieth of those that wait.
    Cancel(usize),
    /// The upstream rejects requests that carried the token so many generations back.
    Rejections { count: usize, back: u64, can_replay: bool, patience: Duration },
    /// The endpoint behaves like this from now on.
    Endpoint(Endpoint),
    /// The upstream accepts replays from now on, or not.
    Upstream { accepts: bool },
    /// A reload with another policy.
    Policy(Box<Policy>),
    /// A reload with another secret.
    Proof,
    /// Another cell of the same client was told to hold back.
    HoldByAnother(Duration),
    /// The fetch task panics.
    Panic,
    /// The machine sleeps: time passes, and nothing else happens.
    Suspend(Duration),
}

/// How the endpoint behaves: one of these outcomes, after some time.
#[derive(Debug, Clone)]
struct Endpoint {
    latency_max: Duration,
    /// How long a fetch waits for its turn.
    queue_max: Duration,
    outcomes: Vec<Outcome>,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Token {
        lifetime: Option<Duration>,
        refresh_in: Option<Duration>,
    },
    /// The last token again.
    Same {
        lifetime: Option<Duration>,
    },
    Fail(FetchErrorKind),
    /// A failure that passes, with a name.
    Named,
    /// No connection.
    Unconnected,
    /// No answer.
    Hang,
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// From nothing to `max_ms`, all magnitudes alike.
fn duration(max_ms: u64) -> impl Strategy<Value = Duration> {
    let magnitudes = max_ms.ilog10();
    (0..=magnitudes, 0.0..1.0f64).prop_map(move |(magnitude, part)| {
        Duration::from_secs_f64((10f64.powi(magnitude as i32 + 1) * part).min(max_ms as f64) / 1000.0)
    })
}

fn lifetime() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Duration::ZERO)),
        1 => Just(Some(millis(40))),
        3 => (500..30_000u64).prop_map(|ms| Some(millis(ms))),
        3 => (30..7200u64).prop_map(|s| Some(millis(s * 1000))),
        1 => Just(Some(millis(10_000_000_000))),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let token = (lifetime(), proptest::option::weighted(0.2, duration(4_000_000)));
    let limited = proptest::option::weighted(0.9, duration(8_000_000));
    prop_oneof![
        6 => token.prop_map(|(lifetime, refresh_in)| Outcome::Token { lifetime, refresh_in }),
        2 => lifetime().prop_map(|lifetime| Outcome::Same { lifetime }),
        3 => Just(Outcome::Fail(FetchErrorKind::Transient)),
        1 => limited.prop_map(|retry_after| Outcome::Fail(FetchErrorKind::RateLimited { retry_after })),
        1 => Just(Outcome::Fail(FetchErrorKind::Refused)),
        1 => Just(Outcome::Fail(FetchErrorKind::NeedsReauthorization)),
        1 => Just(Outcome::Named),
        1 => Just(Outcome::Unconnected),
        1 => Just(Outcome::Hang),
    ]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let outcomes = prop_oneof![
        // Mostly of one mind: an endpoint that changes its mind at every call hides what a long outage shows.
        3 => outcome().prop_map(|outcome| vec![outcome]),
        1 => proptest::collection::vec(outcome(), 2..5),
    ];
    (duration(15_000), prop_oneof![Just(Duration::ZERO), duration(60_000)], outcomes)
        .prop_map(|(latency_max, queue_max, outcomes)| Endpoint { latency_max, queue_max, outcomes })
}

fn some_policy() -> impl Strategy<Value = Policy> {
    let refresh_before = proptest::option::weighted(0.3, duration(4_000_000));
    let keep_warm = prop_oneof![3 => Just(millis(86_400_000)), 1 => Just(Duration::ZERO), 1 => duration(600_000)];
    let stale = prop_oneof![2 => Just(Duration::ZERO), 1 => duration(8_000_000)];
    (refresh_before, keep_warm, any::<bool>(), stale).prop_map(|(refresh_before, keep_warm, warm, stale_if_error)| {
        Policy { refresh_before, keep_warm, warm, stale_if_error, ..policy() }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let patience = || prop_oneof![2 => Just(millis(30_000)), 1 => duration(30_000)];
    let rejections = (1..4usize, prop_oneof![4 => Just(0u64), 1 => 1..3u64], prop::bool::weighted(0.8), patience());
    prop_oneof![
        10 => (1..5usize, patience()).prop_map(|(count, patience)| Op::Requests { count, patience }),
        2 => (0..8usize).prop_map(Op::Cancel),
        5 => rejections.prop_map(|(count, back, can_replay, patience)| Op::Rejections { count, back, can_replay, patience }),
        6 => endpoint().prop_map(Op::Endpoint),
        1 => any::<bool>().prop_map(|accepts| Op::Upstream { accepts }),
        1 => some_policy().prop_map(|policy| Op::Policy(Box::new(policy))),
        1 => Just(Op::Proof),
        2 => duration(300_000).prop_map(Op::HoldByAnother),
        1 => Just(Op::Panic),
        1 => duration(8_000_000).prop_map(Op::Suspend),
    ]
}

/// 1000 cases take some 3 s; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(1000), failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    /// TL-20, TL-22, TL-24, TL-25, TL-27, TL-31, TL-32, TL-33, TL-36, TL-41, TL-42, TL-43, TL-52: never two fetches at once for a key; never an expired
    /// token sent; no waiter lost; no request waits while a usable token exists; the fetch rate is bounded in every
    /// mode; a token is suspect as long as it has to be; and once the endpoint is well, a token is had.
    #[test]
    fn the_invariants_hold(
        seed in any::<u64>(),
        policy in some_policy(),
        first in endpoint(),
        script in proptest::collection::vec((duration(600_000), op()), 1..60),
    ) {
        let mut world = World::new(policy, first, seed);
        for (pause, op) in script {
            world.run_for(pause);
            world.apply(op);
        }
        world.recover();
    }
}

/// The simulation reaches what it is meant to judge: a world that never did anything would hold every invariant.
#[test]
fn the_simulation_goes_everywhere() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let all = (any::<u64>(), some_policy(), endpoint(), proptest::collection::vec((duration(600_000), op()), 1..60));
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for _ in 0..400 {
        let (seed, policy, first, script) = all.new_tree(&mut runner).expect("a case").current();
        let mut world = World::new(policy, first, seed);
        for (pause, op) in script {
            world.run_for(pause);
            world.apply(op);
        }
        world.recover();
        for (what, count) in world.judge.seen {
            *seen.entry(what).or_default() += count;
        }
    }
    let wanted = [
        "taken",
        "taken stale",
        "taken uncached",
        "joined",
        "waited for a try",
        "failed fast",
        "timed out",
        "cancelled",
        "granted new",
        "granted same",
        "granted uncacheable",
        "granted one too many",
        "failed transient",
        "failed limited",
        "failed refused",
        "failed for good",
        "exchange repeated",
        "exchange in doubt",
        "retried",
        "held back",
        "abandoned",
        "rejected: replay",
        "rejected: pass through",
        "rejected: replaced already",
        "suspicion over",
        "rejected: join",
        "rejected: wait",
        "confirmation begun",
        "replay accepted",
        "replay rejected",
        "late",
        "begun by request",
        "begun by timer",
        "begun by use",
    ];
    for what in wanted {
        assert!(
            seen.get(what).is_some_and(|count| *count >= 10),
            "{what} was seen {:?} times: {seen:?}",
            seen.get(what)
        );
    }
}
