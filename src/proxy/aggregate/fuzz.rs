//! What an API may answer that wants to do us harm: the target of fuzz/, and a bounded run without it.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::json::Json;
use super::shape::edited;
use crate::snapshot::plan::Edits;

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is no JSON, or nested too deep.
    Refused,
    Shaped,
}

/// Checks, opens and edits an answer. The first line says how it is edited: `+a.b` picks, `-a.b` drops, `a.b=c` renames; the
/// rest is the answer.
///
/// # Panics
/// If the answer broke a promise: what was checked cannot be opened, what was edited is no JSON, or holds what was dropped.
pub fn shaped_answer(data: &[u8]) -> End {
    let (line, answer) = data.iter().position(|byte| *byte == b'\n').map_or((&[][..], data), |at| data.split_at(at));
    let edits = edits(&String::from_utf8_lossy(line));
    let Ok(json) = Json::check(Bytes::copy_from_slice(answer)) else { return End::Refused };
    opens(&json);
    let shown = edited(&json, &edits);
    assert_eq!(Json::check(shown.clone().into_bytes()).as_ref(), Ok(&shown), "what is shown is no JSON");
    let again = edited(&shown, &Edits { rename: Vec::new(), ..edits.clone() });
    match edits.rename.is_empty() {
        true => assert_eq!(again.as_bytes(), shown.as_bytes(), "something was left that is not shown"),
        // What has a new name may be dropped or picked by it.
        false => opens(&again),
    }
    End::Shaped
}

fn edits(line: &str) -> Edits {
    let path = |dotted: &str| dotted.split('.').map(str::to_owned).collect();
    let mut edits = Edits::default();
    for word in line.split_ascii_whitespace() {
        if let Some(picked) = word.strip_prefix('+') {
            edits.pick.push(path(picked));
        } else if let Some(dropped) = word.strip_prefix('-') {
            edits.drop.push(path(dropped));
        } else if let Some((from, name)) = word.split_once('=') {
            edits.rename.push((path(from), name.to_owned()));
        }
    }
    edits
}

/// Opens everything in it, all the way down.
fn opens(json: &Json) {
    json.text();
    for (name, member) in json.members().unwrap_or_default() {
        assert!(name.contains('\u{fffd}') || json.get(&name).is_some(), "{name:?} is not found again");
        opens(&member);
    }
    for (index, item) in json.items().unwrap_or_default().iter().enumerate().take(16) {
        assert_eq!(json.at(&[index.to_string()]).as_ref(), Some(item));
        opens(item);
    }
}
