//! The challenges of an upstream's answer (TL-46): a client must not blame its own key, nor log in to a third party
//! through us.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, StatusCode};

/// Schemes by which a client would answer with a password or a login of its own.
const REMOVED: [&str; 4] = ["basic", "digest", "negotiate", "ntlm"];

/// Removes the challenges of [`REMOVED`]; a 401 that has none left gets one of ours, since it must have one (RFC 9110
/// section 15.5.2).
pub(super) fn clean(status: StatusCode, headers: &mut HeaderMap) {
    let mut kept = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        let challenges: Vec<_> = split(text).into_iter().filter(|challenge| !is_removed(challenge)).collect();
        if !challenges.is_empty() {
            kept.extend(HeaderValue::try_from(challenges.join(", ")));
        }
    }
    headers.remove(WWW_AUTHENTICATE);
    if kept.is_empty() && status == StatusCode::UNAUTHORIZED {
        kept.push(HeaderValue::from_static("Bearer error=\"upstream_rejected\""));
    }
    for value in kept {
        headers.append(WWW_AUTHENTICATE, value);
    }
}

/// Whether a challenge names this error (RFC 6750 section 3.1, RFC 9449 section 7.1).
pub(super) fn says(headers: &HeaderMap, code: &str) -> bool {
    headers.get_all(WWW_AUTHENTICATE).iter().any(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        split_outside_quotes(&text).into_iter().any(|piece| is_error(piece.trim(), code))
    })
}

/// The claims, as the upstream encodes them, that it misses in the token (TL-45), as Microsoft's continuous access evaluation
/// says it: `Bearer error="insufficient_claims", claims="BASE64"`.
pub(super) fn lacking_claims(headers: &HeaderMap) -> Option<String> {
    headers.get_all(WWW_AUTHENTICATE).iter().find_map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        split(&text).iter().find_map(|challenge| {
            let pieces = split_outside_quotes(challenge);
            pieces.iter().find(|piece| is_error(piece.trim(), "insufficient_claims"))?;
            pieces.iter().find_map(|piece| value_of(piece.trim(), "claims")).map(str::to_owned)
        })
    })
}

/// Whether a piece of a field value is `error="code"`, after a scheme or not.
fn is_error(piece: &str, code: &str) -> bool {
    value_of(piece, "error") == Some(code)
}

/// What a piece of a field value says if it is the parameter of this name, after a scheme or not. Neither codes (RFC 6750
/// section 3) nor base64 have anything in them that would have to be escaped.
fn value_of<'p>(piece: &'p str, parameter: &str) -> Option<&'p str> {
    let said = match is_parameter(piece) {
        true => piece,
        false => piece.split_once([' ', '\t']).map_or("", |(_scheme, said)| said),
    };
    let (name, value) = said.split_once('=')?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    name.trim().eq_ignore_ascii_case(parameter).then_some(value)
}

fn is_removed(challenge: &str) -> bool {
    let scheme = challenge.split([' ', '\t']).next().unwrap_or_default();
    REMOVED.iter().any(|removed| scheme.eq_ignore_ascii_case(removed))
}

/// The challenges of one field value. Commas separate both challenges and their parameters (RFC 9110 section 11.6.1): a
/// piece that is no `name=value` begins a new challenge.
fn split(value: &str) -> Vec<String> {
    let mut challenges: Vec<String> = Vec::new();
    for piece in split_outside_quotes(value) {
        let piece = piece.trim();
        if piece.is_empty() {
            continue;
        }
        match challenges.last_mut() {
            Some(challenge) if is_parameter(piece) => challenge.extend([", ", piece]),
            _ => challenges.push(piece.to_owned()),
        }
    }
    challenges
}

fn split_outside_quotes(value: &str) -> Vec<&str> {
    let (mut pieces, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                pieces.push(&value[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&value[begin..]);
    pieces
}

/// `name=value`, with optional spaces around the `=`; not `Scheme name=value`, `Scheme` or `Scheme token68==`.
fn is_parameter(piece: &str) -> bool {
    let name_bytes = piece.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(piece.len());
    name_bytes > 0 && piece[name_bytes..].trim_start().starts_with('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(status: u16, values: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::try_from(*value).unwrap());
        }
        clean(StatusCode::from_u16(status).unwrap(), &mut headers);
        headers.get_all(WWW_AUTHENTICATE).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    /// TL-46: Bearer and DPoP stay, what would make a client log in goes, and a 401 is never left without a challenge.
    #[test]
    fn challenges_that_ask_for_a_login_are_removed() {
        let ours = "Bearer error=\"upstream_rejected\"";
        let bearer = "Bearer realm=\"a, Basic b\", error=\"invalid_token\"";
        let cases: [(&[&str], &[&str]); 11] = [
            (&[bearer], &[bearer]),
            (&["DPoP algs=\"ES256\""], &["DPoP algs=\"ES256\""]),
            (&["Basic realm=\"x\""], &[ours]),
            (
                &["basic realm = \"x\", charset=\"UTF-8\", Bearer realm=\"y\", scope=\"a b\""],
                &["Bearer realm=\"y\", scope=\"a b\""],
            ),
            (
                &["Bearer realm=\"y\", Digest realm=\"x\", nonce=\"a\\\",b\", Negotiate, NTLM TlRMTVNTUA=="],
                &["Bearer realm=\"y\""],
            ),
            (&["Negotiate", "NTLM"], &[ours]),
            (&["Negotiate YII=, Newauth x=1"], &["Newauth x=1"]),
            (&["Basic", "Bearer"], &["Bearer"]),
            (&[", ,"], &[ours]),
            (&["Basic realm=\"unterminated, Bearer"], &[ours]),
            (&[], &[ours]),
        ];
        for (values, left) in cases {
            assert_eq!(cleaned(401, values), left, "{values:?}");
        }
    }

    #[test]
    fn other_statuses_get_no_challenge_of_ours() {
        assert!(cleaned(403, &["Basic realm=\"x\""]).is_empty());
        assert_eq!(cleaned(403, &["Bearer error=\"insufficient_scope\""]), ["Bearer error=\"insufficient_scope\""]);
        assert!(cleaned(200, &[]).is_empty());
    }

    /// TL-45: only the `error` parameter says it; the same words elsewhere are somebody's prose.
    #[test]
    fn an_insufficient_scope_is_told_by_the_error_parameter_alone() {
        for (value, says) in [
            ("Bearer error=\"insufficient_scope\"", true),
            ("Bearer realm=\"a, b\", Error = insufficient_scope, scope=\"x\"", true),
            ("Basic realm=\"x\", Bearer  error=\"insufficient_scope\"", true),
            ("DPoP error_description=\"zu wenig \u{fc}berall\", error=\"insufficient_scope\"", true),
            ("Bearer error=\"invalid_token\", error_description=\"not insufficient_scope\"", false),
            ("Bearer error_description=\"error=\\\"insufficient_scope\\\"\"", false),
            ("Bearer error_description=\"a, error=insufficient_scope\"", false),
            ("Bearer realm=\"insufficient_scope\"", false),
            ("Bearer error_uri=\"https://a.test/?error=insufficient_scope\"", false),
            ("Bearer error=\"insufficient_scopes\"", false),
            ("insufficient_scope", false),
        ] {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value.clone())]);
            assert_eq!(super::says(&headers, "insufficient_scope"), says, "{value:?}");
        }
    }

    /// TL-45: as Microsoft's documentation of claims challenges has it; only of the challenge that misses claims.
    #[test]
    fn lacking_claims_are_those_of_the_challenge_that_says_so() {
        for (value, claims) in [
            (
                "Bearer realm=\"\", authorization_uri=\"https://login.example/a,b\", error=\"insufficient_claims\", \
                 claims=\"eyJhIjoxfQ==\"",
                Some("eyJhIjoxfQ=="),
            ),
            ("Bearer claims=e30, error=insufficient_claims", Some("e30")),
            ("Basic realm=\"x\", Bearer error=\"insufficient_claims\", Claims=\"e30=\"", Some("e30=")),
            ("Bearer error=\"insufficient_claims\"", None),
            ("Bearer error=\"insufficient_claims\", PoP claims=\"e30=\"", None),
            ("Bearer error=\"invalid_token\", claims=\"e30=\"", None),
            ("Bearer realm=\"error=insufficient_claims, claims=e30\"", None),
        ] {
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(value))]);
            assert_eq!(lacking_claims(&headers).as_deref(), claims, "{value}");
        }
    }
}
