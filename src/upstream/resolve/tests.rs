use std::net::Ipv4Addr;
use std::time::SystemTime;

use super::*;
use crate::clock::ManualClock;

struct Rig {
    names: Arc<FixedNames>,
    clock: Arc<ManualClock>,
    resolver: Arc<Resolver>,
    name: Arc<Name>,
}

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

impl Rig {
    fn new(addresses: &[IpAddr]) -> Self {
        let (names, clock) = (Arc::new(FixedNames::default()), Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH)));
        names.set("api.example", addresses);
        let resolver = Resolver::new(Names::Fixed(names.clone()), clock.clone(), Handle::current());
        let name = resolver.name("api.example");
        Rig { names, clock, resolver, name }
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        self.resolver.addresses(&self.name).await.map(|answer| answer.addresses.to_vec())
    }

    /// Lets time pass second by second; `used`: with a request in each.
    async fn pass(&self, seconds: u64, used: bool) {
        for _ in 0..seconds {
            if used {
                self.name.touch();
            }
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_that_ask_at_once_cause_one_question() {
    let rig = Rig::new(&[ONE]);
    let (a, b, c) = tokio::join!(rig.addresses(), rig.addresses(), rig.addresses());
    assert_eq!([a, b, c], [Ok(vec![ONE]), Ok(vec![ONE]), Ok(vec![ONE])]);
    assert_eq!(rig.addresses().await, Ok(vec![ONE]));
    assert_eq!(rig.names.asked(), 1);
}

/// SEC-20: again every 30 s, but only while somebody uses the name.
#[tokio::test(start_paused = true)]
async fn names_in_use_are_asked_for_again_every_30_s() {
    let rig = Rig::new(&[ONE]);
    rig.addresses().await.unwrap();
    let before = rig.name.touch();
    rig.names.set("api.example", &[TWO]);
    rig.pass(29, true).await;
    assert_eq!(rig.names.asked(), 1);
    rig.pass(3, true).await;
    assert_eq!(rig.names.asked(), 2);
    assert_ne!(rig.name.touch(), before, "pools see that the addresses have changed");
    assert!(rig.name.has(TWO) && !rig.name.has(ONE));
    rig.pass(70, false).await;
    let asked = rig.names.asked();
    rig.pass(100, false).await;
    assert_eq!(rig.names.asked(), asked, "nobody used it");
    assert_eq!(rig.addresses().await, Ok(vec![TWO]));
    assert_eq!(rig.names.asked(), asked + 1, "an old answer is asked for again before it serves");
}

/// SEC-20: negative answers are kept for 1 s.
#[tokio::test(start_paused = true)]
async fn a_failure_is_kept_for_a_second() {
    let rig = Rig::new(&[]);
    assert!(rig.addresses().await.is_err());
    assert!(rig.addresses().await.is_err());
    assert_eq!(rig.names.asked(), 1);
    rig.names.set("api.example", &[ONE]);
    rig.pass(1, false).await;
    assert_eq!(rig.addresses().await, Ok(vec![ONE]));
}

/// SEC-20: the last good addresses serve while DNS fails, and nobody waits.
#[tokio::test(start_paused = true)]
async fn the_last_good_addresses_serve_while_resolving_fails() {
    let rig = Rig::new(&[ONE]);
    rig.addresses().await.unwrap();
    rig.names.set("api.example", &[]);
    for _ in 0..30 {
        rig.pass(20, true).await;
        let begin = tokio::time::Instant::now();
        assert_eq!(rig.addresses().await, Ok(vec![ONE]));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
    assert!(rig.names.asked() > 60, "it is tried again: {}", rig.names.asked());
    rig.names.set("api.example", &[TWO]);
    rig.pass(6, true).await;
    assert_eq!(rig.addresses().await, Ok(vec![TWO]));
}

/// SEC-20: again when connecting has failed, at most once a second.
#[tokio::test(start_paused = true)]
async fn a_failed_connection_asks_again_soon() {
    let rig = Rig::new(&[ONE]);
    rig.addresses().await.unwrap();
    rig.names.set("api.example", &[TWO]);
    for _ in 0..5 {
        rig.name.touch();
        rig.resolver.again(&rig.name);
    }
    rig.pass(2, false).await;
    assert_eq!(rig.addresses().await, Ok(vec![TWO]));
    assert_eq!(rig.names.asked(), 2);
}

/// SEC-20: names are resolved on the control runtime's blocking threads. While those hang the worker goes on.
#[test]
fn names_are_resolved_off_the_workers() {
    let control = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    let handle = control.handle().clone();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let controlling = std::thread::spawn(move || control.block_on(ended));
    let (resume, hanging) = std::sync::mpsc::channel::<()>();
    handle.spawn_blocking(move || hanging.recv());

    // A worker's kind of runtime; its blocking threads would count.
    let threads = Arc::new(AtomicU64::new(0));
    let begun = threads.clone();
    let mut worker = tokio::runtime::Builder::new_current_thread();
    let worker = worker.enable_all().on_thread_start(move || _ = begun.fetch_add(1, Ordering::SeqCst)).build().unwrap();
    worker.block_on(async {
        let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH));
        let resolver = Resolver::new(Names::System, clock, handle);
        let name = resolver.name("localhost");
        let asking = resolver.addresses(&name);
        tokio::pin!(asking);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut asking).await.is_err(), "the resolver hangs");
        resume.send(()).unwrap();
        let addresses = asking.await.unwrap().addresses;
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    });
    assert_eq!(threads.load(Ordering::SeqCst), 0, "the worker began no thread");
    end.send(()).unwrap();
    controlling.join().unwrap().unwrap();
}
