//! What a request is for: its target in every form that HTTP knows, and the authority that it names.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::uri::Authority as UriAuthority;
use http::{HeaderValue, Method, Uri, Version};

use super::failure::Failure;
use super::survey::Survey;

/// What a request's target comes to.
#[derive(Debug)]
pub(super) enum Target {
    /// A path of ours, asked for under this authority.
    Path(Authority),
    /// `OPTIONS *`: about this proxy itself, which answers it (RFC 9110 section 9.3.7).
    Asterisk,
}

/// The host and port that the client used, as it wrote them, checked. Holding it costs no copy.
#[derive(Debug, Clone)]
pub(super) enum Authority {
    /// From the `Host` field.
    Field(HeaderValue),
    /// From an absolute-form target, or from `:authority`.
    Target(UriAuthority),
    /// HTTP/1.0 may name none.
    None,
}

/// Reads the target by RFC 9112 section 3.2 and RFC 9113 section 8.3.1.
///
/// hyper leaves all of this out: `Host` is neither required nor checked there.
pub(super) fn normalise(method: &Method, uri: &Uri, version: Version, survey: &Survey<'_>) -> Result<Target, Failure> {
    match *method {
        Method::CONNECT => return Err(Failure::ConnectRefused),
        Method::TRACE => return Err(Failure::TraceRefused),
        _ => {}
    }
    let field = host_field(survey)?;
    let authority =
        if version >= Version::HTTP_2 { h2_authority(uri, field)? } else { h1_authority(uri, version, field)? };
    if uri.path() == "*" {
        return match *method {
            Method::OPTIONS => Ok(Target::Asterisk),
            _ => Err(Failure::BadTarget("The target * is for OPTIONS only.")),
        };
    }
    if !uri.path().starts_with('/') {
        return Err(Failure::BadTarget("The target has no path."));
    }
    Ok(Target::Path(authority))
}

/// The one `Host` field, if there is one: valid, and not doubled (RFC 9112 section 3.2).
fn host_field<'h>(survey: &Survey<'h>) -> Result<Option<&'h HeaderValue>, Failure> {
    let Some(field) = survey.host else { return Ok(None) };
    if survey.hosts > 1 {
        return Err(Failure::BadHost("There is more than one Host."));
    }
    if !is_name_and_port(field.as_bytes()) {
        check_authority(field.to_str().map_err(|_| Failure::BadHost("Host is not ASCII."))?)?;
    }
    Ok(Some(field))
}

fn h1_authority(uri: &Uri, version: Version, field: Option<&HeaderValue>) -> Result<Authority, Failure> {
    if field.is_none() && version == Version::HTTP_11 {
        return Err(Failure::BadHost("There is no Host."));
    }
    let Some(authority) = uri.authority() else {
        return Ok(field.map_or(Authority::None, |field| Authority::Field(field.clone())));
    };
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) => return Err(Failure::BadTarget("The target's scheme is neither http nor https.")),
        None => return Err(Failure::BadTarget("A target that is only an authority is for CONNECT.")),
    }
    check_authority(authority.as_str())?;
    // RFC 9112 section 3.2.2: the target's authority stands, and Host is ignored.
    Ok(Authority::Target(authority.clone()))
}

fn h2_authority(uri: &Uri, field: Option<&HeaderValue>) -> Result<Authority, Failure> {
    match (uri.authority(), field) {
        (Some(authority), field) => {
            check_authority(authority.as_str())?;
            // RFC 9113 section 8.3.1: they must not differ.
            if field.is_some_and(|field| !field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
                return Err(Failure::BadHost("Host differs from :authority."));
            }
            Ok(Authority::Target(authority.clone()))
        }
        (None, Some(field)) => Ok(Authority::Field(field.clone())),
        (None, None) => Err(Failure::BadHost("There is neither :authority nor Host.")),
    }
}

/// Whether a text is what nearly all of them are, a name or an IPv4 address with or without a port: what
/// [`check_authority`] would find, at less cost. `false`: it may still be an authority.
fn is_name_and_port(text: &[u8]) -> bool {
    let name = text.iter().take_while(|byte| IN_NAMES[usize::from(**byte)]).count();
    // Five digits fit a u32, so that the number is only taken of what has been seen to be a few digits.
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    let is_port = |digits: &[u8]| {
        digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && number(digits) <= u32::from(u16::MAX)
    };
    name > 0
        && match &text[name..] {
            [] => true,
            [b':', digits @ ..] => is_port(digits),
            _ => false,
        }
}

/// The bytes that names of hosts are made of.
const IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'.' | b'-' | b'_');
        byte += 1;
    }
    table
};

/// Whether a text is a host with an optional port: no user info, no list, nothing that another reader might split
/// elsewhere. Narrower than RFC 3986's `reg-name`, which would let `a,b` and `a;b` pass.
fn check_authority(text: &str) -> Result<(), Failure> {
    let (host, port) = split_port(text);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || (!port.is_empty() && port.parse::<u16>().is_err()) {
        return Err(Failure::BadHost("The port is not a number from 0 to 65535."));
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.map(drop).ok_or(Failure::BadHost("What stands in brackets is not an IPv6 address."));
    }
    if host.is_empty() || !host.bytes().all(|byte| IN_NAMES[usize::from(byte)]) {
        return Err(Failure::BadHost("The host is not a name or an address."));
    }
    Ok(())
}

/// Splits at the port's colon; without one the port is empty.
fn split_port(text: &str) -> (&str, &str) {
    // Most hosts are names, and every request has one: a plain walk over a few bytes is the fastest.
    let after_brackets = if text.starts_with('[') { text.rfind(']').map_or(0, |at| at + 1) } else { 0 };
    match text[after_brackets..].bytes().position(|byte| byte == b':') {
        Some(at) => (&text[..after_brackets + at], &text[after_brackets + at + 1..]),
        None => (text, ""),
    }
}

impl Authority {
    /// As the client wrote it, port included.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Authority::Field(value) => value.to_str().unwrap_or_default(),
            Authority::Target(authority) => authority.as_str(),
            Authority::None => "",
        }
    }

    /// What routes are matched against: lower case, without port, without brackets, without the root's dot.
    pub(super) fn host(&self) -> Cow<'_, str> {
        let (host, _) = split_port(self.as_str());
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        }
    }
}

/// The bytes of a request line for this target: method, target, version and the spaces between them.
pub(super) fn request_line_bytes(method: &Method, uri: &Uri) -> usize {
    let target = uri.path_and_query().map_or(1, |path| path.as_str().len());
    let origin = uri.authority().map_or(0, |authority| authority.as_str().len() + "https://".len());
    method.as_str().len() + target + origin + "  HTTP/1.1".len()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::HOST;
    use proptest::prelude::*;

    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        hosts.iter().map(|host| (HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap())).collect()
    }

    fn ask(method: &str, target: &str, version: Version, hosts: &[&str]) -> Result<String, &'static str> {
        let uri: Uri = target.parse().unwrap();
        match normalise(&Method::try_from(method).unwrap(), &uri, version, &Survey::of(&headers(hosts))) {
            Ok(Target::Path(authority)) => Ok(format!("{} {}", authority.as_str(), authority.host())),
            Ok(Target::Asterisk) => Ok("*".to_owned()),
            Err(failure) => Err(failure.meaning().name),
        }
    }

    /// RFC 9112 section 3.2: one valid Host, no more, no less.
    #[test]
    fn http_1_needs_exactly_one_valid_host() {
        let get = |hosts: &[&str]| ask("GET", "/x", Version::HTTP_11, hosts);
        for (host, routed) in [
            ("p.test", "p.test"),
            ("P.Test:8080", "p.test"),
            ("p.test.", "p.test"),
            ("p.test:", "p.test"),
            ("my_service:80", "my_service"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
        ] {
            assert_eq!(get(&[host]), Ok(format!("{host} {routed}")));
        }
        let refused = [
            "",
            ":80",
            "p.test, evil.test",
            "user@p.test",
            "p test",
            "p.test:abc",
            "p.test:+1",
            "p.test:65536",
            "p.test:1:2",
            "p.test/x",
            "p.test?x",
            "p.test#x",
            "p\\test",
            "[::1",
            "[::g]",
            "::1",
            "[::1]x",
            "p.test;x",
            "p%2etest",
            "ä",
        ];
        assert_eq!(refused.len(), 20);
        for host in refused {
            assert_eq!(get(&[host]), Err("bad_host"), "{host:?}");
        }
        assert_eq!(get(&[]), Err("bad_host"));
        assert_eq!(get(&["p.test", "p.test"]), Err("bad_host"));
        assert_eq!(ask("GET", "/x", Version::HTTP_10, &[]), Ok(" ".to_owned()));
    }

    /// RFC 9112 section 3.2.2: the authority of an absolute target stands, whatever Host says.
    #[test]
    fn an_absolute_target_brings_its_authority() {
        let get = |target: &str| ask("GET", target, Version::HTTP_11, &["p.test"]);
        assert_eq!(get("http://p.test/api"), Ok("p.test p.test".to_owned()));
        assert_eq!(get("http://Evil.test:1/api"), Ok("Evil.test:1 evil.test".to_owned()));
        assert_eq!(get("http://user@p.test/api"), Err("bad_host"));
        assert_eq!(get("ftp://p.test/api"), Err("bad_target"));
        assert_eq!(get("p.test:80"), Err("bad_target"));
        assert_eq!(ask("GET", "http://p.test/api", Version::HTTP_11, &[]), Err("bad_host"), "Host is still required");
    }

    /// RFC 9113 section 8.3.1.
    #[test]
    fn http_2_authority_and_host_agree() {
        let get = |target: &str, hosts: &[&str]| ask("GET", target, Version::HTTP_2, hosts);
        assert_eq!(get("http://p.test/x", &[]), Ok("p.test p.test".to_owned()));
        assert_eq!(get("http://p.test/x", &["P.test"]), Ok("p.test p.test".to_owned()));
        assert_eq!(get("http://p.test/x", &["evil.test"]), Err("bad_host"));
        assert_eq!(get("/x", &["p.test"]), Ok("p.test p.test".to_owned()));
        assert_eq!(get("/x", &[]), Err("bad_host"));
    }

    /// SEC-11: TRACE is refused. Tunnels are not offered, and `*` is answered here.
    #[test]
    fn special_methods_and_targets_never_reach_a_route() {
        let h1 = |method: &str, target: &str| ask(method, target, Version::HTTP_11, &["p.test"]);
        assert_eq!(h1("TRACE", "/x"), Err("trace_refused"));
        assert_eq!(h1("CONNECT", "p.test:443"), Err("connect_refused"));
        assert_eq!(h1("OPTIONS", "*"), Ok("*".to_owned()));
        assert_eq!(h1("GET", "*"), Err("bad_target"));
    }

    #[test]
    fn a_request_line_is_measured_with_all_its_parts() {
        let bytes = |target: &str| request_line_bytes(&Method::GET, &target.parse().unwrap());
        assert_eq!(bytes("/a?b=c"), "GET /a?b=c HTTP/1.1".len());
        assert_eq!(bytes("https://p.test/a"), "GET https://p.test/a HTTP/1.1".len());
    }

    proptest! {
        /// The quick look accepts nothing that the rule refuses, and all names and IPv4 addresses that it accepts.
        #[test]
        fn the_quick_look_is_the_rule(text in "([a-zA-Z0-9._-]|::|%|@|,|\\[|\\]| |\u{e9}){0,6}(:[0-9a+]{0,7})?") {
            let quick = is_name_and_port(text.as_bytes());
            let leading_zeros = split_port(&text).1.len() > 5;
            prop_assert_eq!(quick, check_authority(&text).is_ok() && !text.starts_with('[') && !leading_zeros, "{}", text);
        }
    }
}
