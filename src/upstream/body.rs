//! Bodies on their way: the request's to the upstream, with the copy that a replay needs; the answer's to the client.

mod answer;
mod hold;
mod outgoing;
mod reader;
mod recode;
mod replay;

pub use answer::{AnswerBody, AnswerBodyError};
pub use hold::HoldError;
pub use outgoing::OutgoingBody;
pub(super) use outgoing::SharedBody;
pub use reader::ClientBodyError;
pub use recode::Recoder;
pub use replay::ReplayBudget;
