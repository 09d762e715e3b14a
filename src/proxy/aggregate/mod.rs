//! One request, several APIs, one answer.

pub mod compose;
pub mod json;
pub mod shape;
pub mod value;
