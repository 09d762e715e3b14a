//! What cells of one endpoint share: turns and holds. And the end of it all.

use super::*;

/// TL-34: at most 4 fetches at once per origin.
#[tokio::test(start_paused = true)]
async fn four_fetches_at_once() {
    let (house, endpoint) = (House::new(), Endpoint::slow(secs(1.0), "id", [Answer::Token(Some(HOUR))]));
    let cells: Vec<_> = (0..10).map(|n| house.declare(&format!("crm{n}"), "secret", &endpoint)).collect();
    let begin = Instant::now();
    let takes: Vec<_> =
        cells.into_iter().map(|cell| tokio::spawn(async move { cell.take(secs(10.0)).await })).collect();
    for take in takes {
        take.await.unwrap().unwrap();
    }
    assert_eq!(endpoint.0.inside_max.load(Ordering::SeqCst), 4);
    assert_eq!(begin.elapsed(), secs(3.0), "in three rounds");
}

/// TL-34: those that somebody waits for go first.
#[tokio::test(start_paused = true)]
async fn waited_for_fetches_go_first() {
    let house = House::new();
    let busy = Endpoint::slow(secs(1.0), "id", [Answer::Token(Some(HOUR))]);
    let quiet = Endpoint::slow(secs(1.0), "id", [Answer::Token(Some(HOUR))]);
    let begin_all = |names: &str, count: usize, endpoint: &Endpoint| {
        for n in 0..count {
            let cell = house.declare(&format!("{names}{n}"), "secret", endpoint);
            assert!(poll_once(Box::pin(cell.take(secs(10.0))).as_mut()).is_pending());
        }
    };
    begin_all("busy", 4, &busy);
    settle().await;
    begin_all("quiet", 8, &quiet);
    settle().await;
    let wanted = house.declare("wanted", "secret", &Endpoint::slow(secs(0.5), "id", [Answer::Token(Some(HOUR))]));
    let begin = Instant::now();
    assert!(wanted.take(secs(10.0)).await.is_ok());
    assert_eq!(begin.elapsed(), secs(1.5), "after those inside, before those that nobody waits for");
    assert_eq!(quiet.inside(), 4);
}

/// TL-33: a hold is the client's at that origin, whichever cell met it; other clients go on.
#[tokio::test(start_paused = true)]
async fn a_hold_is_the_clients() {
    let house = House::new();
    let limited = Answer::Fail(FetchErrorKind::RateLimited { retry_after: Some(secs(30.0)) });
    let endpoint = Endpoint::new([limited, Answer::Token(Some(HOUR))]);
    let other = Endpoint::slow(secs(0.2), "other", [Answer::Token(Some(HOUR))]);
    assert!(house.declare("one", "secret", &endpoint).take(secs(10.0)).await.is_err());
    let two = house.declare("two", "secret", &endpoint);
    let error = two.take(secs(10.0)).await.unwrap_err();
    assert!(matches!(error, TokenUnavailable::Temporarily { error: None, retry_after } if retry_after == secs(30.0)));
    assert_eq!((endpoint.calls(), two.status().next_try_in), (1, Some(secs(30.0))));
    assert!(house.declare("three", "secret", &other).take(secs(10.0)).await.is_ok());
    tokio::time::sleep(secs(30.0)).await;
    assert!(two.take(secs(10.0)).await.is_ok());
}

/// TL-33, TL-34: an endpoint that was discovered shares holds and turns with those that are configured by its own URL.
#[tokio::test(start_paused = true)]
async fn a_discovered_endpoint_is_the_same_as_a_configured_one() {
    const LOGIN: &str = "https://login.example:443";
    let house = House::new();
    let limited = Answer::Fail(FetchErrorKind::RateLimited { retry_after: Some(secs(30.0)) });
    let by_issuer = Endpoint::at("https://issuer.example".into(), secs(0.2), "id", [limited]).discovering(LOGIN);
    let by_url = Endpoint::at(LOGIN.into(), secs(0.2), "id", [Answer::Token(Some(HOUR))]);
    assert!(house.declare("by issuer", "secret", &by_issuer).take(secs(10.0)).await.is_err());
    assert!(house.declare("by url", "secret", &by_url).take(secs(10.0)).await.is_err());
    assert_eq!((by_issuer.calls(), by_url.calls()), (1, 0), "one hold");

    tokio::time::sleep(secs(60.0)).await;
    let token = || [Answer::Token(Some(secs(100.0)))];
    let found = Endpoint::at("https://issuer.example".into(), secs(1.0), "other", token()).discovering(LOGIN);
    let cells: Vec<_> = (0..8).map(|n| house.declare(&format!("found {n}"), "secret", &found)).collect();
    for cell in &cells {
        assert!(cell.take(secs(10.0)).await.is_ok());
    }
    let url = Endpoint::at(LOGIN.into(), secs(1.0), "other", token());
    let begin = Instant::now();
    let configured: Vec<_> = (0..4).map(|n| house.declare(&format!("url {n}"), "secret", &url)).collect();
    let takes: Vec<_> =
        (configured.into_iter()).map(|cell| tokio::spawn(async move { cell.take(secs(10.0)).await })).collect();
    settle().await;
    house.declare("found 0", "another secret", &found);
    settle().await;
    assert_eq!((url.inside(), found.inside()), (4, 0), "its renewal waits for a turn");
    for take in takes {
        take.await.unwrap().unwrap();
    }
    assert_eq!(begin.elapsed(), secs(1.0));
    settle().await;
    assert_eq!(found.inside(), 1);
}

/// TL-55: shutdown waits for the fetches in flight, 10 s at most, and renews nothing any more.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_fetches() {
    let (house, endpoint) = (House::new(), Endpoint::slow(secs(3.0), "id", [Answer::Token(Some(secs(60.0)))]));
    let begin = Instant::now();
    house.cache.drained().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let cell = house.cell(&endpoint);
    assert!(poll_once(Box::pin(cell.take(secs(10.0))).as_mut()).is_pending());
    house.cache.drained().await;
    assert_eq!(begin.elapsed(), secs(3.0));
    assert!(cell.ready().is_some());
    tokio::time::sleep(HOUR).await;
    assert_eq!(endpoint.calls(), 1, "nothing is renewed after shutdown has begun");
    endpoint.say([Answer::Hang]);
    assert!(poll_once(Box::pin(cell.take(secs(10.0))).as_mut()).is_pending());
    let begin = Instant::now();
    house.cache.drained().await;
    assert_eq!(begin.elapsed(), secs(10.0));
}
