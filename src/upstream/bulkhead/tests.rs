use super::*;

const SLOW: usize = 0;
const FAST: usize = 1;

fn take_all(bulkhead: &Arc<Bulkhead>, slot: usize, several: bool) -> Vec<Permit> {
    std::iter::from_fn(|| bulkhead.take(slot, several).ok()).collect()
}

fn waiting(bulkhead: &Bulkhead) -> usize {
    bulkhead.wants().iter().map(|want| want.count).sum()
}

/// SEC-41, SEC-45: one of several upstreams has three quarters at most, all together have what there is, and one that is
/// alone has all.
#[test]
fn one_upstream_does_not_take_all() {
    let bulkhead = Bulkhead::new(10);
    let slow = take_all(&bulkhead, SLOW, true);
    assert_eq!(slow.len(), 8);
    assert_eq!(bulkhead.take(SLOW, true).unwrap_err(), MakesWay::ItsOwn);
    let fast = take_all(&bulkhead, FAST, true);
    assert_eq!((fast.len(), bulkhead.taken()), (2, 10));
    assert_eq!(bulkhead.take(FAST, true).unwrap_err(), MakesWay::Anyone);
    assert!(slow[0].another().is_none() && Permit::of_the_reserve().another().is_some());
    drop((slow, fast));
    assert_eq!(take_all(&bulkhead, SLOW, false).len(), 10);
    for max in 1..4 {
        assert_eq!(take_all(&Bulkhead::new(max), SLOW, true).len(), max, "few are not worth dividing");
    }
}

/// SEC-45: what is free goes to the upstream with the fewest connections, in the order of asking there.
#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_turn() {
    let bulkhead = Bulkhead::new(4);
    let mut slow = take_all(&bulkhead, SLOW, true);
    let fast = take_all(&bulkhead, FAST, true);
    assert_eq!((slow.len(), fast.len()), (3, 1));
    let mut tasks = Vec::new();
    for slot in [SLOW, FAST, FAST] {
        let bulkhead = bulkhead.clone();
        tasks.push(tokio::spawn(async move { bulkhead.wait(slot, Duration::MAX).await }));
    }
    while waiting(&bulkhead) < 3 {
        tokio::task::yield_now().await;
    }
    let [first, second, third]: [_; 3] = tasks.try_into().unwrap();
    let wants = bulkhead.wants();
    assert_eq!((wants[0].slot, wants[0].count, wants[0].makes_way), (SLOW, 1, MakesWay::ItsOwn));
    assert_eq!((wants[1].slot, wants[1].count, wants[1].makes_way), (FAST, 2, MakesWay::Anyone));
    slow.pop();
    let second = second.await.unwrap().expect("the other upstream comes first");
    assert!(!first.is_finished() && !third.is_finished());
    slow.pop();
    let first = first.await.unwrap().expect("now it has fewer");
    assert!(!third.is_finished());
    third.abort();
    let _ = third.await;
    drop(first);
    assert_eq!((bulkhead.taken(), bulkhead.wants().len()), (3, 0), "nobody waits any more");
    drop((slow, fast, second));
    assert_eq!(bulkhead.taken(), 0);
}

/// SEC-41: nobody waits for longer than a second, nor than a quarter of the time that there is; nor do more than are worth
/// it.
#[tokio::test(start_paused = true)]
async fn waiting_is_bounded() {
    let bulkhead = Bulkhead::new(1);
    let _held = bulkhead.take(SLOW, false).unwrap();
    for (timeout, waited) in [(60_000, 1000), (400, 100)] {
        let begin = crate::clock::timer_now();
        assert!(bulkhead.wait(SLOW, Duration::from_millis(timeout)).await.is_none());
        assert_eq!((crate::clock::timer_now() - begin).as_millis(), waited);
    }
    let many: Vec<_> = (0..WAITING_PER_KEY_MAX)
        .map(|_| {
            let bulkhead = bulkhead.clone();
            tokio::spawn(async move { bulkhead.wait(SLOW, Duration::MAX).await })
        })
        .collect();
    while waiting(&bulkhead) < WAITING_PER_KEY_MAX {
        tokio::task::yield_now().await;
    }
    let begin = crate::clock::timer_now();
    assert!(bulkhead.wait(SLOW, Duration::MAX).await.is_none());
    assert_eq!(crate::clock::timer_now(), begin, "refused at once");
    for waiting in many {
        assert!(waiting.await.unwrap().is_none());
    }
}
