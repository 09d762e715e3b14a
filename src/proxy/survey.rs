//! What is to be known of a request's fields before anything is done with them, from one walk over them.

use http::header::HOST;
use http::{HeaderMap, HeaderValue};

use super::present::Present;

/// What one walk over a request's fields tells. By default: there are none.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Survey<'h> {
    pub(super) present: Present,
    /// How many fields there are; one that is repeated counts each time.
    pub(super) fields: usize,
    /// The bytes of all fields, as HTTP/1 would write them.
    pub(super) bytes: usize,
    /// The first `Host`, and how many there are.
    pub(super) host: Option<&'h HeaderValue>,
    pub(super) hosts: usize,
}

impl<'h> Survey<'h> {
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let mut survey = Survey { fields: headers.len(), ..Survey::default() };
        for (name, value) in headers {
            survey.present = survey.present.with(name);
            survey.bytes += name.as_str().len() + value.len() + ": \r\n".len();
            if *name == HOST {
                survey.host.get_or_insert(value);
                survey.hosts += 1;
            }
        }
        survey
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HeaderName};

    use super::*;

    #[test]
    fn a_walk_tells_of_every_line() {
        let lines = [("a", "bc"), ("host", "x"), ("d", ""), ("te", "trailers"), ("host", "y")];
        let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers: HeaderMap = lines.into_iter().map(field).collect();
        let survey = Survey::of(&headers);
        assert_eq!(survey.bytes, "a: bc\r\nhost: x\r\nd: \r\nte: trailers\r\nhost: y\r\n".len());
        assert_eq!((survey.fields, survey.hosts, survey.host.unwrap().as_bytes()), (5, 2, &b"x"[..]));
        assert!(survey.present.has(Present::TE) && !survey.present.has(Present::VIA));
        assert_eq!(Survey::of(&HeaderMap::from_iter([(CONTENT_TYPE, "a".parse().unwrap())])).host, None);
    }
}
