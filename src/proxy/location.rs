//! URLs in answers that lead under the upstream's URL become URLs of the route, with the scheme and host that the client
//! used, so that paging clients stay inside (SEC-12). All others pass as they are.

use http::header::{CONTENT_LOCATION, LINK, LOCATION};
use http::{HeaderMap, HeaderValue};

/// What is needed to tell where a URL leads, and to say it in the client's words.
pub(super) struct Place<'a> {
    /// The upstream's scheme, `http` or `https`.
    pub upstream_scheme: &'a str,
    /// The upstream's host, lower case, without brackets, and its port.
    pub upstream_host: &'a str,
    pub upstream_port: u16,
    /// The path that was sent, which relative references refer to.
    pub sent_path: &'a str,
    pub client_scheme: &'a str,
    /// As the client wrote it. Empty: it named none, so no URL can be made for it.
    pub client_authority: &'a str,
}

/// Rewrites `Location`, `Content-Location` and `Link`. `invert` is the route's path for a path of the upstream, if there
/// is exactly one.
pub(super) fn rewrite(headers: &mut HeaderMap, place: &Place<'_>, invert: impl Fn(&str) -> Option<String>) {
    if place.client_authority.is_empty() {
        return;
    }
    for name in [LOCATION, CONTENT_LOCATION] {
        let Some(value) = headers.get_mut(name) else { continue };
        let rewritten = value.to_str().ok().and_then(|url| place.rewritten(url, &invert));
        if let Some(rewritten) = rewritten.and_then(|url| HeaderValue::try_from(url).ok()) {
            *value = rewritten;
        }
    }
    if !headers.contains_key(LINK) {
        return;
    }
    let links: Vec<_> = headers.get_all(LINK).iter().map(|value| place.rewritten_links(value, &invert)).collect();
    headers.remove(LINK);
    for value in links {
        headers.append(LINK, value);
    }
}

impl Place<'_> {
    fn rewritten(&self, url: &str, invert: &impl Fn(&str) -> Option<String>) -> Option<String> {
        let (path, tail) = self.resolve(url)?;
        let path = invert(&path)?;
        Some(format!("{}://{}{path}{tail}", self.client_scheme, self.client_authority))
    }

    /// The path a reference leads to, without dot segments, and its query and fragment; `None` if it leads to another
    /// host, or is none (RFC 3986 section 5.2).
    fn resolve<'u>(&self, url: &'u str) -> Option<(String, &'u str)> {
        let after_origin = match url.split_once("//") {
            Some(("", rest)) => self.after_authority(rest)?,
            Some((scheme, rest)) if scheme.strip_suffix(':').is_some_and(is_scheme) => {
                let ours = scheme[..scheme.len() - 1].eq_ignore_ascii_case(self.upstream_scheme);
                ours.then(|| self.after_authority(rest)).flatten()?
            }
            _ if url.split(['/', '?', '#']).next()?.contains(':') => return None,
            _ => return Some(self.resolve_relative(url)),
        };
        let (path, tail) = split_tail(after_origin);
        Some((without_dots(if path.is_empty() { "/" } else { path }), tail))
    }

    /// What follows the authority, if it is the upstream's.
    fn after_authority<'u>(&self, rest: &'u str) -> Option<&'u str> {
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        let (host, port) = port_at.map_or((authority, ""), |at| (&authority[..at], &authority[at + 1..]));
        let default = if self.upstream_scheme == "https" { 443 } else { 80 };
        let port = if port.is_empty() { Some(default) } else { port.parse().ok() };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (host.eq_ignore_ascii_case(self.upstream_host) && port == Some(self.upstream_port)).then_some(after)
    }

    fn resolve_relative<'u>(&self, url: &'u str) -> (String, &'u str) {
        let (path, tail) = split_tail(url);
        let path = match path {
            "" => self.sent_path.to_owned(),
            absolute if absolute.starts_with('/') => absolute.to_owned(),
            relative => {
                let directory = self.sent_path.rfind('/').map_or("/", |at| &self.sent_path[..=at]);
                format!("{directory}{relative}")
            }
        };
        (without_dots(&path), tail)
    }

    /// Rewrites what stands in `<…>` outside of quotes (RFC 8288 section 3).
    fn rewritten_links(&self, value: &HeaderValue, invert: &impl Fn(&str) -> Option<String>) -> HeaderValue {
        let Ok(text) = value.to_str() else { return value.clone() };
        let (mut out, mut left, mut quoted) = (String::with_capacity(text.len() + 32), text, false);
        while let Some(at) = left.find(['"', '<', '\\']) {
            let (before, found) = left.split_at(at);
            out.push_str(before);
            let close = found.find('>').filter(|_| !quoted && found.starts_with('<'));
            let taken = match close {
                Some(close) => {
                    let url = &found[1..close];
                    out.push('<');
                    out.push_str(self.rewritten(url, invert).as_deref().unwrap_or(url));
                    close
                }
                None => {
                    quoted ^= found.starts_with('"');
                    // A backslash inside quotes takes the next character with it.
                    let escape = quoted && found.starts_with('\\') && found.len() > 1;
                    let taken = if escape { 2 } else { 1 };
                    out.push_str(&found[..taken]);
                    taken
                }
            };
            left = &found[taken..];
        }
        out.push_str(left);
        HeaderValue::try_from(out).unwrap_or_else(|_| value.clone())
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Path, and query and fragment with what introduces them.
fn split_tail(url: &str) -> (&str, &str) {
    url.split_at(url.find(['?', '#']).unwrap_or(url.len()))
}

/// RFC 3986 section 5.2.4. Encoded dots are left: a path with them is refused when it is asked for.
fn without_dots(path: &str) -> String {
    if !path.contains("/.") {
        return path.to_owned();
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut kept: Vec<&str> = Vec::new();
    for segment in &segments {
        match *segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    // A dot segment at the end stands for the directory, which ends in a slash.
    if matches!(segments.last(), Some(&("." | ".."))) {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place<'static> {
        Place {
            upstream_scheme: "https",
            upstream_host: "api.crm.example",
            upstream_port: 443,
            sent_path: "/v2/customers/7",
            client_scheme: "http",
            client_authority: "localhost:8080",
        }
    }

    fn invert(path: &str) -> Option<String> {
        let rest = path.strip_prefix("/v2")?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("/crm{rest}"))
    }

    fn rewritten(name: http::HeaderName, value: &'static str) -> String {
        let mut headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
        rewrite(&mut headers, &place(), invert);
        headers[name].to_str().unwrap().to_owned()
    }

    /// SEC-12: what resolves at a segment border under the upstream's URL becomes an absolute URL of the route.
    #[test]
    fn urls_under_the_upstream_become_the_routes() {
        for (url, becomes) in [
            ("https://api.crm.example/v2/customers?page=2#top", "/crm/customers?page=2#top"),
            ("HTTPS://API.crm.example:443/v2/a%2Fb", "/crm/a%2Fb"),
            ("https://api.crm.example/v2", "/crm"),
            ("https://api.crm.example/v2?x=//y", "/crm?x=//y"),
            ("//api.crm.example/v2/x", "/crm/x"),
            ("/v2/x?u=https://evil.test", "/crm/x?u=https://evil.test"),
            ("8", "/crm/customers/8"),
            ("../orders/./1", "/crm/orders/1"),
            ("..", "/crm/"),
            ("?page=2", "/crm/customers/7?page=2"),
        ] {
            for name in [LOCATION, CONTENT_LOCATION] {
                assert_eq!(rewritten(name, url), format!("http://localhost:8080{becomes}"), "{url}");
            }
        }
    }

    /// SEC-12: all other URLs pass as they are.
    #[test]
    fn other_urls_pass() {
        for url in [
            "https://api.crm.example/v22/customers",
            "https://api.crm.example/v1/customers",
            "https://api.crm.example/v2/../admin",
            "https://api.crm.example/",
            "https://api.crm.example",
            "http://api.crm.example/v2/x",
            "https://api.crm.example:8443/v2/x",
            "https://api.crm.example:x/v2/x",
            "https://user@api.crm.example/v2/x",
            "https://api.crm.example.evil.test/v2/x",
            "https://api.crm.example\\@evil.test/v2/x",
            "https://evil.test/v2/x",
            "//evil.test/v2/x",
            "mailto:someone@api.crm.example",
            "javascript:alert(1)",
            "/v1/x",
        ] {
            assert_eq!(rewritten(LOCATION, url), url);
        }
    }

    /// SEC-12: paging links stay inside; other links and all parameters stay as they are.
    #[test]
    fn links_are_rewritten_one_by_one() {
        assert_eq!(
            rewritten(
                LINK,
                "<https://api.crm.example/v2/c?page=2>; rel=\"next\"; title=\"a <b>, \\\"c\", <https://other.test/>; rel=x,</v2/c>"
            ),
            "<http://localhost:8080/crm/c?page=2>; rel=\"next\"; title=\"a <b>, \\\"c\", <https://other.test/>; rel=x,\
             <http://localhost:8080/crm/c>"
        );
        assert_eq!(rewritten(LINK, "<unterminated"), "<unterminated");
    }

    #[test]
    fn without_a_host_of_the_clients_nothing_is_rewritten() {
        let mut headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("/v2/x"))]);
        rewrite(&mut headers, &Place { client_authority: "", ..place() }, invert);
        assert_eq!(headers[LOCATION], "/v2/x");
    }
}
