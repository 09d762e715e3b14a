//! How it is written what servers receive, by the first configuration of each page.

use super::{grants, keys, logins};
use crate::support::TlsRequest;

pub struct Page {
    pub path: &'static str,
    /// One for each route of the configuration.
    pub calls: &'static [Call],
}

/// A client's request, and what comes of it.
pub struct Call {
    /// Method and path, and the body.
    pub client: (&'static str, &'static str),
    /// What is asked for a token, and the answers: JSON, after headers and an empty line if it has some.
    pub asked: &'static [(Received, &'static str)],
    pub api: Received,
}

/// A request as a server receives it. `*` at the end of a text stands for what cannot be foreseen.
pub struct Received {
    /// Method and URL.
    pub line: &'static str,
    /// Headers that it has, once each; the pair of Basic as it is.
    pub headers: &'static [(&'static str, &'static str)],
    pub body: Body,
    /// What else has to hold.
    pub also: fn(&TlsRequest),
}

pub enum Body {
    Empty,
    Text(&'static str),
    Form(&'static [(&'static str, &'static str)]),
    Json(&'static str),
}

pub const GET: (&str, &str) = ("GET /api/x", "");
pub const SENT: Received = Received { line: "", headers: &[], body: Body::Empty, also: |_| () };
/// A token request's answer, and what is attached then.
pub const GRANTED: &str = r#"{"access_token":"token-0123456789abcdef","token_type":"Bearer","expires_in":3600}"#;
pub const ATTACHED: &[(&str, &str)] = &[("authorization", "Bearer token-0123456789abcdef")];

/// Every page that shows a configuration of a credential.
pub fn pages() -> impl Iterator<Item = &'static Page> {
    [keys::PAGES, grants::PAGES, logins::PAGES].into_iter().flatten()
}
