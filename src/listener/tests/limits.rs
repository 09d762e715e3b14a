//! What hyper refuses, and how many connections there may be.

use super::*;

async fn status_of(server: &Server, request: &str) -> String {
    let mut client = server.connect().await;
    client.send(request).await;
    let answer = client.read_until(|text| text.contains("\r\n\r\n")).await;
    answer.lines().next().unwrap_or("closed").to_owned()
}

#[test]
fn what_cannot_be_parsed_gets_an_empty_answer_and_is_counted() {
    on_a_worker(async {
        let server = Server::start(hello);
        let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes));
        let headers = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
        let large = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a\r\na: {}\r\n\r\n", "x".repeat(bytes));
        let cases = [
            (GET.to_owned(), "200"),
            (line(30 << 10), "200"),
            (line(65_600), "414"),
            (headers(100), "200"),
            (headers(101), "431"),
            (large(63 << 10), "200"),
            (large(96 << 10), "431"),
            ("not HTTP at all\r\n\r\n".to_owned(), "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n".to_owned(), "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), "400"),
        ];
        let refused = cases.iter().filter(|(_, status)| *status != "200").count() as u64;
        for (request, expected) in cases {
            let status = status_of(&server, &request).await;
            assert!(status.contains(expected), "{status} for {:.60}", request);
        }
        server.shared.connections.drain();
        server.shared.connections.closed().await;
        assert_eq!(server.shared.metrics.requests_unparsable.get(), refused);
    });
}

#[test]
fn connections_beyond_the_bound_wait_for_a_place() {
    on_a_worker(async {
        let mut settings = settings();
        settings.limits.connections_max = 2;
        let server = Server::start_with(shared(settings), None, hello);
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = server.connect().await;
            client.send(GET).await;
            client.answer().await;
            clients.push(client);
        }
        let mut third = server.connect().await;
        third.send(GET).await;
        let early = tokio::time::timeout(Duration::from_secs(30), third.answer()).await;
        assert!(early.is_err(), "none is free");
        assert_eq!(server.shared.permits.taken(), 2);
        let pauses = server.shared.metrics.accept_pauses.get();
        assert!((100..=300).contains(&pauses), "it looks once a tick or two, and does not spin: {pauses}");
        drop(clients.pop());
        assert!(third.answer().await.ends_with("hello"));
    });
}

/// SEC-41: without descriptors accepting backs off, does not spin, and goes on when there are some again.
#[test]
fn accepting_backs_off_without_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // The limit is the whole process's, so this needs one of its own.
    if std::env::var_os("ATTACHE_TEST_CHILD").is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["listener::tests::limits::accepting_backs_off_without_descriptors", "--exact", "--nocapture"]);
        let output = child.env("ATTACHE_TEST_CHILD", "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        return assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
    on_a_worker(async {
        let server = Server::start(hello);
        let mut first = server.connect().await;
        first.send(GET).await;
        first.answer().await;
        // The client's end takes the last descriptor, so that there is none for the server's.
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let maximum = getrlimit(Resource::Nofile).maximum;
        let highest = std::fs::read_dir("/proc/self/fd").unwrap();
        let highest = highest.filter_map(|fd| fd.unwrap().file_name().to_str()?.parse::<u64>().ok()).max().unwrap();
        let mut filled = Vec::new();
        setrlimit(Resource::Nofile, Rlimit { current: Some(highest + 1), maximum }).unwrap();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            filled.push(file);
        }
        client.connect(&server.address.into()).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut second = Client { tcp: TcpStream::from_std(client.into()).unwrap() };
        second.send(GET).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let pauses = server.shared.metrics.accept_pauses.get();
        assert!((40..=100).contains(&pauses), "{pauses} pauses in 10 s");
        first.send(GET).await;
        assert!(first.answer().await.ends_with("hello"), "who is connected is served");
        drop(filled);
        assert!(second.answer().await.ends_with("hello"));
    });
}
