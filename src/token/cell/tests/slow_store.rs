//! A disk that hangs: what is not durable yet is not built on while there is another way, and no request waits for it for long.

use super::durable::saved;
use super::exchanges::Rig;
use super::*;

/// A refresh token's cell that holds `a1`, some seconds before that is renewed.
async fn about_to_renew() -> Rig {
    let rig = Rig::new([Answer::Rotated("a1", "r2"), Answer::Rotated("a2", "r3"), Answer::Rotated("a3", "r4")]);
    assert_eq!(rig.take().await.unwrap(), "a1");
    tokio::time::sleep(secs(2690.0)).await;
    rig
}

/// Lets time pass, which does not do so by itself while a thread waits for the disk.
async fn pass(seconds: f64) {
    let end = Instant::now() + secs(seconds);
    let step = secs(if seconds > 100.0 { 2.0 } else { 0.25 });
    while Instant::now() < end {
        tokio::time::advance(step.min(end - Instant::now())).await;
        settle().await;
    }
}

/// Lets the threads of the store come to what they have to do.
async fn until(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if there() {
            return;
        }
        settle().await;
        std::thread::yield_now();
    }
    panic!("not so: {what}");
}

/// TL-50: while the token that is held serves, an exchange whose intent cannot be saved yet is not made, however long that takes.
#[tokio::test(start_paused = true)]
async fn an_intent_is_waited_for_while_the_token_serves() {
    let rig = about_to_renew().await;
    let disk = rig.store.hang_after(0);
    pass(200.0).await;
    until("the intent is being saved", || rig.store.hangs()).await;
    pass(500.0).await;
    assert_eq!(rig.endpoint.exchanged(), ["r1"]);
    assert_eq!(rig.cell.ready().unwrap().value.expose(), "a1", "nobody waits");
    assert!(rig.cell.status().unsaved, "it is told");
    drop(disk);
    until("the intent is saved", || rig.endpoint.calls() == 2).await;
    saved(&rig.house).await;
    assert_eq!(rig.take().await.unwrap(), "a2");
    assert_eq!(
        (rig.endpoint.exchanged(), rig.store.saves().last()),
        (vec!["r1".into(), "r2".into()], Some(&("r3".into(), false)))
    );
    assert!(!rig.cell.status().unsaved);
}

/// TL-50: while the token that is held serves, one that came is not used before the refresh token beside it is durable. Its life counts
/// from when it was asked for.
#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_waited_for_while_the_token_serves() {
    let rig = about_to_renew().await;
    let disk = rig.store.hang_after(1);
    pass(200.0).await;
    until("the refresh token is being saved", || rig.store.hangs()).await;
    pass(500.0).await;
    assert_eq!(rig.endpoint.exchanged(), ["r1", "r2"]);
    assert_eq!(rig.cell.ready().unwrap().value.expose(), "a1");
    assert_eq!(rig.store.saves().last(), Some(&("r2".to_owned(), true)), "the intent of it is there");
    assert!(rig.cell.status().unsaved);
    drop(disk);
    until("it is published", || rig.cell.ready().unwrap().value.expose() == "a2").await;
    saved(&rig.house).await;
    assert_eq!(rig.store.saves().last(), Some(&("r3".to_owned(), false)));
    let expires_in = rig.cell.status().expires_in.unwrap();
    assert!(expires_in < HOUR - secs(480.0), "{expires_in:?}");
}

/// TL-50, TL-51: once nothing serves, a request waits 2 s for a save and no longer; what follows of the credential comes after it all the same.
#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_disk_two_seconds() {
    let rig = about_to_renew().await;
    let disk = rig.store.hang_after(0);
    pass(200.0).await;
    until("the intent is being saved", || rig.store.hangs()).await;
    pass(704.0).await;
    assert_eq!((rig.cell.status().state, rig.endpoint.calls()), ("late", 1));
    pass(1.0).await;
    assert!(rig.cell.ready().is_none(), "it is dead");
    let cell = rig.cell.clone();
    let taking = tokio::spawn(async move { cell.take(secs(10.0)).await });
    pass(4.75).await;
    assert!(taking.is_finished(), "2 s for the intent, 2 s for the refresh token, and the exchange");
    assert_eq!(taking.await.unwrap().unwrap().value.expose(), "a2");
    assert_eq!(rig.store.saves().last(), Some(&("r2".to_owned(), false)), "the disk still hangs");
    // The next renewal waits for what is not saved of this one.
    pass(3000.0).await;
    assert_eq!(rig.endpoint.calls(), 2);
    drop(disk);
    until("everything is saved", || rig.endpoint.calls() == 3).await;
    saved(&rig.house).await;
    let saves = rig.store.saves();
    let intent = saves.iter().position(|save| *save == ("r3".to_owned(), true));
    assert!(intent.is_some() && saves.last() == Some(&("r4".to_owned(), false)), "{saves:?}");
}

/// TL-40, TL-50: who waits because its token was rejected waits no longer for the disk than who has none.
#[tokio::test(start_paused = true)]
async fn a_rejected_request_waits_for_the_disk_two_seconds() {
    let rig = about_to_renew().await;
    let disk = rig.store.hang_after(1);
    pass(200.0).await;
    until("the refresh token is being saved", || rig.store.hangs()).await;
    pass(100.0).await;
    let cell = rig.cell.clone();
    let rejected = tokio::spawn(async move { cell.rejected(Generation(1), true, secs(10.0)).await });
    pass(2.5).await;
    assert!(rejected.is_finished());
    assert!(matches!(rejected.await.unwrap(), Rejected::Replay(token) if token.value.expose() == "a2"));
    drop(disk);
    saved(&rig.house).await;
}

/// TL-34: exchanges that wait for the disk take no turns at the token endpoint from others.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_disk_holds_up_nobody_else() {
    let rig = about_to_renew().await;
    let seeded =
        |name: &str| rig.house.declare(name, "secret", &Endpoint::exchanging(name, [Answer::Rotated("b1", "s2")]));
    let others = ["one", "two", "three", "four"].map(seeded);
    let disk = rig.store.hang_after(0);
    let taking = others.each_ref().map(|cell| {
        let cell = cell.clone();
        tokio::spawn(async move { cell.take(secs(10.0)).await })
    });
    until("they wait for the disk", || rig.store.hangs()).await;
    let free = rig.house.declare("free", "secret", &Endpoint::new([Answer::Token(Some(HOUR))]));
    let token = tokio::spawn(async move { free.take(secs(10.0)).await });
    pass(0.5).await;
    assert!(token.is_finished() && token.await.unwrap().is_ok());
    drop(disk);
    for taking in taking {
        taking.await.unwrap().unwrap();
    }
}
