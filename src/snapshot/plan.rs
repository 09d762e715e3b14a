//! What an aggregate is to do: configuration that the request path reads as it stands.

pub use crate::config::{
    Absent, Aggregate, Collision, Condition, Edits, FailStatus, ForEach, JsonPath, JsonValue, Layout, NextPage,
    OnFailure, Pages, Part, PartRequest, Place, PlainStep, Reference, Report, StatusRange, Target, TextPiece,
    ValueSource,
};

/// Aggregates for the tests of modules that know no configuration.
#[cfg(test)]
pub mod testing {
    use std::sync::Arc;
    use std::time::Duration;

    use http::Method;

    use super::*;
    use crate::config::{HttpUrl, HttpVersion, Replay, Upstream, UpstreamTimeouts, UpstreamUrl};

    /// One that shows each of its parts at its place.
    pub fn aggregate(parts: Vec<Part>) -> Aggregate {
        Aggregate {
            parts,
            layout: Layout::Places,
            collision: None,
            deadline: Duration::from_secs(30),
            report: Report::Header,
            stream: false,
            reads_request: false,
        }
    }

    /// `GET /`, required, at its own name.
    pub fn part(name: &str) -> Part {
        let timeout = Duration::from_secs(10);
        let upstream = Upstream {
            name: "upstream".into(),
            url: UpstreamUrl::Fixed(HttpUrl::parse("http://127.0.0.1:1").expect("a URL")),
            credential: None,
            ca: Vec::new(),
            client_certificate: None,
            private: true,
            http: HttpVersion::Auto,
            timeouts: UpstreamTimeouts { connect: timeout, first_byte: timeout, idle: timeout },
            reject_on: Vec::new(),
            replay: Replay::Safe,
            forwarded: false,
            openapi: None,
        };
        Part {
            name: name.into(),
            upstream: Arc::new(upstream),
            request: PartRequest {
                method: Method::GET,
                path: vec![TextPiece::Text("/".to_owned())],
                query: Vec::new(),
                headers: Vec::new(),
                body: None,
            },
            needs: Vec::new(),
            when: None,
            for_each: None,
            pages: None,
            timeout,
            retries: 0,
            success: vec![StatusRange { first: 200, last: 299 }],
            bytes_max: 4 << 20,
            on_failure: OnFailure::Fail(FailStatus::Default),
            target: None,
            edits: Edits::default(),
            place: Place::At(vec![name.to_owned()]),
        }
    }
}
