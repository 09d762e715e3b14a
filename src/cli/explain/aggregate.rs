//! What an aggregate would do: which part waits for which, what each asks for, and what becomes of its answer.

use http::Uri;
use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::{asked_by, credential, edited, line};
use crate::config::{
    Absent, Aggregate, Collision, Condition, Edits, FailStatus, JsonValue, Layout, NextPage, OnFailure, Part, Place,
    Reference, Report, Route, Segment, Target, TextPiece, ValueSource,
};
use crate::proxy::AggregatePlan;
use crate::token::NOT_UNRESERVED;

pub(super) fn describe(plan: &AggregatePlan<'_>, uri: &Uri) -> String {
    let (route, aggregate) = (&*plan.route.config, &*plan.aggregate.config);
    let request = Request { plan, route, uri };
    let mut out = asked_by(route);
    line(&mut out, "composes", composed(aggregate));
    let mut waves: Vec<_> = waves(aggregate).into_iter().zip(&aggregate.parts).collect();
    // Those that may not be called come last; the order of the file holds within a wave.
    waves.sort_by_key(|(wave, _)| wave.unwrap_or(usize::MAX));
    let mut last = None;
    for (wave, part) in waves {
        let about = match wave {
            _ if last == Some(wave) => String::new(),
            Some(wave) => format!("wave {}", wave + 1),
            None => "if needed".to_owned(),
        };
        last = Some(wave);
        line(&mut out, &about, format!("{}: {} {}", part.name, part.request.method, request.url(part)));
        said_of(aggregate, part, &request).into_iter().for_each(|said| line(&mut out, "", format!("  {said}")));
    }
    let mut answer = vec!["application/json".to_owned()];
    answer.extend(edited(route));
    line(&mut out, "answer", answer.join("; "));
    out
}

/// The request that is explained.
struct Request<'r> {
    plan: &'r AggregatePlan<'r>,
    route: &'r Route,
    uri: &'r Uri,
}

impl Request<'_> {
    /// What is asked for, as far as it is known.
    fn url(&self, part: &Part) -> String {
        let piece = |piece: &TextPiece| match (piece, self.rest()) {
            (TextPiece::Value(Reference { source: ValueSource::Rest, .. }), Some(rest)) => rest.to_owned(),
            (piece, _) => self.piece(piece, true),
        };
        let path: String = part.request.path.iter().map(piece).collect();
        let parameter = |(name, value): &(String, JsonValue)| {
            let value = match value {
                JsonValue::Value(reference) => self.value(reference, true),
                JsonValue::Text(pieces) => pieces.iter().map(|piece| self.piece(piece, true)).collect(),
                other => shown(other),
            };
            format!("{}={value}", utf8_percent_encode(name, NOT_UNRESERVED))
        };
        let query: Vec<String> =
            part.request.query.iter().filter(|(_, value)| !self.is_left_out(value)).map(parameter).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{path}{mark}{}", part.upstream.url, query.join("&"))
    }

    /// Whether a parameter is not sent, because the URL has no value for it.
    fn is_left_out(&self, value: &JsonValue) -> bool {
        let JsonValue::Value(reference) = value else { return false };
        let of_url = matches!(reference.source, ValueSource::Query(_));
        of_url && reference.absent == Absent::LeavesOut && self.known(&reference.source).is_none()
    }

    fn piece(&self, piece: &TextPiece, is_value_encoded: bool) -> String {
        match piece {
            TextPiece::Text(text) => text.clone(),
            TextPiece::Value(reference) => self.value(reference, is_value_encoded),
        }
    }

    /// What stands for a placeholder: values of the URL are known.
    fn value(&self, reference: &Reference, encoded: bool) -> String {
        let Some(known) = self.known(&reference.source) else { return format!("{{{}}}", reference.text) };
        match encoded {
            true => utf8_percent_encode(&known, NOT_UNRESERVED).to_string(),
            false => known,
        }
    }

    /// What stands in a path as it came.
    fn rest(&self) -> Option<&str> {
        let rest = &self.uri.path()[self.plan.matched.rest.clone()?];
        Some(rest.strip_prefix('/').unwrap_or(rest)).filter(|rest| !rest.is_empty())
    }

    fn known(&self, source: &ValueSource) -> Option<String> {
        let path = self.uri.path();
        match source {
            ValueSource::Segment(index) => {
                let before = &self.route.path.segments[..*index];
                let number = before.iter().filter(|segment| matches!(segment, Segment::Parameter(_))).count();
                Some(decoded(&path[self.plan.matched.parameters.get(number)?.clone()]))
            }
            ValueSource::Rest => self.rest().map(decoded),
            ValueSource::Query(name) => {
                let query = self.uri.query().unwrap_or_default();
                let mut pairs = form_urlencoded::parse(query.as_bytes());
                pairs.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
            }
            _ => None,
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn composed(aggregate: &Aggregate) -> String {
    let parts = match aggregate.parts.len() {
        1 => "1 part".to_owned(),
        count => format!("{count} parts"),
    };
    let mut said = vec![format!("{parts}, within {:?}", aggregate.deadline)];
    if let Layout::Template(template) = &aggregate.layout {
        said.push(format!("as {}", shown(template)));
    }
    if let Some(collision) = aggregate.collision {
        let rule = match collision {
            Collision::First => "the first one counts",
            Collision::Last => "the last one counts",
            Collision::Deep => "objects are merged, else the last one counts",
            Collision::Concat => "lists are joined and objects merged, else the last one counts",
        };
        said.push(format!("of two in one place {rule}"));
    }
    let report = match aggregate.report {
        Report::Header => "the header Attache-Parts",
        Report::Body => "the member _parts",
    };
    said.push(format!("{report} says which parts failed"));
    if aggregate.stream {
        said.push("sent as they are complete".to_owned());
    }
    said.join("; ")
}

/// How many others each part waits for, one after the other at most. `None`: it is called only if another fails.
fn waves(aggregate: &Aggregate) -> Vec<Option<usize>> {
    // Each is known once: the ways that lead to a part can be more than anybody counts.
    fn wave(parts: &[Part], index: usize, known: &mut [Option<usize>]) -> usize {
        if let Some(wave) = known[index] {
            return wave;
        }
        let mut waits = 0;
        for need in &parts[index].needs {
            let stand_in = match parts[*need].on_failure {
                OnFailure::Part(stand_in) => wave(parts, stand_in, known),
                _ => 0,
            };
            waits = waits.max(1 + wave(parts, *need, known).max(stand_in));
        }
        known[index] = Some(waits);
        waits
    }
    let is_fallback = |index: usize| aggregate.parts.iter().any(|part| part.on_failure == OnFailure::Part(index));
    let parts = &aggregate.parts;
    let mut known = vec![None; parts.len()];
    (0..parts.len()).map(|index| (!is_fallback(index)).then(|| wave(parts, index, &mut known))).collect()
}

fn said_of(aggregate: &Aggregate, part: &Part, request: &Request<'_>) -> Vec<String> {
    let mut said = Vec::new();
    let needs: Vec<&str> = part.needs.iter().map(|need| &*aggregate.parts[*need].name).collect();
    said.extend((!needs.is_empty()).then(|| format!("waits for {}", needs.join(", "))));
    said.extend(part.when.as_ref().map(condition));
    said.extend(part.for_each.as_ref().map(|each| {
        let (items, most, at_once) = (&each.items.text, each.items_max, each.concurrency);
        format!("for each of {{{items}}}, {at_once} at once, {most} at most")
    }));
    for (name, pieces) in &part.request.headers {
        let value: String = pieces.iter().map(|piece| request.piece(piece, false)).collect();
        said.push(format!("{name}: {value}"));
    }
    said.extend(part.request.body.as_ref().map(|body| format!("body: {}", shown(body))));
    said.push(format!("credential: {}", credential::described(&part.upstream)));
    said.push(format!("timeout: {:?}{}", part.timeout, retries(part.retries)));
    said.extend(part.pages.as_ref().map(|pages| {
        let by = match &pages.next {
            NextPage::Link => "the Link header".to_owned(),
            NextPage::Url(path) => format!("the URL at {}", path.join(".")),
            NextPage::Cursor { path, parameter } => format!("the cursor at {}, as {parameter}", path.join(".")),
            NextPage::Number { parameter, first } => format!("{parameter}, from {first} on"),
        };
        format!("pages: by {by}, {} at most", pages.pages_max)
    }));
    let status = |range: &crate::config::StatusRange| match (range.first, range.last) {
        (first, last) if first == last => first.to_string(),
        (first, _) => format!("{}xx", first / 100),
    };
    let success: Vec<String> = part.success.iter().map(status).collect();
    said.push(format!("if it fails (not {}): {}", success.join(", "), failure(aggregate, part)));
    said.push(format!("in the answer: {}", place(aggregate, part)));
    said
}

fn retries(retries: u32) -> String {
    match retries {
        0 => String::new(),
        1 => ", with one more try".to_owned(),
        retries => format!(", with {retries} more tries"),
    }
}

fn condition(condition: &Condition) -> String {
    let values = |values: &[serde_json::Value]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let text = &condition.reference().text;
    match condition {
        Condition::Holds(_) => format!("only if {{{text}}} is neither absent, null nor false"),
        Condition::OneOf(_, wanted) => format!("only if {{{text}}} is {}", values(wanted)),
        Condition::NoneOf(_, unwanted) => format!("only if {{{text}}} is not {}", values(unwanted)),
    }
}

fn failure(aggregate: &Aggregate, part: &Part) -> String {
    match &part.on_failure {
        OnFailure::Fail(FailStatus::Default) => {
            "the whole fails, with 502, 503 or 504, or 400 if the request lacks a value".to_owned()
        }
        OnFailure::Fail(FailStatus::Own) => "the whole fails, with its status".to_owned(),
        OnFailure::Fail(FailStatus::Fixed(status)) => format!("the whole fails, with {}", status.as_u16()),
        OnFailure::Null => "null stands in its place".to_owned(),
        OnFailure::Omit => "nothing stands in its place".to_owned(),
        OnFailure::Value(value) => format!("{value} stands in its place"),
        OnFailure::Part(stand_in) => format!("{} is called, and stands in its place", aggregate.parts[*stand_in].name),
    }
}

fn place(aggregate: &Aggregate, part: &Part) -> String {
    let of = match &part.target {
        None => String::new(),
        Some(Target::Path(path)) => format!("its {} ", path.join(".")),
        Some(Target::JsonPath(path)) => format!("its {} ", path.query),
    };
    let Edits { pick, drop, rename } = &part.edits;
    let edits =
        [(pick.is_empty(), "picked"), (drop.is_empty(), "without what is dropped"), (rename.is_empty(), "renamed")];
    let edits: Vec<&str> = edits.into_iter().filter(|(none, _)| !none).map(|(_, said)| said).collect();
    let edits = if edits.is_empty() { String::new() } else { format!(" ({})", edits.join(", ")) };
    let is_fallback = |other: &&Part| matches!(other.on_failure, OnFailure::Part(index) if std::ptr::eq(&aggregate.parts[index], part));
    match (&part.place, &aggregate.layout) {
        (Place::Hidden, _) => match aggregate.parts.iter().find(is_fallback) {
            Some(other) => format!("{of}in the place of {}", other.name),
            None => "no, it is there for other parts".to_owned(),
        },
        (_, Layout::Template(_)) => format!("{of}where the template says{edits}"),
        (Place::At(path), _) => format!("{of}at {}{edits}", path.join(".")),
        (Place::Merged(path), _) if path.is_empty() => format!("{of}merged at the top{edits}"),
        (Place::Merged(path), _) => format!("{of}merged at {}{edits}", path.join(".")),
    }
}

/// JSON with its placeholders.
fn shown(value: &JsonValue) -> String {
    match value {
        JsonValue::Value(reference) => format!("{{{}}}", reference.text),
        JsonValue::Text(pieces) => {
            let text = |piece: &TextPiece| match piece {
                TextPiece::Text(text) => text.clone(),
                TextPiece::Value(reference) => format!("{{{}}}", reference.text),
            };
            serde_json::Value::from(pieces.iter().map(text).collect::<String>()).to_string()
        }
        JsonValue::Other(value) => value.to_string(),
        JsonValue::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        JsonValue::Object(members) => {
            let member = |(name, value): &(String, JsonValue)| {
                format!("{}:{}", serde_json::Value::from(name.as_str()), shown(value))
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::cli::explain::explain;
    use crate::config::{Environment, Load, load};

    fn explained(method: http::Method, url: &str) -> String {
        let file = Path::new("src/cli/explain/aggregate.toml");
        let loaded = load(file, &Environment::default(), Load::WithoutSecrets).unwrap();
        assert_eq!(loaded.warnings.to_string().lines().next(), None, "{}", loaded.warnings);
        explain(&loaded.config, method, url.parse().unwrap()).unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    #[test]
    fn the_plan_of_an_aggregate_is_drawn() {
        let drawn = explained(http::Method::GET, "/customers/a%20b/overview?page=2");
        let file = "src/cli/explain/aggregate.drawn";
        if std::env::var_os("ATTACHE_BLESS").is_some() {
            std::fs::write(file, &drawn).unwrap();
        }
        assert_eq!(drawn, std::fs::read_to_string(file).unwrap_or_default());
    }

    #[test]
    fn a_template_with_a_body_is_drawn() {
        let drawn = explained(http::Method::POST, "/search/x%2Fz/y");
        for line in [
            r#"composes     1 part, within 30s; as {"found":{search},"by":"{client|nobody}!"}; the header Attache-Parts says which parts failed"#,
            "wave 1       search: POST https://api.crm.example/v2/search/x%2Fz/y",
            r#"               body: {"text":{request.text?},"more":[1,"{request.a} b"]}"#,
            "               in the answer: where the template says",
        ] {
            assert!(drawn.lines().any(|drawn| drawn == line), "{line}\n{drawn}");
        }
    }

    /// Each part reads all before it: the ways from one to another double with every part.
    #[test]
    fn a_plan_with_many_ways_is_drawn_at_once() {
        let mut text = "[[listeners]]\naddress = \"127.0.0.1:0\"\n[upstreams.a]\nurl = \"https://a.example\"\n\
                        [[routes]]\npath = \"/\"\nclients = \"anyone\"\n"
            .to_owned();
        for part in 0..32 {
            let read: String = (0..part).map(|other| format!("/{{p{other}}}")).collect();
            text += &format!("[routes.aggregate.parts.p{part}]\nupstream = \"a\"\npath = \"/{part}{read}\"\n");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, text).unwrap();
        let loaded = load(&file, &Environment::default(), Load::WithoutSecrets).unwrap_or_else(|why| panic!("{why}"));
        let drawn =
            explain(&loaded.config, http::Method::GET, "/".parse().unwrap()).unwrap_or_else(|why| panic!("{why:?}"));
        assert!(drawn.contains("\nwave 32 "), "{drawn}");
    }
}
