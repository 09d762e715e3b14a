//! The query passes unchanged, but for the parameters that the credential sets (SEC-10).

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The query without the parameters that any reader could take for one of `names`, whatever their spelling.
///
/// Only the pieces that are removed are decoded; the others stay byte for byte. Some servers separate parameters at `;`
/// too, so such a piece goes as well.
pub(super) fn without<'a>(query: &'a str, names: &[String]) -> Cow<'a, str> {
    let is_it = |piece: &str| names.iter().any(|name| decoded_name_is(piece, name));
    if !query.split(['&', ';']).any(is_it) {
        return Cow::Borrowed(query);
    }
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        if !parameter.split(';').any(is_it) {
            kept.push(Cow::Borrowed(parameter));
            continue;
        }
        let pieces: Vec<_> = parameter.split(';').filter(|piece| !is_it(piece)).collect();
        if !pieces.is_empty() {
            kept.push(Cow::Owned(pieces.join(";")));
        }
    }
    Cow::Owned(kept.join("&"))
}

/// Whether a parameter's name, with `+` as a space and decoded once, is `name`.
pub(super) fn decoded_name_is(parameter: &str, name: &str) -> bool {
    let raw = parameter.split('=').next().unwrap_or_default();
    if !raw.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return raw == name;
    }
    let spaced: Vec<u8> = raw.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced).eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-10: the query parameter that the credential sets is removed in every encoding; all else stays as it is.
    #[test]
    fn the_credentials_parameter_goes_in_every_spelling() {
        for (query, left) in [
            ("a=1&key=evil&b=2", "a=1&b=2"),
            ("key=evil", ""),
            ("key", ""),
            ("k%65y=evil&a", "a"),
            ("%6B%65%79=evil", ""),
            ("key=1&key=2&%6bey=3&z", "z"),
            ("a=1;key=evil;b=2&c", "a=1;b=2&c"),
            ("key=evil;b=2", "b=2"),
            ("a=%7E~%zz&&b=+;c", "a=%7E~%zz&&b=+;c"),
            ("Key=1&keys=2&a=key", "Key=1&keys=2&a=key"),
            ("a=%26key=x", "a=%26key=x"),
            ("", ""),
        ] {
            assert_eq!(without(query, &["key".to_owned()]), left, "{query}");
        }
        assert_eq!(without("api+key=evil&api%20key=evil&a", &["api key".to_owned()]), "a");
        assert_eq!(without("key=evil&a&tok%65n=evil", &["key".to_owned(), "token".to_owned()]), "a");
    }
}
