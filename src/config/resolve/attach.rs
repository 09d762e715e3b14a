//! `attach` of a credential whose token is fetched: where the token goes.

use http::HeaderName;

use super::Reading;
use super::api_key::{is_token, place};
use super::fields::Fields;
use crate::config::template::TemplateFlaw;
use crate::config::{Attach, AttachPart, Piece, Problem, Template};

impl Attach {
    /// The headers that it sets.
    pub(in crate::config) fn headers(&self) -> Vec<&HeaderName> {
        self.parts.iter().filter_map(|part| part.place.header()).collect()
    }
}

/// Where the token of a credential goes that answers with nothing else.
pub(super) fn attach(reading: &mut Reading<'_>, credential: &Fields<'_>) -> Attach {
    let token = |name: &str| (name == "token").then(|| Piece::Value("token".to_owned()));
    attach_with(reading, credential, &token, &["token"])
}

/// Where it goes. `known`: what may stand in its value; `names`: all names of that.
pub(super) fn attach_with(
    reading: &mut Reading<'_>,
    credential: &Fields<'_>,
    known: &dyn Fn(&str) -> Option<Piece>,
    names: &[&str],
) -> Attach {
    let Some(value) = credential.value("attach") else { return Attach::default() };
    let tables = credential.tables("attach");
    if credential.list("attach").is_empty() {
        let problem = Problem::new("`attach` names no place for the token", value.span());
        reading.problem(problem.hint("leave it out for `Authorization: Bearer`"));
    }
    let mut parts: Vec<AttachPart> = Vec::new();
    for fields in &tables {
        let (place, value) = (place(reading, fields), value_of(reading, fields, known, names));
        let (Some((place, name)), Some(value)) = (place, value) else { continue };
        if parts.iter().any(|part| part.place == place) {
            let problem = Problem::new("this place is taken already", name.span);
            reading.problem(problem.hint("all places are filled together: each is named once"));
        }
        parts.push(AttachPart { place, value });
    }
    Attach { parts }
}

fn value_of(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    known: &dyn Fn(&str) -> Option<Piece>,
    names: &[&str],
) -> Option<Template> {
    let scheme = fields.text(reading, "scheme");
    let value = fields.text(reading, "value");
    if let (Some(scheme), Some(_)) = (&scheme, &value) {
        let why = ("`scheme` and `value` exclude each other".to_owned(), "write the scheme into `value`".to_owned());
        return reading.refuse(why, &scheme.span);
    }
    let Some(scheme) = scheme else {
        let Some(value) = value else { return Some(Template::value("token")) };
        return template(reading, "value", &value.value, value.span, known, names);
    };
    if fields.value("header").is_none() {
        let why = ("`scheme` is for headers".to_owned(), "remove it".to_owned());
        return reading.refuse(why, &scheme.span);
    }
    if !is_token(&scheme.value) {
        let why = "this is no authentication scheme".to_owned();
        let hint = "it is one word, such as \"Bearer\"; what is more than that, write as `value = \"Bearer {token}\"`";
        return reading.refuse((why, hint.to_owned()), &scheme.span);
    }
    Some(Template { pieces: vec![Piece::Text(format!("{} ", scheme.value)), Piece::Value("token".to_owned())] })
}

/// A text with values in it.
pub(super) fn template(
    reading: &mut Reading<'_>,
    key: &str,
    text: &str,
    span: std::ops::Range<usize>,
    known: &dyn Fn(&str) -> Option<Piece>,
    names: &[&str],
) -> Option<Template> {
    let why = match Template::parse(text, known) {
        Ok(template) => return Some(template),
        Err(TemplateFlaw::Brace) => {
            let hint = "`{name}` stands for a value; a brace itself is written twice: `{{` or `}}`";
            (format!("`{key}` has a brace that belongs to no value"), hint.to_owned())
        }
        Err(TemplateFlaw::Unknown(name)) => {
            let hint = crate::config::problem::did_you_mean(&name, names.iter().copied());
            let hint = hint.unwrap_or_else(|| "there is no value to write here".to_owned());
            (format!("`{key}`: nothing is called `{name}`"), hint)
        }
    };
    reading.refuse(why, &span)
}
