//! One event, one line: text for people, JSON for machines.

use std::fmt::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::LINE_BYTES_MAX;

/// Writes `2026-01-31T12:00:00.000Z  INFO attache::access a message name=value other="a value"`.
pub(super) fn text(line: &mut String, now: SystemTime, event: &Event<'_>) {
    let metadata = event.metadata();
    let mut fields = TextFields { message: String::new(), rest: String::new() };
    event.record(&mut fields);
    write_text(line, now, *metadata.level(), metadata.target(), &fields);
}

/// Writes `{"time":…,"level":…,"target":…,"message":…,…}`.
pub(super) fn json(line: &mut String, now: SystemTime, event: &Event<'_>) {
    let metadata = event.metadata();
    let mut fields = JsonFields(Map::new());
    event.record(&mut fields);
    write_json(line, now, *metadata.level(), metadata.target(), fields.0);
}

/// What the writer says of its own: how many lines are missing here.
pub(super) fn dropped(line: &mut String, now: SystemTime, count: u64, as_json: bool) {
    let message = "log lines were dropped here because they could not be written fast enough";
    if as_json {
        let fields = Map::from_iter([("message".to_owned(), message.into()), ("dropped".to_owned(), count.into())]);
        write_json(line, now, Level::WARN, "attache::log", fields);
    } else {
        let fields = TextFields { message: message.to_owned(), rest: format!(" dropped={count}") };
        write_text(line, now, Level::WARN, "attache::log", &fields);
    }
}

fn write_text(line: &mut String, now: SystemTime, level: Level, target: &str, fields: &TextFields) {
    let (message, rest) = (&fields.message, &fields.rest);
    // Writing to a string does not fail.
    let _ = write!(line, "{} {level:>5} {target}", timestamp(now));
    if !message.is_empty() {
        line.push(' ');
        line.push_str(message);
    }
    line.push_str(rest);
    if line.len() > LINE_BYTES_MAX {
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        line.push_str(" [cut]");
    }
    line.push('\n');
}

fn write_json(line: &mut String, now: SystemTime, level: Level, target: &str, fields: Map<String, Value>) {
    let mut object = Map::new();
    object.insert("time".to_owned(), timestamp(now).into());
    object.insert("level".to_owned(), level.as_str().to_ascii_lowercase().into());
    object.insert("target".to_owned(), target.into());
    for (name, value) in fields {
        // An event's own `level` must not take the place of the line's.
        object.entry(name).or_insert(value);
    }
    let mut text = Value::Object(object).to_string();
    if text.len() > LINE_BYTES_MAX {
        text =
            serde_json::json!({ "time": timestamp(now), "level": level.as_str().to_ascii_lowercase(), "target": target,
            "message": "an event was too long for the log", "bytes": text.len() })
            .to_string();
    }
    // JSON has control characters escaped, but for DEL and those beyond ASCII, which some terminals act upon.
    escape_into(line, &text);
    line.push('\n');
}

fn timestamp(now: SystemTime) -> String {
    // A clock outside of the years -9999 to 9999 is beyond what a log can help with.
    let now = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{now:.3}")
}

/// Escapes what would begin another line or act on a terminal: control characters of ASCII and of Latin-1, the line
/// separators of Unicode, and marks that change the direction of text.
fn escape_into(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(line, "\\u{:04x}", character as u32);
            }
            control if control.is_control() => {
                let _ = write!(line, "\\u{:04x}", control as u32);
            }
            other => line.push(other),
        }
    }
}

struct TextFields {
    message: String,
    rest: String,
}

impl TextFields {
    fn add(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            escape_into(&mut self.message, text);
            return;
        }
        self.rest.push(' ');
        self.rest.push_str(field.name());
        self.rest.push('=');
        let bare = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        if !text.is_empty() && text.bytes().all(bare) {
            self.rest.push_str(text);
            return;
        }
        // Quoted, so that a value cannot pass for a further field.
        self.rest.push('"');
        escape_into(&mut self.rest, &text.replace('\\', "\\\\").replace('"', "\\\""));
        self.rest.push('"');
    }
}

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for JsonFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tracing::Subscriber;
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Both(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Both {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
            let mut lines = [String::new(), String::new()];
            text(&mut lines[0], now, event);
            json(&mut lines[1], now, event);
            self.0.lock().unwrap().extend(lines);
        }
    }

    fn logged(log: impl FnOnce()) -> Vec<String> {
        let both = Both::default();
        tracing::subscriber::with_default(Registry::default().with(both.clone()), log);
        both.0.lock().unwrap().split_off(0)
    }

    #[test]
    fn an_event_is_a_line_of_text_and_a_json_object() {
        let lines = logged(|| tracing::info!(target: "attache::access", status = 200, path = "/a b", "a request"));
        assert_eq!(lines[0], "2023-11-14T22:13:20.123Z  INFO attache::access a request status=200 path=\"/a b\"\n");
        let json: Value = serde_json::from_str(&lines[1]).unwrap();
        let expected = serde_json::json!({ "time": "2023-11-14T22:13:20.123Z", "level": "info",
            "target": "attache::access", "message": "a request", "status": 200, "path": "/a b" });
        assert_eq!(json, expected);
    }

    /// The attack S13: what a client writes begins no line, no field, and no sequence of a terminal.
    #[test]
    fn what_comes_from_outside_stays_in_its_line_and_field() {
        let evil = "x\r\n2023 INFO fake\u{1b}[31m\u{9b}31m\u{2028}\u{202e} status=500 \"q\" \\";
        let lines = logged(|| tracing::warn!(path = evil, "{evil}"));
        for line in &lines {
            assert_eq!(line.chars().filter(|c| c.is_control()).collect::<String>(), "\n", "{line:?}");
            assert!(line.ends_with('\n') && !line.contains('\u{2028}') && !line.contains('\u{202e}'), "{line:?}");
        }
        assert!(lines[0].contains(r#" path="x\r\n2023 INFO fake\u001b[31m\u009b31m\u2028\u202e status=500 \"q\" \\""#));
        let json: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(json["path"].as_str().unwrap(), evil, "for machines nothing is lost");
    }

    #[test]
    fn a_line_has_a_bound() {
        let long = "é".repeat(LINE_BYTES_MAX);
        let lines = logged(|| tracing::warn!(path = long, "long"));
        assert!(lines.iter().all(|line| line.len() < LINE_BYTES_MAX + 16), "both are cut");
        assert!(serde_json::from_str::<Value>(&lines[1]).is_ok());
    }
}
