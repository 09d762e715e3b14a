//! Every kind of credential has its page, and what the page's first configuration promises is what servers receive: the real
//! proxy asks the real URLs, which an egress proxy leads to one peer with a certificate for all of them.

mod expected;
mod grants;
mod keys;
mod logins;
mod signed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version};
use hyper::body::Frame;
use tempfile::TempDir;

use self::expected::{Body, Call, Page, Received, pages};
use crate::examples::{blocks, environment, with_secrets_in};
use crate::providers::transcript::basic;
use crate::sources::{below, file};
use crate::support::{Frames, Identity, Peer, Proxy, Reply, Request, TlsPeer, TlsRequest, Upstream, tunnel};

/// Where clouds have their metadata servers: in cleartext, and never asked through an egress proxy.
const METADATA: &str = "http://169.254.169.254";

/// The kinds that proxy.toml knows.
fn kinds() -> Vec<String> {
    let schema: serde_json::Value = serde_json::from_str(&file("proxy.schema.json").text).unwrap();
    let tables = &schema["properties"]["credentials"]["additionalProperties"]["anyOf"][0]["properties"];
    tables.as_object().expect("the schema lists the kinds of credentials").keys().cloned().collect()
}

#[test]
fn every_kind_has_its_page_and_every_page_is_shown() {
    let written = below("docs/credentials", "md").into_iter().map(|page| page.path).collect::<BTreeSet<_>>();
    let kinds = kinds();
    assert!(kinds.len() >= 15, "{kinds:?}");
    for kind in &kinds {
        assert!(written.contains(&format!("docs/credentials/{kind}.md")), "the kind `{kind}` has no page");
    }
    let shown: BTreeSet<String> = pages().map(|page| page.path.to_owned()).collect();
    let written: BTreeSet<String> = written.into_iter().chain(["docs/providers.md".to_owned()]).collect();
    assert_eq!(
        shown, written,
        "the pages whose first configuration is run (left) are not those that there are (right)"
    );
}

/// Whoever has an API that does it differently is led to every kind.
#[test]
fn the_page_for_odd_apis_leads_to_every_page() {
    let guide = file("docs/my-api-does-it-differently.md").text;
    for page in below("docs/credentials", "md") {
        let link = page.path.strip_prefix("docs/").expect("it is below docs").to_owned();
        assert!(guide.contains(&format!("]({link}")), "{link} is not linked");
    }
    assert!(guide.contains("](providers.md)"));
}

/// A row behind an empty line is shown as text.
#[test]
fn every_table_of_the_documentation_has_its_head() {
    let mut tables = 0;
    for page in below("docs", "md") {
        let lines: Vec<&str> = page.text.lines().collect();
        let is_row = |line: Option<&&str>| line.is_some_and(|line| line.starts_with('|'));
        for (number, _) in lines.iter().enumerate().filter(|(_, line)| is_row(Some(*line))) {
            if number == 0 || !is_row(lines.get(number - 1)) {
                let head = lines.get(number + 1).is_some_and(|line| line.starts_with("|---"));
                assert!(head, "{}:{}: a table without a head: {}", page.path, number + 1, lines[number]);
                tables += 1;
            }
        }
    }
    assert!(tables >= 50, "{tables}");
}

/// SEC-10, SEC-13: what a page says is attached, in place of the client's own, and is masked in answers.
#[test]
fn the_first_configuration_of_every_page_does_what_the_page_says() {
    for page in pages() {
        let world = World::of(page);
        let text = &blocks(&Path::new(env!("CARGO_MANIFEST_DIR")).join(page.path))[0].1;
        let routes = text.matches("[[routes]]").count();
        assert_eq!(page.calls.len(), routes, "{}: a route is not shown", page.path);
        let environment = environment(text).0;
        let pairs: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let proxy = Proxy::start_with(&world.toml(text), &pairs);
        for call in page.calls {
            world.run(&proxy, page.path, call);
        }
    }
}

/// All servers of a page.
struct World {
    folder: TempDir,
    servers: TlsPeer,
    metadata: Upstream,
    egress: Peer,
}

impl World {
    fn of(page: &Page) -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("certs")).unwrap();
        let received =
            || page.calls.iter().flat_map(|call| call.asked.iter().map(|(asked, _)| asked).chain([&call.api]));
        let hosts: BTreeSet<&str> = received().map(|received| host(received.line)).collect();
        let hosts: Vec<&str> = hosts.into_iter().collect();
        // What the pages show to servers as their own certificate, this server shows, too.
        let identity = Identity::new(folder.path(), "certs/proxy", &hosts);
        let answers: BTreeMap<&str, &str> =
            page.calls.iter().flat_map(|call| call.asked).map(|(asked, answer)| (asked.line, *answer)).collect();
        let servers = TlsPeer::start(&identity, &identity, move |request| match answers.get(&*line(request)) {
            Some(answer) => granted(answer),
            None => echo(request),
        });
        let egress = tunnel(servers.address);
        World { folder, servers, metadata: Upstream::open(), egress }
    }

    /// The page's configuration, changed in nothing but where attache listens, where its files are, and how it gets out.
    fn toml(&self, text: &str) -> String {
        let folder = self.folder.path();
        let text = with_secrets_in(folder, text)
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("\"/var/lib/attache/", &format!("\"{}/", folder.display()))
            // Link-local addresses are out of a test's reach.
            .replace(".metadata]", &format!(".metadata]\nurl = \"{}\"", self.metadata.url()));
        let ca = folder.join("certs/proxy.crt");
        format!(
            "{text}\n[egress]\nproxy = \"http://{}\"\nca = \"{}\"\n\n[server]\nworkers = 1\n",
            self.egress.address,
            ca.display()
        )
    }

    fn run(&self, proxy: &Proxy, page: &str, call: &Call) {
        let what = &format!("{page}, {}", call.client.0);
        let (before, before_metadata) = (self.servers.requests().len(), self.metadata.requests().len());
        for (_, answer) in call.asked.iter().filter(|(asked, _)| asked.line.contains(METADATA)) {
            let headers = [("Metadata-Flavor", "Google"), ("Content-Type", "application/json")];
            self.metadata.script([Reply::answer(200, &headers, answer.as_bytes())]);
        }
        let own: Vec<_> = call.api.headers.iter().map(|(name, _)| (*name, "the-client's=own")).collect();
        let (method, target) = call.client.0.split_once(' ').expect("a call is METHOD PATH");
        let answer = proxy.send(method, target, &own, call.client.1.as_bytes());
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        let machine = self.metadata.requests().split_off(before_metadata).into_iter().map(of_metadata_server);
        let requests: Vec<TlsRequest> = machine.chain(self.servers.requests().split_off(before)).collect();
        let expected: Vec<&Received> = call.asked.iter().map(|(asked, _)| asked).chain([&call.api]).collect();
        let lines: Vec<String> = requests.iter().map(line).collect();
        assert_eq!(lines.len(), expected.len(), "{what}: {lines:?}");
        for (expected, request) in expected.iter().zip(&requests) {
            assert_received(what, expected, request);
        }
        let attached = &requests.last().expect("the API was asked").headers;
        for (name, _) in call.api.headers {
            let value = attached[*name].to_str().unwrap();
            let end = &value[value.len() - 12..];
            assert!(!format!("{answer:?}").contains(end), "{what}: {name} comes back: {answer:?}");
        }
    }
}

/// An answer that has its headers, if any, in front, as a server writes them.
fn granted(answer: &str) -> Response<Frames> {
    let (headers, body) = answer.split_once("\n\n").unwrap_or(("", answer));
    let mut response = Response::builder().header("Content-Type", "application/json");
    for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
        response = response.header(name, value);
    }
    response.body(vec![Frame::data(Bytes::from(body.to_owned()))]).expect("it is legal")
}

/// An API that gives back everything that it is sent.
fn echo(request: &TlsRequest) -> Response<Frames> {
    let mut response = Response::builder().header("Content-Type", "text/plain");
    for value in request.headers.values() {
        response = response.header("X-Echo", value);
    }
    response.body(vec![Frame::data(Bytes::from_static(b"ok"))]).expect("it is legal")
}

/// The same with the address that the page's server has.
fn of_metadata_server(request: Request) -> TlsRequest {
    let mut headers = HeaderMap::new();
    for name in ["metadata", "metadata-flavor"] {
        let value = request.headers.get(name).map(|value| HeaderValue::from_str(value).unwrap());
        headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
    }
    TlsRequest {
        method: request.method.parse().unwrap(),
        version: Version::HTTP_11,
        certified: false,
        target: request.target,
        authority: METADATA.trim_start_matches("http://").to_owned(),
        headers,
        body: request.body.into(),
    }
}

/// Method and URL.
fn line(request: &TlsRequest) -> String {
    let scheme = if METADATA.ends_with(&request.authority) { "http" } else { "https" };
    format!("{} {scheme}://{}{}", request.method, request.authority, request.target)
}

fn host(line: &str) -> &str {
    let authority = line.split("//").nth(1).and_then(|rest| rest.split('/').next()).expect("a URL has a host");
    authority.split(':').next().unwrap_or_default()
}

/// Whether this is what was expected; a `*` at the end stands for what cannot be foreseen.
fn fits(expected: &str, found: &str) -> bool {
    expected.strip_suffix('*').map_or(found == expected, |begin| found.len() > begin.len() && found.starts_with(begin))
}

fn assert_received(what: &str, expected: &Received, request: &TlsRequest) {
    let line = line(request);
    assert!(fits(expected.line, &line), "{what}: {line}, not {}", expected.line);
    for (name, value) in expected.headers {
        let values: Vec<_> = request.headers.get_all(*name).iter().map(|value| value.to_str().unwrap()).collect();
        let [found] = values[..] else { panic!("{what}: {name} is sent {} times", values.len()) };
        let pair = value.strip_prefix("Basic ").filter(|pair| pair.contains(':')).map(basic);
        assert!(fits(pair.as_deref().unwrap_or(value), found), "{what}: {name}: {found}, not {value}");
    }
    match expected.body {
        Body::Empty => assert!(request.body.is_empty(), "{what}: {:?}", request.body),
        Body::Text(text) => assert_eq!(request.body, text, "{what}"),
        Body::Json(json) => {
            let [sent, expected] = [&request.body[..], json.as_bytes()]
                .map(|text| serde_json::from_slice::<serde_json::Value>(text).expect("it is JSON"));
            assert_eq!(sent, expected, "{what}");
        }
        Body::Form(fields) => {
            let sent: BTreeMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
            let names: BTreeSet<&str> = sent.keys().map(String::as_str).collect();
            assert_eq!(names, fields.iter().map(|(name, _)| *name).collect(), "{what}");
            for (name, value) in fields {
                assert!(fits(value, &sent[*name]), "{what}: {name}={}, not {value}", sent[*name]);
            }
        }
    }
    (expected.also)(request);
}
