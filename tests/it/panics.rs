//! A panic in the middle of a request. The proxy has none to offer, so the log throws one: at the line that says that a
//! request was replayed, by when a token was attached, rejected and renewed, and the upstream has answered. A process has
//! one log, so each test has a process of its own.

use std::fmt;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{DEADLINE, Proxy, Reply, TokenEndpoint, Upstream, Watched, assert_problem, one_route};

/// A log that shows nothing.
struct PanickingLog;

impl Subscriber for PanickingLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "attache::proxy"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut RefuseReplays);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct RefuseReplays;

impl Visit for RefuseReplays {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let replay = field.name() == "message" && format!("{value:?}").contains("the request was replayed");
        assert!(!replay, "on purpose, by a test");
    }
}

/// Runs a test in a process of its own, with the log that panics. `name` is the test's full name.
fn with_a_log_that_panics(name: &str, test: impl FnOnce()) {
    const MARK: &str = "ATTACHE_TEST_CHILD";
    if std::env::var_os(MARK).is_some() {
        tracing::subscriber::set_global_default(PanickingLog).expect("no other test logs here");
        return test();
    }
    let mut child = Command::new(std::env::current_exe().expect("it runs"));
    let output = child.args([name, "--exact", "--nocapture"]).env(MARK, "1").output().expect("it can be run again");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// A proxy with one worker and a stream through it, of which the upstream has sent the beginning; its token was revoked
/// since, and is old enough to be replaced (TL-43).
struct Stage {
    endpoint: TokenEndpoint,
    upstream: Upstream,
    proxy: Proxy,
    /// The stream ends when this is true.
    end: Arc<Watched<bool>>,
}

impl Stage {
    fn set() -> Stage {
        let endpoint = TokenEndpoint::start();
        endpoint.set_lifetime(Some(Duration::from_secs(10)));
        let upstream = Upstream::guarded(endpoint.grants());
        let more = "\n[admin]\naddress = \"127.0.0.1:0\"";
        let proxy = Proxy::start(&one_route(&endpoint, &upstream, more).replace("workers = 2", "workers = 1"));
        let end = Arc::new(Watched::new(false));
        let wait = end.clone();
        upstream.script([Reply::custom(move |_, connection| {
            connection.stream().write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")?;
            wait.wait_at_most(DEADLINE * 2, |end| end.then_some(()));
            connection.stream().write_all(b"3\r\n!!!\r\n0\r\n\r\n")
        })]);
        Stage { endpoint, upstream, proxy, end }
    }

    /// The next request is rejected and replayed.
    fn revoke(&self) {
        self.endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
        self.endpoint.grants().revoke_all();
    }

    fn assert_one_panic(&self) {
        let metrics = self.proxy.admin("/metrics").text();
        assert!(metrics.contains("attache_panics_total 1\n"), "{metrics}");
        let bearers: Vec<_> = self.upstream.requests().iter().map(|it| it.bearer().map(str::to_owned)).collect();
        let [first, second] = &self.endpoint.grants().tokens()[..] else { panic!("{bearers:?}") };
        // The stream, the request that was replayed, and the one after it.
        assert_eq!(bearers, [first, first, second, second].map(|token| Some(token.clone())));
    }
}

/// SEC-42: a panic is a 500 for its own request; its connection goes on, and so does what else is on that worker.
#[test]
fn a_panic_over_http_1_ends_its_own_request_only() {
    with_a_log_that_panics("panics::a_panic_over_http_1_ends_its_own_request_only", || {
        let stage = Stage::set();
        let mut streaming = stage.proxy.connect();
        streaming.write_request("GET", "/api/stream", &[], b"");
        assert_eq!(streaming.read_answer_head().unwrap().status, 200);
        assert_eq!(streaming.read_chunk().unwrap().as_deref(), Some(&b"begin"[..]));
        stage.revoke();
        let mut client = stage.proxy.connect();
        let failed = client.send("GET", "/api/x", &[], b"");
        let problem = assert_problem(&failed, 500);
        assert_eq!(
            (&problem["type"], &problem["fault"]),
            (&"urn:attache:problem:internal_error".into(), &"proxy".into())
        );
        for token in stage.endpoint.grants().tokens() {
            assert!(!format!("{failed:?}").contains(&token), "{failed:?}");
        }
        assert_eq!(client.send("GET", "/api/x", &[], b"").status, 200);
        stage.end.update(|end| *end = true);
        assert_eq!(streaming.read_chunk().unwrap().as_deref(), Some(&b"!!!"[..]));
        assert_eq!(streaming.read_chunk().unwrap(), None);
        stage.assert_one_panic();
    });
}

/// SEC-42: and so do the other streams of its HTTP/2 connection.
#[test]
fn a_panic_over_http_2_ends_its_own_request_only() {
    with_a_log_that_panics("panics::a_panic_over_http_2_ends_its_own_request_only", || {
        let stage = Stage::set();
        let request =
            |path: &str| http::Request::get(format!("http://localhost{path}")).body(Empty::<Bytes>::new()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tcp = tokio::net::TcpStream::connect(stage.proxy.address()).await.unwrap();
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
            let connection = tokio::spawn(connection);
            let streaming = sender.send_request(request("/api/stream")).await.unwrap();
            assert_eq!(streaming.status(), 200);
            stage.revoke();
            assert_eq!(sender.send_request(request("/api/x")).await.unwrap().status(), 500);
            assert_eq!(sender.send_request(request("/api/x")).await.unwrap().status(), 200);
            stage.end.update(|end| *end = true);
            assert_eq!(streaming.into_body().collect().await.unwrap().to_bytes(), "begin!!!");
            drop(sender);
            connection.await.unwrap().expect("a graceful end");
        });
        stage.assert_one_panic();
    });
}

/// SEC-42: and a panic in a part of an aggregate is that of its request, also where the answer is streamed.
#[test]
fn a_panic_in_a_part_ends_its_own_request_only() {
    with_a_log_that_panics("panics::a_panic_in_a_part_ends_its_own_request_only", || {
        let endpoint = TokenEndpoint::start();
        endpoint.set_lifetime(Some(Duration::from_secs(10)));
        let upstream = Upstream::guarded(endpoint.grants());
        let aggregate = |path, stream| {
            format!(
                "[[routes]]\npath = \"{path}\"\nclients = \"anyone\"\naggregate.stream = {stream}\n\
                 aggregate.parts.a = {{ upstream = \"api\", path = \"/a\" }}\n"
            )
        };
        let more = ["\n[admin]\naddress = \"127.0.0.1:0\"\n", &aggregate("/whole", false), &aggregate("/stream", true)];
        let proxy = Proxy::start(&one_route(&endpoint, &upstream, &more.concat()));
        assert_eq!(proxy.get("/api/x").status, 200);
        for (panics, path) in [(1, "/whole"), (2, "/stream")] {
            endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
            endpoint.grants().revoke_all();
            let problem = assert_problem(&proxy.get(path), 500);
            assert_eq!(problem["type"], "urn:attache:problem:internal_error");
            upstream.script([Reply::answer(200, &[], b"7")]);
            assert_eq!(proxy.get(path).text().replace(",\"_parts\":{}", ""), "{\"a\":7}");
            let metrics = proxy.admin("/metrics").text();
            assert!(metrics.contains(&format!("attache_panics_total {panics}\n")), "{metrics}");
        }
    });
}

/// SEC-42: a panic while an aggregate is streamed cuts its answer, which never looks complete.
#[test]
fn a_panic_after_a_streamed_head_cuts_the_answer() {
    with_a_log_that_panics("panics::a_panic_after_a_streamed_head_cuts_the_answer", || {
        let (stage, fine) = (Stage::set(), Upstream::open());
        let more = format!(
            "[upstreams.fine]\nurl = \"{}\"\n[[routes]]\npath = \"/both\"\nclients = \"anyone\"\n\
             aggregate.stream = true\naggregate.parts.a = {{ upstream = \"fine\", path = \"/\" }}\n\
             aggregate.parts.b = {{ upstream = \"api\", path = \"/{{a}}\" }}\n\n[admin]\naddress = \"127.0.0.1:0\"",
            fine.url()
        );
        let proxy = Proxy::start(&one_route(&stage.endpoint, &stage.upstream, &more));
        let number = |number: &str| Reply::answer(200, &[], number.as_bytes());
        fine.script([number("1"), number("2"), number("3")]);
        stage.end.update(|end| *end = true);
        assert_eq!(proxy.get("/api/x").status, 200);
        stage.revoke();
        let mut client = proxy.connect();
        client.write_request("GET", "/both", &[], b"");
        assert_eq!(client.read_answer_head().unwrap().status, 200);
        assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"{\"a\":1"[..]));
        assert!(client.read_chunk().is_err());
        let metrics = proxy.admin("/metrics").text();
        assert!(metrics.contains("attache_panics_total 1\n"), "{metrics}");
        stage.upstream.script([number("4")]);
        assert_eq!(proxy.get("/both").json()["b"], 4);
    });
}
