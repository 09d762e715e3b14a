//! The answer depends on the order in which parts are declared, never on the order in which they answer.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Write as _};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Overview;
use crate::support::{Answer, Proxy, Reply, Upstream, Watched};

/// What a part says of its failure; with the last one another part stands in for it.
const ON_FAILURE: [&str; 5] = ["\"fail\"", "\"null\"", "\"omit\"", "{ value = { x = 9 } }", "fallback"];

#[derive(Debug, Clone)]
struct Part {
    name: String,
    /// An earlier part that it waits for.
    reads: Option<usize>,
    calls: Calls,
    on_failure: &'static str,
    /// Its fallback, which stands behind all others.
    fallback: Option<usize>,
    fails: bool,
    place: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Calls {
    Once,
    /// If what it reads has an `x`.
    When,
    /// For both items of the list that what it reads may have; the second one may fail.
    Each,
}

/// One call, and those that have ended before it is made.
#[derive(Debug)]
struct Call {
    name: String,
    after: BTreeSet<usize>,
}

/// What becomes of the parts, in whatever order they answer.
#[derive(Debug, Default)]
struct Course {
    calls: Vec<Call>,
    failing: BTreeSet<String>,
    /// Parts whose failure fails the whole.
    fatal: BTreeSet<String>,
}

/// What is known of a part before any call.
#[derive(Debug, Clone, Default)]
struct Outcome {
    /// Calls that have ended when it is settled.
    after: BTreeSet<usize>,
    has_x: bool,
    has_list: bool,
    /// It never settles, since something that the answer cannot do without fails before.
    lost: bool,
}

impl Course {
    fn of(parts: &[Part]) -> Course {
        let mut course = Course::default();
        let mut outcomes: Vec<Outcome> = Vec::new();
        for part in parts.iter().filter(|part| !part.name.starts_with('f')) {
            let read = part.reads.map(|read| outcomes[read].clone()).unwrap_or_default();
            let outcome = course.part(parts, part, read);
            outcomes.push(outcome);
        }
        course
    }

    fn part(&mut self, parts: &[Part], part: &Part, read: Outcome) -> Outcome {
        if read.lost {
            return read;
        }
        let begins = Outcome { after: read.after, ..Outcome::default() };
        let value = part.on_failure.contains("value");
        let names = match part.calls {
            Calls::When if !read.has_x => return Outcome { has_x: value, ..begins },
            Calls::Each if !read.has_list => return self.failed(parts, part, begins),
            Calls::Each => vec![format!("{}/0", part.name), format!("{}/1", part.name)],
            Calls::Once | Calls::When => vec![part.name.clone()],
        };
        if part.fails {
            self.failing.extend(names.last().cloned());
        }
        let mut ends = begins.clone();
        for name in names {
            ends.after.insert(self.calls.len());
            self.calls.push(Call { name, after: begins.after.clone() });
        }
        match part.calls {
            // A list in which something stands for the item.
            Calls::Each if part.fails && part.fallback.is_none() && !part.on_failure.contains("fail") => ends,
            _ if part.fails => self.failed(parts, part, ends),
            Calls::Each => ends,
            Calls::Once | Calls::When => Outcome { has_x: true, has_list: true, ..ends },
        }
    }

    fn failed(&mut self, parts: &[Part], part: &Part, ends: Outcome) -> Outcome {
        if let Some(fallback) = part.fallback {
            return self.part(parts, &parts[fallback], ends);
        }
        if part.on_failure.contains("fail") {
            self.fatal.insert(part.name.clone());
            return Outcome { lost: true, ..ends };
        }
        // An empty list where there would have been a call for each item.
        Outcome { has_x: part.on_failure.contains("value") && part.calls != Calls::Each, ..ends }
    }

    /// An order in which all calls can end: of those that are under way the one of the lowest rank is next.
    fn order(&self, rank: impl Fn(usize) -> usize) -> Vec<String> {
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

/// What the upstream plays: each call is answered when all before it in `order` were.
#[derive(Debug, Default)]
struct Stage {
    run: usize,
    order: Vec<String>,
    answered: usize,
    failing: BTreeSet<String>,
}

/// Answers when its turn has come. The paths of calls are `/v1/RUN/NAME`.
fn at_turn(stage: &Arc<Watched<Stage>>) -> Reply {
    let stage = stage.clone();
    Reply::custom(move |request, connection| {
        let path = request.target.strip_prefix("/v1/").unwrap();
        let (run, asked) = path.split_once('/').unwrap();
        let name = asked.split('?').next().unwrap();
        let turn = stage.wait("its turn", |stage| {
            let is_over = stage.run.to_string() != run;
            let is_next = stage.order.get(stage.answered).is_some_and(|next| next == name);
            (is_over || is_next).then(|| (!is_over).then(|| stage.failing.contains(name)))
        });
        let fails = turn.ok_or(Error::from(ErrorKind::ConnectionAborted))?;
        // Says what it was asked, so that the answer shows what went from part to part.
        let x = asked.bytes().fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 9973);
        let of_its_own = name.replace('/', "_");
        let (status, body) = match fails {
            true => (500, String::new()),
            false => (200, format!("{{\"x\":{x},\"list\":[{x},2],\"{of_its_own}\":0}}")),
        };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        let written = connection.stream().write_all((head + &body).as_bytes());
        stage.update(|stage| stage.answered += usize::from(stage.run.to_string() == run));
        written
    })
}

/// A number for each choice that there is for a part.
type Choices = (usize, usize, usize, bool, usize, bool, usize);

fn parts(choices: &[Choices], streamed: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut fallbacks = Vec::new();
    for (index, &(reads, calls, on_failure, fails, place, fallback_fails, fallbacks_own)) in choices.iter().enumerate()
    {
        let reads = (reads % (index + 1)).checked_sub(1);
        let calls = match calls {
            0 | 1 if reads.is_some() => [Calls::When, Calls::Each][calls],
            _ => Calls::Once,
        };
        let on_failure = ON_FAILURE[on_failure];
        let place = match place {
            0 if !streamed && calls != Calls::Each => "merge = true",
            1 if !streamed => "into = \"same\"",
            _ => "",
        };
        let fallback = (on_failure == "fallback").then(|| choices.len() + fallbacks.len());
        if fallback.is_some() {
            let on_failure = ON_FAILURE[fallbacks_own];
            let (name, fails) = (format!("f{index}"), fallback_fails);
            fallbacks.push(Part {
                name,
                reads: None,
                calls: Calls::Once,
                on_failure,
                fallback: None,
                fails,
                place: "",
            });
        }
        parts.push(Part { name: format!("p{index}"), reads, calls, on_failure, fallback, fails, place });
    }
    parts.extend(fallbacks);
    parts
}

fn keys(parts: &[Part], part: &Part) -> String {
    let (name, place) = (&part.name, part.place);
    let read = part.reads.map(|read| &*parts[read].name).unwrap_or_default();
    let asked = match part.calls {
        Calls::Each => format!("for_each = \"{{{read}.list}}\"\npath = \"/{{id}}/{name}/{{index}}?of={{item}}\""),
        Calls::When => format!("when = \"{{{read}.x}}\"\npath = \"/{{id}}/{name}\""),
        Calls::Once if read.is_empty() => format!("path = \"/{{id}}/{name}\""),
        Calls::Once => format!("path = \"/{{id}}/{name}?of={{{read}.x|none}}\""),
    };
    let on_failure = match part.fallback {
        Some(fallback) => format!("{{ part = \"{}\" }}", parts[fallback].name),
        None => part.on_failure.to_owned(),
    };
    format!("{asked}\non_failure = {on_failure}\n{place}")
}

/// Asks, and lets the upstream answer in this order. `None`: the answer was cut.
fn ask(proxy: &Proxy, stage: &Watched<Stage>, course: &Course, order: Vec<String>) -> Option<Answer> {
    let run = stage.update(|stage| {
        *stage = Stage { run: stage.run + 1, order, answered: 0, failing: course.failing.clone() };
        stage.run
    });
    let mut client = proxy.connect();
    client.write_request("GET", &format!("/overview/{run}"), &[], b"");
    let answer = client.read_answer("GET").ok();
    if course.fatal.is_empty() {
        // The last call counts when the upstream has written its answer, which may have been read before.
        stage.wait("all calls", |stage| (stage.answered == course.calls.len()).then_some(()));
    }
    // What is still asked is none of the next run's.
    stage.update(|stage| stage.run += 1);
    answer
}

/// For random parts and failures, and any order of the answers, the answer has the bytes that the declared order makes.
#[test]
fn whoever_answers_first_the_answer_is_the_same() {
    let upstream = Upstream::open();
    let stage = Arc::new(Watched::new(Stage::default()));
    let part = (0..99_usize, 0..5_usize, 0..5_usize, any::<bool>(), 0..4_usize, any::<bool>(), 0..4_usize);
    // Most are to come to an answer.
    let part = (part, 0..4_usize).prop_map(|((reads, calls, on, fails, place, other, own), luck)| {
        (
            reads,
            calls,
            if luck > 0 { on.max(1) } else { on },
            fails,
            place,
            other,
            if luck > 0 { own.max(1) } else { own },
        )
    });
    let cases = (proptest::collection::vec(part, 1..=8), proptest::collection::vec(any::<usize>(), 32), any::<bool>());
    let mut runner =
        TestRunner::new(Config { cases: 64, max_shrink_iters: 0, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&cases, |(choices, ranks, streamed)| {
        let parts = parts(&choices, streamed);
        let course = Course::of(&parts);
        let keys: Vec<_> = parts.iter().map(|part| keys(&parts, part)).collect();
        let all: Vec<_> = parts.iter().zip(&keys).map(|(part, keys)| (&*part.name, &upstream, &**keys)).collect();
        let proxy = Overview::of(&all).with(if streamed { "stream = true" } else { "collision = \"last\"" }).start();
        upstream.script((0..4 * course.calls.len()).map(|_| at_turn(&stage)));
        let declared = ask(&proxy, &stage, &course, course.order(|call| call));
        let shuffled = ask(&proxy, &stage, &course, course.order(|call| ranks[call]));
        for answer in [&declared, &shuffled] {
            match answer {
                None => prop_assert!(streamed && !course.fatal.is_empty(), "{course:?}"),
                Some(answer) if course.fatal.is_empty() => prop_assert_eq!(answer.status, 200, "{:?}", answer),
                Some(answer) => {
                    prop_assert_eq!(answer.status, 502, "{:?}", answer);
                    let part = answer.json()["part"].as_str().unwrap().to_owned();
                    prop_assert!(course.fatal.contains(&part), "{part} of {course:?}");
                }
            }
        }
        if let (true, Some(declared), Some(shuffled)) = (course.fatal.is_empty(), declared, shuffled) {
            prop_assert_eq!(declared.text(), shuffled.text());
            prop_assert_eq!(declared.headers.get("attache-parts"), shuffled.headers.get("attache-parts"));
        }
        Ok(())
    });
    ran.unwrap();
}
