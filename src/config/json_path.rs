//! A JSONPath of RFC 9535, as `target` takes one.

mod cost;

pub use cost::{Costly, FOUND_TIMES_MAX};

/// A query that was parsed: the text is checked by having become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    pub query: serde_json_path::JsonPath,
    /// Whether it can find one node at most (RFC 9535 section 2.3.5.1), so that this node is meant and no list.
    pub singular: bool,
    /// Its steps, if it has but names, indices and `[*]`: then it can be followed without a tree.
    pub plain: Option<Vec<PlainStep>>,
    /// How many times it can find the same value, [`FOUND_TIMES_MAX`] at most.
    pub found_times: usize,
    /// How many values an answer may have that it is asked about, if it is not plain.
    pub values_max: usize,
}

/// Why a text is no query that could be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoJsonPath {
    /// It is none, from this character on, counted from 0.
    Invalid(usize),
    Costly(Costly),
}

/// One step of a plain query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlainStep {
    Name(String),
    /// Negative: from the end.
    Index(i64),
    All,
}

impl JsonPath {
    /// # Errors
    /// If it is no JSONPath, with the place of what is wrong; or one that may cost too much.
    pub fn parse(text: &str) -> Result<JsonPath, NoJsonPath> {
        let query = serde_json_path::JsonPath::parse(text).map_err(|error| NoJsonPath::Invalid(error.position()))?;
        let found_times = cost::found_times(text).map_err(NoJsonPath::Costly)?;
        Ok(JsonPath {
            query,
            singular: is_singular(text),
            plain: plain(text),
            found_times,
            values_max: cost::values_max(text),
        })
    }
}

/// The crate does not say whether a query is singular; but RFC 9535 lets only those be compared.
fn is_singular(text: &str) -> bool {
    serde_json_path::JsonPath::parse(&format!("$[?{text} == 1]")).is_ok()
}

/// The steps of a valid query, unless there is more to it.
fn plain(text: &str) -> Option<Vec<PlainStep>> {
    let mut rest = text.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = if let Some(after) = rest.strip_prefix("[*]").or_else(|| rest.strip_prefix(".*")) {
            (PlainStep::All, after)
        } else if let Some(quoted) = rest.strip_prefix("['") {
            let (name, after) = quoted.split_once('\'')?;
            (PlainStep::Name(name.to_owned()), after.strip_prefix(']')?)
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, after) = index.split_once(']')?;
            (PlainStep::Index(index.parse().ok()?), after)
        } else {
            let name = rest.strip_prefix('.')?;
            let (name, after) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            (PlainStep::Name(name.to_owned()), after)
        };
        // An escape, a descent (`..`), spaces.
        if matches!(&step, PlainStep::Name(name) if name.is_empty() || name.contains(['\\', ' ', '\t', '\n', '\r'])) {
            return None;
        }
        steps.push(step);
        rest = after;
    }
    Some(steps)
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
            assert!(matches!(JsonPath::parse(text), Err(NoJsonPath::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn a_query_is_plain_if_it_walks_straight_on() {
        use PlainStep::{All, Index, Name};
        let name = |name: &str| Name(name.to_owned());
        for (text, steps) in [
            ("$", Some(vec![])),
            ("$.a.b[0]", Some(vec![name("a"), name("b"), Index(0)])),
            ("$['a.b'][-1][*].c", Some(vec![name("a.b"), Index(-1), All, name("c")])),
            ("$.*", Some(vec![All])),
            ("$..a", None),
            ("$.a..b", None),
            ("$['a','b']", None),
            (r"$['a\'b']", None),
            ("$['a b']", None),
            (r#"$["a"]"#, None),
            ("$[0,1]", None),
            ("$[0:1]", None),
            ("$ .a", None),
            ("$.a .b", None),
            ("$.a[?@.b == 1]", None),
        ] {
            assert_eq!(JsonPath::parse(text).expect(text).plain, steps, "{text}");
        }
    }
}
