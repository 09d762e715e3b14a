//! Whether the answers for all items fit together depends on how large they are, never on who answers first.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{Overview, json};
use crate::support::{Answer, Reply, Upstream, Watched};

const ITEMS: usize = 12;
/// Of one answer; all together may have eight times that.
const BYTES_MAX: usize = 100;

/// What of the items is known beforehand.
#[derive(Debug, Clone)]
struct Case {
    sizes: Vec<usize>,
    failing: BTreeSet<usize>,
    on_failure: &'static str,
}

impl Case {
    /// What stands for the part; `None`: nothing.
    fn expected(&self) -> Option<Value> {
        let succeeds = |item: &usize| !self.failing.contains(item);
        let is_too_large = (0..ITEMS).filter(succeeds).map(|item| self.sizes[item]).sum::<usize>() > 8 * BYTES_MAX;
        let instead = match self.on_failure {
            "{ part = \"other\" }" if is_too_large || !self.failing.is_empty() => return Some(json!(7)),
            "\"omit\"" if is_too_large => return None,
            "\"omit\"" => None,
            "\"null\"" => Some(Value::Null),
            _ => Some(json!(0)),
        };
        let shown =
            |item: usize| if succeeds(&item) { Some(json!("x".repeat(self.sizes[item] - 2))) } else { instead.clone() };
        Some(Value::Array(if is_too_large { Vec::new() } else { (0..ITEMS).filter_map(shown).collect() }))
    }

    /// Asks, and answers the items in this order.
    fn ask(&self, order: &[usize]) -> Answer {
        let (list, each, other) = (Upstream::open(), Upstream::open(), Upstream::open());
        let keys = format!(
            "for_each = \"{{list}}\"\npath = \"/{{index}}\"\nbytes_max = {BYTES_MAX}\nconcurrency = {ITEMS}\non_failure = {}",
            self.on_failure
        );
        let mut parts = vec![("list", &list, "hidden = true"), ("each", &each, &*keys)];
        if self.on_failure.contains("other") {
            parts.push(("other", &other, ""));
        }
        let proxy = Overview::of(&parts).start();
        list.script([json(&format!("[{}]", ["1"; ITEMS].join(",")))]);
        other.script([json("7")]);
        // How many were answered; beyond all of them, what is still asked is of no use.
        let answered = Arc::new(Watched::new(0));
        each.script((0..ITEMS).map(|_| self.item(order, &answered)));
        let answer = proxy.get("/overview/1");
        answered.update(|answered| *answered = ITEMS);
        answer
    }

    fn item(&self, order: &[usize], answered: &Arc<Watched<usize>>) -> Reply {
        let (answered, order, case) = (answered.clone(), order.to_vec(), self.clone());
        Reply::custom(move |request, connection| {
            let item: usize = request.target.rsplit('/').next().unwrap().parse().unwrap();
            let turn = order.iter().position(|other| *other == item).unwrap();
            answered.wait("its turn", |answered| (*answered >= turn).then_some(()));
            let (status, body) = match case.failing.contains(&item) {
                true => (404, String::new()),
                false => (200, format!("\"{}\"", "x".repeat(case.sizes[item] - 2))),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            // Nobody may want it any more. The end of the connection says that it was read.
            let _ = connection.stream().write_all((head + &body).as_bytes());
            let _ = connection.reader.read(&mut [0]);
            answered.update(|answered| *answered += 1);
            Ok(())
        })
    }
}

#[test]
fn whoever_answers_first_the_same_items_fit() {
    let sizes = proptest::collection::vec(40..=BYTES_MAX, ITEMS);
    let failing = proptest::collection::btree_set(0..ITEMS, 0..3);
    let on_failure = prop::sample::select(vec!["\"null\"", "\"omit\"", "{ value = 0 }", "{ part = \"other\" }"]);
    let order = Just((0..ITEMS).collect::<Vec<_>>()).prop_shuffle();
    let mut runner =
        TestRunner::new(Config { cases: 128, max_shrink_iters: 0, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&(sizes, failing, on_failure, order), |(sizes, failing, on_failure, order)| {
        let case = Case { sizes, failing, on_failure };
        let (declared, shuffled) = (case.ask(&(0..ITEMS).collect::<Vec<_>>()), case.ask(&order));
        let expected = case.expected().map_or(json!({}), |each| json!({ "each": each }));
        prop_assert_eq!(declared.json(), expected);
        prop_assert_eq!(declared.text(), shuffled.text());
        prop_assert_eq!(declared.headers.get("attache-parts"), shuffled.headers.get("attache-parts"));
        Ok(())
    });
    ran.unwrap();
}
