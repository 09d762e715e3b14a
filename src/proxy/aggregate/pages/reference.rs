//! Where a URL in an answer leads: under its upstream's own URL, or nowhere.

use http::Uri;

use crate::route::check_path;

/// What an upstream's URL begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) https: bool,
    /// In lower case.
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// What the paths of all requests begin with; no slash at the end.
    pub(super) base: &'a str,
}

/// Path and query of a reference (RFC 3986 section 4.2) that was met at `current`, or why it may not be followed.
pub(super) fn resolve(origin: Origin<'_>, current: &str, reference: &str) -> Result<String, &'static str> {
    let reference = reference.trim();
    let reference = reference.split('#').next().unwrap_or_default();
    let path = current.split('?').next().unwrap_or_default();
    let scheme = reference.split(['/', '?']).next().and_then(|start| start.split_once(':')).map(|(scheme, _)| scheme);
    let target = match (scheme, reference.as_bytes()) {
        (_, []) => return Err("the URL of the next page is empty"),
        (Some(_), _) => in_origin(origin, reference)?,
        (None, [b'/', b'/', ..]) => {
            in_origin(origin, &[if origin.https { "https:" } else { "http:" }, reference].concat())?
        }
        (None, [b'/', ..]) => reference.to_owned(),
        (None, [b'?', ..]) => [path, reference].concat(),
        (None, _) => [&path[..path.rfind('/').map_or(0, |slash| slash + 1)], reference].concat(),
    };
    let uri: Uri = target.parse().map_err(|_| NO_URL)?;
    // The parser lets UTF-8 pass, which a request line has no place for.
    if !target.is_ascii() {
        return Err(NO_URL);
    }
    check_path(uri.path()).map_err(|_| "the path of the next page is ambiguous")?;
    // Other paths of this host may be others' APIs, for which the credential is not meant.
    if !uri.path().strip_prefix(origin.base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err("the next page is not under the URL of its upstream");
    }
    match uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') && uri.authority().is_none() => Ok(target.as_str().to_owned()),
        _ => Err(NO_URL),
    }
}

const NO_URL: &str = "the URL of the next page is not valid";
const ELSEWHERE: &str = "the next page has another scheme, host or port than its upstream";

/// Path and query of an absolute URL.
fn in_origin(origin: Origin<'_>, url: &str) -> Result<String, &'static str> {
    let uri: Uri = url.parse().map_err(|_| NO_URL)?;
    let authority = uri.authority().ok_or(NO_URL)?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(ELSEWHERE),
    };
    // A name before the host would be a credential of somebody's.
    if authority.as_str().contains('@') {
        return Err(ELSEWHERE);
    }
    let host = authority.host();
    // Read here, because the parser takes a port that is none for no port.
    let port = match authority.as_str()[host.len()..].strip_prefix(':') {
        None if https => 443,
        None => 80,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| NO_URL)?,
        Some(_) => return Err(NO_URL),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_own = https == origin.https && port == origin.port && host.eq_ignore_ascii_case(origin.host);
    if !is_own {
        return Err(ELSEWHERE);
    }
    Ok(uri.path_and_query().map_or("/", |target| target.as_str()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Origin<'_> = Origin { https: true, host: "api.test", port: 443, base: "" };

    #[test]
    fn references_of_all_forms_lead_to_the_same_host() {
        for (reference, target) in [
            ("https://api.test/v2/orders?page=2", "/v2/orders?page=2"),
            ("HTTPS://API.test:443/v2/orders?page=2#x", "/v2/orders?page=2"),
            ("https://api.test", "/"),
            ("//api.test/x", "/x"),
            ("/v2/orders?page=2", "/v2/orders?page=2"),
            ("?page=2", "/v2/orders?page=2"),
            ("orders?at=10:30", "/v2/orders?at=10:30"),
            ("more/a", "/v2/more/a"),
            ("  /x ", "/x"),
            ("/x?next=https://evil.test/", "/x?next=https://evil.test/"),
        ] {
            assert_eq!(resolve(HERE, "/v2/orders?page=1", reference).as_deref(), Ok(target), "{reference}");
        }
        let other = Origin { https: false, host: "::1", port: 8080, base: "" };
        assert_eq!(resolve(other, "/", "http://[::1]:8080/x").as_deref(), Ok("/x"));
    }

    /// SEC: the credential goes to no other scheme, host or port.
    #[test]
    fn what_leads_elsewhere_is_refused() {
        let refused = [
            "http://api.test/x",
            "https://api.test:8443/x",
            "https://evil.test/x",
            "https://api.test.evil.test/x",
            "https://api.test@evil.test/x",
            "https://user@api.test/x",
            "https://api.test./x",
            "//evil.test/x",
            "///evil.test/x",
            "https:\\\\evil.test\\x",
            "\\\\evil.test/x",
            "/\\evil.test/x",
            "ftp://api.test/x",
            "javascript:alert(1)",
            "https:/x",
            "https://",
            "",
            "#x",
            "/a/../../x",
            "/%2e%2e/x",
            "../x",
            "/a b",
            "/a\r\nX: y",
            "/\u{e4}",
            "https://api.test:/x",
            "https://api.test:99999/x",
        ];
        assert_eq!(refused.len(), 26);
        for reference in refused {
            let resolved = resolve(HERE, "/v2/orders", reference);
            // What stays here is a path of this host, whatever it looks like.
            let harmless = matches!(&resolved, Ok(path) if reference == "///evil.test/x" && path.starts_with('/'));
            assert!(resolved.is_err() || harmless, "{reference:?}: {resolved:?}");
        }
    }

    /// What does not lie at a segment border under the upstream's URL is not asked for, as no such link is followed (SEC-12).
    #[test]
    fn pages_stay_under_the_path_of_the_upstream() {
        let under = Origin { base: "/v2/crm", ..HERE };
        for (reference, target) in [
            ("/v2/crm", "/v2/crm"),
            ("/v2/crm?page=2", "/v2/crm?page=2"),
            ("https://api.test/v2/crm/orders?page=2", "/v2/crm/orders?page=2"),
            ("?page=2", "/v2/crm/orders?page=2"),
            ("more", "/v2/crm/more"),
        ] {
            assert_eq!(resolve(under, "/v2/crm/orders", reference).as_deref(), Ok(target), "{reference}");
        }
        for reference in
            ["/", "/v2", "/v2/", "/v2/crm2/x", "/v2/crm%2fx", "/v2/CRM/x", "/%76%32/crm/x", "//api.test/x", "/admin"]
        {
            let resolved = resolve(under, "/v2/crm/orders", reference);
            assert_eq!(resolved, Err("the next page is not under the URL of its upstream"), "{reference}");
        }
    }
}
