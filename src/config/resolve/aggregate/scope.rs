//! What placeholders can name: values of the request, the item of a list, and other parts.

use std::ops::Range;

use http::HeaderName;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION, VIA};
use toml::de::DeValue;

use super::super::fields::{Text, in_order};
use super::super::{Reading, Why, answer::scalar};
use super::written::{Placeholder, Written, pieces};
use crate::config::file::Value;
use crate::config::problem::did_you_mean;
use crate::config::{Absent, DPOP, JsonValue, PathPattern, Reference, Segment, TextPiece, ValueSource};
use crate::fields::is_between;

/// First names that mean something else than a part.
pub(super) const RESERVED: [&str; 6] = ["query", "header", "request", "client", "item", "index"];

/// What all texts of a route can name.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// `None`: it has a problem, which was reported.
    pub path: Option<&'a PathPattern>,
    /// No client is known where anyone may call.
    pub anyone: bool,
    /// Headers in which clients name subjects.
    pub subject_headers: Vec<&'a HeaderName>,
    pub parts: Vec<&'a Text>,
}

/// A place that texts stand in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    pub scope: &'a Scope<'a>,
    /// Whether there is an item: the part has `for_each`.
    pub each: bool,
}

/// Whether what a placeholder stands in alone can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    Always,
    Maybe,
}

impl Scope<'_> {
    /// The part of this name.
    pub(super) fn part(&self, name: &str) -> Option<usize> {
        self.parts.iter().position(|part| part.value == name)
    }

    /// The index of the path's placeholder of this name, and what it is.
    fn parameter(&self, name: &str) -> Option<ValueSource> {
        let segments = self.path.map(|path| &path.segments[..]).unwrap_or_default();
        segments.iter().enumerate().find_map(|(index, segment)| match segment {
            Segment::Parameter(parameter) if parameter == name => Some(ValueSource::Segment(index)),
            Segment::Rest(rest) if rest == name => Some(ValueSource::Rest),
            _ => None,
        })
    }

    /// Whether the route's path has a placeholder of this name.
    pub(super) fn is_parameter(&self, name: &str) -> bool {
        self.parameter(name).is_some()
    }

    /// A header of the client, but for those that hold its own credential or its subject's (SEC-10).
    fn header(&self, name: &str) -> Result<HeaderName, Why> {
        let header = HeaderName::from_bytes(name.as_bytes());
        let header = header.map_err(|_| {
            (format!("`{}` is no header name", name.escape_debug()), "it is made of letters, digits and `-`".to_owned())
        })?;
        if header == AUTHORIZATION || header == PROXY_AUTHORIZATION || header == DPOP || header == "x-api-key" {
            let hint = "name the `credential` that the upstream wants in `[upstreams.NAME]`".to_owned();
            return Err((format!("`{header}` is the client's own credential, and goes no further"), hint));
        }
        // `Via` has our own entry by then.
        if header == VIA || is_between(&header, false) {
            let hint = "it is about the connection, or is not for upstreams: let the client send another".to_owned();
            return Err((format!("`{header}` is removed from a request before anybody reads it"), hint));
        }
        if self.subject_headers.contains(&&header) {
            let hint = "name the `credential` that exchanges it in `[upstreams.NAME]`".to_owned();
            return Err((format!("`{header}` is the token of a subject, and goes no further"), hint));
        }
        Ok(header)
    }

    /// Every name that a placeholder can begin with.
    fn names(&self) -> Vec<&str> {
        let segments = self.path.map(|path| &path.segments[..]).unwrap_or_default();
        let parameters = segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Parameter(name) | Segment::Rest(name) => Some(name.as_str()),
        });
        let parts = self.parts.iter().map(|part| part.value.as_str());
        parameters.chain(parts).chain(RESERVED).collect()
    }
}

impl Here<'_> {
    /// A text of a key. Where it may be left out, a placeholder that says so stands alone.
    pub(super) fn text(
        self,
        reading: &mut Reading<'_>,
        key: &str,
        text: &Text,
        needed: Needed,
    ) -> Option<Vec<TextPiece>> {
        let written = self.written(reading, key, text)?;
        self.pieces(reading, key, &text.span, written, needed)
    }

    /// The pieces of a text, as they are written.
    pub(super) fn written(self, reading: &mut Reading<'_>, key: &str, text: &Text) -> Option<Vec<Written>> {
        match pieces(&text.value) {
            Ok(written) => Some(written),
            Err((message, hint)) => reading.refuse((format!("`{key}`: {message}"), hint), &text.span),
        }
    }

    /// What written pieces stand for.
    pub(super) fn pieces(
        self,
        reading: &mut Reading<'_>,
        key: &str,
        span: &Range<usize>,
        written: Vec<Written>,
        needed: Needed,
    ) -> Option<Vec<TextPiece>> {
        let alone = written.len() == 1;
        let needed = if alone { needed } else { Needed::Always };
        let piece = |piece| match piece {
            Written::Text(text) => Some(TextPiece::Text(text)),
            Written::Placeholder(placeholder) => {
                self.reference(reading, key, span, placeholder, needed).map(TextPiece::Value)
            }
        };
        let pieces: Vec<_> = written.into_iter().map(piece).collect();
        pieces.into_iter().collect()
    }

    /// A text that is one placeholder and nothing else. Its value has to be there, unless it says that it may be absent where
    /// it may be.
    pub(super) fn alone(self, reading: &mut Reading<'_>, key: &str, text: &Text, needed: Needed) -> Option<Reference> {
        let mut written = self.written(reading, key, text)?;
        let Some(Written::Placeholder(placeholder)) = written.pop().filter(|_| written.is_empty()) else {
            let why = format!("`{key}` is one placeholder, and nothing else");
            return reading.refuse((why, "write such as \"{profile.orders}\"".to_owned()), &text.span);
        };
        let hint = match (&placeholder.absent, needed) {
            (Absent::Fails, _) | (Absent::LeavesOut, Needed::Maybe) => None,
            (_, Needed::Always) => Some("write it without `?` and without a default"),
            (_, Needed::Maybe) => Some("write it without a default; with `?` what is absent is an empty list"),
        };
        if let Some(hint) = hint {
            let why = format!("`{key}`: `{}`: there is no value that could stand in its place", placeholder.written);
            return reading.refuse((why, hint.to_owned()), &text.span);
        }
        self.reference(reading, key, &text.span, placeholder, needed)
    }

    /// JSON with placeholders in its texts.
    pub(super) fn json(
        self,
        reading: &mut Reading<'_>,
        key: &str,
        value: &Value<'_>,
        needed: Needed,
    ) -> Option<JsonValue> {
        match value.get_ref() {
            DeValue::String(text) => {
                let text = Text { value: text.to_string(), span: value.span(), in_file: true };
                self.text(reading, key, &text, needed).map(JsonValue::of_text)
            }
            DeValue::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.json(reading, key, item, Needed::Always)).collect();
                items.into_iter().collect::<Option<_>>().map(JsonValue::List)
            }
            DeValue::Table(entries) => {
                let json = |(name, value): (Text, &Value<'_>)| {
                    self.json(reading, &name.value, value, Needed::Maybe).map(|value| (name.value, value))
                };
                let members: Vec<_> = in_order(entries).into_iter().map(json).collect();
                members.into_iter().collect::<Option<_>>().map(JsonValue::Object)
            }
            _ => other(reading, key, value).map(JsonValue::Other),
        }
    }

    fn reference(
        self,
        reading: &mut Reading<'_>,
        key: &str,
        span: &Range<usize>,
        placeholder: Placeholder,
        needed: Needed,
    ) -> Option<Reference> {
        let Placeholder { written, names, absent } = placeholder;
        if absent == Absent::LeavesOut && needed == Needed::Always {
            let why = format!("`{key}`: `{written}`: nothing can be left out here");
            let hint = "`?` leaves out a query parameter, a header or a member of JSON that it stands in alone; \
                        `{name|text}` has a default";
            return reading.refuse((why, hint.to_owned()), span);
        }
        match self.source(&names, absent == Absent::Fails) {
            Ok((source, taken)) => {
                let text = written[1..written.len() - 1].to_owned();
                Some(Reference { text, source, path: names[taken..].to_vec(), absent })
            }
            Err((why, hint)) => reading.refuse((format!("`{key}`: `{written}`: {why}"), hint), span),
        }
    }

    /// What the first names stand for, and how many these are.
    fn source(self, names: &[String], must_be_there: bool) -> Result<(ValueSource, usize), Why> {
        let first = names[0].as_str();
        let (source, taken) = match (first, names.get(1)) {
            ("query", Some(name)) => (ValueSource::Query(name.clone()), 2),
            ("header", Some(name)) => (ValueSource::Header(self.scope.header(name)?), 2),
            ("query" | "header", None) => {
                return Err((
                    format!("it does not say which {first} is meant"),
                    format!("write such as `{{{first}.name}}`"),
                ));
            }
            ("request", _) => return Ok((ValueSource::Request, 1)),
            ("client", _) if self.scope.anyone && must_be_there => {
                let why = "anyone may call this route, so that no client is known".to_owned();
                return Err((why, "name the `clients`, or write such as `{client|anonymous}`".to_owned()));
            }
            ("client", _) => (ValueSource::Client, 1),
            ("item" | "index", _) if !self.each => {
                return Err((
                    "there is no item here".to_owned(),
                    "it stands in the request of a part with `for_each`".to_owned(),
                ));
            }
            ("item", _) => return Ok((ValueSource::Item, 1)),
            ("index", _) => (ValueSource::Index, 1),
            (name, _) => match (self.scope.parameter(name), self.scope.part(name)) {
                (Some(source), _) => (source, 1),
                (None, Some(part)) => return Ok((ValueSource::Part(part), 1)),
                // The path was reported, and what it would have named is not known.
                (None, None) if self.scope.path.is_none() => return Ok((ValueSource::Rest, 1)),
                (None, None) => {
                    let hint = did_you_mean(name, self.scope.names()).unwrap_or_else(|| {
                        "it is a placeholder of the route's path, a part, `query`, `header`, `request` or `client`"
                            .to_owned()
                    });
                    return Err((format!("nothing is called `{}`", name.escape_debug()), hint));
                }
            },
        };
        if names.len() > taken {
            let hint = r"a dot within a name is written `\.`, or `\\.` in double quotes".to_owned();
            return Err((format!("`{}` is a text, with nothing below it", names[..taken].join(".")), hint));
        }
        Ok((source, taken))
    }
}

impl JsonValue {
    pub(super) fn of_text(mut pieces: Vec<TextPiece>) -> JsonValue {
        match pieces.pop() {
            Some(TextPiece::Value(reference)) if pieces.is_empty() => JsonValue::Value(reference),
            last => {
                pieces.extend(last);
                JsonValue::Text(pieces)
            }
        }
    }
}

/// JSON without placeholders, such as a default.
pub(super) fn fixed(reading: &mut Reading<'_>, key: &str, value: &Value<'_>) -> Option<serde_json::Value> {
    match value.get_ref() {
        DeValue::String(text) => {
            let why = match pieces(text) {
                Ok(written) if written.iter().all(|piece| matches!(piece, Written::Text(_))) => {
                    let text = written.into_iter().map(|piece| match piece {
                        Written::Text(text) => text,
                        Written::Placeholder(placeholder) => placeholder.written,
                    });
                    return Some(serde_json::Value::String(text.collect()));
                }
                Ok(_) => {
                    let hint = "a brace itself is written twice: `{{` or `}}`".to_owned();
                    ("it is fixed, and has no placeholders".to_owned(), hint)
                }
                Err(why) => why,
            };
            reading.refuse((format!("`{key}`: {}", why.0), why.1), &value.span())
        }
        DeValue::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| fixed(reading, key, item)).collect();
            items.into_iter().collect::<Option<_>>().map(serde_json::Value::Array)
        }
        DeValue::Table(entries) => {
            let member =
                |(name, value): (Text, &Value<'_>)| fixed(reading, &name.value, value).map(|value| (name.value, value));
            let members: Vec<_> = in_order(entries).into_iter().map(member).collect();
            members.into_iter().collect::<Option<_>>().map(serde_json::Value::Object)
        }
        _ => other(reading, key, value),
    }
}

fn other(reading: &mut Reading<'_>, key: &str, value: &Value<'_>) -> Option<serde_json::Value> {
    scalar(value).or_else(|| {
        let why = format!("`{key}`: JSON has no such value");
        reading.refuse((why, "write it in quotes".to_owned()), &value.span())
    })
}
