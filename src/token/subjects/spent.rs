//! What is left of a subject's source when the subject's own token is not held any longer.

use std::sync::Arc;

use crate::jws::ProofKey;
use crate::token::{FetchError, FetchErrorKind, FetchFuture, FetchRequest, ProofVersion, Reached, Source};

/// Says where tokens came from and what they were for, and brings none. The cell begins no fetch with it.
#[derive(Debug)]
pub(in crate::token) struct Spent {
    origin: Arc<str>,
    client_id: Box<str>,
    asks_for: Option<ProofVersion>,
    proof_key: Option<Arc<ProofKey>>,
}

impl Spent {
    pub(in crate::token) fn of(source: &dyn Source) -> Self {
        let (origin, client_id) = (source.origin(), source.client_id().into());
        Spent { origin, client_id, asks_for: source.asks_for(), proof_key: source.proof_key().cloned() }
    }
}

impl Source for Spent {
    fn fetch(&self, _: FetchRequest) -> FetchFuture {
        let text = "there is no subject token any more to ask with; this is a bug".into();
        let error = FetchError { kind: FetchErrorKind::Transient, reached: Reached::No, code: None, text };
        Box::pin(std::future::ready(Err(error)))
    }

    fn origin(&self) -> Arc<str> {
        self.origin.clone()
    }

    fn client_id(&self) -> &str {
        &self.client_id
    }

    fn asks_for(&self) -> Option<ProofVersion> {
        self.asks_for
    }

    fn proof_key(&self) -> Option<&Arc<ProofKey>> {
        self.proof_key.as_ref()
    }
}
