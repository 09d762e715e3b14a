//! `[credentials.NAME.api_key]`, or several of them: fixed keys, each in a header, in the query or in a cookie.

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};

use super::Reading;
use super::credential::exactly_one;
use super::fields::{Fields, Text};
use super::headers::header_name;
use super::secrets::Alphabet;
use crate::config::{ApiKey, ApiKeyPlace, Problem};

/// The keys of a credential, if there is nothing wrong with any of them.
pub(super) fn api_keys(reading: &mut Reading<'_>, credential: &Fields<'_>) -> Option<Vec<ApiKey>> {
    let tables = credential.tables("api_key");
    if let Some(list) = credential.value("api_key").filter(|_| credential.list("api_key").is_empty()) {
        let why = ("`api_key` holds no key".to_owned(), "write `[[credentials.NAME.api_key]]` for each key".to_owned());
        return reading.refuse(why, &list.span());
    }
    let mut places = Vec::new();
    let mut keys = Some(Vec::new());
    for fields in &tables {
        let place = place(reading, fields);
        let scheme = scheme(reading, fields);
        let value = fields.secret(reading, "value", alphabet(fields));
        if let Some((place, name)) = &place {
            refuse_second(reading, &places, place, name);
            places.push(place.clone());
        }
        let (Some((place, _)), Some(scheme), Some(value)) = (place, scheme, value) else {
            keys = None;
            continue;
        };
        let within = if scheme.is_empty() { place.within(value.expose()) } else { None };
        fields.warn_if_short(reading, "value", within.unwrap_or(value.expose()), but(&place, within));
        if let Some(keys) = &mut keys {
            keys.push(ApiKey { place, scheme, value });
        }
    }
    keys
}

/// With what is between it and the key: a blank (RFC 9110 section 11.4), or nothing behind the name of a parameter.
fn scheme(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<String> {
    let Some(scheme) = fields.text(reading, "scheme") else {
        return fields.value("scheme").is_none().then(String::new);
    };
    if fields.value("header").is_none() {
        return reading.refuse(("`scheme` is for headers".to_owned(), "remove it".to_owned()), &scheme.span);
    }
    let text = &scheme.value;
    match text.split_once(' ') {
        None if is_token(text) => Some(format!("{text} ")),
        Some((word, parameter)) if is_token(word) && parameter.strip_suffix('=').is_some_and(is_token) => {
            Some(text.clone())
        }
        _ => {
            let hint = "it is one word, such as \"Token\", or a word and a parameter's name, such as \"Token token=\"";
            reading.refuse(("this is no authentication scheme".to_owned(), hint.to_owned()), &scheme.span)
        }
    }
}

impl ApiKeyPlace {
    pub(in crate::config) fn header(&self) -> Option<&HeaderName> {
        match self {
            ApiKeyPlace::Header(name) => Some(name),
            ApiKeyPlace::Query(_) | ApiKeyPlace::Cookie(_) => None,
        }
    }

    pub(in crate::config) fn query(&self) -> Option<&str> {
        match self {
            ApiKeyPlace::Query(name) => Some(name),
            ApiKeyPlace::Header(_) | ApiKeyPlace::Cookie(_) => None,
        }
    }

    /// What an upstream may echo of a value by itself: of `Authorization: Token KEY` and its like the key (RFC 9110 section
    /// 11.4), of a quoted cookie what is quoted (RFC 6265 section 4.1.1). Elsewhere a blank separates nothing, and parameters
    /// after a scheme are not secrets each by itself.
    pub(crate) fn within<'a>(&self, value: &'a str) -> Option<&'a str> {
        match self {
            ApiKeyPlace::Header(name) if *name == AUTHORIZATION => {
                let (_scheme, key) = value.split_once(' ')?;
                Some(key.trim_start()).filter(|key| !key.contains(' '))
            }
            ApiKeyPlace::Header(_) | ApiKeyPlace::Query(_) => None,
            ApiKeyPlace::Cookie(_) => value.strip_prefix('"')?.strip_suffix('"'),
        }
    }
}

fn but(place: &ApiKeyPlace, within: Option<&str>) -> &'static str {
    match (place, within) {
        (_, None) => "",
        (ApiKeyPlace::Cookie(_), _) => " without its quotes",
        _ => " without its scheme",
    }
}

fn alphabet(fields: &Fields<'_>) -> Alphabet {
    match (fields.value("query"), fields.value("cookie")) {
        (Some(_), _) => Alphabet::Text,
        (None, Some(_)) => Alphabet::CookieValue,
        (None, None) => Alphabet::HeaderValue,
    }
}

/// Where a key goes, and what says so.
pub(super) fn place(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<(ApiKeyPlace, Text)> {
    let [header, query, cookie] = ["header", "query", "cookie"].map(|key| fields.text(reading, key));
    exactly_one(reading, fields, &["header", "query", "cookie"])?;
    if let Some(text) = header {
        let name = header_name(reading, &text)?;
        if name == COOKIE {
            let hint = "write `cookie = \"NAME\"` with the name of the one cookie, so that others stay, and its value as `value`";
            return reading.refuse(("`cookie` is no header for a key".to_owned(), hint.to_owned()), &text.span);
        }
        return Some((ApiKeyPlace::Header(name), text));
    }
    if let Some(text) = query {
        if text.value.is_empty() {
            let why = ("the name of a query parameter is not empty".to_owned(), "such as \"key\"".to_owned());
            return reading.refuse(why, &text.span);
        }
        return Some((ApiKeyPlace::Query(text.value.clone()), text));
    }
    let text = cookie?;
    if !is_token(&text.value) {
        // It may have been copied together with the cookie's value.
        reading.hide(&text);
        let hint = "it is made of letters, digits and `-`, `_`, `.` and their like (RFC 6265 section 4.1.1); what follows `=` is the \
                    `value`";
        return reading.refuse(("this is no cookie's name".to_owned(), hint.to_owned()), &text.span);
    }
    Some((ApiKeyPlace::Cookie(text.value.clone()), text))
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(legal)
}

/// Of two keys in one place only one could be read.
fn refuse_second(reading: &mut Reading<'_>, before: &[ApiKeyPlace], place: &ApiKeyPlace, name: &Text) {
    if !before.contains(place) {
        return;
    }
    let message = match place {
        ApiKeyPlace::Header(name) => format!("the header `{name}` has two keys"),
        ApiKeyPlace::Query(name) => format!("the query parameter `{}` has two keys", name.escape_debug()),
        ApiKeyPlace::Cookie(name) => format!("the cookie `{name}` has two keys"),
    };
    let problem = Problem::new(message, name.span.clone());
    reading.problem(problem.hint("all keys of a credential are sent together: give each a name of its own"));
}
