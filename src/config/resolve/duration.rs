//! Durations as people write them: `"800ms"`, `"5s"`, `"24h"`, `"0"`.

use std::time::Duration;

/// Longer than this is a slip of the pen, and sums of durations stay far from overflowing.
const DURATION_DAYS_MAX: u64 = 3650;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadDuration {
    pub message: &'static str,
    pub hint: &'static str,
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = |message| BadDuration { message, hint: "write a number and a unit: ms, s, m, h or d, such as \"5s\"" };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(bad("this is no duration"));
    }
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(bad("a duration has a unit")),
        _ => return Err(bad("this is no duration")),
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    match total {
        Some(total) if total <= DURATION_DAYS_MAX * 86_400_000 => Ok(Duration::from_millis(total)),
        _ => Err(BadDuration { message: "this is too long", hint: "the longest duration is \"3650d\"" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("800ms", 800),
            ("5s", 5000),
            ("2 m", 120_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
        ];
        assert_eq!(cases.len(), 7);
        for (text, milliseconds) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        let cases = ["", "5", "s", "-5s", "1.5s", "5 sec", "5S", "1h30m", "3651d", "99999999999999999999s", "５s"];
        assert_eq!(cases.len(), 11);
        for text in cases {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
