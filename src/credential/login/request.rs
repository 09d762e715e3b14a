//! A request of a login, with its values in it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::config::{JsonTemplate, LoginBody, LoginRequest, Template};
use crate::secret::Secret;
use crate::token::NOT_UNRESERVED;

/// The values that earlier steps brought, by name.
type Values = BTreeMap<String, Secret>;

/// The request as it is sent.
///
/// # Errors
/// Says which value is missing, or cannot stand in its place.
pub(super) fn of(config: &LoginRequest, values: &Values) -> Result<Request<Full<Bytes>>, String> {
    let (content_type, body) = body(&config.body, values)?;
    let mut request = Request::new(Full::new(Bytes::from_owner(body)));
    *request.method_mut() = config.method.clone();
    *request.uri_mut() = target(config, values)?;
    let headers = request.headers_mut();
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some((username, password)) = &config.basic {
        let pair = [as_it_is(username, values)?, Secret::new(":"), as_it_is(password, values)?];
        let encoded = Zeroizing::new(STANDARD.encode(Secret::joined(&pair, "").expose()));
        headers.insert(AUTHORIZATION, sensitive(&format!("Basic {}", *encoded)).ok_or("it cannot be base64")?);
    }
    for (name, template) in &config.headers {
        let value = as_it_is(template, values)?;
        let value = sensitive(value.expose())
            .ok_or_else(|| format!("what is to go into its header {name} is no legal value of one"))?;
        headers.insert(name, value);
    }
    Ok(request)
}

fn target(config: &LoginRequest, values: &Values) -> Result<Uri, String> {
    let encoded = |text: &str| utf8_percent_encode(text, NOT_UNRESERVED).to_string();
    let own = filled(&config.target, values, encoded)?;
    let mut target = String::new();
    if !own.expose().starts_with('/') {
        target.push('/');
    }
    target.push_str(own.expose());
    for (name, value) in &config.query {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(&format!("{}={}", encoded(name), filled(value, values, encoded)?.expose()));
    }
    target.parse().map_err(|_| "its URL is no legal request target".to_owned())
}

/// The body, and what it is.
fn body(body: &LoginBody, values: &Values) -> Result<(Option<&'static str>, Zeroizing<Vec<u8>>), String> {
    Ok(match body {
        LoginBody::None => (None, Zeroizing::default()),
        LoginBody::Form(fields) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, value) in fields {
                form.append_pair(name, as_it_is(value, values)?.expose());
            }
            (Some("application/x-www-form-urlencoded"), Zeroizing::new(form.finish().into_bytes()))
        }
        LoginBody::Json(template) => {
            let text = json(template, values)?.to_string();
            (Some("application/json"), Zeroizing::new(text.into_bytes()))
        }
    })
}

fn json(template: &JsonTemplate, values: &Values) -> Result<Value, String> {
    Ok(match template {
        JsonTemplate::Text(text) => Value::from(as_it_is(text, values)?.expose()),
        JsonTemplate::Other(value) => value.clone(),
        JsonTemplate::List(items) => {
            Value::Array(items.iter().map(|item| json(item, values)).collect::<Result<_, _>>()?)
        }
        JsonTemplate::Object(members) => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), json(value, values)?)));
            Value::Object(members.collect::<Result<Map<_, _>, String>>()?)
        }
    })
}

fn as_it_is(template: &Template, values: &Values) -> Result<Secret, String> {
    filled(template, values, str::to_owned)
}

fn filled(template: &Template, values: &Values, encode: impl Fn(&str) -> String) -> Result<Secret, String> {
    template
        .fill(|name| values.get(name), encode)
        .map_err(|name| format!("the value `{name}` that it is to send is not there"))
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
