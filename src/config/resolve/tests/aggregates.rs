//! What the aggregates of a good file become.

use std::fs;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};

use super::*;
use crate::config::{
    Absent, Aggregate, Answers, Collision, Condition, Edits, FailStatus, ForEach, JsonPath, JsonValue, Layout,
    NextPage, OnFailure, Pages, Place, Reference, Report, StatusRange, Target, TextPiece, ValueSource,
};

/// The aggregate of a route of this path.
fn aggregate<'c>(config: &'c Config, path: &str) -> (&'c Aggregate, &'c [Method]) {
    let route = config.routes.iter().find(|route| route.path.text == path).unwrap();
    let Answers::Aggregate(aggregate) = &route.answers else { panic!("{path} is no aggregate") };
    (aggregate, &route.methods)
}

fn read(source: ValueSource, path: &[&str], text: &str) -> Reference {
    let path = path.iter().map(|name| (*name).to_owned()).collect();
    Reference { text: text.to_owned(), source, path, absent: Absent::Fails }
}

fn maybe(source: ValueSource, text: &str) -> Reference {
    Reference { absent: Absent::LeavesOut, ..read(source, &[], text) }
}

fn text(text: &str) -> TextPiece {
    TextPiece::Text(text.to_owned())
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn full() -> Config {
    let (_folder, loaded) = super::good::full(Load::Full);
    loaded.config
}

#[test]
fn every_key_of_an_aggregate_says_what_it_does() {
    let config = full();
    let (aggregate, methods) = aggregate(&config, "/customers/{id}/overview/{*rest}");
    assert_eq!(methods, [Method::POST], "it reads the request");
    assert!(aggregate.reads_request && !aggregate.stream);
    assert_eq!((aggregate.deadline, aggregate.report), (Duration::from_secs(20), Report::Body));
    assert_eq!(aggregate.collision, Some(Collision::Deep));
    assert!(matches!(aggregate.layout, Layout::Places));
    let names: Vec<&str> = aggregate.parts.iter().map(|part| &*part.name).collect();
    assert_eq!(names, ["profile", "orders", "cached", "names", "pages", "more"]);
    let needs: Vec<&[usize]> = aggregate.parts.iter().map(|part| &part.needs[..]).collect();
    assert_eq!(needs, [&[][..], &[0], &[], &[], &[3], &[]]);

    let profile = &aggregate.parts[0];
    assert_eq!((&*profile.upstream.name, &profile.request.method), ("crm", &Method::GET));
    let id = || TextPiece::Value(read(ValueSource::Segment(1), &[], "id"));
    assert_eq!(profile.request.path, [text("/customers/"), id()]);
    let query = [
        ("full", JsonValue::Text(vec![text("yes a b")])),
        ("tenant", JsonValue::Value(read(ValueSource::Client, &[], "client"))),
        ("page", JsonValue::Value(maybe(ValueSource::Query("page".to_owned()), "query.page?"))),
        ("mixed", JsonValue::Text(vec![text("a-"), id()])),
    ];
    assert_eq!(profile.request.query, query.map(|(name, value)| (name.to_owned(), value)));
    let kinds = vec![serde_json::json!("company"), serde_json::json!(7)];
    assert_eq!(profile.when, Some(Condition::OneOf(read(ValueSource::Request, &["kind"], "request.kind"), kinds)));
    assert_eq!((profile.timeout, profile.retries, profile.bytes_max), (Duration::from_millis(800), 2, 1000));
    let statuses = [(200, 299), (404, 404), (409, 409)];
    assert_eq!(profile.success, statuses.map(|(first, last)| StatusRange { first, last }));
    assert_eq!(profile.on_failure, OnFailure::Fail(FailStatus::Own));
    assert_eq!(profile.target, Some(Target::Path(path(&["data", "items"]))));
    assert_eq!(profile.place, Place::At(path(&["customer"])));
}

#[test]
fn requests_and_shapes_are_as_the_file_says() {
    let config = full();
    let (aggregate, _) = aggregate(&config, "/customers/{id}/overview/{*rest}");
    let orders = &aggregate.parts[1];
    assert_eq!(orders.request.method, Method::PUT);
    let rest = Reference { absent: Absent::Default("none".to_owned()), ..read(ValueSource::Rest, &[], "rest|none") };
    let number = read(ValueSource::Part(0), &["0", "number"], "profile.0.number");
    let pieces = [text("/orders/"), TextPiece::Value(number), text("/"), TextPiece::Value(rest)];
    assert_eq!(orders.request.path, pieces);
    let query = [
        ("state", JsonValue::Text(vec![text("open")])),
        ("page", JsonValue::Value(maybe(ValueSource::Query("page.1".to_owned()), r"query.page\.1?"))),
        ("all", JsonValue::Other(true.into())),
        ("limit", JsonValue::Other(5.into())),
    ];
    assert_eq!(orders.request.query, query.map(|(name, value)| (name.to_owned(), value)));
    let client = TextPiece::Value(read(ValueSource::Client, &[], "client"));
    let trace = TextPiece::Value(maybe(ValueSource::Header(HeaderName::from_static("x-trace")), "header.x-trace?"));
    let headers = [("x-tenant", vec![text("tenant-"), client]), ("x-trace", vec![trace])];
    assert_eq!(orders.request.headers, headers.map(|(name, value)| (HeaderName::from_static(name), value)));
    let note = ["{", "} of "].map(text);
    let [open, close] = note;
    let item = TextPiece::Value(read(ValueSource::Item, &["note"], "item.note"));
    let note = vec![open, item, close, TextPiece::Value(read(ValueSource::Index, &[], "index"))];
    let lines = JsonValue::Value(read(ValueSource::Request, &["lines"], "request.lines"));
    let more = Reference { absent: Absent::LeavesOut, ..read(ValueSource::Request, &["more"], "request.more?") };
    let body = [
        ("customer", JsonValue::Value(read(ValueSource::Part(0), &["id"], "profile.id"))),
        ("note", JsonValue::Text(note)),
        ("lines", JsonValue::List(vec![lines, JsonValue::Other(1.into()), JsonValue::Other(0.5.into())])),
        ("open", JsonValue::Other(true.into())),
        ("more", JsonValue::Value(more)),
    ];
    let body = body.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(orders.request.body, Some(JsonValue::Object(body.to_vec())));
    let each = ForEach { items: read(ValueSource::Part(0), &[], "profile"), concurrency: 3, items_max: 7 };
    assert_eq!(orders.for_each, Some(each));
    assert_eq!(orders.on_failure, OnFailure::Part(2));
    assert_eq!(orders.target, Some(Target::JsonPath(JsonPath::parse("$.orders[?@.open].id").unwrap())));
    assert_eq!(orders.place, Place::At(path(&["customer", "orders"])));
    let edits = Edits {
        pick: vec![path(&["id"]), path(&["lines", "sku"])],
        drop: vec![path(&["lines", "internal"])],
        rename: vec![(path(&["lines", "qty"]), "quantity".to_owned())],
    };
    assert_eq!(orders.edits, edits);
    let [cached, names, pages, more] = &aggregate.parts[2..] else { panic!("there are six") };
    assert_eq!((&cached.place, &cached.on_failure), (&Place::Hidden, &OnFailure::Value(serde_json::json!([]))));
    assert_eq!((&names.place, &names.on_failure), (&Place::Hidden, &OnFailure::Omit));
    assert_eq!(names.pages, Some(Pages { next: NextPage::Link, pages_max: 3 }));
    assert_eq!((&pages.place, &pages.on_failure), (&Place::At(path(&["pages"])), &OnFailure::Null));
    assert_eq!(more.place, Place::Merged(Vec::new()));
    let next = NextPage::Cursor { path: path(&["meta", "cursor"]), parameter: "cursor".to_owned() };
    assert_eq!(pages.pages, Some(Pages { next, pages_max: 10 }));
}

#[test]
fn templates_and_streams_are_understood() {
    let config = full();
    let (next, methods) = aggregate(&config, "/next");
    assert_eq!(methods, [Method::GET]);
    let Layout::Template(JsonValue::Object(members)) = &next.layout else { panic!("{:?}", next.layout) };
    assert_eq!(members[0], ("next".to_owned(), JsonValue::Value(read(ValueSource::Part(0), &[], "next"))));
    let default =
        Reference { absent: Absent::Default("none".into()), ..read(ValueSource::Part(1), &["0"], "number.0|none") };
    assert_eq!(members[1].1, JsonValue::List(vec![JsonValue::Value(default)]));
    let url = Pages { next: NextPage::Url(path(&["links", "next"])), pages_max: 10 };
    let number = Pages { next: NextPage::Number { parameter: "page".to_owned(), first: 0 }, pages_max: 10 };
    assert_eq!([&next.parts[0].pages, &next.parts[1].pages], [&Some(url), &Some(number)]);
    let header = read(ValueSource::Header(HeaderName::from_static("x-number")), &[], "header.x-number");
    assert_eq!(next.parts[1].when, Some(Condition::Holds(header)));

    let (streamed, _) = aggregate(&config, "/streamed");
    assert!(streamed.stream && streamed.report == Report::Body, "no header could say it");
    assert_eq!(streamed.parts[0].on_failure, OnFailure::Fail(FailStatus::Fixed(StatusCode::NOT_FOUND)));
    let no = vec![serde_json::json!("no")];
    assert_eq!(streamed.parts[1].when, Some(Condition::NoneOf(read(ValueSource::Part(0), &["x"], "one.x"), no)));
}

/// The common case: everything else has its default.
#[test]
fn a_short_aggregate_is_enough() {
    let text = fs::read_to_string("src/config/resolve/tests/overview.toml").unwrap();
    let loaded = resolve(&text, &[]).unwrap();
    assert_eq!(loaded.warnings.to_string(), "");
    let (overview, methods) = aggregate(&loaded.config, "/customers/{id}/overview");
    assert_eq!(methods, [Method::GET]);
    assert_eq!(&*loaded.config.routes[0].name, "GET /customers/{id}/overview");
    assert_eq!((overview.deadline, overview.report), (Duration::from_secs(30), Report::Header));
    assert_eq!((overview.collision, overview.stream, overview.reads_request), (None, false, false));
    let [profile, orders] = &overview.parts[..] else { panic!("there are two") };
    assert_eq!(
        (&profile.place, &profile.on_failure),
        (&Place::At(path(&["profile"])), &OnFailure::Fail(FailStatus::Default))
    );
    assert_eq!((profile.timeout, profile.retries, profile.bytes_max), (Duration::from_secs(30), 0, 4 << 20));
    assert_eq!(profile.success, [StatusRange { first: 200, last: 299 }]);
    assert!(profile.edits.is_empty() && profile.target.is_none() && profile.when.is_none());
    assert_eq!((&orders.needs[..], orders.timeout), (&[0][..], Duration::from_millis(800)));
    let number = JsonValue::Value(read(ValueSource::Part(0), &["number"], "profile.number"));
    assert_eq!(orders.request.query, [("customer".to_owned(), number)]);
    assert_eq!(orders.request.path, [TextPiece::Text("/orders".to_owned())]);
}
