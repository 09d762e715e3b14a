//! A JSONPath of RFC 9535, as `target` takes one.

use serde_json_path::ParseError;

/// A query that was parsed: the text is checked by having become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    pub query: serde_json_path::JsonPath,
    /// Whether it can find one node at most (RFC 9535 section 2.3.5.1), so that this node is meant and no list.
    pub singular: bool,
}

impl JsonPath {
    /// # Errors
    /// If it is no JSONPath, with the place of what is wrong.
    pub fn parse(text: &str) -> Result<JsonPath, ParseError> {
        let query = serde_json_path::JsonPath::parse(text)?;
        // The crate does not say whether a query is singular; but RFC 9535 lets only those be compared.
        let singular = serde_json_path::JsonPath::parse(&format!("$[?{text} == 1]")).is_ok();
        Ok(JsonPath { query, singular })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9535 section 2.3.5.1: names and indices alone.
    #[test]
    fn a_query_is_singular_if_it_names_one_node() {
        for (text, singular) in [
            ("$", true),
            ("$.a", true),
            ("$['a'].b[0][-1]", true),
            ("$.a[*]", false),
            ("$.*", false),
            ("$..a", false),
            ("$['a','b']", false),
            ("$[0,1]", false),
            ("$[0:1]", false),
            ("$.a[?@.b == 1]", false),
            ("$.a[?@.b == 1].c", false),
            ("$[?length(@.a) > 1]", false),
        ] {
            assert_eq!(JsonPath::parse(text).expect(text).singular, singular, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_path_is_refused() {
        let refused =
            ["", "a.b", "$.", "$[", "$.a[", "$.a[?]", "$ == 1", "$.a == 1", "$.a || $.b", "$.a]", "@.a", " $.a"];
        for text in refused {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }
}
