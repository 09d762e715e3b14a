//! Rejected requests, waiting and not.

use super::*;

async fn old_enough(house: &House, endpoint: &Endpoint) -> Arc<TokenCell> {
    let cell = house.holding(endpoint).await;
    tokio::time::sleep(secs(60.0)).await;
    cell
}

/// TL-40, TL-41, TL-43: many rejections, one fetch; each request replays with the new token.
#[tokio::test(start_paused = true)]
async fn rejected_requests_replay_together() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = old_enough(&house, &endpoint).await;
    let rejected: Vec<_> = (0..50)
        .map(|_| {
            let cell = cell.clone();
            tokio::spawn(async move { cell.rejected(Generation(1), true, secs(30.0)).await })
        })
        .collect();
    settle().await;
    assert!(cell.status().suspect && cell.status().fetching);
    assert_eq!(generation(cell.ready()), Some(1), "others go on using it");
    for rejected in rejected {
        let Rejected::Replay(token) = rejected.await.unwrap() else { panic!("it is replayed") };
        assert_eq!(token.generation, Generation(2));
        cell.replayed(Generation(2), true);
    }
    assert_eq!((endpoint.calls(), cell.status().rejections, cell.status().replays_accepted), (2, 50, 50));
    assert!(!cell.status().suspect);
}

/// TL-40: who cannot replay starts the fetch and does not wait for it.
#[tokio::test(start_paused = true)]
async fn who_cannot_replay_does_not_wait() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = old_enough(&house, &endpoint).await;
    let begin = Instant::now();
    assert!(matches!(cell.rejected(Generation(1), false, secs(30.0)).await, Rejected::PassThrough));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    tokio::time::sleep(secs(0.3)).await;
    assert_eq!(generation(cell.ready()), Some(2));
}

/// TL-41: the same token, 10 s, or a failure: the upstream's own answer.
#[tokio::test(start_paused = true)]
async fn the_upstreams_answer_stands() {
    let house = House::new();
    let transient = Answer::Fail(FetchErrorKind::Transient);
    let cases = [(Answer::Same(Some(HOUR)), 0.2, false), (Answer::Hang, 10.0, true), (transient, 2.0, true)];
    for (answer, waited, suspect) in cases {
        let endpoint = Endpoint::new([Answer::Same(Some(HOUR)), answer.clone()]);
        let cell = house.declare(&format!("{answer:?}"), "secret", &endpoint);
        cell.take(secs(10.0)).await.unwrap();
        tokio::time::sleep(secs(60.0)).await;
        let begin = Instant::now();
        assert!(matches!(cell.rejected(Generation(1), true, secs(30.0)).await, Rejected::PassThrough));
        assert!(begin.elapsed() <= secs(waited + 0.01), "{answer:?}: {:?}", begin.elapsed());
        assert_eq!(cell.status().suspect, suspect, "{answer:?}");
        assert_eq!(generation(cell.ready()), Some(1));
    }
}

/// TL-41: after a failed confirmation the fetch is tried again, without anybody asking, until it succeeds.
#[tokio::test(start_paused = true)]
async fn confirmation_is_tried_again() {
    let mut answers = vec![Answer::Token(Some(HOUR))];
    answers.extend(vec![Answer::Fail(FetchErrorKind::Transient); 7]);
    answers.push(Answer::Token(Some(HOUR)));
    let (house, endpoint) = (House::new(), Endpoint::new(answers));
    let cell = old_enough(&house, &endpoint).await;
    assert!(matches!(cell.rejected(Generation(1), true, secs(30.0)).await, Rejected::PassThrough));
    tokio::time::sleep(secs(20.0)).await;
    assert_eq!((generation(cell.ready()), endpoint.calls()), (Some(2), 9));
    assert!(!cell.status().suspect);
}

/// TL-40: a rejection during a short backoff waits for the try, and joins it.
#[tokio::test(start_paused = true)]
async fn a_rejection_waits_for_a_near_try() {
    let transient = Answer::Fail(FetchErrorKind::Transient);
    let answers =
        [Answer::Token(Some(HOUR)), transient.clone(), transient.clone(), transient, Answer::Token(Some(HOUR))];
    let (house, endpoint) = (House::new(), Endpoint::new(answers));
    let cell = old_enough(&house, &endpoint).await;
    assert!(matches!(cell.rejected(Generation(1), true, secs(30.0)).await, Rejected::PassThrough));
    assert!(cell.status().next_try_in.is_some());
    let Rejected::Replay(token) = cell.rejected(Generation(1), true, secs(30.0)).await else {
        panic!("it is replayed")
    };
    assert_eq!((token.generation, endpoint.calls()), (Generation(2), 5));
}

/// TL-42: a rejection of a replaced token is replayed at once.
#[tokio::test(start_paused = true)]
async fn a_replaced_token_is_replayed_at_once() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(secs(100.0)))]));
    let cell = house.holding(&endpoint).await;
    tokio::time::sleep(secs(90.0)).await;
    assert_eq!(generation(cell.ready()), Some(2));
    let begin = Instant::now();
    let Rejected::Replay(token) = cell.rejected(Generation(1), true, secs(30.0)).await else {
        panic!("it is replayed")
    };
    assert_eq!((token.generation, begin.elapsed(), endpoint.calls()), (Generation(2), Duration::ZERO, 2));
}

/// TL-14, TL-41: a confirming fetch whose token cannot be kept serves its waiters.
#[tokio::test(start_paused = true)]
async fn an_uncacheable_token_serves_a_replay() {
    let answers = [Answer::Token(Some(HOUR)), Answer::Token(Some(Duration::ZERO)), Answer::Token(Some(HOUR))];
    let (house, endpoint) = (House::new(), Endpoint::new(answers));
    let cell = old_enough(&house, &endpoint).await;
    let Rejected::Replay(token) = cell.rejected(Generation(1), true, secs(30.0)).await else {
        panic!("it is replayed")
    };
    assert_eq!((token.generation, generation(cell.ready())), (Generation(2), Some(1)));
    tokio::time::sleep(secs(1.5)).await;
    assert_eq!(generation(cell.ready()), Some(3));
}
