//! Where a value is in an answer: among the members of its body, or beside them.

use std::time::UNIX_EPOCH;

use http::header::SET_COOKIE;
use serde_json::Value;

use super::document::Document;
use crate::config::AnswerPlace;
use crate::credential::endpoint::Reply;
use crate::token::lifetime::at_path;

/// The text or number at a place; beside the members, without blanks around it. `None`: there is nothing.
pub(super) fn text_at(place: &AnswerPlace, reply: &Reply, document: &Document) -> Option<String> {
    match (place, document) {
        (AnswerPlace::Path(path), Document::Members(members)) => match at_path(members, path)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        },
        (AnswerPlace::Path(_), _) => None,
        (AnswerPlace::Header(name), _) => {
            let text = reply.headers.get(name)?.to_str().ok()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        }
        (AnswerPlace::Cookie(name), _) => set_cookie(name, reply).map(|(value, _)| value.to_owned()),
        // A page that asks to wait or to log in is no token.
        (AnswerPlace::Body, Document::Html | Document::Xml) => None,
        (AnswerPlace::Body, _) => {
            let body = std::str::from_utf8(reply.body.as_ref().ok()?).ok()?.trim();
            let text = serde_json::from_str::<String>(body).unwrap_or_else(|_| body.to_owned());
            (!text.is_empty()).then_some(text)
        }
    }
}

/// When a cookie ends, as RFC 6265 section 5.3 has it: after `Max-Age` seconds, else at `Expires`, here in epoch seconds.
pub(super) fn cookie_expiry(name: &str, reply: &Reply) -> Option<Value> {
    let (_, attributes) = set_cookie(name, reply)?;
    let attribute = |wanted: &str| {
        let mut pairs = attributes.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    if let Some(seconds) = attribute("max-age").and_then(|text| text.parse::<i64>().ok()) {
        return Some(seconds.into());
    }
    let expires = httpdate::parse_http_date(attribute("expires")?).ok()?;
    Some(expires.duration_since(UNIX_EPOCH).ok()?.as_secs().into())
}

/// The names of the cookies that the answer sets.
pub(super) fn cookie_names(reply: &Reply) -> impl Iterator<Item = &str> {
    let set = reply.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    set.filter_map(|cookie| cookie.split_once('=').map(|(name, _)| name.trim()))
}

/// The value and the attributes of a cookie that the answer sets; of several of that name the last, as browsers do.
fn set_cookie<'r>(name: &str, reply: &'r Reply) -> Option<(&'r str, &'r str)> {
    let set = reply.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = set.filter_map(|cookie| {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let (found, value) = pair.split_once('=')?;
        (found.trim() == name && !value.trim().is_empty()).then(|| (value.trim(), attributes))
    });
    cookies.next_back()
}
