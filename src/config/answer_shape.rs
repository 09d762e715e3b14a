//! Where things are in the answer of a token endpoint that says them in words of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;

use super::{BaseUrl, LifetimeFormat};

/// Declared places in a token answer, and what tells an error from a success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerShape {
    pub token: Option<AnswerPlace>,
    pub lifetime: Option<AnswerPlace>,
    pub lifetime_unit: Option<LifetimeUnit>,
    pub lifetime_format: Option<LifetimeFormat>,
    /// How long a token lives whose answer does not say it.
    pub lifetime_default: Option<Duration>,
    /// Where a token comes with one by which it is renewed. `None`: `refresh_token` beside the token, or at the top.
    pub refresh_token: Option<AnswerPlace>,
    /// Further values, by the names that templates call them.
    pub values: BTreeMap<String, AnswerPlace>,
    /// Whether a value that is not there stays what an answer before this one said.
    pub values_may_lack: bool,
    /// Which of them are base URLs of upstreams, and what those may be.
    pub base_urls: BTreeMap<String, BaseUrl>,
    /// Without it, only the status and the usual members tell an error.
    pub success: Option<Success>,
    /// The path of what the server says of an error.
    pub error: Option<String>,
}

impl AnswerShape {
    /// Where something is declared that may be a secret: all but where upstreams are.
    pub fn secret_places(&self) -> impl Iterator<Item = &AnswerPlace> {
        let further = self.values.iter().filter(|(name, _)| !self.base_urls.contains_key(*name));
        self.token.iter().chain(&self.refresh_token).chain(further.map(|(_, place)| place))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LifetimeUnit {
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

/// Where one value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerPlace {
    /// Dotted names of members, and indices of lists: `accounts.0.token`.
    Path(String),
    Header(HeaderName),
    /// A cookie that the answer sets.
    Cookie(String),
    /// The whole body: a text, or JSON that is nothing but a string.
    Body,
}

/// What a success holds, and an error does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    pub path: String,
    pub equals: serde_json::Value,
    /// Whether an answer without such a member is a success, too.
    pub or_absent: bool,
}

impl From<&str> for AnswerPlace {
    fn from(path: &str) -> Self {
        AnswerPlace::Path(path.to_owned())
    }
}

impl AnswerPlace {
    /// What it is called: a path, a header's or a cookie's name, or `body`.
    pub fn name(&self) -> &str {
        match self {
            AnswerPlace::Path(name) | AnswerPlace::Cookie(name) => name,
            AnswerPlace::Header(name) => name.as_str(),
            AnswerPlace::Body => "body",
        }
    }
}
