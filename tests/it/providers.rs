//! Every preset against an exchange as the provider's own documentation has it: the real proxy asks the real URL, which
//! an egress proxy leads to a peer with a certificate for all of them.

pub mod transcript;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use attache::clock::{Clock as _, SystemClock};
use attache::config::presets;
use bytes::Bytes;
use http::Response;
use hyper::body::Frame;
use tempfile::TempDir;
use toml::Table;

use self::transcript::{Exchange, Transcript, basic, claims, transcripts};
use crate::support::{Frames, Identity, Peer, Proxy, TlsPeer, TlsRequest, Upstream, tunnel};

const HOUR: Duration = Duration::from_secs(3600);

/// Method and URL of a request.
fn line(request: &TlsRequest) -> String {
    format!("{} https://{}{}", request.method, request.authority, request.target)
}

/// Method, host and path of what is asked, without the query.
fn asked(request: &str) -> String {
    request.split('?').next().unwrap_or_default().to_owned()
}

fn answer(exchange: &Exchange) -> Response<Frames> {
    let mut answer = Response::builder().status(exchange.status).header("Content-Type", "application/json");
    for (name, value) in &exchange.answer_headers {
        answer = answer.header(name, value);
    }
    let hour_from_now = jiff::Timestamp::try_from(SystemClock.wall() + HOUR).expect("it is a date");
    let text = exchange.answer.replace("<in an hour>", &hour_from_now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let body = Frame::data(Bytes::from(text));
    answer.body(vec![body]).expect("a transcript's headers are legal")
}

/// All providers in one place.
struct World {
    upstream: Upstream,
    provider: TlsPeer,
    _tunnel: Peer,
    folder: TempDir,
    tunnel_url: String,
}

impl World {
    fn new(transcripts: &[Transcript]) -> World {
        let folder = tempfile::tempdir().expect("there is room for a file");
        let exchanges = transcripts.iter().flat_map(|transcript| &transcript.exchanges);
        let hosts: BTreeSet<String> = exchanges.clone().map(|exchange| host(&exchange.request)).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let own = Identity::new(folder.path(), "providers", &hosts);
        // Several transcripts may ask one URL: each answer is given once.
        let script: Mutex<Vec<Exchange>> = Mutex::new(exchanges.cloned().collect());
        let provider = TlsPeer::start(&own, &own, move |request| {
            let line = line(request);
            let mut script = script.lock().expect("nobody panics with it");
            match script.iter().position(|exchange| asked(&exchange.request) == asked(&line)) {
                Some(at) => answer(&script.remove(at)),
                None => Response::builder().status(404).body(Vec::new()).expect("it is legal"),
            }
        });
        let tunnel = tunnel(provider.address);
        let tunnel_url = format!("http://{}", tunnel.address);
        World { upstream: Upstream::open(), provider, _tunnel: tunnel, folder, tunnel_url }
    }

    /// A proxy.toml with a credential, an upstream and a route of the transcript's name for each.
    fn toml(&self, transcripts: &[Transcript]) -> String {
        let ca = self.folder.path().join("providers.crt");
        let mut toml = format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n\
             [egress]\nproxy = \"{}\"\nca = \"{}\"\n\n[server]\nworkers = 1\n\n",
            self.tunnel_url,
            ca.display()
        );
        let credentials = transcripts.iter().map(|transcript| (transcript.name.clone(), transcript.table().into()));
        let credentials = Table::from_iter([("credentials".to_owned(), Table::from_iter(credentials).into())]);
        toml += &credentials.to_string();
        for Transcript { name, .. } in transcripts {
            toml += &format!(
                "\n[upstreams.{name}]\nurl = \"{}\"\ncredential = \"{name}\"\n\n\
                 [[routes]]\npath = \"/{name}/{{*rest}}\"\nupstream = \"{name}\"\nclients = \"anyone\"\n",
                self.upstream.url()
            );
        }
        toml
    }
}

fn host(request: &str) -> String {
    let url = request.split_once("https://").expect("a request is METHOD https://…").1;
    url.split('/').next().unwrap_or_default().to_owned()
}

/// Holds a token request to what the provider's documentation says.
fn assert_asked(name: &str, exchange: &Exchange, request: &TlsRequest) {
    assert_eq!(line(request), exchange.request, "{name}");
    let header = |header: &str| request.headers.get(header).map(|value| value.to_str().unwrap_or_default());
    let authorization = exchange.basic.as_deref().map(basic).or(exchange.headers.get("Authorization").cloned());
    let authorization = authorization.map(|value| ("Authorization", value));
    let others = exchange.headers.iter().map(|(field, value)| (field.as_str(), value.clone()));
    for (field, value) in others.chain(authorization.clone()) {
        let sent = header(field).unwrap_or_default();
        let fits = value.strip_suffix('*').map_or(sent == value, |begin| sent.starts_with(begin));
        assert!(fits, "{name}: {field}: {sent:?} is sent, not {value:?}");
    }
    assert_eq!(header("authorization").is_some(), authorization.is_some(), "{name}");
    if let Some(json) = &exchange.json {
        let sent: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON is sent");
        assert_eq!(sent, serde_json::from_str::<serde_json::Value>(json).expect("a transcript has JSON"), "{name}");
    }
    let Some(expected) = &exchange.form else { return };
    assert_eq!(header("content-type"), Some("application/x-www-form-urlencoded"), "{name}");
    let mut form: BTreeMap<String, String> = BTreeMap::new();
    for (field, value) in form_urlencoded::parse(&request.body).into_owned() {
        if field.ends_with("assertion") {
            let claimed = claims(&value);
            exchange.claims.iter().for_each(|(name, value)| assert_eq!(claimed[name], *value, "{name}"));
        }
        let any = expected.get(&field).is_some_and(|expected| expected == "*") && !value.is_empty();
        let before = form.insert(field, if any { "*".to_owned() } else { value });
        assert_eq!(before, None, "{name}: a field is sent twice");
    }
    assert_eq!(&form, expected, "{name}");
}

/// The token is asked for, read and attached as each provider's own documentation says.
#[test]
fn every_preset_does_what_its_provider_documents() {
    let transcripts = transcripts();
    let world = World::new(&transcripts);
    let environment: Vec<_> = transcripts.iter().flat_map(Transcript::environment).collect();
    let pairs: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let proxy = Proxy::start_with(&world.toml(&transcripts), &pairs);
    for transcript in &transcripts {
        let name = &transcript.name;
        let (asked, sent) = (world.provider.requests().len(), world.upstream.requests().len());
        let answer = proxy.get(&format!("/{name}/x"));
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let requests = world.provider.requests().split_off(asked);
        assert_eq!(requests.len(), transcript.exchanges.len(), "{name}: {requests:?}");
        for (exchange, request) in transcript.exchanges.iter().zip(&requests) {
            assert_asked(name, exchange, request);
        }
        let [request] = &world.upstream.requests()[sent..] else { panic!("{name}: one request is sent upstream") };
        let attached = &transcript.attached;
        for (field, value) in &attached.headers {
            assert_eq!(request.headers.get(field), Some(value.as_str()), "{name}: {field}");
        }
        if let Some(pair) = &attached.basic {
            assert_eq!(request.headers.get("Authorization"), Some(basic(pair).as_str()), "{name}");
        }
        let authorizes = attached.basic.is_some() || attached.headers.contains_key("Authorization");
        assert_eq!(request.headers.get("Authorization").is_some(), authorizes, "{name}");
        assert_eq!(request.target, format!("/x{}", attached.query), "{name}");
        let shown = !(attached.headers.is_empty() && attached.query.is_empty() && attached.basic.is_none());
        assert!(shown, "{name}: something is attached");
    }
    assert_lifetimes(&proxy, &transcripts);
    assert!(transcripts.len() >= 25, "only {} presets are shown", transcripts.len());
}

/// How long each token lives is as documented, but for the time that has passed.
fn assert_lifetimes(proxy: &Proxy, transcripts: &[Transcript]) {
    let status = proxy.admin("/status").json();
    let cells = status["credentials"].as_array().expect("there are credentials");
    let mut known = 0;
    for transcript in transcripts.iter().filter(|transcript| !transcript.exchanges.is_empty()) {
        let cell = cells.iter().find(|cell| cell["name"] == transcript.name.as_str());
        let left = cell.expect("a token has a cell")["expires_in_seconds"].as_f64();
        let fits = match (left, transcript.attached.lifetime) {
            (Some(left), Some(lifetime)) => (lifetime as f64 - 60.0..=lifetime as f64 + 1.0).contains(&left),
            (left, lifetime) => left.is_none() && lifetime.is_none(),
        };
        assert!(fits, "{}: {left:?} s are left of {:?}", transcript.name, transcript.attached.lifetime);
        known += usize::from(left.is_some());
    }
    assert!(known >= 10, "{known}");
}

/// SEC-11: the presets of Salesforce know where the answer says which host has the API.
#[test]
fn an_api_is_where_the_answer_of_its_preset_says() {
    let mut transcripts = transcripts();
    transcripts.retain(|transcript| ["salesforce", "salesforce-jwt"].contains(&transcript.name.as_str()));
    let world = World::new(&transcripts);
    let environment: Vec<_> = transcripts.iter().flat_map(Transcript::environment).collect();
    let pairs: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let toml = world.toml(&transcripts);
    assert!(!toml.contains("instance_url"), "the presets say it");
    let placed = toml.replace(&world.upstream.url(), "{instance_url}/services/data");
    let proxy = Proxy::start_with(&placed, &pairs);
    for transcript in &transcripts {
        // Nothing is there: what counts is who was asked.
        assert_eq!(proxy.get(&format!("/{}/x", transcript.name)).status, 404);
        let request = world.provider.requests().pop().expect("it was asked");
        assert_eq!(line(&request), "GET https://acme.my.salesforce.com/services/data/x");
        assert_eq!(request.headers["authorization"], transcript.attached.headers["Authorization"].as_str());
    }
    assert_eq!((transcripts.len(), world.upstream.asked()), (2, 0));
}

/// What a preset claims is held to the provider's documentation, and nothing is held that no preset claims.
#[test]
fn every_preset_has_its_transcript() {
    let shown: Vec<String> = transcripts().into_iter().map(|transcript| transcript.name).collect();
    let claimed: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
    assert_eq!(shown, claimed);
    for transcript in transcripts() {
        assert!(!transcript.documentation.is_empty(), "{} cites nothing", transcript.name);
        assert!(transcript.documentation.iter().all(|url| url.starts_with("https://")), "{}", transcript.name);
    }
}
