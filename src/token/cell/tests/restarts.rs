//! Another process goes on with what the store has.

use super::durable::{Durable, saved};
use super::*;
use crate::token::store::{FileStore, Version};

/// When the wall clock of the first process begins.
const WALL: u64 = 1_000_000;

/// The process after one that held a token of this lifetime, saved it, and was gone for so long.
async fn after_a_pause(store: &Arc<Durable>, lifetime: Option<Duration>, pause: f64) -> House {
    let house = House::with_store(store.clone());
    house.clock.wall_offset.store(WALL, Ordering::SeqCst);
    let cell = house.holding(&Endpoint::new([Answer::Same(lifetime)])).await;
    saved(&house).await;
    house.cache.retain(&[]);
    drop(cell);
    tokio::time::sleep(secs(pause)).await;
    let next = House::with_store(store.clone());
    // The wall clock goes on where the new process begins.
    next.clock.wall_offset.store(WALL + house.clock.begin.elapsed().as_secs(), Ordering::SeqCst);
    next
}

/// TL-02, TL-04, TL-15: a restart fetches nothing that is still valid. The token is there before the first request, it is
/// renewed as it would have been, and it never outlives its original lifetime.
#[tokio::test(start_paused = true)]
async fn a_restart_fetches_nothing_that_is_valid() {
    let store = Arc::new(Durable::default());
    let house = after_a_pause(&store, Some(HOUR), 1000.0).await;
    let endpoint = Endpoint::new([Answer::Token(Some(HOUR))]);
    let cell = house.cell(&endpoint);
    assert_eq!(generation(cell.ready()), Some(1), "it is ready at once");
    let expires_in = cell.status().expires_in.unwrap();
    assert!(expires_in <= HOUR - secs(1000.0) && expires_in > HOUR - secs(1003.0), "{expires_in:?}");
    tokio::time::sleep(secs(1500.0)).await;
    assert_eq!((endpoint.calls(), cell.status().state), (0, "fresh"));
    // W is a quarter of the whole lifetime, as it was before the restart.
    tokio::time::sleep(secs(600.0)).await;
    assert_eq!((endpoint.calls(), generation(cell.ready())), (1, Some(2)), "it is kept warm");
}

/// TL-15: what is dead is not restored, nor what comes from the future: then nobody knows how old it is.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_is_not_restored() {
    for (lifetime, pause, set_back) in [(Some(HOUR), 3596.0, 0), (Some(HOUR), 10.0, 100), (None, 10.0, 100)] {
        let store = Arc::new(Durable::default());
        let house = after_a_pause(&store, lifetime, pause).await;
        house.clock.wall_offset.fetch_sub(set_back, Ordering::SeqCst);
        let cell = house.cell(&Endpoint::new([Answer::Token(Some(HOUR))]));
        assert_eq!(generation(cell.ready()), None, "{lifetime:?} {pause} {set_back}");
        assert_eq!(generation(cell.take(secs(10.0)).await.ok()), Some(1));
    }
}

/// TL-13, TL-15: a token without a lifetime is restored, and renewed when it would have been.
#[tokio::test(start_paused = true)]
async fn a_token_without_lifetime_is_restored() {
    let store = Arc::new(Durable::default());
    let house = after_a_pause(&store, None, 2000.0).await;
    let endpoint = Endpoint::new([Answer::Token(None)]);
    let cell = house.cell(&endpoint);
    assert!(cell.ready().is_some());
    tokio::time::sleep(secs(650.0)).await;
    assert_eq!(endpoint.calls(), 0);
    tokio::time::sleep(secs(60.0)).await;
    assert_eq!(endpoint.calls(), 1, "45 min after it came");
}

/// TL-03: a client that proves itself differently than before the restart has its token renewed, which serves meanwhile.
#[tokio::test(start_paused = true)]
async fn a_restart_with_another_secret_renews() {
    let store = Arc::new(Durable::default());
    let house = after_a_pause(&store, Some(HOUR), 10.0).await;
    let endpoint = Endpoint::new([Answer::Token(Some(HOUR))]);
    let cell = house.declare("crm", "another secret", &endpoint);
    assert_eq!(generation(cell.ready()), Some(1));
    tokio::time::sleep(secs(1.0)).await;
    assert_eq!((endpoint.calls(), generation(cell.ready())), (1, Some(2)));
}

/// TL-29: what was not used for `keep_warm` before the restart is not renewed after it, and a restart is no use.
#[tokio::test(start_paused = true)]
async fn a_restart_is_no_use() {
    let store = Arc::new(Durable::default());
    let house = House::with_store(store.clone());
    let policy = Policy { keep_warm: secs(60.0), ..policy("crm") };
    let cell = house.declare_with(policy.clone(), "secret", &Endpoint::new([Answer::Token(Some(HOUR))]));
    cell.take(secs(10.0)).await.unwrap();
    saved(&house).await;
    tokio::time::sleep(secs(100.0)).await;
    house.cache.retain(&[]);
    drop(cell);
    let next = House::with_store(store);
    next.clock.wall_offset.store(100, Ordering::SeqCst);
    let endpoint = Endpoint::new([Answer::Token(Some(HOUR))]);
    let cell = next.declare_with(policy, "secret", &endpoint);
    tokio::time::sleep(HOUR).await;
    assert_eq!(endpoint.calls(), 0);
    assert!(cell.ready().is_none());
}

/// SEC-37, TL-51: a store that cannot be written stops nothing; what is missing there is told, and is saved when it can be.
#[tokio::test(start_paused = true)]
async fn a_broken_store_stops_nothing() {
    let store = Arc::new(Durable::default());
    let house = House::with_store(store.clone());
    store.set_broken(true);
    let cell = house.holding(&Endpoint::new([Answer::Token(Some(HOUR))])).await;
    saved(&house).await;
    assert!(cell.status().unsaved && cell.ready().is_some());
    store.set_broken(false);
    tokio::time::sleep(secs(5.0)).await;
    assert!(!cell.status().unsaved);
    assert!(store.last().token.is_some());
}

/// SEC-37: an entry that cannot be read is no reason not to start: the token is fetched anew.
#[tokio::test(start_paused = true)]
async fn an_unreadable_entry_is_fetched_anew() {
    let store = Arc::new(Durable::default());
    let house = after_a_pause(&store, Some(HOUR), 10.0).await;
    store.set_broken(true);
    let cell = house.holding(&Endpoint::new([Answer::Token(Some(HOUR))])).await;
    assert!(cell.ready().is_some());
}

/// SEC-37, TL-51: what is fetched in place of an entry that is damaged is saved in its place, and is there after the next restart.
#[tokio::test(start_paused = true)]
async fn a_damaged_entry_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("store"), crate::secret::StoreKey::from_bytes([7; 32]));
    let open = || Arc::new(FileStore::open(&path, &key).unwrap());
    let names = ["crm", "maps"];
    let process = |store: &Arc<FileStore>| {
        let (house, endpoint) = (House::with_store(store.clone()), Endpoint::new([Answer::Token(Some(HOUR))]));
        let cells = names.map(|name| house.declare(name, "secret", &endpoint));
        (house, endpoint, cells)
    };
    let take = async |cells: &[Arc<TokenCell>; 2], house: &House| {
        for cell in cells {
            assert!(cell.take(secs(10.0)).await.is_ok());
        }
        saved(house).await;
    };
    let store = open();
    let (house, endpoint, cells) = process(&store);
    take(&cells, &house).await;
    assert_eq!((endpoint.calls(), store.load(&cells[0].identity()).unwrap().unwrap().0), (2, Version(1)));
    let identities = [cells[0].identity(), cells[1].identity()];
    // Without the store the file can be opened by somebody else.
    drop((house, endpoint, cells, store));
    settle().await;
    crate::token::store::exchange_values(&path, &identities[0], &identities[1]);
    let store = open();
    let (house, endpoint, cells) = process(&store);
    take(&cells, &house).await;
    assert_eq!(endpoint.calls(), 2, "both were damaged");
    assert!(cells.iter().all(|cell| !cell.status().unsaved));
    let next = House::with_store(store.clone());
    next.clock.wall_offset.store(10, Ordering::SeqCst);
    let endpoint = Endpoint::new([Answer::Token(Some(HOUR))]);
    let cells = names.map(|name| next.declare(name, "secret", &endpoint));
    take(&cells, &next).await;
    assert_eq!(endpoint.calls(), 0, "what was fetched is there");
}
