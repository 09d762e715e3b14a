//! Cleaning a request: hop-by-hop headers, the client's own credentials, forwarding headers (SEC-10).
//!
//! Everything is removed before anything is attached: a `Connection: authorization` must not take the token with it.

use http::header::{CONNECTION, COOKIE, EXPECT, FORWARDED, HeaderName, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};

use super::failure::Failure;
use super::present::Present;
use super::target::Authority;
use super::{Client, announcement};
use crate::fields::is_between;

/// Checks what hyper lets pass although it contradicts the framing that it chose.
///
/// hyper takes `gzip, chunked` for plain chunks, and `chunked, chunked` too: those are refused here (RFC 9112 section
/// 6.1). It refuses by itself what does not end in `chunked`, and any transfer coding on HTTP/1.0; with both a length
/// and `chunked` it drops the length and closes after the answer (RFC 9112 section 6.3).
pub(super) fn check_framing(version: Version, headers: &HeaderMap, present: Present) -> Result<(), Failure> {
    if present.has(Present::TRANSFER_ENCODING) && !is_plainly_chunked(headers) {
        return Err(Failure::UnknownTransferCoding);
    }
    let met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    // RFC 9110 section 10.1.1; HTTP/1.0 has no expectations.
    if present.has(Present::EXPECT) && version > Version::HTTP_10 && !headers.get_all(EXPECT).iter().all(met) {
        return Err(Failure::UnknownExpectation);
    }
    Ok(())
}

fn is_plainly_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

/// Looks over a request's fields once and cleans them: SEC-10 whole, as the benchmark measures it.
pub fn clean_request_headers(headers: &mut HeaderMap, cookies: bool, credential_sets: &[HeaderName]) -> bool {
    let present = Present::among(headers.keys());
    clean(headers, present, cookies, credential_sets)
}

/// Removes all that is not for the upstream. `cookies`: whether they pass; `credential_sets`: the headers that will be
/// attached. Returns whether the client takes trailers.
pub(super) fn clean(headers: &mut HeaderMap, present: Present, cookies: bool, credential_sets: &[HeaderName]) -> bool {
    let wants_trailers =
        present.has(Present::TE) && headers.get_all(TE).iter().any(|value| names_trailers(value.as_bytes()));
    let mut doomed = Vec::new();
    if present.has(Present::CONNECTION) {
        connection_names(headers, &mut doomed);
    }
    for name in headers.keys() {
        if is_between(name, cookies) || credential_sets.contains(name) {
            doomed.push(name.clone());
        }
    }
    for name in &doomed {
        headers.remove(name);
    }
    if cookies {
        join_cookies(headers);
    }
    if present.has(Present::TRAILER) {
        announcement::clean(headers);
    }
    wants_trailers
}

/// The names that any `Connection` line lists (RFC 9110 section 7.6.1).
pub(super) fn connection_names(headers: &HeaderMap, names: &mut Vec<HeaderName>) {
    for value in headers.get_all(CONNECTION) {
        // The usual ones name no field that is not removed anyway; skipping them saves an allocation a request.
        let usual = |token: &&[u8]| !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close");
        let tokens = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(usual);
        names.extend(tokens.filter_map(|token| HeaderName::from_bytes(token).ok()));
    }
}

/// Makes one field of the crumbs that HTTP/2 allows `Cookie` to be sent in: HTTP/1 knows one only (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let whole = HeaderValue::try_from(crumbs.join(&b"; "[..])).expect("legal values, joined, are a legal value");
    headers.insert(COOKIE, whole);
}

/// Whether a `TE` value says `trailers`.
fn names_trailers(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|coding| {
        let coding = coding.split(|byte| *byte == b';').next().unwrap_or_default();
        coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

/// By which some servers take a request for one of another method. Where a route names its methods, a client could pass it
/// with a method that it does not allow; elsewhere APIs have good uses for them (Google's, for URLs that are too long).
const METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

pub(super) fn remove_method_overrides(headers: &mut HeaderMap) {
    for name in &METHOD_OVERRIDES {
        headers.remove(name);
    }
}

/// Tells the upstream who asks, in both common spellings (`forwarded = true`; RFC 7239).
pub(super) fn add_forwarded(headers: &mut HeaderMap, client: &Client, authority: &Authority) {
    let address = client.address.ip().to_canonical();
    let scheme = client.scheme();
    let host = authority.as_str();
    let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
    let mut set = |name: HeaderName, value: String| {
        // The host was checked, and the rest is ours: none of it can be illegal.
        headers.insert(name, HeaderValue::try_from(value).expect("addresses and hosts are legal values"));
    };
    set(HeaderName::from_static("x-forwarded-for"), address.to_string());
    set(HeaderName::from_static("x-forwarded-proto"), scheme.to_owned());
    set(HeaderName::from_static("x-forwarded-host"), host.to_owned());
    set(FORWARDED, format!("for={node};proto={scheme};host=\"{host}\""));
}

/// Applies a route's `set` and `remove`.
pub(super) fn edit(headers: &mut HeaderMap, set: &[(HeaderName, HeaderValue)], remove: &[HeaderName]) {
    for name in remove {
        headers.remove(name);
    }
    for (name, value) in set {
        headers.insert(name.clone(), value.clone());
    }
}

#[cfg(test)]
mod tests;
