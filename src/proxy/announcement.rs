//! `Trailer`: what of an answer's or a request's trailers is announced in its head. The trailers themselves are cleaned where
//! they are read, in [`crate::upstream`].

use http::header::{HeaderName, TRAILER};
use http::{HeaderMap, HeaderValue};

use crate::upstream::is_trailer_allowed;

/// Leaves in `Trailer` only what may come. hyper sends to HTTP/1 clients exactly the trailers that it names.
pub(super) fn clean(headers: &mut HeaderMap) {
    let mut names: Vec<&str> = Vec::new();
    for value in headers.get_all(TRAILER) {
        let tokens = value.to_str().unwrap_or_default().split(',').map(str::trim);
        names.extend(tokens.filter(|token| HeaderName::try_from(*token).is_ok_and(|name| is_trailer_allowed(&name))));
    }
    let announced = (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten();
    match announced {
        Some(value) => drop(headers.insert(TRAILER, value)),
        None => drop(headers.remove(TRAILER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_what_may_come_is_announced() {
        let mut headers = map(&[("trailer", "Authorization, Host ,X-Ok"), ("trailer", "Content-Length,X-Too")]);
        clean(&mut headers);
        assert_eq!(headers["trailer"], "X-Ok, X-Too");
        let mut headers = map(&[("trailer", "Authorization")]);
        clean(&mut headers);
        assert!(headers.is_empty());
    }
}
