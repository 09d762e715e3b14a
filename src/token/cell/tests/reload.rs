//! Declaring cells anew, and no longer.

use super::*;

/// TL-01, TL-04: an unchanged credential is the same cell, with its token and its fetch in flight.
#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_token_and_the_fetch() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.cell(&endpoint);
    let waiting = tokio::spawn({
        let cell = cell.clone();
        async move { cell.take(secs(10.0)).await }
    });
    settle().await;
    let again = house.cell(&endpoint);
    assert!(Arc::ptr_eq(&cell, &again));
    house.cache.retain(&[house.identity("crm")]);
    assert_eq!(waiting.await.unwrap().unwrap().generation, Generation(1));
    assert_eq!((generation(house.cell(&endpoint).ready()), endpoint.calls()), (Some(1), 1));
    let other = house.declare("other", "secret", &endpoint);
    assert!(!Arc::ptr_eq(&cell, &other), "another identity has a token of its own");
}

/// TL-03: a new secret renews the token at once, at its new source, while the old token serves.
#[tokio::test(start_paused = true)]
async fn a_new_secret_renews_the_token() {
    let house = House::new();
    let old = Endpoint::new([Answer::Token(Some(HOUR))]);
    let new = Endpoint::new([Answer::Same(Some(HOUR))]);
    let cell = house.holding(&old).await;
    let again = house.declare("crm", "rotated", &new);
    assert!(Arc::ptr_eq(&cell, &again));
    assert_eq!((generation(cell.ready()), cell.status().state), (Some(1), "soft"));
    tokio::time::sleep(secs(0.5)).await;
    assert_eq!((generation(cell.ready()), old.calls(), new.calls()), (Some(2), 1, 1));
    house.declare("crm", "rotated", &new);
    assert_eq!(cell.status().state, "fresh", "the same secret changes nothing");
}

/// TL-03: a new secret that is refused leaves the old token serving; one that works lifts a refusal at once.
#[tokio::test(start_paused = true)]
async fn a_wrong_secret_does_no_harm_yet() {
    let house = House::new();
    let refused = Endpoint::new([Answer::Fail(FetchErrorKind::Refused)]);
    let cell = house.holding(&Endpoint::new([Answer::Token(Some(HOUR))])).await;
    house.declare("crm", "wrong", &refused);
    tokio::time::sleep(secs(60.0)).await;
    assert_eq!(generation(cell.ready()), Some(1));
    let cell = house.declare("fresh", "wrong", &refused);
    assert!(matches!(cell.take(secs(10.0)).await, Err(TokenUnavailable::Refused { .. })));
    house.declare("fresh", "right", &Endpoint::new([Answer::Token(Some(HOUR))]));
    assert!(cell.take(secs(10.0)).await.is_ok());
}

/// TL-70: a configured key is never evicted, however many others there are or were, more than there may be users' keys.
#[tokio::test(start_paused = true)]
async fn however_many_cells_there_are_a_configured_one_stays() {
    const OTHERS: usize = 100_001;
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.holding(&endpoint).await;
    let others: Vec<_> = (0..OTHERS).map(|n| house.declare(&format!("other{n}"), "secret", &endpoint)).collect();
    let mut declared: Vec<_> = (0..OTHERS).map(|n| house.identity(&format!("other{n}"))).collect();
    declared.push(house.identity("crm"));
    house.cache.retain(&declared);
    assert_eq!(house.cache.statuses().len(), OTHERS + 1);
    // Others are retired, and an old snapshot still holds them.
    house.cache.retain(&declared[OTHERS..]);
    assert_eq!(house.cache.cells_known(), OTHERS + 1);
    assert!(Arc::ptr_eq(&cell, &house.cell(&endpoint)));
    assert_eq!((generation(cell.ready()), endpoint.calls()), (Some(1), 1));
    drop(others);
}

/// TL-04, TL-70: what is declared is never evicted; what is not any more ends, its timers too.
#[tokio::test(start_paused = true)]
async fn undeclared_cells_end() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let names: Vec<_> = (0..500).map(|n| format!("crm{n}")).collect();
    let cells: Vec<_> = names.iter().map(|name| Arc::downgrade(&house.declare(name, "secret", &endpoint))).collect();
    let identities: Vec<_> = names.iter().map(|name| house.identity(name)).collect();
    house.cache.retain(&identities);
    assert_eq!(house.cache.statuses().len(), 500);
    assert!(cells.iter().all(|cell| cell.strong_count() > 0));
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks(), 500);
    house.cache.retain(&identities[..1]);
    settle().await;
    assert_eq!(house.cache.statuses().len(), 1);
    assert_eq!(cells.iter().filter(|cell| cell.strong_count() > 0).count(), 1);
    assert_eq!(tasks(), 1, "no timer leaks");
    house.cache.retain(&identities[..1]);
    assert_eq!(house.cache.cells_known(), 1);
}

/// TL-04, TL-31: a cell that is dropped during its fetch and declared again goes on: never two fetches for a key.
#[tokio::test(start_paused = true)]
async fn a_cell_that_comes_back_goes_on() {
    let (house, endpoint) = (House::new(), Endpoint::slow(secs(5.0), "id", [Answer::Token(Some(HOUR))]));
    let cell = house.cell(&endpoint);
    assert!(poll_once(Box::pin(cell.take(secs(10.0))).as_mut()).is_pending());
    drop(cell);
    house.cache.retain(&[]);
    tokio::time::sleep(secs(1.0)).await;
    let cell = house.cell(&endpoint);
    assert_eq!(cell.take(secs(10.0)).await.unwrap().generation, Generation(1));
    assert_eq!((endpoint.calls(), endpoint.0.inside_max.load(Ordering::SeqCst)), (1, 1));
}

/// TL-29: a cell that is retired while an old snapshot still holds it is not renewed by itself.
#[tokio::test(start_paused = true)]
async fn retired_cells_are_not_kept_warm() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.holding(&endpoint).await;
    house.cache.retain(&[]);
    tokio::time::sleep(5 * HOUR).await;
    assert_eq!(endpoint.calls(), 1);
    assert!(cell.take(secs(10.0)).await.is_ok(), "its last requests are still served");
    assert!(house.cache.statuses().is_empty());
}
