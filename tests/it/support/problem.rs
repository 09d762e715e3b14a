//! Failures as clients see them: RFC 9457 problem documents.

use serde_json::Value;

use super::Answer;

/// Asserts that the answer is a problem document of this status that carries `Proxy-Status`, and returns it.
#[track_caller]
pub fn assert_problem(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers.get("content-type"), Some("application/problem+json"), "{answer:?}");
    assert!(answer.headers.get("proxy-status").is_some(), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{answer:?}");
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {answer:?}");
    }
    problem
}
