//! What is told: of renewals, failures and rejections, and never a secret.

use std::io::Write;
use std::sync::OnceLock;

use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// What was logged, as text.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes down everything that this thread logs until the guard is dropped.
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        // With a single subscriber in the process, tracing asks only the current thread's whether a new call site is of
        // interest, and remembers "no" if another test's thread gets there first. A second one makes it ask all.
        static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| tracing::Dispatch::new(tracing_subscriber::registry()));
        let log = Log::default();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(log.clone());
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn count(&self, text: &str) -> usize {
        self.text().lines().filter(|line| line.contains(text) && line.contains("crm")).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// TL-23, TL-41: a token's life can be read in the log; that it is late is said once per token.
#[tokio::test(start_paused = true)]
async fn a_tokens_life_is_logged() {
    let (log, _listening) = Log::listen();
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(secs(100.0)))]));
    let cell = house.holding(&endpoint).await;
    assert_eq!(log.count("INFO attache::token::cell::fetching: token granted"), 1);
    assert!(log.text().contains("generation=1 lifetime_s=100.0 took_ms=200"), "{}", log.text());
    tokio::time::sleep(secs(50.0)).await;
    assert!(matches!(cell.rejected(Generation(1), true, secs(10.0)).await, Rejected::Replay(_)));
    assert_eq!((log.count("rejected the token, asking"), log.count("the upstream rejected the last one")), (1, 1));
    endpoint.say([Answer::Fail(FetchErrorKind::Transient)]);
    tokio::time::sleep(secs(150.0)).await;
    assert_eq!(log.count("WARN attache::token::cell: the token is about to expire"), 1);
    assert!(log.count("fetching a token failed") > 5);
    endpoint.say([Answer::Same(Some(HOUR))]);
    tokio::time::sleep(secs(60.0)).await;
    assert!(matches!(cell.rejected(Generation(3), true, secs(10.0)).await, Rejected::PassThrough));
    assert_eq!(log.count("a rejected token was granted again"), 1);
    assert!(!log.text().contains("planted"), "{}", log.text());
}

/// TL-23, TL-26: what failing fetches mean is warned of when it changes, and not with every fetch.
#[tokio::test(start_paused = true)]
async fn failures_are_warned_of_when_they_change_something() {
    let (log, _listening) = Log::listen();
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(secs(100.0)))]));
    house.holding(&endpoint).await;
    let failed = |level: &str| log.count(&format!("{level} attache::token::cell::fetching: fetching a token failed"));
    endpoint.say([Answer::Fail(FetchErrorKind::Transient)]);
    tokio::time::sleep(secs(90.0)).await;
    assert_eq!(failed("WARN"), 1, "renewing fails: {}", log.text());
    tokio::time::sleep(secs(200.0)).await;
    assert_eq!(failed("WARN"), 2, "and now there is no token: {}", log.text());
    endpoint.say([Answer::Fail(FetchErrorKind::Refused)]);
    tokio::time::sleep(secs(600.0)).await;
    assert_eq!(failed("WARN"), 3, "and now an operator is needed: {}", log.text());
    assert!(failed("INFO") > 10, "{}", log.text());
    endpoint.say([Answer::Token(Some(HOUR))]);
    tokio::time::sleep(secs(400.0)).await;
    assert_eq!(log.count("the fetches before it had failed"), 1);
    endpoint.say([Answer::Fail(FetchErrorKind::Transient)]);
    tokio::time::sleep(HOUR * 2).await;
    assert_eq!(failed("WARN"), 5, "it begins anew: {}", log.text());
    assert_eq!(log.count("WARN attache::token::cell: the token is about to expire"), 2);
}

/// TL-14: tokens that cannot be kept are warned of once, until one can.
#[tokio::test(start_paused = true)]
async fn tokens_that_are_over_are_warned_of_once() {
    let (log, _listening) = Log::listen();
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(Duration::ZERO))]));
    let cell = house.cell(&endpoint);
    for _ in 0..20 {
        let _ = cell.take(secs(10.0)).await;
        tokio::time::sleep(secs(10.0)).await;
    }
    let told = |level: &str| log.text().lines().filter(|line| line.contains(level) && line.contains("is over")).count();
    assert_eq!(told("WARN"), 1, "{}", log.text());
    assert!(told("INFO") > 10, "{}", log.text());
}

/// TL-31: a fetch that ends unexpectedly is an error in the log.
#[tokio::test(start_paused = true)]
async fn a_panic_is_logged() {
    let (log, _listening) = Log::listen();
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Panic, Answer::Token(Some(Duration::ZERO))]));
    house.cell(&endpoint).take(secs(10.0)).await.unwrap();
    assert_eq!((log.count("ended unexpectedly"), log.count("it is not kept")), (1, 1), "{}", log.text());
    assert!(!log.text().contains("planted"), "{}", log.text());
}

/// TL-23: what is shown of a cell holds no secret.
#[tokio::test(start_paused = true)]
async fn nothing_shows_the_token() {
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(HOUR))]));
    let cell = house.holding(&endpoint).await;
    let shown = format!("{:?} {:?} {:?} {:?}", cell, house.cache, cell.status(), cell.ready());
    assert!(shown.contains("crm") && !shown.contains("planted"), "{shown}");
}

/// TL-22: a configured window that is as long as the token lives is not followed, and that is said once.
#[tokio::test(start_paused = true)]
async fn a_window_that_is_too_long_is_warned_of() {
    let (log, _listening) = Log::listen();
    let (house, endpoint) = (House::new(), Endpoint::new([Answer::Token(Some(secs(100.0)))]));
    let text = "`refresh_before` is as long as the token lives";
    let with = |seconds: f64| Policy { refresh_before: Some(secs(seconds)), ..policy("crm") };
    let cell = house.declare_with(with(99.0), "secret", &endpoint);
    assert!(cell.take(secs(10.0)).await.is_ok());
    tokio::time::sleep(secs(300.0)).await;
    assert_eq!(log.count(text), 0);
    let cell = house.declare_with(with(100.0), "secret", &endpoint);
    for _ in 0..3 {
        assert!(cell.take(secs(10.0)).await.is_ok());
        tokio::time::sleep(secs(100.0)).await;
    }
    assert!(endpoint.calls() >= 3);
    assert_eq!(log.count(text), 1, "{}", log.text());
}
