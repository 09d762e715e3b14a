//! A route that calls several upstreams and composes one JSON document of their answers.

mod references;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};

use super::{JsonPath, Upstream};

/// What of one request several upstreams are asked, and how their answers become one.
#[derive(Debug)]
pub struct Aggregate {
    /// At least one, in declared order: the answer depends on that order only, never on who answers first.
    pub parts: Vec<Part>,
    pub layout: Layout,
    /// What happens where two parts say something of one place. `None`: it is known that none do.
    pub collision: Option<Collision>,
    /// For all of it: 30 s.
    pub deadline: Duration,
    pub report: Report,
    /// Parts are sent as they are complete, in declared order; a failure after the first byte aborts the answer.
    ///
    /// Only with [`Layout::Places`], without `collision`, without [`Place::Merged`], and with the report in the body or
    /// nowhere; and what goes into one object must stand together: once a part lies outside of an object of `into`, none may
    /// follow that lies within, because a streamed object cannot be opened again.
    pub stream: bool,
    /// Whether a placeholder reads the request's JSON.
    pub reads_request: bool,
}

/// How the answer is put together.
#[derive(Debug)]
pub enum Layout {
    /// Each part at its own place.
    Places,
    /// A template for the whole. It reads the parts as they are shown, and is an object if the report is in the body.
    Template(JsonValue),
}

/// What happens where two parts say something of one place. Order is declared order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collision {
    First,
    Last,
    /// Objects are merged member by member; else the last one.
    Deep,
    /// Lists are joined, objects merged member by member; else the last one.
    Concat,
}

/// Where the answer says which parts failed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// `Attache-Parts`, a list of RFC 9651, if there is something to say.
    Header,
    /// The member `_parts`, always.
    Body,
}

/// One call of an aggregate.
#[derive(Debug)]
pub struct Part {
    pub name: Arc<str>,
    pub upstream: Arc<Upstream>,
    pub request: PartRequest,
    /// The parts that it waits for, by index, ascending.
    pub needs: Vec<usize>,
    pub when: Option<Condition>,
    pub for_each: Option<ForEach>,
    pub pages: Option<Pages>,
    /// For one call, with its retries and the wait for a token.
    pub timeout: Duration,
    /// How often a call is made again at most, if that is safe: 0.
    pub retries: u32,
    /// 2xx.
    pub success: Vec<StatusRange>,
    /// Of one answer, decoded: 4 MiB.
    pub bytes_max: usize,
    pub on_failure: OnFailure,
    pub target: Option<Target>,
    pub edits: Edits,
    pub place: Place,
}

/// What is sent for a part.
#[derive(Debug)]
pub struct PartRequest {
    pub method: Method,
    /// Without query, joined to the upstream's own path. Values are encoded as path segments; what the rest of the
    /// route's path matched stands as it came.
    pub path: Vec<TextPiece>,
    pub query: Vec<(String, JsonValue)>,
    pub headers: Vec<(HeaderName, Vec<TextPiece>)>,
    /// Sent as `application/json`.
    pub body: Option<JsonValue>,
}

/// JSON in which placeholders stand for values. In a query parameter it is a value, a text or a number only.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonValue {
    /// One placeholder alone: the value keeps its type.
    Value(Reference),
    Text(Vec<TextPiece>),
    /// A number, a boolean, null.
    Other(serde_json::Value),
    List(Vec<JsonValue>),
    Object(Vec<(String, JsonValue)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextPiece {
    Text(String),
    Value(Reference),
}

/// A value of the request or of an earlier part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// As it is written, without its braces: for reports.
    pub text: String,
    pub source: ValueSource,
    /// Names of members, or indices of lists, from there on.
    pub path: Vec<String>,
    pub absent: Absent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// What the route's path matched there: the index of the segment in its pattern. Decoded.
    Segment(usize),
    /// What the rest of the route's path matched.
    Rest,
    /// The first parameter of this name in the request's query, decoded.
    Query(String),
    Header(HeaderName),
    /// The request's JSON body.
    Request,
    /// The name of the client; absent where anyone may call.
    Client,
    /// What stands for a part, by index.
    Part(usize),
    /// The item of `for_each`, and its number from 0.
    Item,
    Index,
}

/// What happens to what a placeholder stands in, if its value is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// The part fails.
    Fails,
    /// The parameter, header or member is left out.
    LeavesOut,
    /// This text stands there.
    Default(String),
}

/// Whether a part is called at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The value is there, and neither null nor false.
    Holds(Reference),
    /// The value is one of these.
    OneOf(Reference, Vec<serde_json::Value>),
    /// The value is none of these, or is not there.
    NoneOf(Reference, Vec<serde_json::Value>),
}

/// A call for each item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForEach {
    pub items: Reference,
    /// 8.
    pub concurrency: usize,
    /// With more of them the part fails: 100.
    pub items_max: usize,
}

/// How the pages of an answer are followed. The list is what `target` says, or the whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    pub next: NextPage,
    /// What lies beyond is left out, and the answer says so: 10.
    pub pages_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextPage {
    /// `Link` with `rel="next"`, RFC 8288.
    Link,
    /// The path of a URL in the answer.
    Url(Vec<String>),
    /// The path of a cursor in the answer, and the parameter that takes it. The last page has none, or null, or "".
    Cursor { path: Vec<String>, parameter: String },
    /// A parameter that counts up from `first`. The last page's list is empty.
    Number { parameter: String, first: u64 },
}

/// Both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

/// What a part's failure means for the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum OnFailure {
    /// The whole fails: the part is required.
    Fail(FailStatus),
    Null,
    /// There is nothing at its place.
    Omit,
    Value(serde_json::Value),
    /// Another part is called, by index, and stands in its place.
    Part(usize),
}

/// With which status the whole fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailStatus {
    /// 502, 503 or 504, as when a request is forwarded.
    Default,
    /// That of the part's answer, if there is one and it [may be](FailStatus::may_be).
    Own,
    Fixed(StatusCode),
}

/// What of an answer counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Names of members, or indices of lists.
    Path(Vec<String>),
    /// The node, if it can be but one; else the list of all that are found, which may be empty.
    JsonPath(JsonPath),
}

/// What is changed in a part before it is shown. Paths enter lists by themselves, also lists in lists; what they name is
/// called as it was before anything is renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Empty: all.
    pub pick: Vec<Vec<String>>,
    pub drop: Vec<Vec<String>>,
    /// A member's path, and its new name. A member that has this name already gives way; of two that are given one name, the
    /// one that is declared last stands.
    pub rename: Vec<(Vec<String>, String)>,
}

/// Where a part stands in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The names of the objects that lead there. Never empty.
    At(Vec<String>),
    /// Its members stand there: it is an object, or null, which has none. Empty: at the top.
    Merged(Vec<String>),
    /// It is there for other parts only, or in place of one that failed.
    Hidden,
}

impl FailStatus {
    /// Whether the whole can fail with this status. It cannot with those by which a client is told to ask in another way, in
    /// a field that has to be there: with another credential, method or protocol (RFC 9110 sections 15.5.2, 15.5.6, 15.5.8
    /// and 15.5.22). Redirects and the like are no failures.
    pub fn may_be(status: StatusCode) -> bool {
        let asks_for_another = [
            StatusCode::UNAUTHORIZED,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            StatusCode::UPGRADE_REQUIRED,
        ];
        (400..=599).contains(&status.as_u16()) && !asks_for_another.contains(&status)
    }
}

impl Part {
    /// Whether an answer with this status is none of a failure. 206 is only if it is named itself: it is a piece of an answer,
    /// by a range that was asked for (RFC 9110 section 15.3.7).
    pub fn is_success(&self, status: StatusCode) -> bool {
        let named = |range: &StatusRange| status != StatusCode::PARTIAL_CONTENT || range.first == range.last;
        self.success.iter().any(|range| range.has(status.as_u16()) && named(range))
    }
}

impl StatusRange {
    /// Whether a status lies in it.
    pub fn has(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl Edits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.pick.is_empty() && self.drop.is_empty() && self.rename.is_empty()
    }
}
