//! What becomes of random parts: which calls are made, what fails, and what is answered, by a reading of the page for people
//! that shares nothing with the proxy.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) name: String,
    /// An earlier part that it waits for.
    pub(super) reads: Option<usize>,
    pub(super) calls: Calls,
    pub(super) on_failure: &'static str,
    /// Its fallback, which stands behind all others.
    pub(super) fallback: Option<usize>,
    pub(super) fails: bool,
    pub(super) place: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Calls {
    Once,
    /// If what it reads has an `x`.
    When,
    /// For both items of the list that what it reads may have; the second one may fail.
    Each,
}

/// How the answer is put together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    Streamed,
    /// A template that shows all parts.
    Template,
    /// Parts may stand in one place, with this rule.
    Meet(&'static str),
}

/// One call, and those that have ended before it is made.
#[derive(Debug)]
pub(super) struct Call {
    name: String,
    after: BTreeSet<usize>,
}

/// What becomes of the parts, in whatever order they answer.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) calls: Vec<Call>,
    pub(super) failing: BTreeSet<String>,
    /// Parts whose failure fails the whole.
    pub(super) fatal: BTreeSet<String>,
    /// Parts that failed, of which an item failed, or that were skipped.
    pub(super) told: BTreeSet<String>,
    /// What stands for each part that is no fallback; `None`: nothing.
    contents: Vec<Option<Value>>,
}

/// What is known of a part before any call.
#[derive(Debug, Clone, Default)]
struct Outcome {
    /// Calls that have ended when it is settled.
    after: BTreeSet<usize>,
    content: Option<Value>,
    /// It never settles, since something that the answer cannot do without fails before.
    lost: bool,
}

/// What the upstream says when it is asked this: its own name, and what depends on what it was asked, so that the answer shows
/// what went from part to part.
pub(super) fn said(asked: &str) -> String {
    let x = asked.bytes().fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 9973);
    let of_its_own = asked.split('?').next().unwrap_or_default().replace('/', "_");
    format!("{{\"x\":{x},\"list\":[{x},2],\"{of_its_own}\":0}}")
}

impl Part {
    /// What stands in its place, or in that of an item, if there is no other part for that.
    fn stand_in(&self) -> Option<Value> {
        match self.on_failure {
            "\"omit\"" => None,
            value if value.contains("value") => Some(json!({ "x": 9 })),
            _ => Some(Value::Null),
        }
    }
}

impl Course {
    pub(super) fn of(parts: &[Part]) -> Course {
        let mut course = Course::default();
        let mut outcomes: Vec<Outcome> = Vec::new();
        for part in parts.iter().filter(|part| !part.name.starts_with('f')) {
            let read = part.reads.map(|read| outcomes[read].clone()).unwrap_or_default();
            let outcome = course.part(parts, part, read);
            outcomes.push(outcome);
        }
        course.contents = outcomes.into_iter().map(|outcome| outcome.content).collect();
        course
    }

    fn part(&mut self, parts: &[Part], part: &Part, read: Outcome) -> Outcome {
        if read.lost {
            return read;
        }
        let begins = Outcome { after: read.after, ..Outcome::default() };
        let of_read = |name: &str| read.content.as_ref().and_then(|content| content.get(name));
        let name = &part.name;
        let asked = match (part.calls, of_read("x"), of_read("list").and_then(Value::as_array)) {
            (Calls::When, None, _) => {
                self.told.insert(name.clone());
                return Outcome { content: part.stand_in(), ..begins };
            }
            (Calls::When, Some(_), _) => vec![name.clone()],
            (Calls::Once, x, _) => {
                let of = x.map_or("none".to_owned(), Value::to_string);
                vec![if part.reads.is_some() { format!("{name}?of={of}") } else { name.clone() }]
            }
            (Calls::Each, _, None) => return self.failed(parts, part, begins),
            (Calls::Each, _, Some(items)) => {
                items.iter().enumerate().map(|(index, item)| format!("{name}/{index}?of={item}")).collect()
            }
        };
        let mut ends = begins.clone();
        for asked in &asked {
            ends.after.insert(self.calls.len());
            let name = asked.split('?').next().unwrap_or_default().to_owned();
            self.calls.push(Call { name, after: begins.after.clone() });
        }
        if part.fails {
            self.failing.extend(self.calls.last().map(|call| call.name.clone()));
        }
        let answer = |asked: &String| serde_json::from_str::<Value>(&said(asked)).expect("it is JSON");
        let mut answers: Vec<Value> = asked.iter().map(answer).collect();
        match part.calls {
            // A list in which something stands for the item, or nothing.
            Calls::Each if part.fails && part.fallback.is_none() && !part.on_failure.contains("fail") => {
                self.told.insert(name.clone());
                answers.pop();
                answers.extend(part.stand_in());
                Outcome { content: Some(Value::Array(answers)), ..ends }
            }
            _ if part.fails => self.failed(parts, part, ends),
            Calls::Each => Outcome { content: Some(Value::Array(answers)), ..ends },
            Calls::Once | Calls::When => Outcome { content: answers.pop(), ..ends },
        }
    }

    fn failed(&mut self, parts: &[Part], part: &Part, ends: Outcome) -> Outcome {
        self.told.insert(part.name.clone());
        if let Some(fallback) = part.fallback {
            return self.part(parts, &parts[fallback], ends);
        }
        if part.on_failure.contains("fail") {
            self.fatal.insert(part.name.clone());
            return Outcome { lost: true, ..ends };
        }
        let content = match part.calls {
            // An empty list where there would have been a call for each item.
            Calls::Each => part.stand_in().map(|_| json!([])),
            Calls::Once | Calls::When => part.stand_in(),
        };
        Outcome { content, ..ends }
    }

    /// The answer, if nothing is fatal.
    pub(super) fn answer(&self, parts: &[Part], shape: Shape) -> Value {
        let mut answer = Map::new();
        let mut put = |name: &str, content: &Value| match answer.get_mut(name) {
            Some(earlier) => combine(earlier, content, shape),
            None => drop(answer.insert(name.to_owned(), content.clone())),
        };
        for (part, content) in parts.iter().zip(&self.contents) {
            match (part.place, content) {
                (_, None) if shape == Shape::Template => put(&part.name, &Value::Null),
                (_, None) => {}
                ("merge = true", Some(content)) => {
                    content.as_object().into_iter().flatten().for_each(|(name, member)| put(name, member));
                }
                ("", Some(content)) => put(&part.name, content),
                (_, Some(content)) => put("same", content),
            }
        }
        Value::Object(answer)
    }

    /// An order in which all calls can end: of those that are under way the one of the lowest rank is next.
    pub(super) fn order(&self, rank: impl Fn(usize) -> usize) -> Vec<String> {
        let mut ended = BTreeSet::new();
        let mut order = Vec::new();
        while order.len() < self.calls.len() {
            let under_way = |call: &usize| !ended.contains(call) && self.calls[*call].after.is_subset(&ended);
            let next = (0..self.calls.len()).filter(under_way).min_by_key(|call| rank(*call)).unwrap();
            ended.insert(next);
            order.push(self.calls[next].name.clone());
        }
        order
    }
}

/// What becomes of two values of one place.
fn combine(earlier: &mut Value, later: &Value, shape: Shape) {
    match (shape, earlier, later) {
        (Shape::Meet("first"), ..) => {}
        (Shape::Meet("deep" | "concat"), Value::Object(earlier), Value::Object(later)) => {
            for (name, later) in later {
                match earlier.get_mut(name) {
                    Some(earlier) => combine(earlier, later, shape),
                    None => drop(earlier.insert(name.clone(), later.clone())),
                }
            }
        }
        (Shape::Meet("concat"), Value::Array(earlier), Value::Array(later)) => earlier.extend(later.iter().cloned()),
        (_, earlier, later) => earlier.clone_from(later),
    }
}
