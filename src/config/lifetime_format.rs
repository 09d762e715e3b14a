//! The format of a time that a token answer names in words of its own, as `lifetime_format` declares it.
//!
//! A date spells its fields as .NET does, since that is where the odd ones come from: `yyyy`, `M`, `d`, `h` or `H`, `m`, `s`
//! (each also doubled), an optional `[AM|PM]` (without it hours count to 23), and `±zz:zz` (without it UTC). A format without
//! `yyyy` but with `S` is a duration in days, hours, minutes and seconds: `H:MM:SS`, `D/H:MM:SS`.

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LifetimeFormat {
    /// Whether it is a time span, not a date.
    pub is_duration: bool,
    pub pieces: Vec<TimePiece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimePiece {
    Field(TimeField),
    /// `[AM|PM]`, which may be missing in the text.
    HalfDay,
    /// `±zz:zz`, or `Z` in the text.
    Offset,
    /// Any run of spaces, also none: an optional piece beside it may be missing.
    Spaces,
    Literal(char),
}

/// A number. None stands twice in a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeField {
    Years,
    Months,
    Days,
    Hours,
    Minutes,
    Seconds,
}

impl LifetimeFormat {
    /// What all formats are made of, for people.
    pub const UNDERSTOOD: &str = "a date is made of yyyy, M, d, H (or h with [AM|PM]), mm, ss and ±zz:zz, such as \
                                  \"M/d/yyyy h:mm:ss [AM|PM] ±zz:zz\"; a duration of D, H, MM and SS, such as \"H:MM:SS\"";

    /// # Errors
    /// What of it is not understood, in a sentence without its end.
    pub fn parse(text: &str) -> Result<LifetimeFormat, String> {
        let is_duration = !text.contains('y');
        if is_duration && !text.contains('S') {
            return Err("there is neither a year (yyyy) nor a duration's seconds (SS) in it".to_owned());
        }
        let mut format = LifetimeFormat { is_duration, pieces: Vec::new() };
        let mut left = text;
        while let Some(first) = left.chars().next() {
            left = match left.strip_prefix("[AM|PM]").map(|rest| (TimePiece::HalfDay, rest)) {
                Some((piece, rest)) => format.add(piece, "[AM|PM]", rest)?,
                None => match left.strip_prefix("±zz:zz") {
                    Some(rest) => format.add(TimePiece::Offset, "±zz:zz", rest)?,
                    None => format.add_simple(first, left)?,
                },
            };
        }
        let missing = |field| !format.pieces.contains(&TimePiece::Field(field));
        match is_duration {
            false if missing(TimeField::Months) => Err("a date needs a month (M)".to_owned()),
            false if missing(TimeField::Days) => Err("a date needs a day (d)".to_owned()),
            _ => Ok(format),
        }
    }

    /// A field, a run of spaces, or a character that stands for itself.
    fn add_simple<'t>(&mut self, first: char, left: &'t str) -> Result<&'t str, String> {
        if first == ' ' {
            return self.add(TimePiece::Spaces, " ", left.trim_start_matches(' '));
        }
        if !first.is_ascii_alphabetic() {
            return self.add(TimePiece::Literal(first), "", &left[first.len_utf8()..]);
        }
        let rest = left.trim_start_matches(first);
        let letters = &left[..left.len() - rest.len()];
        let field = self.field(first, letters.len()).ok_or_else(|| {
            let what = if self.is_duration { "duration" } else { "date" };
            format!("`{letters}` is no field of a {what}")
        })?;
        self.add(TimePiece::Field(field), letters, rest)
    }

    fn field(&self, letter: char, letters: usize) -> Option<TimeField> {
        Some(match (letter, self.is_duration, letters) {
            ('y', false, 4) => TimeField::Years,
            ('M', false, 1..=2) => TimeField::Months,
            ('d', false, 1..=2) | ('D', true, 1..=2) => TimeField::Days,
            ('h' | 'H', false, 1..=2) | ('H', true, 1..=2) => TimeField::Hours,
            ('m', false, 1..=2) | ('M', true, 1..=2) => TimeField::Minutes,
            ('s', false, 1..=2) | ('S', true, 1..=2) => TimeField::Seconds,
            _ => return None,
        })
    }

    /// Adds a piece that is written so, and hands on what follows it.
    fn add<'t>(&mut self, piece: TimePiece, written: &str, rest: &'t str) -> Result<&'t str, String> {
        let is_number = |piece: &TimePiece| matches!(piece, TimePiece::Field(_));
        let may_repeat = matches!(piece, TimePiece::Spaces | TimePiece::Literal(_));
        if !may_repeat && self.pieces.contains(&piece) {
            return Err(format!("`{written}` is in it twice"));
        }
        if self.is_duration && matches!(piece, TimePiece::HalfDay | TimePiece::Offset) {
            return Err(format!("a duration has no `{written}`"));
        }
        // Its numbers may be of any length.
        if self.is_duration && is_number(&piece) && self.pieces.last().is_some_and(is_number) {
            return Err(format!("something has to stand before `{written}`, for a duration's numbers have any length"));
        }
        self.pieces.push(piece);
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_made_of_fields_and_what_stands_between() {
        use TimeField::{Days, Hours, Minutes, Months, Seconds, Years};
        use TimePiece::{Field, HalfDay, Literal, Offset, Spaces};
        let date = LifetimeFormat::parse("M/d/yyyy h:mm:ss [AM|PM] ±zz:zz").unwrap();
        let colon = Literal(':');
        let pieces = [
            [Field(Months), Literal('/'), Field(Days), Literal('/'), Field(Years), Spaces].as_slice(),
            &[Field(Hours), colon, Field(Minutes), colon, Field(Seconds), Spaces, HalfDay, Spaces, Offset],
        ];
        assert_eq!((date.is_duration, date.pieces), (false, pieces.concat()));
        let duration = LifetimeFormat::parse("D/H:MM:SS").unwrap();
        let pieces = [Field(Days), Literal('/'), Field(Hours), colon, Field(Minutes), colon, Field(Seconds)];
        assert_eq!((duration.is_duration, duration.pieces), (true, pieces.to_vec()));
        assert!(LifetimeFormat::parse("yyyyMMddHHmmss").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_declared_is_understood_or_refused(text in "[MdyhHmsSDz:/ ±\\[\\]AP|é]{0,24}") {
            if let Ok(format) = LifetimeFormat::parse(&text) {
                proptest::prop_assert!(format.is_duration != text.contains('y'));
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let cases = [
            ("", "neither a year"),
            ("HH:mm", "neither a year"),
            ("hh:mm:ss", "neither a year"),
            ("%Y-%m-%d", "neither a year"),
            ("yy-MM-dd", "`yy` is no field of a date"),
            ("yyyy-MMM-dd", "`MMM` is no field of a date"),
            ("yyyy-MM-ddTHH:mm", "`T` is no field of a date"),
            ("yyyy-MM-dd HH:mm:SS", "`SS` is no field of a date"),
            ("yyyy-dd", "a date needs a month"),
            ("yyyy-MM", "a date needs a day"),
            ("yyyy-MM-dd yyyy", "`yyyy` is in it twice"),
            ("yyyy-MM-dd hh HH", "`HH` is in it twice"),
            ("HHMMSS", "something has to stand before `MM`"),
            ("H:MM:SS [AM|PM]", "a duration has no `[AM|PM]`"),
            ("h:MM:SS", "`h` is no field of a duration"),
        ];
        assert_eq!(cases.len(), 15);
        for (text, why) in cases {
            let error = LifetimeFormat::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
