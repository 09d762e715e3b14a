//! The answer depends on the order in which parts are declared, never on the order in which they answer.

mod course;

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Write as _};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use super::Overview;
use crate::support::{Answer, Proxy, Reply, Upstream, Watched};
use course::{Calls, Course, Part, Shape, said};

/// What a part says of its failure; with the last one another part stands in for it.
const ON_FAILURE: [&str; 5] = ["\"fail\"", "\"null\"", "\"omit\"", "{ value = { x = 9 } }", "fallback"];

const SHAPES: [Shape; 6] = [
    Shape::Streamed,
    Shape::Template,
    Shape::Meet("last"),
    Shape::Meet("first"),
    Shape::Meet("deep"),
    Shape::Meet("concat"),
];

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
        let (status, body) = if fails { (500, String::new()) } else { (200, said(asked)) };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        let written = connection.stream().write_all((head + &body).as_bytes());
        stage.update(|stage| stage.answered += usize::from(stage.run.to_string() == run));
        written
    })
}

/// A number for each choice that there is for a part.
type Choices = (usize, usize, usize, bool, usize, bool, usize);

fn parts(choices: &[Choices], shape: Shape) -> Vec<Part> {
    let may_meet = matches!(shape, Shape::Meet(_));
    let mut parts: Vec<Part> = Vec::new();
    let mut fallbacks = Vec::new();
    for (index, &(reads, calls, on_failure, fails, place, fallback_fails, fallbacks_own)) in choices.iter().enumerate()
    {
        let reads = (reads % (index + 1)).checked_sub(1);
        let calls = match calls {
            0 if reads.is_some() => Calls::When,
            // Lists of lists are entered, and would be called for more and more items.
            1 if reads.is_some_and(|read| parts[read].calls != Calls::Each) => Calls::Each,
            _ => Calls::Once,
        };
        let on_failure = ON_FAILURE[on_failure];
        let place = match place {
            0 if may_meet && calls != Calls::Each => "merge = true",
            1 if may_meet => "into = \"same\"",
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

/// What the aggregate itself says.
fn more(parts: &[Part], shape: Shape) -> String {
    match shape {
        Shape::Streamed => "stream = true".to_owned(),
        Shape::Meet(rule) => format!("collision = \"{rule}\""),
        Shape::Template => {
            let shown = parts.iter().map(|part| &part.name).filter(|name| !name.starts_with('f'));
            let members: Vec<_> = shown.map(|name| format!("{name} = \"{{{name}}}\"")).collect();
            format!("answer = {{ {} }}", members.join(", "))
        }
    }
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

/// The parts of which the answer has something to say.
fn told(answer: &Answer) -> BTreeSet<String> {
    let body = answer.json();
    match (body.get("_parts").and_then(Value::as_object), answer.headers.get("attache-parts")) {
        (Some(parts), _) => parts.keys().cloned().collect(),
        (None, header) => {
            let items = header.into_iter().flat_map(|header| header.split(", "));
            items.filter_map(|item| item.split(';').next()).map(str::to_owned).collect()
        }
    }
}

/// For random parts and failures, and any order of the answers, the answer is what the parts declare, byte for byte the same.
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
    let cases =
        (proptest::collection::vec(part, 1..=8), proptest::collection::vec(any::<usize>(), 32), 0..SHAPES.len());
    let mut runner =
        TestRunner::new(Config { cases: 192, max_shrink_iters: 0, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&cases, |(choices, ranks, shape)| {
        let shape = SHAPES[shape];
        let parts = parts(&choices, shape);
        let course = Course::of(&parts);
        let keys: Vec<_> = parts.iter().map(|part| keys(&parts, part)).collect();
        let all: Vec<_> = parts.iter().zip(&keys).map(|(part, keys)| (&*part.name, &upstream, &**keys)).collect();
        let proxy = Overview::of(&all).with(&more(&parts, shape)).start();
        upstream.script((0..4 * course.calls.len()).map(|_| at_turn(&stage)));
        let declared = ask(&proxy, &stage, &course, course.order(|call| call));
        let shuffled = ask(&proxy, &stage, &course, course.order(|call| ranks[call]));
        for answer in [&declared, &shuffled] {
            match answer {
                None => prop_assert!(shape == Shape::Streamed && !course.fatal.is_empty(), "{course:?}"),
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
            let mut body = declared.json();
            body.as_object_mut().map(|members| members.remove("_parts"));
            prop_assert_eq!(body, course.answer(&parts, shape));
            prop_assert_eq!(told(&declared), course.told.clone());
            prop_assert_eq!(declared.headers.get("attache-parts"), shuffled.headers.get("attache-parts"));
        }
        Ok(())
    });
    ran.unwrap();
}
