//! Base URLs of upstreams: known beforehand, or named by the token's answer and held to a list of hosts.

use std::fmt;

use super::HttpUrl;

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamUrl {
    /// Its path has no slash at the end.
    Fixed(HttpUrl),
    /// Scheme, host and port are those of a value of the token's answer, which [`BaseUrl`] holds to a list.
    OfToken {
        /// The value's name.
        value: String,
        /// What all requests begin with; no slash at the end.
        path: String,
    },
}

impl UpstreamUrl {
    /// What the paths of all requests begin with; no slash at the end.
    pub fn path(&self) -> &str {
        match self {
            UpstreamUrl::Fixed(url) => &url.path,
            UpstreamUrl::OfToken { path, .. } => path,
        }
    }

    /// The URL, if it is known without a token.
    pub fn fixed(&self) -> Option<&HttpUrl> {
        match self {
            UpstreamUrl::Fixed(url) => Some(url),
            UpstreamUrl::OfToken { .. } => None,
        }
    }

    /// Scheme, host and port, or what stands for them: `{instance_url}`.
    pub fn origin(&self) -> String {
        match self {
            UpstreamUrl::Fixed(url) => format!("{}://{}", url.scheme(), url.authority()),
            UpstreamUrl::OfToken { value, .. } => format!("{{{value}}}"),
        }
    }

    /// What `Host` says, or what stands for it.
    pub fn authority(&self) -> String {
        match self {
            UpstreamUrl::Fixed(url) => url.authority(),
            UpstreamUrl::OfToken { value, .. } => format!("the host of {{{value}}}"),
        }
    }
}

/// As proxy.toml writes it.
impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path())
    }
}

/// What a base URL in a token's answer may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    /// At least one.
    pub hosts: Vec<AllowedHost>,
    /// Whether it may be http:// beyond loopback: every upstream that goes there says so.
    pub cleartext: bool,
}

/// A host that a base URL may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// Lower case. An address stands for itself alone.
    pub name: String,
    /// Whether it stands for every name under this one, and not for it: `*.my.salesforce.com`.
    pub below: bool,
    /// `None`: the scheme's own.
    pub port: Option<u16>,
}

/// Why a value cannot be the base URL of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseUrlFlaw {
    /// It is no http(s) URL, or has user info, a query or a fragment.
    NoUrl,
    /// It has a path, which is the upstream's to say.
    Path,
    Cleartext(HttpUrl),
    NotAllowed(HttpUrl),
}

impl BaseUrl {
    /// Scheme, host and port of a value, if that may be sent to. The path of what is returned is empty.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, value: &str) -> Result<HttpUrl, BaseUrlFlaw> {
        let url = HttpUrl::parse(value).map_err(|_| BaseUrlFlaw::NoUrl)?;
        if !matches!(url.path.as_str(), "" | "/") {
            return Err(BaseUrlFlaw::Path);
        }
        if !url.https && !self.cleartext && !url.is_loopback() {
            return Err(BaseUrlFlaw::Cleartext(url));
        }
        match self.hosts.iter().any(|allowed| allowed.allows(&url)) {
            true => Ok(HttpUrl { path: String::new(), ..url }),
            false => Err(BaseUrlFlaw::NotAllowed(url)),
        }
    }
}

impl AllowedHost {
    fn allows(&self, url: &HttpUrl) -> bool {
        let host = match self.below {
            false => url.host == self.name,
            // An address has nothing below it.
            true => url.ip.is_none() && url.host.strip_suffix(&self.name).is_some_and(|left| left.ends_with('.')),
        };
        host && self.port.map_or(url.has_default_port(), |port| port == url.port)
    }
}

/// As proxy.toml writes it.
impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.below { "*." } else { "" };
        match self.name.contains(':') {
            true => write!(f, "[{}]", self.name)?,
            false => write!(f, "{below}{}", self.name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// All of them, one after the other.
impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        f.write_str(&hosts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, below: bool, port: Option<u16>) -> AllowedHost {
        AllowedHost { name: name.to_owned(), below, port }
    }

    fn rule() -> BaseUrl {
        let hosts = vec![
            host("my.crm.example", true, None),
            host("api.example", false, None),
            host("lab.example", true, Some(8443)),
            host("127.0.0.1", false, Some(9000)),
            host("192.0.2.7", false, None),
        ];
        BaseUrl { hosts, cleartext: false }
    }

    #[test]
    fn what_is_allowed_is_taken_without_its_slash() {
        let cases = [
            ("https://acme.my.crm.example", "https://acme.my.crm.example"),
            ("https://a.b.my.crm.example/", "https://a.b.my.crm.example"),
            ("HTTPS://ACME.My.Crm.Example:443", "https://acme.my.crm.example"),
            ("https://api.example", "https://api.example"),
            ("https://x.lab.example:8443", "https://x.lab.example:8443"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("https://192.0.2.7", "https://192.0.2.7"),
        ];
        assert_eq!(cases.len(), 7);
        for (value, url) in cases {
            assert_eq!(rule().check(value).unwrap().to_string(), url, "{value}");
        }
    }

    /// SEC-14: what looks like an allowed host, and is none, gets nothing.
    #[test]
    fn what_is_not_allowed_is_refused() {
        let refused = |value: &str| rule().check(value).unwrap_err();
        let not_allowed = [
            "https://my.crm.example",
            "https://evilmy.crm.example",
            "https://acme.my.crm.example.evil.example",
            "https://acme.my.crm.example:8443",
            "https://x.api.example",
            "https://x.lab.example",
            "https://192.0.2.8",
            "https://127.0.0.1",
            "http://127.0.0.1:9001",
            "http://localhost",
        ];
        assert_eq!(not_allowed.len(), 10);
        for value in not_allowed {
            assert!(matches!(refused(value), BaseUrlFlaw::NotAllowed(_)), "{value}");
        }
        for value in ["http://acme.my.crm.example", "http://192.0.2.7"] {
            assert!(matches!(refused(value), BaseUrlFlaw::Cleartext(_)), "{value}");
        }
        for value in [
            "",
            "acme.my.crm.example",
            "//acme.my.crm.example",
            "https://evil.example@acme.my.crm.example",
            "https://acme.my.crm.example@evil.example",
            "https://evil.example\\.my.crm.example",
            "https://evil.example#.my.crm.example",
            "https://acme.my.crm.example.",
            "https://evil%2eexample/.my.crm.example",
            "ftp://acme.my.crm.example",
            " https://acme.my.crm.example",
            "https://acme.my.crm.example\r\nx: y",
        ] {
            assert_eq!(refused(value), BaseUrlFlaw::NoUrl, "{value:?}");
        }
        for value in ["https://evil.example/.my.crm.example", "https://api.example?x", "https://api.example/v1"] {
            assert_eq!(refused(value), BaseUrlFlaw::Path, "{value:?}");
        }
    }

    #[test]
    fn cleartext_is_for_those_who_said_so() {
        let rule = BaseUrl { cleartext: true, ..rule() };
        assert_eq!(rule.check("http://acme.my.crm.example").unwrap().to_string(), "http://acme.my.crm.example");
        assert!(rule.check("http://acme.my.crm.example:443").is_err(), "the port is not that of the scheme");
    }

    #[test]
    fn hosts_are_shown_as_they_are_written() {
        assert_eq!(rule().to_string(), "*.my.crm.example, api.example, *.lab.example:8443, 127.0.0.1:9000, 192.0.2.7");
        assert_eq!(host("::1", false, Some(1)).to_string(), "[::1]:1");
    }
}
