//! What a request carries for its credential, made once and then only handed out: on the way of a request, nothing is put
//! together any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::{ApiKeyPlace, Attach, BaseUrl, HttpUrl, Piece, is_cookie_value};
use crate::secret::{Masks, Secret};

/// RFC 3986 section 2.3: what no server reads as anything else.
pub const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// A shorter value that a server gave beside its token may be a word, such as a site's name: it is not masked.
const FURTHER_VALUE_MASKED_BYTES_MIN: usize = 8;

/// Headers, query parameters and cookies, ready to be sent.
#[derive(Debug)]
pub struct Attached {
    names: PlaceNames,
    /// The first of its headers: nearly every credential has just that one.
    header: Option<(HeaderName, HeaderValue)>,
    /// `name=value`, encoded, with `&` between several.
    query: Option<Secret>,
    rest: Option<Box<Rest>>,
    /// Where upstreams are that the token's answer places, by the values' names.
    base_urls: Vec<(String, HttpUrl)>,
    masks: Arc<Masks>,
}

/// Why a token cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// A value is missing, or cannot stand in its place.
    Value(String),
    /// It is for an upstream that is nowhere, or where it must not be sent.
    BaseUrl(String),
}

/// The names of what a credential sets, which are known before it has anything to set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaceNames {
    pub headers: Vec<HeaderName>,
    /// Decoded.
    pub query: Vec<String>,
    pub cookies: Vec<String>,
}

/// What few credentials set: cookies, and headers beside the first one.
#[derive(Debug)]
pub struct Rest {
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub cookies: Option<Cookies>,
}

/// The cookies that a credential sets.
#[derive(Debug)]
pub struct Cookies {
    pub names: Vec<String>,
    /// `name=value`, with `; ` between several.
    pub pairs: HeaderValue,
}

impl PlaceNames {
    pub fn of<'p>(places: impl IntoIterator<Item = &'p ApiKeyPlace>) -> Self {
        let mut names = PlaceNames::default();
        for place in places {
            match place {
                ApiKeyPlace::Header(name) => names.headers.push(name.clone()),
                ApiKeyPlace::Query(name) => names.query.push(name.clone()),
                ApiKeyPlace::Cookie(name) => names.cookies.push(name.clone()),
            }
        }
        names
    }
}

impl Attached {
    /// These values as they are, each in its place. `masked`: what an upstream may echo of them.
    ///
    /// # Errors
    /// Says which value cannot stand in its place.
    pub fn new<'s>(
        parts: &[(ApiKeyPlace, Secret)],
        masked: impl IntoIterator<Item = &'s Secret>,
    ) -> Result<Self, String> {
        let (mut headers, mut parameters, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
        for (place, value) in parts {
            let text = value.expose();
            match place {
                ApiKeyPlace::Header(name) => {
                    let value = sensitive(text)
                        .ok_or_else(|| format!("what is to go into the header {name} is no legal header value"))?;
                    headers.push((name.clone(), value));
                }
                ApiKeyPlace::Query(name) => {
                    let encoded = |text| utf8_percent_encode(text, NOT_UNRESERVED);
                    parameters.push(Secret::new(format!("{}={}", encoded(name), encoded(text))));
                }
                ApiKeyPlace::Cookie(name) if is_cookie_value(text) => {
                    cookies.push(Secret::new(format!("{name}={text}")));
                }
                ApiKeyPlace::Cookie(name) => {
                    return Err(format!("what is to go into the cookie {name} is no legal value of a cookie"));
                }
            }
        }
        let names = PlaceNames::of(parts.iter().map(|(place, _)| place));
        let mut headers = headers.into_iter();
        let header = headers.next();
        let pairs = (!cookies.is_empty()).then(|| Secret::joined(&cookies, "; "));
        let cookies = pairs
            .and_then(|pairs| sensitive(pairs.expose()))
            .map(|pairs| Cookies { names: names.cookies.clone(), pairs });
        let rest = Rest { headers: headers.collect(), cookies };
        let is_empty = rest.headers.is_empty() && rest.cookies.is_none();
        Ok(Attached {
            names,
            header,
            query: (!parameters.is_empty()).then(|| Secret::joined(&parameters, "&")),
            rest: (!is_empty).then(|| Box::new(rest)),
            base_urls: Vec::new(),
            masks: Arc::new(Masks::new(masked)),
        })
    }

    /// A token, and what came with it, where the configuration has it go.
    ///
    /// # Errors
    /// Says which value is missing, or cannot stand in its place.
    pub fn of_token(attach: &Attach, token: &Secret, further: &BTreeMap<String, Secret>) -> Result<Self, Misfit> {
        let base_urls = base_urls(attach, further).map_err(Misfit::BaseUrl)?;
        let attached = Attached::in_places(attach, token, further).map_err(Misfit::Value)?;
        Ok(Attached { base_urls, ..attached })
    }

    fn in_places(attach: &Attach, token: &Secret, further: &BTreeMap<String, Secret>) -> Result<Self, String> {
        let find = |name: &str| if name == "token" { Some(token) } else { further.get(name) };
        let mut parts = Vec::with_capacity(attach.parts.len());
        let mut masked = vec![token.clone()];
        for part in &attach.parts {
            let filled = part.value.fill(find, str::to_owned);
            let value =
                filled.map_err(|name| format!("the value `{name}` that is to be sent to the upstream is not there"))?;
            masked.extend(part.value.pieces.iter().filter_map(|piece| match piece {
                Piece::Text(_) => None,
                Piece::Secret(secret) => Some(secret.clone()),
                Piece::Value(name) => {
                    find(name).filter(|value| value.expose().len() >= FURTHER_VALUE_MASKED_BYTES_MIN).cloned()
                }
            }));
            masked.extend(part.place.within(value.expose()).map(Secret::new));
            parts.push((part.place.clone(), value));
        }
        Attached::new(&parts, &masked)
    }

    /// What a signature sets for one attempt of one request. `query` is encoded.
    pub fn of_one_request(headers: Vec<(HeaderName, HeaderValue)>, query: Option<Secret>, masks: Arc<Masks>) -> Self {
        let names =
            PlaceNames { headers: headers.iter().map(|(name, _)| name.clone()).collect(), ..PlaceNames::default() };
        let mut headers = headers.into_iter();
        let header = headers.next();
        let headers: Vec<_> = headers.collect();
        let rest = (!headers.is_empty()).then(|| Box::new(Rest { headers, cookies: None }));
        Attached { names, header, query, rest, base_urls: Vec::new(), masks }
    }

    pub fn names(&self) -> &PlaceNames {
        &self.names
    }

    /// The first header that it sets. Its value is marked sensitive.
    pub fn first_header(&self) -> Option<(&HeaderName, &HeaderValue)> {
        self.header.as_ref().map(|(name, value)| (name, value))
    }

    /// Every header that it sets, the first one first.
    #[cfg(test)]
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let rest = self.rest().into_iter().flat_map(|rest| &rest.headers).map(|(name, value)| (name, value));
        self.first_header().into_iter().chain(rest)
    }

    /// What it sets beside its first header and the query.
    pub fn rest(&self) -> Option<&Rest> {
        self.rest.as_deref()
    }

    /// What to add to the query, already encoded.
    pub fn query(&self) -> Option<&str> {
        self.query.as_ref().map(Secret::expose)
    }

    /// Where upstreams are whose `url` is this value.
    pub fn base_url(&self, name: &str) -> Option<&HttpUrl> {
        self.base_urls.iter().find(|(own, _)| own == name).map(|(_, url)| url)
    }

    /// How to recognise it in an answer.
    pub fn masks(&self) -> &Arc<Masks> {
        &self.masks
    }
}

/// What upstreams' places are among the values of a token's answer.
fn base_urls(attach: &Attach, further: &BTreeMap<String, Secret>) -> Result<Vec<(String, HttpUrl)>, String> {
    let place = |(name, rule): (&String, &BaseUrl)| {
        let value = further.get(name).ok_or_else(|| format!("the upstream's URL `{name}` is not there"))?;
        // What it is instead was said where the answer was read.
        let url = rule.check(value.expose()).map_err(|_| format!("its `{name}` is no URL that is allowed ({rule})"))?;
        Ok((name.clone(), url))
    };
    attach.base_urls.iter().map(place).collect()
}

/// A header's value that hyper's HPACK keeps out of its tables, and that no Debug shows. `None`: it is no legal one.
pub fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
