//! The bounded run: mutations of answers, for whoever has no nightly compiler.

use super::*;

const CASES: usize = 20_000;

const LINES: [&str; 8] = [
    "",
    "+a",
    "+a.b +lines.sku",
    "-a -lines.x.y",
    "+lines -lines.sku",
    "a=b lines.sku=qty",
    "+a.b -a.c a=lines lines=a",
    "+ -. .=.",
];

const ANSWERS: [&str; 6] = [
    r#"{"id": 1.0, "lines": [{"sku":"a", "qty":1e2, "x":{"y":[ 1 ]}}, {"sku":"b"}], "a": null, "b": -0}"#,
    r#"[{"a":{"b":12345678901234567890123,"c":[]}},[{"a":[{"b":1},2]}],"x"]"#,
    r#"{"\u0061":{"\u0062":"\ud83d\ude00\\\"","a":1},"a":2,"a":{"b":[[[{}]]]}}"#,
    r#"{"":{"":{"":0}},"lines":{"sku":{"x":1},"qty":true},"\ud800":1,"\udc00":2}"#,
    "\t{ \"a\" :\r\n[ ] ,\"c\":{ } } ",
    "null",
];

/// What breaks readers, and what ours look for.
const MORSELS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\",
    b" ",
    b"\n",
    b"\\ud800",
    b"\\u0061",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e999",
    b"-",
    b"01",
    b"\"a\":",
    b"\"lines\":",
    b"null,",
    b"{\"a\":[",
    b"]}",
    b"\"\\u0000\",",
    b"\0",
];

fn mutated(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut answer = ANSWERS[random.usize(..ANSWERS.len())].as_bytes().to_vec();
    for _ in 0..random.usize(0..4) {
        let at = random.usize(..=answer.len());
        let end = answer.len().min(at + random.usize(0..20));
        match random.u8(0..6) {
            0 => drop(answer.splice(at..at, MORSELS[random.usize(..MORSELS.len())].iter().copied())),
            1 => drop(answer.splice(at..at, ANSWERS[random.usize(..ANSWERS.len())].bytes())),
            2 => drop(answer.drain(at..end)),
            3 => {
                let part = answer[at..end].to_vec();
                drop(answer.splice(at..at, part.repeat(random.usize(1..50))));
            }
            4 => answer.truncate(at),
            _ => {
                if let Some(byte) = answer.get_mut(at) {
                    *byte ^= 1 << random.u8(0..8);
                }
            }
        }
    }
    answer
}

#[test]
fn mutations_of_answers_do_no_harm() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut shaped, mut refused) = (0, 0);
    for _ in 0..CASES {
        let line = LINES[random.usize(..LINES.len())].as_bytes();
        let data = [line, b"\n", &mutated(&mut random)].concat();
        match shaped_answer(&data) {
            End::Shaped => shaped += 1,
            End::Refused => refused += 1,
        }
    }
    assert!(shaped > CASES / 10 && refused > CASES / 10, "{shaped} {refused}");
}
