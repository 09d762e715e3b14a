//! Bodies on their way: the request's to the upstream, with the copy that a replay needs; the answer's to the client.

mod answer;
mod outgoing;
mod reader;
mod replay;

pub use answer::{AnswerBody, AnswerBodyError};
pub use outgoing::OutgoingBody;
pub(super) use outgoing::SharedBody;
pub use reader::ClientBodyError;
pub use replay::ReplayBudget;
