//! What of an answer counts, and what of it is shown. Only what lies along the paths that are named is opened; all else is
//! copied as it came.

mod json_path;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::json::walk::{for_each_item, for_each_member, kind, separate};
use super::json::{Json, Kind};
use crate::snapshot::MemoryBudget;
use crate::snapshot::plan::{Edits, Target};

/// Why nothing of an answer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTarget {
    Absent,
    /// A JSONPath compares values, so that all of them must fit: a number fits a double, a string is Unicode.
    Unreadable,
    /// What is found lies in what is found, again and again: `$..*` of a deep answer.
    TooMuch,
    /// A JSONPath would have to look at more values than it may.
    TooMany(usize),
    /// There is no room for what a JSONPath needs.
    NoMemory,
}

/// What of an answer counts. What is made for it is counted in `memory`.
pub fn target(answer: &Json, target: &Target, memory: &Arc<MemoryBudget>) -> Result<Json, NoTarget> {
    match target {
        Target::Path(path) => answer.at(path).ok_or(NoTarget::Absent),
        Target::JsonPath(path) => json_path::found(answer, path, memory),
    }
}

/// Whether [`target`] may take so long that others should not wait for it.
pub fn takes_long(answer: &Json, target: &Target) -> bool {
    matches!(target, Target::JsonPath(path) if json_path::takes_long(answer, path))
}

/// What is shown of a value.
///
/// - `pick`: of objects on the way only what is picked is kept; on the way, what is neither object nor list holds nothing
///   that could be picked and is left out, but for null, which says that there is none. A path that is picked as a whole
///   (`a`) leaves nothing to a longer one (`a.b`).
/// - `drop` is stronger than `pick`.
/// - `rename`: a member keeps its place; one that has the new name already gives way.
///
/// Of members with one name, each is treated like this, and they stay in order.
pub fn edited(value: &Json, edits: &Edits) -> Json {
    if edits.is_empty() {
        return value.clone();
    }
    let tree = Step::tree(edits);
    let renamed: usize = edits.rename.iter().map(|(_, name)| name.len()).sum();
    let mut out = Vec::with_capacity(value.as_bytes().len() + renamed);
    tree.write(&mut out, value.as_str(), edits.pick.is_empty());
    Json::composed(out)
}

/// What all edits say of one path.
#[derive(Default)]
struct Step<'e> {
    picked: bool,
    /// Something further down is picked.
    leads_to_picked: bool,
    /// Something further down is dropped or renamed.
    leads_to_change: bool,
    dropped: bool,
    /// The new name, and its number among all: the higher stands.
    renamed: Option<(usize, &'e str)>,
    next: Vec<(&'e str, Step<'e>)>,
}

impl<'e> Step<'e> {
    fn tree(edits: &'e Edits) -> Step<'e> {
        let mut root = Step::default();
        for path in &edits.pick {
            root.leads_to_picked = true;
            let mut step = &mut root;
            for name in path {
                step.leads_to_picked = true;
                step = step.enter(name);
            }
            step.picked = true;
        }
        for path in &edits.drop {
            root.changed_at(path).dropped = true;
        }
        for (number, (path, name)) in edits.rename.iter().enumerate() {
            root.changed_at(path).renamed = Some((number, name));
        }
        root
    }

    fn changed_at(&mut self, path: &'e [String]) -> &mut Step<'e> {
        path.iter().fold(self, |step, name| {
            step.leads_to_change = true;
            step.enter(name)
        })
    }

    fn enter(&mut self, name: &'e str) -> &mut Step<'e> {
        let at = self.next.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.next.push((name, Step::default()));
            self.next.len() - 1
        });
        &mut self.next[at].1
    }

    fn of(&self, name: &[u8]) -> Option<&Step<'e>> {
        self.next.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, step)| step)
    }

    /// `all`: all is kept but what is dropped.
    fn write(&self, out: &mut Vec<u8>, value: &str, all: bool) {
        match kind(value.as_bytes()) {
            Kind::List if !self.keeps(all) => {
                out.push(b'[');
                for_each_item(value, |item| {
                    if all || may_lead_on(item) {
                        separate(out);
                        self.write(out, item, all);
                    }
                });
                out.push(b']');
            }
            Kind::Object if !self.keeps(all) => {
                out.push(b'{');
                self.write_members(out, value, all);
                out.push(b'}');
            }
            _ if all || may_lead_on(value) => out.extend_from_slice(value.as_bytes()),
            _ => out.extend_from_slice(b"null"),
        }
    }

    /// Whether nothing is changed from here on.
    fn keeps(&self, all: bool) -> bool {
        all && !self.leads_to_change
    }

    fn write_members(&self, out: &mut Vec<u8>, object: &str, all: bool) {
        let renames = self.next.iter().any(|(_, step)| step.renamed.is_some());
        let taken = if renames { self.new_names(object, all) } else { HashMap::new() };
        for_each_member(object, |name, value| {
            let step = self.of(&name.decoded);
            let Some(all) = Step::shows(step, value, all) else { return };
            let renamed = step.and_then(|step| step.renamed);
            let shown = renamed.map_or(&*name.decoded, |(_, name)| name.as_bytes());
            let number = renamed.map(|(number, _)| number);
            if taken.get(shown).copied() > number {
                return;
            }
            separate(out);
            match renamed {
                None => out.extend_from_slice(name.raw.as_bytes()),
                Some((_, name)) => write_string(out, name),
            }
            out.push(b':');
            match step {
                None => out.extend_from_slice(value.as_bytes()),
                Some(step) => step.write(out, value, all),
            }
        });
    }

    /// The new names that members of this object get, each once, with the highest number that gives it: however many members
    /// there are, there are no more of these than renames.
    fn new_names(&self, object: &str, all: bool) -> HashMap<&'e [u8], usize> {
        let mut names = HashMap::new();
        for_each_member(object, |name, value| {
            let step = self.of(&name.decoded);
            if Step::shows(step, value, all).is_some()
                && let Some((number, name)) = step.and_then(|step| step.renamed)
            {
                let highest = names.entry(name.as_bytes()).or_insert(number);
                *highest = number.max(*highest);
            }
        });
        names
    }

    /// Whether a member is shown, and if so, whether all of it is but what is dropped.
    fn shows(step: Option<&Step<'e>>, value: &str, all: bool) -> Option<bool> {
        let Some(step) = step else { return all.then_some(true) };
        match (step.dropped, all || step.picked) {
            (true, _) => None,
            (false, true) => Some(true),
            (false, false) => (step.leads_to_picked && may_lead_on(value)).then_some(false),
        }
    }
}

/// Whether what was picked can lie in it, or would if it were not null.
fn may_lead_on(value: &str) -> bool {
    matches!(kind(value.as_bytes()), Kind::Object | Kind::List | Kind::Null)
}

/// Writes a text as JSON.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text is JSON, and memory takes it");
}

impl fmt::Display for NoTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoTarget::Absent => "the answer has nothing at its target",
            NoTarget::Unreadable => "the answer holds a number or a string that a JSONPath cannot be asked about",
            NoTarget::NoMemory => "there is no room for what its target needs",
            NoTarget::TooMany(max) => {
                return write!(f, "the answer has more than {max} values, too many for this JSONPath");
            }
            NoTarget::TooMuch => "its target finds more than four times the answer",
        })
    }
}
