//! The URLs that configuration names: http or https, a host, and a path that is kept byte for byte.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An absolute http(s) URL without user info or fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    pub https: bool,
    /// Lower case, without brackets around an IPv6 address.
    pub host: String,
    /// Set if the host is an address.
    pub ip: Option<IpAddr>,
    pub port: u16,
    /// Path and query as written; empty if there is none. An upstream's has no slash at the end and no query.
    pub path: String,
}

/// Something that is wrong with a URL, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlFlaw {
    /// A sentence that says what is wrong.
    pub message: &'static str,
    pub hint: &'static str,
}

impl HttpUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Everything that is wrong with it, at least one thing; nothing of the text is quoted.
    pub fn parse(text: &str) -> Result<HttpUrl, Vec<UrlFlaw>> {
        let (scheme, rest) = text.split_once("://").ok_or([flaw::NO_SCHEME])?;
        let mut flaws = Vec::new();
        let https = scheme.eq_ignore_ascii_case("https");
        if !https && !scheme.eq_ignore_ascii_case("http") {
            flaws.push(flaw::SCHEME);
        }
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
        if fragment.is_some() {
            flaws.push(flaw::FRAGMENT);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = match authority.rsplit_once('@') {
            Some((_, authority)) => {
                flaws.push(flaw::USER_INFO);
                authority
            }
            None => authority,
        };
        if !is_path(path) {
            flaws.push(flaw::PATH);
        }
        let (host, port) = split_port(authority);
        let port = port.map_or(Ok(default_port(https)), parse_port).map_err(|wrong| flaws.push(wrong));
        let host = parse_host(host).map_err(|wrong| flaws.push(wrong));
        match (host, port) {
            (Ok((host, ip)), Ok(port)) if flaws.is_empty() => {
                Ok(HttpUrl { https, host, ip, port, path: path.to_owned() })
            }
            _ => Err(flaws),
        }
    }

    /// What stands in `Host`: the host, and the port unless it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = match self.ip {
            Some(IpAddr::V6(_)) => format!("[{}]", self.host),
            _ => self.host.clone(),
        };
        if self.has_default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether the URL itself says loopback: a loopback address or `localhost` (SEC-14).
    pub fn is_loopback(&self) -> bool {
        match self.ip {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => self.host == "localhost",
        }
    }

    /// Whether the URL itself says that it leads no further than this machine's link, where clouds have their metadata
    /// servers: 169.254.0.0/16, fe80::/10, or fd00:ec2::/32, which AWS uses in their place.
    pub fn is_link_local(&self) -> bool {
        match self.ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => ip.is_link_local(),
            Some(IpAddr::V6(ip)) => ip.is_unicast_link_local() || ip.segments()[..2] == [0xfd00, 0xec2],
            None => false,
        }
    }

    pub(super) fn has_default_port(&self) -> bool {
        self.port == default_port(self.https)
    }

    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Whether it has a query.
    pub(super) fn has_query(&self) -> bool {
        self.path.contains('?')
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.path)
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// RFC 3986 section 3.2: host and port, the host of an IPv6 address in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[bracket..].find(':') {
        Some(colon) => (&authority[..bracket + colon], Some(&authority[bracket + colon + 1..])),
        None => (authority, None),
    }
}

fn parse_port(port: &str) -> Result<u16, UrlFlaw> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number @ 1..) if digits => Ok(number),
        _ => Err(flaw::PORT),
    }
}

/// Strict, so that the name that was checked is the name that is resolved: resolvers read `0x7f.1` as an address.
fn parse_host(host: &str) -> Result<(String, Option<IpAddr>), UrlFlaw> {
    if let Some(inner) = host.strip_prefix('[') {
        let address: Option<Ipv6Addr> = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
        let address = address.ok_or(flaw::BRACKETS)?;
        return Ok((address.to_string(), Some(address.into())));
    }
    if host.is_empty() {
        return Err(flaw::NO_HOST);
    }
    if !host.is_ascii() {
        return Err(flaw::NOT_ASCII);
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok((address.to_string(), Some(address.into())));
    }
    let host = host.to_ascii_lowercase();
    if !is_host_name(&host) {
        return Err(flaw::HOST);
    }
    Ok((host, None))
}

/// Lower-case labels of letters, digits, `-` and `_`, without a dot at the end; the last one is not a number (WHATWG
/// URL, "ends in a number": what looks like an IPv4 address has to be one).
pub(super) fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(legal)
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= 253 && host.split('.').all(label) && !number
}

/// RFC 3986 section 3.3 and 3.4, leniently: what could break a request line or be read in two ways is refused.
fn is_path(path: &str) -> bool {
    path.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && !b"\"<>\\^`{|}".contains(&byte))
}

/// All that can be wrong with a URL.
mod flaw {
    use super::UrlFlaw;

    pub(super) const NO_SCHEME: UrlFlaw = UrlFlaw {
        message: "a URL begins with `https://` or `http://`",
        hint: "write it whole, such as \"https://api.example/v2\"",
    };
    pub(super) const SCHEME: UrlFlaw =
        UrlFlaw { message: "a URL's scheme is `https` or `http`", hint: "write https://, or http:// on this machine" };
    pub(super) const FRAGMENT: UrlFlaw = UrlFlaw {
        message: "a URL here has no fragment (`#…`)",
        hint: "remove the `#` and what follows it: it would not be sent",
    };
    pub(super) const USER_INFO: UrlFlaw = UrlFlaw {
        message: "a URL here has no user info (`user:password@`)",
        hint: "user and password have keys of their own, in `[credentials.NAME.basic]` or `[egress] proxy`, say",
    };
    pub(super) const PATH: UrlFlaw = UrlFlaw {
        message: "the URL's path holds a character that has to be percent-encoded",
        hint: "write a space as `%20`, say",
    };
    pub(super) const PORT: UrlFlaw = UrlFlaw {
        message: "a URL's port is a number from 1 to 65535",
        hint: "leave it out, with its colon, for the scheme's own",
    };
    pub(super) const BRACKETS: UrlFlaw = UrlFlaw {
        message: "what stands in brackets is an IPv6 address",
        hint: "write such as \"https://[2001:db8::1]:8443\"",
    };
    pub(super) const NO_HOST: UrlFlaw =
        UrlFlaw { message: "the URL has no host", hint: "write such as \"https://api.example/v2\"" };
    pub(super) const NOT_ASCII: UrlFlaw = UrlFlaw {
        message: "a host name with other than ASCII letters is written in its `xn--` form",
        hint: "the registrar of the name, or a Punycode converter, says which it is",
    };
    pub(super) const HOST: UrlFlaw = UrlFlaw {
        message: "the URL's host is neither a host name nor an address",
        hint: "a name has letters, digits, `-`, `_` and dots between them; an address has four numbers",
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_kept_as_written_but_for_the_case_of_scheme_and_host() {
        let cases = [
            ("https://api.example/v2", "https://api.example/v2"),
            ("HTTPS://API.Example:443/V2", "https://api.example/V2"),
            ("http://api.example:8080", "http://api.example:8080"),
            ("https://api.example:80/a%2Fb?x=/y", "https://api.example:80/a%2Fb?x=/y"),
            ("http://[::1]:9000/x", "http://[::1]:9000/x"),
            ("http://127.0.0.1/", "http://127.0.0.1/"),
            ("https://api.example?x=1", "https://api.example?x=1"),
        ];
        assert_eq!(cases.len(), 7);
        for (written, shown) in cases {
            assert_eq!(HttpUrl::parse(written).unwrap().to_string(), shown, "{written}");
        }
    }

    #[test]
    fn what_is_no_plain_http_url_is_refused() {
        let cases = [
            "api.example",
            "ftp://api.example",
            "https://",
            "https:///x",
            "https://user@api.example",
            "https://user:password@api.example/",
            "https://api.example/#top",
            "https://api.example:0/",
            "https://api.example:65536/",
            "https://api.example:/",
            "https://api.example:+80/",
            "https://[::1",
            "https://[x]/",
            "https://::1/",
            "https://api example/",
            "https://api.example/a b",
            "https://api.example/a\\b",
            "https://bücher.example/",
            "https://127.1/",
            "https://0x7f.0.0.1/",
            "https://2130706433/",
            "https://a..b/",
            "https://api.example./",
            "https://[::1]x/",
        ];
        assert_eq!(cases.len(), 24);
        for written in cases {
            assert!(HttpUrl::parse(written).is_err(), "{written}");
        }
    }

    #[test]
    fn everything_that_is_wrong_with_a_url_is_said_at_once() {
        let flaws = HttpUrl::parse("ftp://user:password@a..b:0/a b?key=1#top").unwrap_err();
        assert_eq!(flaws, [flaw::SCHEME, flaw::FRAGMENT, flaw::USER_INFO, flaw::PATH, flaw::PORT, flaw::HOST]);
    }

    /// SEC-14: an IP literal or `localhost` speaks for itself; a name that merely looks like one does not.
    #[test]
    fn loopback_is_what_the_url_says_itself() {
        for (url, loopback) in [
            ("http://localhost:1", true),
            ("http://127.8.9.1", true),
            ("http://[::1]", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
        ] {
            assert_eq!(HttpUrl::parse(url).unwrap().is_loopback(), loopback, "{url}");
        }
    }
}
