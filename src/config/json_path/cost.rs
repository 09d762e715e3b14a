//! What a JSONPath may cost. One that is valid can still take seconds and gigabytes for an answer of a few kilobytes: whatever
//! could grow faster than the answer does is refused when the configuration is read.

use std::iter::from_fn;

/// So many times may a query find the same value: `[*,*]` finds each twice, and so does each further bracket of that kind.
pub const FOUND_TIMES_MAX: usize = 32;

/// What of a valid query grows faster than the answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Costly {
    /// A descent (`..`) below a descent goes through the same values again and again.
    Descents,
    /// A query from the root (`$`) within a filter, which is asked anew for each value, can find many.
    RootInFilter,
    /// Selectors side by side, multiplied over all brackets: so many.
    Selectors(usize),
    /// A regular expression that is a value of the answer can be any.
    Pattern,
}

/// How many times a valid query can find the same value.
///
/// # Errors
/// If it may cost too much.
pub(super) fn found_times(query: &str) -> Result<usize, Costly> {
    let (mut times, mut descents) = (1_usize, 0);
    // What is open, and how many selectors stand in it so far.
    let mut open: Vec<(u8, usize)> = Vec::new();
    for (at, byte) in outside_strings(query) {
        match byte {
            b'.' if query[at + 1..].starts_with('.') => descents += 1,
            b'$' if at > 0 && !is_singular(&query[at..]) => return Err(Costly::RootInFilter),
            b'[' | b'(' => open.push((byte, 1)),
            b']' | b')' => times = times.saturating_mul(open.pop().map_or(1, |(_, selectors)| selectors)),
            b',' => match open.last_mut() {
                Some((b'[', selectors)) => *selectors += 1,
                _ if query[at + 1..].trim_start().starts_with(['\'', '"']) => {}
                _ => return Err(Costly::Pattern),
            },
            _ => {}
        }
    }
    match (descents, times) {
        (2.., _) => Err(Costly::Descents),
        (_, FOUND_TIMES_MAX..) if times > FOUND_TIMES_MAX => Err(Costly::Selectors(times)),
        _ => Ok(times),
    }
}

/// How many values an answer may have that a valid query is asked about: that takes its time for each of them.
pub(super) fn values_max(query: &str) -> usize {
    // The library compiles an expression anew for each value, which takes some 30 us.
    let matches = |before: &str| before.ends_with("match") || before.ends_with("search");
    match outside_strings(query).any(|(at, byte)| byte == b'(' && matches(query[..at].trim_end())) {
        true => 20_000,
        false => 1_000_000,
    }
}

/// Whether a query that stands at the beginning of this text has but names and indices.
fn is_singular(text: &str) -> bool {
    let mut depth = 0;
    let ends = |(_, byte): &(usize, u8)| {
        match byte {
            b'[' => depth += 1,
            b']' if depth > 0 => depth -= 1,
            b']' | b')' | b',' | b'=' | b'!' | b'<' | b'>' | b'&' | b'|' if depth == 0 => return true,
            _ => {}
        }
        false
    };
    let end = outside_strings(text).find(ends).map_or(text.len(), |(at, _)| at);
    super::is_singular(text[..end].trim_end())
}

/// The bytes of a valid query that are in no string, and where they are.
fn outside_strings(query: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut bytes = query.bytes().enumerate();
    from_fn(move || {
        let (at, byte) = bytes.next()?;
        if matches!(byte, b'\'' | b'"') {
            while let Some((_, inner)) = bytes.next().filter(|(_, inner)| *inner != byte) {
                if inner == b'\\' {
                    bytes.next();
                }
            }
        }
        Some((at, byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_no_faster_than_the_answer_is_taken() {
        for (query, times) in [
            ("$", 1),
            ("$..a", 1),
            ("$.a[*].*[?@.b]", 1),
            ("$['a..b', '..', \"$..[*,*]\"]", 3),
            (r"$['\'..'][?@.a == '\\'][?@['..'] == '$..a']", 1),
            ("$[0,1][*,*]", 4),
            ("$[?@.a == $.b['c'][0] && @.d]", 1),
            ("$[?@.a == $ .b [0] ]", 1),
            ("$[?length(@.a) > $.b]", 1),
            ("$[?match(@.a, 'b..c') || search(@.a , \"x\")]", 1),
            ("$[?count(@..a) > 1, ?@.b]", 2),
            ("$[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31]", 32),
        ] {
            assert!(serde_json_path::JsonPath::parse(query).is_ok(), "{query}");
            assert_eq!(found_times(query), Ok(times), "{query}");
        }
    }

    #[test]
    fn what_grows_faster_than_the_answer_is_refused() {
        for (query, why) in [
            ("$..a..b", Costly::Descents),
            ("$..a[*]..[?@.b]", Costly::Descents),
            ("$..[?@..a]", Costly::Descents),
            ("$[?@..a..b]", Costly::Descents),
            ("$[?$[*]]", Costly::RootInFilter),
            ("$[?$..a]", Costly::RootInFilter),
            ("$[?count($.a[*].b) > 1]", Costly::RootInFilter),
            ("$[?@.a && !$ [?@.b]]", Costly::RootInFilter),
            ("$[?@[?$.a[0:1]]]", Costly::RootInFilter),
            ("$[*,*][*,*][*,*][*,*][*,*][*,*]", Costly::Selectors(64)),
            ("$[?@[0,0,0,0,0,0][0,0,0,0,0,0]]", Costly::Selectors(36)),
            ("$[?match(@.a, @.b)]", Costly::Pattern),
            ("$[?search('a', $.b)]", Costly::Pattern),
        ] {
            assert!(serde_json_path::JsonPath::parse(query).is_ok(), "{query}");
            assert_eq!(found_times(query), Err(why), "{query}");
        }
    }
}
