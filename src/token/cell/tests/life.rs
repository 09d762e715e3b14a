//! Taking tokens: waiting, not waiting, hanging up.

use super::*;

/// TL-20, TL-30, TL-31: many requests join one fetch.
#[tokio::test(start_paused = true)]
async fn requests_join_one_fetch() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.cell(&endpoint);
    assert!(cell.ready().is_none());
    let begin = Instant::now();
    let takes: Vec<_> = (0..100)
        .map(|_| {
            let cell = cell.clone();
            tokio::spawn(async move { cell.take(secs(10.0)).await })
        })
        .collect();
    for take in takes {
        assert_eq!(take.await.unwrap().unwrap().generation, Generation(1));
    }
    assert_eq!(begin.elapsed(), secs(0.2));
    assert_eq!(endpoint.calls(), 1);
    let token = cell.ready().unwrap();
    let (name, value) = token.attached.first_header().expect("it has a header");
    assert_eq!((name.as_str(), value.as_bytes()), ("authorization", &b"Bearer planted-secret-1"[..]));
    assert!(value.is_sensitive());
}

/// TL-20, TL-32: a request waits at most 10 s, or as long as it can itself; an attempt is cut off by then.
#[tokio::test(start_paused = true)]
async fn waiting_is_bounded() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Hang]));
    let cell = house.cell(&endpoint);
    for (deadline, waited) in [(secs(3.0), secs(3.0)), (secs(120.0), secs(10.0))] {
        let begin = Instant::now();
        let error = cell.take(deadline).await.unwrap_err();
        assert!(matches!(error, TokenUnavailable::Temporarily { retry_after, .. } if retry_after >= secs(1.0)));
        assert!(begin.elapsed() >= waited && begin.elapsed() < waited + secs(0.01), "{:?}", begin.elapsed());
    }
    tokio::time::sleep(secs(30.0)).await;
    assert!(endpoint.calls() >= 3, "attempts that hang are given up, and made again");
    assert!(house.cache.statuses()[0].last_error.as_deref().unwrap().contains("did not answer"));
}

/// The pause that follows a success is nothing that anybody waits for.
#[tokio::test(start_paused = true)]
async fn only_who_failed_or_is_held_back_waits_for_a_next_try() {
    let answers = [Answer::Token(Some(HOUR)), Answer::Fail(FetchErrorKind::Transient)];
    let (house, endpoint) = (House::new(), Endpoint::new(answers));
    let cell = house.holding(&endpoint).await;
    assert_eq!((cell.status().state, cell.status().next_try_in), ("fresh", None));
}

/// TL-21: a fresh token is taken without the lock.
#[tokio::test(start_paused = true)]
async fn a_fresh_token_takes_no_lock() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.holding(&endpoint).await;
    let locked = cell.lock();
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = cell.clone();
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::spawn(move || {
        let _time = runtime.enter();
        sender.send(reader.ready().is_some())
    });
    assert_eq!(receiver.recv_timeout(secs(20.0)), Ok(true), "`ready` waits for the lock");
    drop(locked);
    thread.join().unwrap().unwrap();
}

/// TL-21: a fresh token is taken without an allocation, also where the time of its use is noted.
#[tokio::test(start_paused = true)]
async fn a_fresh_token_takes_no_allocation() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.holding(&endpoint).await;
    let allocations = |taken: &dyn Fn() -> bool| {
        allocation_counter::measure(|| (0..100).for_each(|_| assert!(taken(), "the token is fresh"))).count_total
    };
    for _ in 0..3 {
        assert_eq!(allocations(&|| cell.ready().is_some()), 0);
        let now = house.clock.now();
        assert_eq!(allocations(&|| cell.ready_at(now).is_some()), 0);
        tokio::time::sleep(secs(2.0)).await;
    }
    assert_ne!(allocations(&|| !cell.status().name.to_string().is_empty()), 0, "the counter counts");
}

/// TL-22, TL-23: while a renewal hangs nobody waits, until the token is dead; the wait then ends with the new one.
#[tokio::test(start_paused = true)]
async fn nobody_waits_while_a_token_serves() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(secs(100.0))), Answer::Hang]));
    let cell = house.holding(&endpoint).await;
    // Counted from the request that brought it, 200 ms ago.
    while house.clock.begin.elapsed() < secs(94.9) {
        tokio::time::sleep(secs(0.1)).await;
        assert_eq!(generation(cell.ready()), Some(1));
        let begin = Instant::now();
        assert!(cell.take(secs(10.0)).await.is_ok());
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
    assert_eq!(cell.status().state, "late");
    assert_eq!(cell.status().late, 1);
    tokio::time::sleep(secs(0.2)).await;
    assert!(cell.ready().is_none(), "an expired token is never sent");
    endpoint.say([Answer::Token(Some(secs(100.0)))]);
    tokio::time::sleep(secs(20.0)).await;
    assert_eq!(generation(cell.ready()), Some(2));
}

/// TL-22: exactly one background refresh, by requests alone.
#[tokio::test(start_paused = true)]
async fn one_background_refresh() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(secs(100.0)))]));
    let cell = house.declare_with(Policy { keep_warm: Duration::ZERO, ..policy("crm") }, "secret", &endpoint);
    cell.take(secs(10.0)).await.unwrap();
    tokio::time::sleep(secs(81.0)).await;
    assert_eq!(endpoint.calls(), 1, "not kept warm");
    for _ in 0..100 {
        assert_eq!(generation(cell.ready()), Some(1));
    }
    settle().await;
    assert_eq!(endpoint.calls(), 2);
    tokio::time::sleep(secs(0.3)).await;
    assert_eq!(generation(cell.ready()), Some(2));
    assert_eq!(endpoint.calls(), 2);
}

/// TL-14: those who waited get the token that cannot be kept; nobody else does.
#[tokio::test(start_paused = true)]
async fn an_uncacheable_token_is_for_its_waiters() {
    let answers = [Answer::Token(Some(Duration::ZERO)), Answer::Token(Some(HOUR))];
    let (house, endpoint) = (House::new(), Endpoint::new(answers));
    let cell = house.cell(&endpoint);
    let (one, other) = tokio::join!(cell.take(secs(10.0)), cell.take(secs(10.0)));
    assert_eq!((one.unwrap().generation, other.unwrap().generation), (Generation(1), Generation(1)));
    assert!(cell.ready().is_none());
    assert_eq!(cell.take(secs(10.0)).await.unwrap().generation, Generation(2));
    assert_eq!(endpoint.calls(), 2);
}

/// TL-25: a request outlasts failed fetches, as long as the next try is near.
#[tokio::test(start_paused = true)]
async fn a_request_outlasts_failures() {
    let mut answers = vec![Answer::Fail(FetchErrorKind::Transient); 4];
    answers.push(Answer::Token(Some(HOUR)));
    let (house, endpoint) = (House::new(), Endpoint::new(answers));
    assert_eq!(house.cell(&endpoint).take(secs(10.0)).await.unwrap().generation, Generation(1));
    assert_eq!(endpoint.calls(), 5);
}

/// TL-25, TL-26: errors are answered from the cache, at once, and say when to come back.
#[tokio::test(start_paused = true)]
async fn errors_are_cached() {
    let limited = FetchErrorKind::RateLimited { retry_after: Some(secs(60.0)) };
    let (house, endpoint) =
        (House::new(), Endpoint::new([Answer::Fail(limited), Answer::Fail(FetchErrorKind::Refused)]));
    let cell = house.cell(&endpoint);
    let begin = Instant::now();
    for _ in 0..10 {
        let error = cell.take(secs(10.0)).await.unwrap_err();
        assert!(
            matches!(error, TokenUnavailable::Temporarily { error: Some(_), retry_after } if retry_after == secs(60.0))
        );
    }
    assert_eq!((begin.elapsed(), endpoint.calls()), (secs(0.2), 1));
    assert_eq!(cell.status().next_try_in, Some(secs(60.0)));
    tokio::time::sleep(secs(61.0)).await;
    assert!(matches!(cell.take(secs(10.0)).await, Err(TokenUnavailable::Refused { .. })));
    assert_eq!((cell.status().state, endpoint.calls()), ("refused", 2));
}

/// TL-28: a request that is woken looks again, and never takes a token that died meanwhile.
#[tokio::test(start_paused = true)]
async fn the_state_is_read_again_after_a_wait() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(secs(1.0)))]));
    let cell = house.declare_with(Policy { keep_warm: Duration::ZERO, ..policy("crm") }, "secret", &endpoint);
    let mut take = pin!(cell.take(secs(10.0)));
    assert!(poll_once(take.as_mut()).is_pending());
    tokio::time::sleep(secs(5.0)).await;
    assert_eq!(endpoint.calls(), 1, "the fetch was granted, and its token died unseen");
    assert!(poll_once(take.as_mut()).is_pending());
    assert_eq!(take.await.unwrap().generation, Generation(2));
}

/// TL-30: every client may hang up, the fetch goes on.
#[tokio::test(start_paused = true)]
async fn a_fetch_survives_its_clients() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.cell(&endpoint);
    for _ in 0..10 {
        let mut take = Box::pin(cell.take(secs(10.0)));
        assert!(poll_once(take.as_mut()).is_pending());
    }
    assert_eq!(cell.waiting.load(Ordering::SeqCst), 0);
    tokio::time::sleep(secs(0.3)).await;
    assert_eq!(generation(cell.ready()), Some(1));
    assert_eq!(endpoint.calls(), 1);
}

/// TL-31: a panic in a fetch is a failure, and its waiters go on to the next try.
#[tokio::test(start_paused = true)]
async fn a_panic_releases_the_waiters() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Panic, Answer::Token(Some(HOUR))]));
    let cell = house.cell(&endpoint);
    let begin = Instant::now();
    assert_eq!(cell.take(secs(10.0)).await.unwrap().generation, Generation(1));
    assert!(begin.elapsed() <= secs(1.5), "{:?}", begin.elapsed());
    assert_eq!(cell.status().fetches_failed, 1);
    endpoint.say([Answer::Panic]);
    let cell = house.declare("other", "secret", &endpoint);
    assert!(cell.take(secs(10.0)).await.is_err());
}

/// TL-31: with the control runtime gone, requests fail instead of waiting for ever.
#[tokio::test(start_paused = true)]
async fn a_gone_runtime_fails_requests() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cache = TokenCache::new(house.clock.clone(), control.handle().clone());
    control.shutdown_background();
    let cell = cache.declare(house.identity("crm"), cache.proof(&[]), policy("crm"), Arc::new(endpoint.clone()));
    assert!(matches!(cell.take(secs(10.0)).await, Err(TokenUnavailable::Temporarily { .. })));
    assert_eq!(endpoint.calls(), 0);
    cache.drained().await;
}

/// TL-01, TL-30: requests wait on runtimes of their own for a fetch on the control runtime, and all are woken.
#[test]
fn waiters_live_on_any_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (control, stop) = (runtime(), tokio::sync::oneshot::channel::<()>());
    let handle = control.handle().clone();
    let endpoint = Endpoint::slow(secs(0.02), "id", [Answer::Token(Some(HOUR))]);
    let cache = TokenCache::new(Arc::new(crate::clock::SystemClock), handle);
    let cell = cache.declare(
        cache.identity(&IdentityFields::default()),
        cache.proof(&[]),
        policy("crm"),
        Arc::new(endpoint.clone()),
    );
    let thread = std::thread::spawn(move || drop(control.block_on(stop.1)));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let cell = cell.clone();
            std::thread::spawn(move || {
                runtime().block_on(async { (cell.take(secs(10.0)).await.unwrap().generation, cell.ready().is_some()) })
            })
        })
        .collect();
    for worker in workers {
        assert_eq!(worker.join().unwrap(), (Generation(1), true));
    }
    assert_eq!(endpoint.calls(), 1);
    stop.0.send(()).unwrap();
    thread.join().unwrap();
}

/// TL-15: time that passes in suspend counts: what died meanwhile is not sent, and timers notice within 30 s.
#[tokio::test(start_paused = true)]
async fn suspend_counts() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.holding(&endpoint).await;
    house.clock.suspend(2 * HOUR);
    tokio::time::sleep(secs(31.0)).await;
    assert_eq!(generation(cell.ready()), Some(2), "renewed without traffic, by a timer that looked at the clock");
    assert_eq!(endpoint.calls(), 2);
    house.clock.suspend(2 * HOUR);
    assert!(cell.ready().is_none(), "it died in suspend");
}

/// TL-15, and the attack K15: a jump of the wall clock changes nothing.
#[tokio::test(start_paused = true)]
async fn wall_clock_jumps_change_nothing() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.holding(&endpoint).await;
    let before = cell.status().expires_in;
    house.clock.wall_offset.store(1 << 40, Ordering::SeqCst);
    assert_eq!((generation(cell.ready()), cell.status().state), (Some(1), "fresh"));
    assert_eq!(cell.status().expires_in, before);
}

/// TL-29: a token is kept warm for 24 h after its last use, and no longer.
#[tokio::test(start_paused = true)]
async fn tokens_are_kept_warm() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.holding(&endpoint).await;
    for hour in 0..23 {
        tokio::time::sleep(HOUR).await;
        let token = house.cache.statuses().remove(0);
        assert!(["fresh", "soft"].contains(&token.state), "{} after {hour} h", token.state);
    }
    let calls = endpoint.calls();
    assert!((24..=32).contains(&calls), "{calls} fetches in 23 h");
    tokio::time::sleep(5 * DAY).await;
    assert!(endpoint.calls() <= calls + 3, "idle tokens are not renewed");
    assert_eq!(cell.status().state, "dead");
    assert!(cell.take(secs(10.0)).await.is_ok());
    tokio::time::sleep(HOUR).await;
    assert!(cell.ready().is_some(), "used again, it is kept warm again");
}

/// TL-29: `warm` fetches at start, within 10 s, without a request.
#[tokio::test(start_paused = true)]
async fn warm_cells_fetch_at_start() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.declare_with(Policy { warm: true, ..policy("crm") }, "secret", &endpoint);
    tokio::time::sleep(secs(10.3)).await;
    assert_eq!(cell.status().state, "fresh");
    tokio::time::sleep(3 * HOUR).await;
    assert!(cell.ready().is_some());
}
