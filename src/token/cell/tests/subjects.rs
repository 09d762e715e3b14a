//! Subjects' cells: how many there may be, who goes first, and what a flood of them costs.

use super::*;
use crate::token::subjects::Bounds;
use crate::token::{Subjects, SubjectsStatus};

/// A cache with room for so many subjects, and so many fetches for those without a token.
fn house(cells_max: usize, fetches_max: usize) -> House {
    bounded_house(Bounds { cells_max, fetches_max, ..Bounds::default() })
}

fn bounded_house(bounds: Bounds) -> House {
    let begin = Instant::now();
    let clock = Arc::new(TokioClock { begin, suspended: AtomicU64::new(0), wall_offset: AtomicU64::new(0) });
    let (control, store) = (tokio::runtime::Handle::current(), Arc::new(MemoryStore::new()));
    House { cache: TokenCache::with_bounds(clock.clone(), control, store, bounds), clock }
}

fn subjects(house: &House) -> Arc<Subjects> {
    house.cache.declare_subjects(house.identity("crm"), house.cache.proof(&[]), policy("crm"))
}

fn cell(house: &House, endpoint: &Endpoint, subject: &str) -> Result<Arc<TokenCell>, TokenUnavailable> {
    let subjects = subjects(house);
    house.cache.subject(&subjects, &Secret::new(subject), || Arc::new(endpoint.clone()))
}

/// A request for this subject.
async fn take(house: &House, endpoint: &Endpoint, subject: &str) -> Result<u64, TokenUnavailable> {
    let cell = cell(house, endpoint, subject)?;
    if let Some(token) = cell.ready() {
        return Ok(token.generation.0);
    }
    cell.take(secs(10.0)).await.map(|token| token.generation.0)
}

fn status(house: &House) -> SubjectsStatus {
    house.cache.subject_statuses().pop().expect("it is declared")
}

/// TL-01, TL-02: a subject is all of its token: one that differs in a byte, or is another credential's, has another cell.
#[tokio::test(start_paused = true)]
async fn a_subject_is_all_of_its_token() {
    let (house, endpoint) = (house(10, 10), Endpoint::new([Answer::Token(Some(HOUR))]));
    let one = cell(&house, &endpoint, "header.claims.signature").unwrap();
    assert!(Arc::ptr_eq(&one, &cell(&house, &endpoint, "header.claims.signature").unwrap()));
    assert!(!Arc::ptr_eq(&one, &cell(&house, &endpoint, "header.claims.forged").unwrap()));
    let other = house.cache.declare_subjects(house.identity("other"), house.cache.proof(&[]), policy("other"));
    let token = Secret::new("header.claims.signature");
    let others = house.cache.subject(&other, &token, || Arc::new(endpoint.clone())).unwrap();
    assert!(!Arc::ptr_eq(&one, &others));
}

/// TL-70: at the bound, the one that was used least recently goes; configured credentials never do.
#[tokio::test(start_paused = true)]
async fn the_least_recently_used_subject_goes_first() {
    let (house, endpoint) = (house(3, 10), Endpoint::new([Answer::Token(Some(DAY))]));
    let configured = house.holding(&Endpoint::new([Answer::Token(Some(DAY))])).await;
    for subject in ["ada", "bob", "eve"] {
        take(&house, &endpoint, subject).await.unwrap();
        tokio::time::sleep(secs(10.0)).await;
    }
    // Ada is used again: now Bob is the one that was not for longest.
    take(&house, &endpoint, "ada").await.unwrap();
    tokio::time::sleep(secs(10.0)).await;
    take(&house, &endpoint, "dan").await.unwrap();
    assert_eq!(endpoint.calls(), 4);
    for subject in ["ada", "eve", "dan"] {
        take(&house, &endpoint, subject).await.unwrap();
    }
    assert_eq!((endpoint.calls(), status(&house).subjects, status(&house).evicted), (4, 3, 1));
    take(&house, &endpoint, "bob").await.unwrap();
    assert_eq!(endpoint.calls(), 5, "he was forgotten");
    for n in 0..100 {
        take(&house, &endpoint, &format!("subject {n}")).await.unwrap();
        assert!(status(&house).subjects <= 3);
    }
    assert!(configured.ready().is_some());
}

/// TL-70: one in flight, or that a request holds, is not evicted; where all are, there is no room, and that passes.
#[tokio::test(start_paused = true)]
async fn a_subject_in_flight_is_not_evicted() {
    let (house, endpoint) = (house(2, 10), Endpoint::slow(secs(5.0), "id", [Answer::Token(Some(DAY))]));
    let flights = ["ada", "bob"].map(|subject| cell(&house, &endpoint, subject).unwrap());
    for cell in &flights {
        assert!(poll_once(Box::pin(cell.take(secs(10.0))).as_mut()).is_pending());
    }
    // Their clients hang up. The fetches go on.
    drop(flights);
    let refused = take(&house, &endpoint, "eve").await;
    assert!(matches!(refused, Err(TokenUnavailable::Temporarily { .. })), "{refused:?}");
    tokio::time::sleep(secs(6.0)).await;
    assert_eq!(endpoint.calls(), 2);
    for subject in ["ada", "bob"] {
        take(&house, &endpoint, subject).await.unwrap();
    }
    assert_eq!(endpoint.calls(), 2, "both have what was fetched for them");
    take(&house, &endpoint, "eve").await.unwrap();
    assert_eq!((endpoint.calls(), status(&house).subjects), (3, 2));
}

/// TL-70: a subject that nobody comes for is forgotten after an hour, and its token is not renewed meanwhile; one that is
/// used stays.
#[tokio::test(start_paused = true)]
async fn idle_subjects_end() {
    let (house, endpoint) = (house(10, 10), Endpoint::new([Answer::Token(Some(HOUR))]));
    take(&house, &endpoint, "ada").await.unwrap();
    take(&house, &endpoint, "bob").await.unwrap();
    tokio::time::sleep(HOUR - secs(600.0)).await;
    assert_eq!((endpoint.calls(), status(&house).subjects), (2, 2));
    // TL-22: whoever comes while it is soft has it renewed.
    assert_eq!(take(&house, &endpoint, "ada").await.unwrap(), 1);
    tokio::time::sleep(secs(10.0)).await;
    assert_eq!(take(&house, &endpoint, "ada").await.unwrap(), 2);
    tokio::time::sleep(secs(700.0)).await;
    assert_eq!((endpoint.calls(), status(&house).subjects), (3, 1));
    tokio::time::sleep(DAY).await;
    assert_eq!((endpoint.calls(), status(&house).subjects), (3, 0));
    // The sweeper begins again with the next one.
    take(&house, &endpoint, "ada").await.unwrap();
    tokio::time::sleep(DAY).await;
    assert_eq!((endpoint.calls(), status(&house).subjects), (4, 0));
}

/// A source of a subject whose own token has so many bytes.
#[derive(Debug)]
struct Carrying(Endpoint, usize);

impl Source for Carrying {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        self.0.fetch(request)
    }

    fn origin(&self) -> Arc<str> {
        self.0.origin()
    }

    fn client_id(&self) -> &str {
        self.0.client_id()
    }

    fn subject_bytes(&self) -> usize {
        self.1
    }
}

/// The same as [`take`] with a subject token of so many bytes.
async fn take_with(house: &House, endpoint: &Endpoint, subject: &str, bytes: usize) -> Result<(), TokenUnavailable> {
    let source = || Arc::new(Carrying(endpoint.clone(), bytes)) as Arc<dyn Source>;
    let cell = house.cache.subject(&subjects(house), &Secret::new(subject), source)?;
    cell.take(secs(10.0)).await.map(drop)
}

fn bytes_held(house: &House) -> usize {
    house.cache.shared.subject_bytes.load(Ordering::Relaxed)
}

/// TL-70: those without a token go first, and before all they push out: a flood of refused ones takes nobody's token.
#[tokio::test(start_paused = true)]
async fn refused_subjects_go_before_those_that_have_a_token() {
    let (house, endpoint) = (house(10, 100), Endpoint::new([Answer::Token(Some(DAY))]));
    for n in 0..9 {
        take(&house, &endpoint, &format!("subject {n}")).await.unwrap();
    }
    endpoint.say([Answer::Fail(FetchErrorKind::SubjectRefused)]);
    for n in 0..100 {
        take(&house, &endpoint, &format!("junk {n}")).await.unwrap_err();
    }
    assert_eq!((status(&house).subjects, status(&house).evicted), (10, 99));
    for n in 0..9 {
        take(&house, &endpoint, &format!("subject {n}")).await.unwrap();
    }
    assert_eq!(endpoint.calls(), 109, "all of them still have theirs");
}

/// TL-70: a refused subject is forgotten when nobody came for it in minutes; until then it is not asked again too soon.
#[tokio::test(start_paused = true)]
async fn refused_subjects_are_forgotten_in_minutes() {
    let (house, endpoint) = (house(100, 100), Endpoint::new([Answer::Token(Some(DAY))]));
    take(&house, &endpoint, "ada").await.unwrap();
    endpoint.say([Answer::Fail(FetchErrorKind::SubjectRefused)]);
    for _ in 0..3 {
        take(&house, &endpoint, "junk").await.unwrap_err();
        tokio::time::sleep(secs(1.0)).await;
    }
    assert_eq!((endpoint.calls(), status(&house).subjects), (2, 2));
    tokio::time::sleep(secs(400.0)).await;
    assert_eq!(status(&house).subjects, 1);
    take(&house, &endpoint, "ada").await.unwrap();
}

/// TL-70: the memory of all subjects is bounded, whatever their number, and what is forgotten is not counted any more.
#[tokio::test(start_paused = true)]
async fn the_bytes_of_subjects_are_bounded() {
    let bounds = Bounds { bytes_max: 1024 * 1024, ..Bounds::default() };
    let (house, endpoint) = (bounded_house(bounds), Endpoint::new([Answer::Token(Some(DAY))]));
    for n in 0..200 {
        take_with(&house, &endpoint, &format!("subject {n}"), 15_000).await.unwrap();
        assert!(bytes_held(&house) <= 1024 * 1024 + 32 * 1024, "{}", bytes_held(&house));
    }
    let SubjectsStatus { subjects, evicted, .. } = status(&house);
    assert!((40..50).contains(&subjects) && subjects as u64 + evicted == 200, "{subjects} {evicted}");
    tokio::time::sleep(HOUR + secs(120.0)).await;
    assert_eq!((status(&house).subjects, bytes_held(&house)), (0, 0));
}

/// TL-70: that holds where subjects that are there already get their tokens, too, within a minute.
#[tokio::test(start_paused = true)]
async fn the_bytes_of_subjects_are_bounded_when_they_grow() {
    let bounds = Bounds { bytes_max: 1024 * 1024, ..Bounds::default() };
    let (house, endpoint) = (bounded_house(bounds), Endpoint::new([Answer::Fail(FetchErrorKind::Transient)]));
    for n in 0..200 {
        take(&house, &endpoint, &format!("s{n}")).await.unwrap_err();
    }
    assert!(bytes_held(&house) < 1024 * 1024 && status(&house).evicted == 0);
    endpoint.say([Answer::Token(Some(DAY))]);
    tokio::time::sleep(secs(40.0)).await;
    for n in 0..200 {
        take(&house, &endpoint, &format!("s{n}")).await.unwrap();
    }
    assert!(bytes_held(&house) > 1024 * 1024);
    tokio::time::sleep(secs(61.0)).await;
    assert!(bytes_held(&house) < 1024 * 1024 && status(&house).evicted > 0);
}

/// A subject's own token that was refused is not held: it comes with the next request, which asks with it when it may.
#[tokio::test(start_paused = true)]
async fn a_refused_subject_token_is_not_held() {
    let (house, endpoint) = (house(100, 100), Endpoint::new([Answer::Fail(FetchErrorKind::SubjectRefused)]));
    take_with(&house, &endpoint, "ada", 15_000).await.unwrap_err();
    assert!(bytes_held(&house) < 4096, "{}", bytes_held(&house));
    // She is held by a request that was looked up before, and has no token of hers to ask with.
    let early = cell(&house, &endpoint, "ada").unwrap();
    take_with(&house, &endpoint, "ada", 15_000).await.unwrap_err();
    endpoint.say([Answer::Fail(FetchErrorKind::SubjectRefused)]);
    tokio::time::sleep(secs(5.0)).await;
    take_with(&house, &endpoint, "ada", 15_000).await.unwrap_err();
    assert_eq!(endpoint.calls(), 2);
    endpoint.say([Answer::Token(Some(DAY))]);
    tokio::time::sleep(secs(10.0)).await;
    early.take(secs(10.0)).await.unwrap_err();
    assert_eq!(endpoint.calls(), 2, "nothing is asked without her token");
    take_with(&house, &endpoint, "ada", 15_000).await.unwrap();
    assert_eq!(endpoint.calls(), 3);
}

/// A flood of subjects that the endpoint refuses takes no more cells, fetches or turns than there may be, and leaves
/// those who have a token alone.
#[tokio::test(start_paused = true)]
async fn a_flood_of_refused_subjects_is_bounded() {
    let (house, endpoint) = (house(50, 20), Endpoint::slow(secs(1.0), "id", [Answer::Token(Some(DAY))]));
    take(&house, &endpoint, "ada").await.unwrap();
    endpoint.say([Answer::Fail(FetchErrorKind::SubjectRefused)]);
    let (mut refused, mut busy) = (0, 0);
    for round in 0..20 {
        let takes: Vec<_> = (0..100)
            .map(|n| {
                let (cache, clock, endpoint) = (house.cache.clone(), house.clock.clone(), endpoint.clone());
                let house = House { cache, clock };
                tokio::spawn(async move { take(&house, &endpoint, &format!("garbage {round} {n}")).await })
            })
            .collect();
        settle().await;
        assert_eq!(take(&house, &endpoint, "ada").await.unwrap(), 1, "she has a token");
        for take in takes {
            match take.await.unwrap().unwrap_err() {
                TokenUnavailable::Refused { error } => {
                    assert_eq!(error.kind, FetchErrorKind::SubjectRefused);
                    refused += 1;
                }
                TokenUnavailable::Temporarily { .. } => busy += 1,
            }
        }
        assert!(status(&house).subjects <= 50);
    }
    assert_eq!((refused, busy), (20 * 20, 20 * 80));
    assert_eq!(endpoint.calls(), 1 + 20 * 20);
    assert!(endpoint.0.inside_max.load(Ordering::SeqCst) <= 4);
}

/// TL-26: where the client itself is refused, one subject asks for all of them, as seldom as a configured credential does.
#[tokio::test(start_paused = true)]
async fn a_refused_client_is_probed_by_one_subject() {
    let (house, endpoint) = (house(1000, 100), Endpoint::new([Answer::Fail(FetchErrorKind::RefusedForAll)]));
    let begin = Instant::now();
    for n in 0..400 {
        let error = take(&house, &endpoint, &format!("subject {n}")).await.unwrap_err();
        assert!(matches!(error, TokenUnavailable::Refused { .. }), "{error:?}");
        tokio::time::sleep(secs(1.0)).await;
    }
    // After 5, 10, 20, 40, 80 and 160 s.
    assert!(begin.elapsed() > secs(400.0) && (6..=8).contains(&endpoint.calls()), "{}", endpoint.calls());
    endpoint.say([Answer::Token(Some(HOUR))]);
    tokio::time::sleep(secs(300.0)).await;
    for n in 0..3 {
        take(&house, &endpoint, &format!("another subject {n}")).await.unwrap();
    }
}

/// TL-26: that holds for subjects that have a token, too: renewals of soft ones, those in place of dead ones, and what
/// rejections begin. Whoever has a token that serves is served meanwhile.
#[tokio::test(start_paused = true)]
async fn a_refused_client_is_probed_by_one_subject_that_had_a_token() {
    let (house, endpoint) = (house(1000, 100), Endpoint::new([Answer::Token(Some(HOUR))]));
    for n in 0..200 {
        take(&house, &endpoint, &format!("s{n}")).await.unwrap();
    }
    endpoint.say([Answer::Fail(FetchErrorKind::RefusedForAll)]);
    tokio::time::sleep(HOUR - secs(300.0)).await;
    take(&house, &endpoint, "s0").await.unwrap();
    // Its fetch has ended then.
    tokio::time::sleep(secs(1.0)).await;
    for n in 0..200 {
        let subject = format!("s{n}");
        take(&house, &endpoint, &subject).await.unwrap();
        let rejected = cell(&house, &endpoint, &subject).unwrap();
        assert!(matches!(rejected.rejected(Generation(1), false, secs(1.0)).await, Rejected::PassThrough));
    }
    tokio::time::sleep(secs(1.0)).await;
    assert_eq!(endpoint.calls(), 201, "one asked for all while they were soft");
    tokio::time::sleep(secs(300.0)).await;
    for n in 0..200 {
        let error = take(&house, &endpoint, &format!("s{n}")).await.unwrap_err();
        assert!(matches!(error, TokenUnavailable::Refused { .. }), "{error:?}");
    }
    assert_eq!(endpoint.calls(), 202, "and one when all were dead");
    endpoint.say([Answer::Token(Some(HOUR))]);
    tokio::time::sleep(secs(300.0)).await;
    for n in 0..200 {
        take(&house, &endpoint, &format!("s{n}")).await.unwrap();
    }
}

/// TL-26: of fetches that wait for their turn when the client is refused, none is made any more.
#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_fetches_that_wait_for_their_turn() {
    let (house, endpoint) = (house(1000, 1000), Endpoint::new([Answer::Fail(FetchErrorKind::RefusedForAll)]));
    let takes: Vec<_> = (0..300)
        .map(|n| {
            let (cache, clock, endpoint) = (house.cache.clone(), house.clock.clone(), endpoint.clone());
            let house = House { cache, clock };
            tokio::spawn(async move { take(&house, &endpoint, &format!("s{n}")).await })
        })
        .collect();
    for take in takes {
        let error = take.await.unwrap().unwrap_err();
        assert!(matches!(error, TokenUnavailable::Refused { .. }), "{error:?}");
    }
    assert!(endpoint.calls() <= 4, "{} asked", endpoint.calls());
}

/// TL-26: a refusal of which nobody says whether it is the client's or the subject's is one subject's alone, however often.
#[tokio::test(start_paused = true)]
async fn an_unclear_refusal_of_one_subject_takes_the_service_from_nobody() {
    let (house, endpoint) = (house(1000, 100), Endpoint::new([Answer::Fail(FetchErrorKind::RefusedUnclear)]));
    for n in 0..20 {
        endpoint.say([Answer::Fail(FetchErrorKind::RefusedUnclear)]);
        let error = take(&house, &endpoint, "junk").await.unwrap_err();
        assert!(matches!(error, TokenUnavailable::Refused { .. }), "{error:?}");
        endpoint.say([Answer::Token(Some(DAY))]);
        assert_eq!(take(&house, &endpoint, &format!("subject {n}")).await.unwrap(), 1);
        tokio::time::sleep(secs(300.0)).await;
    }
    assert_eq!(endpoint.calls(), 40);
}

/// TL-26: two different ones in a row are taken for the client's. Another subject than those asks then, and its token ends it;
/// so does an answer that has recognised the client.
#[tokio::test(start_paused = true)]
async fn unclear_refusals_of_two_subjects_are_probed_by_a_third() {
    for answer in [Answer::Token(Some(DAY)), Answer::Fail(FetchErrorKind::SubjectRefused)] {
        let (house, endpoint) = (house(1000, 100), Endpoint::new([Answer::Fail(FetchErrorKind::RefusedUnclear)]));
        for subject in ["junk", "rubbish", "ada"] {
            let error = take(&house, &endpoint, subject).await.unwrap_err();
            assert!(matches!(error, TokenUnavailable::Refused { .. }), "{error:?}");
        }
        assert_eq!(endpoint.calls(), 2, "hers is not asked for");
        tokio::time::sleep(secs(5.0)).await;
        for subject in ["junk", "rubbish"] {
            take(&house, &endpoint, subject).await.unwrap_err();
        }
        assert_eq!(endpoint.calls(), 2, "those that were refused do not ask for all");
        endpoint.say([answer, Answer::Token(Some(DAY))]);
        drop(take(&house, &endpoint, "ada").await);
        for subject in ["bob", "eve"] {
            take(&house, &endpoint, subject).await.unwrap();
        }
    }
}

/// TL-26: without a third one, those who were refused so ask again: a client that is let in again is found out.
#[tokio::test(start_paused = true)]
async fn unclear_refusals_end_without_other_subjects() {
    let (house, endpoint) = (house(1000, 100), Endpoint::new([Answer::Fail(FetchErrorKind::RefusedUnclear)]));
    for subject in ["ada", "bob"] {
        take(&house, &endpoint, subject).await.unwrap_err();
    }
    endpoint.say([Answer::Token(Some(DAY))]);
    tokio::time::sleep(secs(10.0)).await;
    for subject in ["ada", "bob"] {
        take(&house, &endpoint, subject).await.unwrap();
    }
}

/// TL-26: a client that is refused so without end is asked about as seldom as any; one that was recognised before every 5 s,
/// since it is probably the subjects.
#[tokio::test(start_paused = true)]
async fn unclear_refusals_are_probed_as_seldom_as_others() {
    for (recognised, expected) in [(false, 7..=9), (true, 70..=82)] {
        let (house, endpoint) = (house(1000, 100), Endpoint::new([Answer::Token(Some(DAY))]));
        if recognised {
            take(&house, &endpoint, "ada").await.unwrap();
        }
        endpoint.say([Answer::Fail(FetchErrorKind::RefusedUnclear)]);
        for n in 0..400 {
            take(&house, &endpoint, &format!("subject {n}")).await.unwrap_err();
            tokio::time::sleep(secs(1.0)).await;
        }
        assert!(expected.contains(&endpoint.calls()), "{}", endpoint.calls());
    }
}

/// TL-33: a `Retry-After` that comes for one subject holds that one back as long as it says, and others a few seconds.
#[tokio::test(start_paused = true)]
async fn one_subjects_rate_limit_is_not_everybodys() {
    let limited = Answer::Fail(FetchErrorKind::RateLimited { retry_after: Some(HOUR) });
    let (house, endpoint) = (house(1000, 100), Endpoint::new([limited]));
    let retry_after = |taken: Result<u64, TokenUnavailable>| match taken {
        Err(TokenUnavailable::Temporarily { retry_after, .. }) => retry_after,
        other => panic!("{other:?}"),
    };
    assert!(retry_after(take(&house, &endpoint, "ada").await) > secs(3590.0));
    assert!(retry_after(take(&house, &endpoint, "bob").await) <= secs(5.0));
    assert_eq!(endpoint.calls(), 1);
    endpoint.say([Answer::Token(Some(DAY))]);
    tokio::time::sleep(secs(5.0)).await;
    for subject in ["bob", "eve"] {
        take(&house, &endpoint, subject).await.unwrap();
    }
    tokio::time::sleep(HOUR - secs(60.0)).await;
    take(&house, &endpoint, "dan").await.unwrap();
    assert!(retry_after(take(&house, &endpoint, "ada").await) > secs(30.0));
    assert_eq!(endpoint.calls(), 4);
    tokio::time::sleep(secs(60.0)).await;
    take(&house, &endpoint, "ada").await.unwrap();
}

/// While so many fetches are under way none is begun for a subject, be its token dead or soft.
#[tokio::test(start_paused = true)]
async fn fetches_for_subjects_that_had_a_token_are_bounded() {
    let (house, endpoint) = (house(1000, 5), Endpoint::slow(secs(1.0), "id", [Answer::Token(Some(HOUR))]));
    for n in 0..100 {
        take(&house, &endpoint, &format!("s{n}")).await.unwrap();
    }
    for (elapsed, served) in [(HOUR - secs(400.0), 100), (HOUR - secs(6.0), 5)] {
        tokio::time::sleep(elapsed).await;
        let takes: Vec<_> = (0..100)
            .map(|n| {
                let (cache, clock, endpoint) = (house.cache.clone(), house.clock.clone(), endpoint.clone());
                let house = House { cache, clock };
                tokio::spawn(async move { take(&house, &endpoint, &format!("s{n}")).await })
            })
            .collect();
        settle().await;
        assert_eq!(*house.cache.shared.in_flight.borrow(), 5);
        let mut got = 0;
        for take in takes {
            match take.await.unwrap() {
                Ok(_) => got += 1,
                Err(TokenUnavailable::Temporarily { error: None, .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(got, served);
        tokio::time::sleep(secs(2.0)).await;
    }
}

/// A token that ends with its subject is not renewed before it is over: no other one would live longer.
#[tokio::test(start_paused = true)]
async fn a_token_that_ends_with_its_subject_is_not_renewed() {
    let (house, endpoint) = (house(10, 10), Endpoint::new([Answer::Last(secs(600.0))]));
    take(&house, &endpoint, "ada").await.unwrap();
    for _ in 0..59 {
        tokio::time::sleep(secs(10.0)).await;
        assert_eq!(take(&house, &endpoint, "ada").await.unwrap(), 1);
    }
    assert_eq!(endpoint.calls(), 1);
    tokio::time::sleep(secs(10.0)).await;
    assert_eq!((take(&house, &endpoint, "ada").await.unwrap(), endpoint.calls()), (2, 2));
}

/// What a subject's token is over with ends the granted one, too; of what the server says, what is shorter counts.
#[test]
fn a_granted_token_lives_within_its_subject() {
    let within = |lifetime: Option<f64>, subject: Option<f64>| {
        let (value, lifetime) = (Secret::new("token"), lifetime.map(secs));
        let granted = Granted { value, further: BTreeMap::new(), lifetime, refresh_in: None, last: false };
        let granted = granted.within(subject.map(secs));
        (granted.lifetime, granted.last)
    };
    for (lifetime, subject, expected) in [
        (Some(60.0), None, (Some(60.0), false)),
        (None, None, (None, false)),
        (None, Some(60.0), (Some(60.0), true)),
        (Some(60.0), Some(30.0), (Some(30.0), true)),
        (Some(60.0), Some(61.0), (Some(60.0), true)),
        (Some(60.0), Some(3600.0), (Some(60.0), false)),
        (Some(60.0), Some(0.0), (Some(0.0), true)),
    ] {
        assert_eq!(within(lifetime, subject), (expected.0.map(secs), expected.1), "{lifetime:?} {subject:?}");
    }
}

/// What is kept of a subject is in memory only: the store learns of none.
#[tokio::test(start_paused = true)]
async fn subjects_are_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let key = crate::secret::StoreKey::from_bytes([7; 32]);
    let store = Arc::new(crate::token::store::FileStore::open(&folder.path().join("store"), &key).unwrap());
    let house = House::with_store(store.clone());
    let endpoint = Endpoint::new([Answer::Token(Some(HOUR))]);
    let cell = cell(&house, &endpoint, "ada").unwrap();
    cell.take(secs(10.0)).await.unwrap();
    settle().await;
    assert_eq!(store.load(&cell.identity()).unwrap(), None);
    // Such a credential's own is.
    let configured = house.holding(&endpoint).await;
    while store.load(&configured.identity()).unwrap().is_none() {
        tokio::time::sleep(secs(0.1)).await;
    }
}
