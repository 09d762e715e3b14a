//! A login that is no OAuth 2.0, as it is declared.

use std::borrow::Cow;

use http::{HeaderName, Method};
use serde_json::Value;

use super::{AnswerShape, HttpUrl, Piece, Template, TokenLife};
use crate::secret::Secret;

/// Requests one after the other, the last of which, or one before it, brings the token.
#[derive(Debug)]
pub struct Login {
    /// At least one. What a step's answer holds, the templates of later ones can name.
    pub steps: Vec<LoginStep>,
    /// Renews the token by the refresh token that came with it. Can name all that the login was answered, the refresh token
    /// as `refresh_token` and the token as `token`.
    pub refresh: Option<LoginStep>,
    pub life: TokenLife,
}

impl Login {
    /// All its requests.
    pub fn requests(&self) -> impl Iterator<Item = &LoginRequest> {
        self.steps.iter().chain(&self.refresh).map(|step| &step.request)
    }
}

/// One request of a login, and how its answer is read.
#[derive(Debug)]
pub struct LoginStep {
    pub request: LoginRequest,
    pub answer: AnswerShape,
    /// Whether the token is in its answer.
    pub has_token: bool,
}

#[derive(Debug)]
pub struct LoginRequest {
    pub method: Method,
    /// Where it goes; its own path stands in `target`.
    pub origin: HttpUrl,
    /// Path and query as written, with encoded values.
    pub target: Template,
    pub query: Vec<(String, Template)>,
    pub headers: Vec<(HeaderName, Template)>,
    /// Username and password of HTTP Basic.
    pub basic: Option<(Template, Template)>,
    pub body: LoginBody,
}

#[derive(Debug)]
pub enum LoginBody {
    None,
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, Template)>),
    Json(JsonTemplate),
}

/// JSON whose texts are templates.
#[derive(Debug)]
pub enum JsonTemplate {
    Text(Template),
    /// A number or a boolean.
    Other(Value),
    List(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
}

impl LoginRequest {
    /// Every secret of the configuration that it sends.
    pub fn secrets(&self) -> Vec<&Secret> {
        self.templates().into_iter().flat_map(Template::secrets).collect()
    }

    /// The names of what it sends, and whether that is a text or a number of proxy.toml, with nothing secret and nothing of an
    /// answer in it.
    pub fn sent_names(&self) -> Vec<(Cow<'_, str>, bool)> {
        let mut names = self.target_names();
        let mut add = |name, is_plain| names.push((Cow::Borrowed(name), is_plain));
        self.headers.iter().for_each(|(name, value)| add(name.as_str(), value.is_plain()));
        self.query.iter().for_each(|(name, value)| add(name, value.is_plain()));
        match &self.body {
            LoginBody::None => {}
            LoginBody::Form(fields) => fields.iter().for_each(|(name, value)| add(name, value.is_plain())),
            LoginBody::Json(json) => json.names("", &mut add),
        }
        names
    }

    /// The same for the query that is written in `url` itself.
    fn target_names(&self) -> Vec<(Cow<'_, str>, bool)> {
        // No URL has this character.
        const FILLED: &str = "\0";
        let written: String = self
            .target
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Secret(_) | Piece::Value(_) => FILLED,
            })
            .collect();
        let query = written.split_once('?').map_or("", |(_, query)| query);
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
        pairs.map(|(name, value)| (Cow::Owned(name), !value.contains(FILLED))).collect()
    }

    /// Whether it sends the value of this name, which an answer holds.
    pub fn names(&self, name: &str) -> bool {
        let is_it = |piece: &Piece| matches!(piece, Piece::Value(value) if value == name);
        self.templates().into_iter().any(|template| template.pieces.iter().any(is_it))
    }

    fn templates(&self) -> Vec<&Template> {
        let mut templates = vec![&self.target];
        templates.extend(self.query.iter().map(|(_, value)| value));
        templates.extend(self.headers.iter().map(|(_, value)| value));
        templates.extend(self.basic.iter().flat_map(|(username, password)| [username, password]));
        match &self.body {
            LoginBody::None => {}
            LoginBody::Form(fields) => templates.extend(fields.iter().map(|(_, value)| value)),
            LoginBody::Json(json) => json.templates(&mut templates),
        }
        templates
    }
}

impl JsonTemplate {
    /// The names of what stands under `name`, and below.
    fn names<'t>(&'t self, name: &'t str, add: &mut impl FnMut(&'t str, bool)) {
        match self {
            JsonTemplate::Text(template) => add(name, template.is_plain()),
            JsonTemplate::Other(_) => add(name, true),
            JsonTemplate::List(items) => items.iter().for_each(|item| item.names(name, add)),
            JsonTemplate::Object(members) => members.iter().for_each(|(name, value)| value.names(name, add)),
        }
    }

    fn templates<'t>(&'t self, found: &mut Vec<&'t Template>) {
        match self {
            JsonTemplate::Text(template) => found.push(template),
            JsonTemplate::Other(_) => {}
            JsonTemplate::List(items) => items.iter().for_each(|item| item.templates(found)),
            JsonTemplate::Object(members) => members.iter().for_each(|(_, value)| value.templates(found)),
        }
    }
}
