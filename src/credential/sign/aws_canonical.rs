//! The canonical request of AWS Signature Version 4: what both sides hash, whatever the request looked like on its way.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, percent_decode, percent_encode};

use crate::token::NOT_UNRESERVED;

const NOT_IN_PATHS: &AsciiSet = &NOT_UNRESERVED.remove(b'/');

/// How a service reads paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    /// S3: as they are, since a key may be any text; encoded once.
    AsTheyAre,
    /// All others: without empty and dot segments; encoded once more.
    Normalised,
}

/// The fields that are signed, by their names, each value trimmed and its runs of blanks made one.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, Vec<u8>>);

impl Fields {
    /// Adds a field; one that is there already gets a further value.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>();
        let folded = words.join(&b" "[..]);
        let values = self.0.entry(name.to_ascii_lowercase()).or_default();
        if !values.is_empty() {
            values.push(b',');
        }
        values.extend(folded);
    }

    /// `SignedHeaders`.
    pub(super) fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(";")
    }
}

/// `payload`: the hash of the body, or what stands for it.
pub(super) fn request(method: &str, target: &str, paths: Paths, fields: &Fields, payload: &str) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut canonical =
        [method, "\n", &canonical_path(path, paths), "\n", &canonical_query(query), "\n"].concat().into_bytes();
    for (name, value) in &fields.0 {
        canonical.extend_from_slice(name.as_bytes());
        canonical.push(b':');
        canonical.extend_from_slice(value);
        canonical.push(b'\n');
    }
    canonical.extend_from_slice(["\n", &fields.names(), "\n", payload].concat().as_bytes());
    canonical
}

fn canonical_path(path: &str, paths: Paths) -> String {
    match paths {
        Paths::AsTheyAre => {
            let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
            percent_encode(&decoded, NOT_IN_PATHS).to_string()
        }
        Paths::Normalised => percent_encode(normalised(path).as_bytes(), NOT_IN_PATHS).to_string(),
    }
}

/// RFC 3986 section 5.2.4, and without empty segments; a slash at the end stays.
fn normalised(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// Parameters by their names and values as both are encoded, in that order. A `+` is a blank, as servers read it.
fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let decoded: Vec<u8> = percent_decode(text.replace('+', " ").as_bytes()).collect();
        percent_encode(&decoded, NOT_UNRESERVED).to_string()
    };
    let pair = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (encoded(name), encoded(value))
    };
    let mut pairs: Vec<_> = query.split('&').filter(|parameter| !parameter.is_empty()).map(pair).collect();
    pairs.sort();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_reads_paths_as_they_are_and_all_others_clean_them_up() {
        for (path, as_it_is, normalised) in [
            ("/", "/", "/"),
            ("/a//b/", "/a//b/", "/a/b/"),
            ("/a%20b", "/a%20b", "/a%2520b"),
            ("/a b", "/a%20b", "/a%20b"),
            ("/caf%c3%a9", "/caf%C3%A9", "/caf%25c3%25a9"),
            ("/a(1)!*'~", "/a%281%29%21%2A%27~", "/a%281%29%21%2A%27~"),
            ("/a+b=c:d", "/a%2Bb%3Dc%3Ad", "/a%2Bb%3Dc%3Ad"),
            // Of S3's keys a slash that was encoded cannot be told from one that was not.
            ("/a%2Fb", "/a/b", "/a%252Fb"),
        ] {
            assert_eq!(canonical_path(path, Paths::AsTheyAre), as_it_is, "{path}");
            assert_eq!(canonical_path(path, Paths::Normalised), normalised, "{path}");
        }
    }

    #[test]
    fn parameters_are_sorted_as_they_are_encoded() {
        for (query, canonical) in [
            ("", ""),
            ("b&a", "a=&b="),
            ("a=2&a=1&A=3", "A=3&a=1&a=2"),
            ("a=b+c&d=%2b&e=%7e&f=*", "a=b%20c&d=%2B&e=~&f=%2A"),
            ("acl&versionId=x=y", "acl=&versionId=x%3Dy"),
            ("&&a=%ff", "a=%FF"),
        ] {
            assert_eq!(canonical_query(query), canonical, "{query}");
        }
    }
}
