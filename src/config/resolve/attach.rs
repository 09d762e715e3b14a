//! `attach` of a credential whose token is fetched: where the token goes.

use std::collections::BTreeMap;

use http::HeaderName;

use super::Reading;
use super::api_key::{is_token, place};
use super::fields::Fields;
use super::known::Known;
use crate::config::{Attach, AttachPart, Piece, Problem, Template};

impl Attach {
    /// The headers that it sets.
    pub(in crate::config) fn headers(&self) -> Vec<&HeaderName> {
        self.parts.iter().filter_map(|part| part.place.header()).collect()
    }

    /// The query parameters that it sets.
    pub(in crate::config) fn query_names(&self) -> Vec<&str> {
        self.parts.iter().filter_map(|part| part.place.query()).collect()
    }
}

/// Where the token of a credential goes. `known`: what can go with it.
pub(super) fn attach(reading: &mut Reading<'_>, credential: &Fields<'_>, known: &Known) -> Attach {
    let Some(value) = credential.value("attach") else { return Attach::default() };
    let tables = credential.tables("attach");
    if credential.list("attach").is_empty() {
        let problem = Problem::new("`attach` names no place for the token", value.span());
        reading.problem(problem.hint("leave it out for `Authorization: Bearer`"));
    }
    let mut parts: Vec<AttachPart> = Vec::new();
    for fields in &tables {
        let (place, value) = (place(reading, fields), value_of(reading, fields, known));
        let (Some((place, name)), Some(value)) = (place, value) else { continue };
        if parts.iter().any(|part| part.place == place) {
            let problem = Problem::new("this place is taken already", name.span);
            reading.problem(problem.hint("all places are filled together: each is named once"));
        }
        parts.push(AttachPart { place, value });
    }
    Attach { parts, base_urls: BTreeMap::new() }
}

fn value_of(reading: &mut Reading<'_>, fields: &Fields<'_>, known: &Known) -> Option<Template> {
    let scheme = fields.text(reading, "scheme");
    let value = fields.text(reading, "value");
    if let (Some(scheme), Some(_)) = (&scheme, &value) {
        let why = ("`scheme` and `value` exclude each other".to_owned(), "write the scheme into `value`".to_owned());
        return reading.refuse(why, &scheme.span);
    }
    let Some(scheme) = scheme else {
        let Some(value) = value else { return Some(Template::value("token")) };
        return known.template(reading, "value", &value);
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
