//! AWS signatures: moto verifies them by botocore, and scripted peers look at what is sent.

use std::process::Command;

use http::{Response, Version};
use hyper::body::Frame;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::aws_keys::Imds;
use crate::support::{Answer, Identity, Process, Proxy, Reply, TlsPeer, Upstream, assert_problem, one_route_of};

const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/aws/bin/python");

/// A server that verifies signatures, once it says that it does.
struct Moto {
    _process: Process,
    port: u16,
    /// Access key, secret and session token: of a user, and of a role.
    key: [String; 3],
    temporary: [String; 3],
}

impl Moto {
    fn start() -> Moto {
        let mut command = Command::new(PYTHON);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aws/server.py"));
        let process = Process::spawn(command, "./test.sh makes its virtual environment");
        let line = process.wait_for_line("its keys", |line| line.starts_with('{'));
        let said: Value = serde_json::from_str(&line).unwrap();
        let key = |name: &str| serde_json::from_value(said[name].clone()).unwrap();
        let port = said["port"].as_u64().unwrap().try_into().unwrap();
        Moto { port, key: key("key"), temporary: key("temporary"), _process: process }
    }

    fn proxy(&self, key: &[String; 3], service: &str) -> Proxy {
        proxy(&format!("http://127.0.0.1:{}", self.port), key, service)
    }
}

fn proxy(url: &str, key: &[String; 3], service: &str) -> Proxy {
    let [id, secret, token] = key;
    let session = if token.is_empty() { "" } else { "session_token = { env = \"TOKEN\" }" };
    let credential = format!(
        r#"
[credentials.api.aws_sigv4]
access_key_id = {{ env = "ID" }}
secret_access_key = {{ env = "KEY" }}
region = "eu-central-1"
service = "{service}"
{session}
"#
    );
    let toml = one_route_of(&credential, &format!("url = \"{url}\""), "");
    Proxy::start_with(&toml, &[("ID", id), ("KEY", secret), ("TOKEN", token)])
}

fn scripted(service: &str) -> (Upstream, Proxy) {
    let upstream = Upstream::open();
    let key = ["AKIDEXAMPLE".to_owned(), "planted+secret/access=key".to_owned(), String::new()];
    let proxy = proxy(&upstream.url(), &key, service);
    (upstream, proxy)
}

fn sha256(data: &[u8]) -> String {
    digest(&SHA256, data).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    ring::hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}

#[track_caller]
fn assert_ok(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// S3: keys that are anything but tidy, queries, and bodies of every kind: held, in signed chunks, and none.
#[test]
fn moto_verifies_signatures_of_s3() {
    let moto = Moto::start();
    for (key, bucket) in [(&moto.key, "one"), (&moto.temporary, "two")] {
        let proxy = moto.proxy(key, "s3");
        assert_ok(&proxy.send("PUT", &format!("/api/{bucket}"), &[], LOCATION));
        for name in ["plain", "a//b/.c", "with%20blank", "a-b~c"] {
            for size in [0, 1000, 65537, 1_000_000] {
                let body = vec![b'x'; size];
                let target = format!("/api/{bucket}/{name}");
                assert_ok(&proxy.send("PUT", &target, &[("Content-Type", "text/plain; charset=utf-8")], &body));
                let answer = proxy.get(&target);
                assert_ok(&answer);
                assert!(answer.body == body, "{name} of {size} bytes came back as {}", answer.body.len());
            }
        }
        let listed = proxy.get(&format!("/api/{bucket}?prefix=with%20b&list-type=2&max-keys=5"));
        assert_ok(&listed);
        assert!(listed.text().contains("<KeyCount>1</KeyCount>"), "{}", listed.text());
    }
    let mut wrong = moto.key.clone();
    wrong[1].replace_range(..1, "~");
    let refused = moto.proxy(&wrong, "s3").get("/api/one/plain");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text().contains("SignatureDoesNotMatch"), "{refused:?}");
}

/// With keys of an instance's role, session token included: held, in signed chunks, and none.
#[test]
fn moto_verifies_signatures_with_fetched_keys() {
    let moto = Moto::start();
    let imds = Imds::start(std::slice::from_ref(&moto.temporary));
    let credential = format!(
        "[credentials.api.aws_sigv4]\nkeys = \"instance\"\nurl = \"{}\"\nregion = \"eu-central-1\"\nservice = \"s3\"\n",
        imds.url()
    );
    let proxy = Proxy::start(&one_route_of(&credential, &format!("url = \"http://127.0.0.1:{}\"", moto.port), ""));
    assert_ok(&proxy.send("PUT", "/api/four", &[], LOCATION));
    for size in [0, 1000, 1_000_000] {
        let body = vec![b'x'; size];
        assert_ok(&proxy.send("PUT", "/api/four/key", &[], &body));
        assert!(proxy.get("/api/four/key").body == body, "{size} bytes");
    }
}

/// AWS's own client needs nothing but attache's address: what it has signed is signed anew.
#[test]
fn boto3_works_with_a_key_that_nobody_knows() {
    let moto = Moto::start();
    let proxy = moto.proxy(&moto.key, "s3");
    let mut command = Command::new(PYTHON);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aws/client.py"));
    command.args([&proxy.address().to_string(), "three"]);
    let mut client = Process::spawn(command, "./test.sh makes its virtual environment");
    assert!(client.wait().success(), "{}", client.output());
    let line = client.wait_for_line("what came back", |line| line.starts_with('{'));
    let expected = json!({
        "sizes": { "small": 10, "a blank/and others": 100_000, "large": 3_000_000 },
        "keys": ["a blank/and others", "large", "small"],
    });
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
}

const LOCATION: &[u8] = b"<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
    <LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>";

#[test]
fn moto_verifies_signatures_of_other_services() {
    let moto = Moto::start();
    for key in [&moto.key, &moto.temporary] {
        let sts = moto.proxy(key, "sts");
        let form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
        let answer = sts.send("POST", "/api/", &form, b"Action=GetCallerIdentity&Version=2011-06-15");
        assert_ok(&answer);
        assert!(answer.text().contains("attache"), "{answer:?}");
        let dynamodb = moto.proxy(key, "dynamodb");
        let headers =
            [("Content-Type", "application/x-amz-json-1.0"), ("X-Amz-Target", "DynamoDB_20120810.ListTables")];
        let answer = dynamodb.send("POST", "/api/", &headers, b"{}");
        assert_ok(&answer);
        assert_eq!(answer.json(), json!({ "TableNames": [] }));
    }
    let mut wrong = moto.key.clone();
    wrong[1].replace_range(..1, "~");
    let refused = moto.proxy(&wrong, "sts").send("POST", "/api/", &[], b"Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!(refused.status, 403, "{refused:?}");
}

/// SEC-10: a client's own signature, in the header or the query, is removed; what else it says of AWS is signed.
#[test]
fn a_clients_own_signature_gives_way() {
    let (upstream, proxy) = scripted("execute-api");
    let own = [
        ("Authorization", "AWS4-HMAC-SHA256 Credential=evil"),
        ("X-Amz-Date", "evil"),
        ("X-Amz-Security-Token", "evil"),
        ("X-Amz-Content-Sha256", "evil"),
        ("X-Amz-Meta-Kept", "kept"),
    ];
    let target = "/api/x?X-Amz-Signature=evil&a=1&X-Amz-Credential=evil&X-Amz-S%69gnedHeaders=evil&X-Amz-Date=evil";
    assert_ok(&proxy.send("GET", target, &own, b""));
    let request = upstream.request();
    assert!(!format!("{request:?}").contains("evil"), "{request:?}");
    assert_eq!(request.target, "/x?a=1");
    assert_eq!(request.headers.get("x-amz-meta-kept"), Some("kept"));
    let authorization = request.headers.get("authorization").unwrap();
    assert!(
        authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-kept, "),
        "{authorization}"
    );
}

/// An upload that is too large to be kept streams: its chunks are signed, and it still has a length.
#[test]
fn a_large_upload_over_http_streams_in_signed_chunks() {
    let (upstream, proxy) = scripted("s3");
    let body: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
    assert_ok(&proxy.send("PUT", "/api/bucket/key", &[("Content-Encoding", "gzip")], &body));
    let request = upstream.request();
    assert_eq!(request.headers.get("x-amz-content-sha256"), Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"));
    assert_eq!(request.headers.get("x-amz-decoded-content-length"), Some("200000"));
    assert_eq!(request.headers.get("content-encoding"), Some("aws-chunked,gzip"));
    // What AWS does: the request's own signature is the first of the chain.
    let header = |name| request.headers.get(name).unwrap();
    let (before, mut previous) = header("authorization").split_once(", Signature=").unwrap();
    let scope = before.split_once("Credential=AKIDEXAMPLE/").unwrap().1.split(',').next().unwrap();
    let key = scope.split('/').fold(b"AWS4planted+secret/access=key".to_vec(), |key, part| hmac(&key, part));
    let (mut left, mut decoded, mut chunks) = (&request.body[..], Vec::new(), 0);
    while !left.is_empty() {
        let end = left.windows(2).position(|two| two == b"\r\n").unwrap();
        let (size, signature) = std::str::from_utf8(&left[..end]).unwrap().split_once(";chunk-signature=").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let chunk = &left[end + 2..end + 2 + size];
        let signed = ["AWS4-HMAC-SHA256-PAYLOAD", header("x-amz-date"), scope, previous, &sha256(b""), &sha256(chunk)];
        let expected: String = hmac(&key, &signed.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(signature, expected, "chunk {chunks}");
        decoded.extend_from_slice(chunk);
        (previous, chunks) = (signature, chunks + 1);
        left = left[end + 2 + size..].strip_prefix(b"\r\n").unwrap();
    }
    assert!(decoded == body);
    assert_eq!(chunks, 5);
}

/// A request whose reused connection was closed on it is sent again, signed as the first time.
#[test]
fn a_retry_is_signed_again() {
    let (upstream, proxy) = scripted("s3");
    // One worker, and so one connection to the upstream, that is used again.
    let mut client = proxy.connect();
    assert_ok(&client.send("GET", "/api/warm", &[], b""));
    upstream.script([Reply::custom(|_, _| Err(std::io::ErrorKind::ConnectionReset.into()))]);
    assert_ok(&client.send("PUT", "/api/bucket/key", &[], b"body"));
    let requests = upstream.requests();
    assert_eq!(requests.len(), 3);
    for sent in &requests[1..] {
        assert_eq!((sent.method.as_str(), &sent.body[..]), ("PUT", &b"body"[..]));
        assert_eq!(sent.headers.get("x-amz-content-sha256"), Some(&*sha256(b"body")));
        assert!(sent.headers.get("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 "));
    }
}

/// An upload whose connection could not be opened is sent again in signed chunks, once coded.
#[test]
fn a_streamed_upload_is_coded_once() {
    let (upstream, proxy) = scripted("s3");
    // One worker, and so one connection to the upstream, that is used again.
    let mut client = proxy.connect();
    for _ in 0..3 {
        // Closed after its answer: the next request finds that out.
        upstream.script([Reply::RawThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())]);
        assert_ok(&client.send("GET", "/api/last", &[], b""));
        assert_ok(&client.send("PUT", "/api/bucket/key", &[], &vec![b'a'; 100_000]));
        let sent = upstream.requests().pop().unwrap();
        assert_eq!(sent.headers.all("content-encoding"), ["aws-chunked"]);
        assert_eq!(sent.headers.all("x-amz-decoded-content-length"), ["100000"]);
    }
}

/// A body whose hash is signed is held first, whether its length is known or not; what cannot be is refused, and why is said.
#[test]
fn a_body_that_has_to_be_hashed_is_held() {
    let (upstream, proxy) = scripted("sqs");
    for size in [100, 1_000_000] {
        let mut client = proxy.connect();
        let head = format!("POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n");
        client.write(head.as_bytes()).unwrap();
        client.write(&vec![b'y'; size]).unwrap();
        client.write(b"\r\n0\r\n\r\n").unwrap();
        assert_ok(&client.read_answer("POST").unwrap());
        let sent = upstream.requests().pop().unwrap();
        assert_eq!((sent.body.len(), sent.headers.get("content-length")), (size, Some(&*size.to_string())));
    }
    let too_large = 16 * 1024 * 1024 + 1;
    let mut client = proxy.connect();
    let head = format!("POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: {too_large}\r\n\r\n");
    client.write(head.as_bytes()).unwrap();
    let refused = assert_problem(&client.read_answer("POST").unwrap(), 413);
    assert_eq!(refused["type"], "urn:attache:problem:body_too_large_to_sign");
    assert_eq!(upstream.requests().len(), 2);
}

/// What S3 cannot be told is refused before anything is sent.
#[test]
fn an_upload_that_cannot_be_signed_says_why() {
    let (upstream, proxy) = scripted("s3");
    let mut client = proxy.connect();
    client.write(b"PUT /api/b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").unwrap();
    let refused = assert_problem(&client.read_answer("PUT").unwrap(), 411);
    assert_eq!(refused["type"], "urn:attache:problem:signature_needs_length");
    let signed = [("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
    let refused = assert_problem(&proxy.send("PUT", "/api/b/k", &signed, b"abc"), 400);
    assert_eq!(refused["type"], "urn:attache:problem:body_signed_already");
    assert!(upstream.requests().is_empty());
}

/// Over TLS an upload to S3 streams as it is, over HTTP/2 too, and neither its hash nor its chunks are signed.
#[test]
fn a_large_upload_over_tls_streams_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new(folder.path(), "upstream", &["127.0.0.1"]);
    for (version, expected) in [("1", Version::HTTP_11), ("2", Version::HTTP_2)] {
        let upstream = TlsPeer::start(&identity, &identity, |_| Response::new(vec![Frame::data("ok".into())]));
        let keys = format!("\"\nca = {:?}\nhttp = \"{version}", identity.cert_file);
        let url = format!("https://127.0.0.1:{}{keys}", upstream.address.port());
        let proxy = proxy(&url, &["AKIDEXAMPLE", "planted+secret/access=key", ""].map(str::to_owned), "s3");
        for (size, said) in [(100, sha256(&[7; 100])), (200_000, "UNSIGNED-PAYLOAD".to_owned())] {
            assert_ok(&proxy.send("PUT", "/api/bucket/key", &[], &vec![7; size]));
            let sent = upstream.requests().pop().unwrap();
            assert_eq!((sent.version, sent.body.len()), (expected, size));
            assert_eq!(sent.headers["x-amz-content-sha256"].to_str().unwrap(), said);
            assert!(sent.headers["authorization"].to_str().unwrap().contains(";x-amz-content-sha256;x-amz-date, "));
            assert!(!sent.headers.contains_key("content-encoding"));
        }
    }
}

/// Bodies that are held share one memory: beyond it a request is told to come again.
#[test]
fn bodies_are_held_within_the_memory_for_bodies() {
    let upstream = Upstream::open();
    let credential = "[credentials.api.hmac]\nkey = { env = \"SECRET\" }\nstring_to_sign = \"{body}\"\n\
                      headers = { X-Signature = \"{signature}\" }\n[server.limits]\nreplay_memory_bytes_max = 100_000\n";
    let proxy = Proxy::start(&one_route_of(credential, &format!("url = \"{}\"", upstream.url()), ""));
    assert_ok(&proxy.send("POST", "/api/x", &[], &[1; 90_000]));
    let refused = proxy.send("POST", "/api/x", &[], &[1; 110_000]);
    assert_eq!(assert_problem(&refused, 503)["type"], "urn:attache:problem:no_memory_to_sign");
    assert_eq!(refused.headers.get("retry-after"), Some("1"));
    assert_ok(&proxy.send("POST", "/api/x", &[], &[1; 90_000]));
    assert_eq!(upstream.requests().len(), 2);
}

/// A client that leaves within a body that is held: nothing was sent, and the next one is served.
#[test]
fn a_client_that_leaves_within_its_body_causes_no_request() {
    let (upstream, proxy) = scripted("sqs");
    let mut client = proxy.connect();
    client.write(b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    drop(client);
    assert_ok(&proxy.send("POST", "/api/x", &[], b"whole"));
    assert_eq!(upstream.request().body, b"whole");
}
