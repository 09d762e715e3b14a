//! Refresh tokens: each may be good for one use, and none that came is lost.

use super::durable::{Durable, saved};
use super::*;

const REVOKED: Answer = Answer::Fail(FetchErrorKind::NeedsReauthorization);
const TRANSIENT: Answer = Answer::Fail(FetchErrorKind::Transient);

/// A cell whose next fetch is due at once, at an endpoint that answers so.
pub(super) struct Rig {
    pub(super) store: Arc<Durable>,
    pub(super) house: House,
    pub(super) endpoint: Endpoint,
    pub(super) cell: Arc<TokenCell>,
}

impl Rig {
    pub(super) fn new(answers: impl Into<VecDeque<Answer>>) -> Self {
        Rig::on(Arc::default(), answers)
    }

    /// A process that begins with what this store has.
    fn on(store: Arc<Durable>, answers: impl Into<VecDeque<Answer>>) -> Self {
        let house = House::with_store(store.clone());
        let endpoint = Endpoint::exchanging("r1", answers);
        let cell = house.cell(&endpoint);
        Rig { store, house, endpoint, cell }
    }

    pub(super) async fn take(&self) -> Result<String, TokenUnavailable> {
        let taken = self.cell.take(secs(10.0)).await.map(|token| token.value.expose().to_owned());
        saved(&self.house).await;
        taken
    }

    /// Ends this process, however far it came, and begins the next one.
    fn restart(self, answers: impl Into<VecDeque<Answer>>) -> Rig {
        let wall = self.house.clock.wall().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let next = House::with_store(self.store.clone());
        next.clock.wall_offset.store(wall, Ordering::SeqCst);
        let endpoint = Endpoint::exchanging("r1", answers);
        let cell = next.cell(&endpoint);
        Rig { store: self.store, house: next, endpoint, cell }
    }
}

/// TL-50: intent, sent, the new refresh token, and only then the access token; with the new one the next exchange is made, also
/// after a restart.
#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_saved_before_its_access_token_is_used() {
    let rig = Rig::new([Answer::Rotated("a1", "r2")]);
    assert_eq!(rig.take().await.unwrap(), "a1");
    let saves = [("r1".to_owned(), true), ("r2".to_owned(), false), ("r2".to_owned(), false)];
    assert_eq!(rig.store.saves(), saves);
    let without = rig.store.saved.lock().unwrap()[1].token.clone();
    assert_eq!(without, None, "the refresh token was saved before there was a token to use");
    let rig = rig.restart([Answer::Rotated("a2", "r3")]);
    assert_eq!(rig.take().await.unwrap(), "a1", "a restart exchanges nothing that is valid");
    tokio::time::sleep(HOUR).await;
    assert_eq!(rig.take().await.unwrap(), "a2");
    assert_eq!(rig.endpoint.exchanged(), ["r2"]);
}

/// TL-50: an answer without a refresh token leaves the old one.
#[tokio::test(start_paused = true)]
async fn without_a_new_refresh_token_the_old_one_stays() {
    let rig = Rig::new([Answer::Token(Some(HOUR))]);
    rig.take().await.unwrap();
    tokio::time::sleep(HOUR).await;
    rig.take().await.unwrap();
    assert_eq!(rig.endpoint.exchanged(), ["r1", "r1"]);
    assert_eq!(rig.store.saves().last(), Some(&("r1".to_owned(), false)));
}

/// TL-51: while the store is broken, memory is the truth: it serves, the next exchange uses the new refresh token, and it is
/// saved as soon as that can be.
#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_cannot_be_saved_is_used_and_saved_later() {
    let rig = Rig::new([Answer::Rotated("a1", "r2"), Answer::Rotated("a2", "r3")]);
    rig.store.set_broken(true);
    assert_eq!(rig.take().await.unwrap(), "a1");
    assert!(rig.cell.status().unsaved);
    tokio::time::sleep(HOUR).await;
    assert_eq!(rig.take().await.unwrap(), "a2");
    assert_eq!(rig.endpoint.exchanged(), ["r1", "r2"]);
    rig.store.set_broken(false);
    tokio::time::sleep(secs(61.0)).await;
    assert!(!rig.cell.status().unsaved);
    assert_eq!(rig.store.saves().last(), Some(&("r3".to_owned(), false)));
}

/// TL-52: an exchange whose outcome is ambiguous is made once more at once, with the same refresh token; then only at backoff, one
/// at a time, while the access token serves.
#[tokio::test(start_paused = true)]
async fn an_ambiguous_exchange_is_made_once_more() {
    let rig = Rig::new([Answer::Rotated("a1", "r2"), TRANSIENT]);
    rig.take().await.unwrap();
    tokio::time::sleep(secs(2680.0)).await;
    while rig.endpoint.calls() < 3 {
        tokio::time::sleep(secs(0.1)).await;
    }
    let begun = Instant::now();
    saved(&rig.house).await;
    assert!(begun.elapsed() < secs(1.0), "the second one was made at once");
    assert_eq!(rig.endpoint.exchanged(), ["r1", "r2", "r2"], "twice with the same, and no third time");
    assert!(rig.store.last().exchanging, "it is known after a restart that it is in doubt");
    assert_eq!(rig.take().await.unwrap(), "a1");
    while rig.endpoint.calls() < 4 {
        tokio::time::sleep(secs(0.1)).await;
    }
    saved(&rig.house).await;
    assert!(begun.elapsed() >= secs(0.5), "a probe waits for backoff");
    assert_eq!(rig.endpoint.calls(), 4, "a probe is one exchange");
    rig.endpoint.say([Answer::Rotated("a2", "r3")]);
    while rig.take().await.unwrap() == "a1" {
        tokio::time::sleep(secs(0.1)).await;
    }
    assert!(!rig.store.last().exchanging);
    assert!(rig.endpoint.exchanged()[3..].iter().all(|token| token == "r2"));
}

/// TL-32, TL-52: where nothing was sent, the refresh token is as good as before, and the fetch is retried as every other.
#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_retried() {
    let rig = Rig::new([Answer::Unconnected, Answer::Unconnected, Answer::Rotated("a1", "r2")]);
    assert_eq!(rig.take().await.unwrap(), "a1");
    assert_eq!(rig.endpoint.exchanged(), ["r1", "r1", "r1"]);
    let rig = Rig::new([Answer::Unconnected]);
    rig.take().await.unwrap_err();
    assert_eq!(rig.store.saves().last(), Some(&("r1".to_owned(), false)), "no intent stays open");
}

/// TL-52: an attempt that is cut off may have been carried out.
#[tokio::test(start_paused = true)]
async fn an_exchange_without_an_answer_is_ambiguous() {
    for answer in [Answer::Hang, Answer::Panic] {
        let rig = Rig::new([answer.clone(), Answer::Rotated("a1", "r2")]);
        let _ = rig.take().await;
        saved(&rig.house).await;
        tokio::time::sleep(secs(3.0)).await;
        assert_eq!(rig.take().await.unwrap(), "a1", "{answer:?}");
        assert_eq!(rig.endpoint.exchanged(), ["r1", "r1"], "{answer:?}");
    }
}

/// TL-53: a refresh token that arrived is saved and used, although the access token beside it is discarded.
#[tokio::test(start_paused = true)]
async fn a_refresh_token_beside_a_useless_token_is_kept() {
    let rig = Rig::new([Answer::Unsendable("r2"), Answer::Rotated("a1", "r3")]);
    assert_eq!(rig.take().await.unwrap(), "a1");
    assert_eq!(rig.endpoint.exchanged(), ["r1", "r2"]);
    let rig = Rig::new([Answer::Unsendable("r2")]);
    rig.take().await.unwrap_err();
    let rig = rig.restart([Answer::Rotated("a1", "r9")]);
    assert_eq!(rig.take().await.unwrap(), "a1");
    assert!(rig.endpoint.exchanged()[0].starts_with('r') && rig.endpoint.exchanged()[0] != "r1");
}

/// TL-54: the refresh token was refused, and the store has another one: a sibling has exchanged it, and its new one is used.
#[tokio::test(start_paused = true)]
async fn a_siblings_refresh_token_is_adopted() {
    let store = Arc::<Durable>::default();
    let late = Rig::on(store.clone(), [REVOKED, Answer::Rotated("a3", "r3")]);
    let first = Rig::on(store, [Answer::Rotated("a2", "r2")]);
    assert_eq!(first.take().await.unwrap(), "a2");
    assert_eq!(late.take().await.unwrap(), "a3");
    assert_eq!(late.endpoint.exchanged(), ["r1", "r2"]);
    assert_eq!(late.store.saves().last(), Some(&("r3".to_owned(), false)));
}

/// TL-03, TL-27: a refresh token that was refused is not tried again, whatever happens, also after a restart; the token that is held serves
/// until its end. A client that proves itself differently is another matter (TL-03).
#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_is_not_probed() {
    let rig = Rig::new([Answer::Rotated("a1", "r2"), REVOKED]);
    rig.take().await.unwrap();
    tokio::time::sleep(secs(3400.0)).await;
    assert_eq!(rig.endpoint.calls(), 2);
    assert_eq!(rig.take().await.unwrap(), "a1");
    tokio::time::sleep(DAY).await;
    assert!(matches!(rig.take().await, Err(TokenUnavailable::Refused { .. })));
    assert!(matches!(rig.cell.rejected(Generation(1), true, secs(1.0)).await, Rejected::PassThrough));
    let status = rig.cell.status();
    assert_eq!((status.state, status.next_try_in, rig.endpoint.calls()), ("needs_reauthorization", None, 2));
    let rig = rig.restart([Answer::Rotated("a2", "r3")]);
    assert!(
        matches!(rig.take().await, Err(TokenUnavailable::Refused { error }) if error.code == Some("invalid_grant"))
    );
    tokio::time::sleep(DAY).await;
    assert_eq!((rig.endpoint.calls(), rig.cell.status().state), (0, "needs_reauthorization"));
    rig.house.declare("crm", "another secret", &rig.endpoint);
    assert_eq!(rig.take().await.unwrap(), "a2");
    assert_eq!(rig.endpoint.exchanged(), ["r2"], "another proof leaves the refresh token");
}

/// TL-55: an exchange whose end the last process did not live to save is made once more at once, and then counts as in doubt.
#[tokio::test(start_paused = true)]
async fn an_open_intent_is_an_ambiguous_outcome() {
    let rig = Rig::new([Answer::Hang]);
    let taking = rig.cell.clone();
    let mut taking = Box::pin(taking.take(secs(10.0)));
    while rig.endpoint.calls() == 0 {
        assert!(poll_once(taking.as_mut()).is_pending());
        tokio::time::sleep(secs(0.01)).await;
    }
    assert_eq!(rig.store.saves(), [("r1".to_owned(), true)]);
    drop(taking);
    let rig = rig.restart([TRANSIENT]);
    tokio::time::sleep(secs(0.3)).await;
    assert_eq!(rig.endpoint.exchanged(), ["r1"], "at once, without a request");
    saved(&rig.house).await;
    assert_eq!(rig.endpoint.calls(), 1, "the second ambiguous outcome in a row");
    assert!(rig.store.last().exchanging);
}

/// TL-55: shutting down waits for an exchange in flight until its refresh token is saved.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_an_exchange() {
    let rig = Rig::new([Answer::Rotated("a1", "r2")]);
    let mut taking = Box::pin(rig.cell.take(secs(10.0)));
    while rig.endpoint.calls() == 0 {
        assert!(poll_once(taking.as_mut()).is_pending());
        tokio::time::sleep(secs(0.01)).await;
    }
    rig.house.cache.drained().await;
    assert_eq!(rig.store.saves().last(), Some(&("r2".to_owned(), false)));
}

/// A seed whose successor cannot be read must not be used in its place (TL-62).
#[tokio::test(start_paused = true)]
async fn an_unreadable_entry_does_not_fall_back_to_the_seed() {
    let rig = Rig::new([Answer::Rotated("a1", "r2")]);
    rig.take().await.unwrap();
    rig.store.set_broken(true);
    let rig = rig.restart([Answer::Rotated("a2", "r3")]);
    assert!(matches!(rig.take().await, Err(TokenUnavailable::Refused { error }) if error.text.contains("lost")));
    assert_eq!(rig.endpoint.calls(), 0);
}

/// Without a store, a refresh token outlives a reload that removes its credential and one that brings it back.
#[tokio::test(start_paused = true)]
async fn a_refresh_token_outlives_its_cell() {
    let house = House::new();
    let endpoint = Endpoint::exchanging("r1", [Answer::Rotated("a1", "r2"), Answer::Rotated("a2", "r3")]);
    let cell = house.holding(&endpoint).await;
    saved(&house).await;
    house.cache.retain(&[]);
    drop(cell);
    settle().await;
    house.cell(&endpoint);
    tokio::time::sleep(HOUR).await;
    house.cell(&endpoint).take(secs(10.0)).await.unwrap();
    assert_eq!(endpoint.exchanged(), ["r1", "r2"]);
}

/// TL-02, TL-53: a reload or a restart that asks for something else with the same refresh token goes on with the newest one, and sends no
/// access token that was for something else, also if it was on its way.
#[tokio::test(start_paused = true)]
async fn what_is_asked_for_changes_and_the_refresh_token_stays() {
    let rig = Rig::new([Answer::Rotated("a1", "r2")]);
    let mut taking = Box::pin(rig.cell.take(secs(10.0)));
    while rig.endpoint.calls() == 0 {
        assert!(poll_once(taking.as_mut()).is_pending());
        tokio::time::sleep(secs(0.01)).await;
    }
    let writing = Endpoint::exchanging("r1", [Answer::Rotated("w2", "r3")]).asking_for(1);
    rig.house.cell(&writing);
    assert_eq!(taking.await.unwrap().value.expose(), "w2", "a1 was for something else");
    saved(&rig.house).await;
    assert_eq!((rig.endpoint.exchanged(), writing.exchanged()), (vec!["r1".to_owned()], vec!["r2".to_owned()]));
    let deleting = Endpoint::exchanging("r1", [Answer::Rotated("d3", "r4")]).asking_for(2);
    rig.house.cell(&deleting);
    assert!(rig.cell.ready().is_none(), "w2 is for something else");
    assert_eq!(rig.take().await.unwrap(), "d3");
    assert_eq!(deleting.exchanged(), ["r3"]);
    let rig = rig.restart([Answer::Rotated("a4", "r5")]);
    assert_eq!(rig.take().await.unwrap(), "a4");
    assert_eq!(rig.endpoint.exchanged(), ["r4"]);
}

/// TL-52: an exchange that ends ambiguously after a reload that asks for something else counts as ambiguous all the same: the
/// refresh token is sent once more, no third time, and a restart knows that it is in doubt.
#[tokio::test(start_paused = true)]
async fn an_ambiguous_exchange_counts_whatever_is_asked_for_meanwhile() {
    let rig = Rig::new([TRANSIENT]);
    let mut taking = Box::pin(rig.cell.take(secs(10.0)));
    while rig.endpoint.calls() == 0 {
        assert!(poll_once(taking.as_mut()).is_pending());
        tokio::time::sleep(secs(0.01)).await;
    }
    let other = Endpoint::exchanging("r1", [TRANSIENT]).asking_for(1);
    rig.house.cell(&other);
    saved(&rig.house).await;
    assert_eq!((rig.endpoint.exchanged().len(), other.exchanged().len()), (1, 1), "once more, and no third time");
    assert!(rig.store.last().exchanging, "it is known after a restart that it is in doubt");
    drop(taking);
}

/// TL-26: what a server refused of what nobody asks for any more is no refusal of what is asked for now.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_what_was_asked_for_before_is_none() {
    let rig = Rig::new([Answer::Fail(FetchErrorKind::Refused)]);
    let mut taking = Box::pin(rig.cell.take(secs(10.0)));
    while rig.endpoint.calls() == 0 {
        assert!(poll_once(taking.as_mut()).is_pending());
        tokio::time::sleep(secs(0.01)).await;
    }
    rig.house.cell(&Endpoint::exchanging("r1", [Answer::Rotated("a2", "r2")]).asking_for(1));
    assert_eq!(taking.await.unwrap().value.expose(), "a2");
}

/// TL-51, TL-53: a save that was carried out although it failed is recognised as our own, so that the newest refresh token is
/// saved behind it and survives a restart.
#[tokio::test(start_paused = true)]
async fn a_save_that_was_carried_out_although_it_failed_is_our_own() {
    let rig = Rig::new([Answer::Rotated("a1", "r2")]);
    // The intent is there, and nobody was told.
    rig.store.lose_acknowledgements(1);
    assert_eq!(rig.take().await.unwrap(), "a1");
    assert_eq!(rig.store.saves().last(), Some(&("r2".to_owned(), false)));
    assert!(!rig.cell.status().unsaved);
    let rig = rig.restart([Answer::Rotated("a2", "r3")]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(rig.take().await.unwrap(), "a2");
    assert_eq!(rig.endpoint.exchanged(), ["r2"]);
}

/// TL-54, TL-61: what a sibling has written is not overwritten, though it has the refresh token that we have.
#[tokio::test(start_paused = true)]
async fn a_siblings_write_is_not_taken_for_our_own() {
    let store = Arc::new(Durable::default());
    let one = Rig::on(store.clone(), [Answer::Token(Some(HOUR))]);
    one.take().await.unwrap();
    let sibling = Rig::on(store.clone(), [Answer::Token(Some(HOUR))]);
    sibling.cell.save().await;
    let (saves, siblings) = (store.saves(), store.last());
    assert_eq!(saves.last(), Some(&("r1".to_owned(), false)));
    one.cell.save().await;
    assert!(one.cell.status().unsaved && !sibling.cell.status().unsaved);
    assert_eq!((store.saves().len(), store.last()), (saves.len(), siblings));
}
