//! Two client secrets at once, while they are rotated: the server takes one of them, and which one may change at any time.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::Parts;
use super::failure::Failure;
use super::oauth2::OAuth2;
use crate::clock::timer_now;
use crate::config::{self, ClientProof};
use crate::jws::ProofKey;
use crate::secret::Secret;
use crate::token::{Exchange, FetchError, FetchFuture, FetchRequest, Granted, ProofVersion, Source};

/// A source of tokens by either of two secrets. Begins with the newer, stays with what works, and tries the other one only
/// after `invalid_client`: whatever else goes wrong has nothing to do with the secret. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct EitherSecret {
    /// The newer first.
    sources: Arc<[OAuth2; 2]>,
    /// Which of them worked last.
    works: Arc<AtomicUsize>,
    /// What one fetch asks for besides (TL-45).
    claims: Option<Arc<str>>,
}

impl EitherSecret {
    pub(super) fn new(config: &config::OAuth2, older: &ClientProof, parts: &Parts) -> Self {
        let sources = [OAuth2::new(config, parts), EitherSecret::with_proof(config, older, parts)];
        EitherSecret { sources: Arc::new(sources), works: Arc::default(), claims: None }
    }

    /// The same client with another proof.
    pub(super) fn with_proof(config: &config::OAuth2, proof: &ClientProof, parts: &Parts) -> OAuth2 {
        OAuth2::new(&config::OAuth2 { proof: proof.clone(), ..config.clone() }, parts)
    }

    /// The same for this subject. What is known of the secrets is known for all.
    pub(super) fn for_subject(&self, token: &Secret) -> Self {
        let sources = [&self.sources[0], &self.sources[1]].map(|source| source.for_subject(token.clone()));
        EitherSecret { sources: Arc::new(sources), works: self.works.clone(), claims: None }
    }

    pub(super) async fn attempt(&self, deadline: Instant, exchange: Option<&Exchange>) -> Result<Granted, Failure> {
        let one = self.works.load(Ordering::Relaxed);
        let other = 1 - one;
        let refused = match self.sources[one].with_claims(self.claims.clone()).attempt(deadline, exchange).await {
            Err(failure) if failure.refuses_the_client() => failure,
            result => return result,
        };
        // A server that does not take the client has not looked at its refresh token.
        match self.sources[other].with_claims(self.claims.clone()).attempt(deadline, exchange).await {
            Ok(granted) => {
                self.works.store(other, Ordering::Relaxed);
                let works = ["the newer", "the older"][other];
                let client_id = self.client_id();
                tracing::info!(
                    client_id,
                    host = refused.host,
                    "of two client secrets, {works} one is the one that works now"
                );
                Ok(granted)
            }
            Err(failure) if failure.refuses_the_client() => {
                let hint = "it takes neither of the two client secrets: check client_id and client_secret";
                Err(failure.with_hint(hint))
            }
            Err(failure) => Err(failure),
        }
    }
}

impl Source for EitherSecret {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        let source = EitherSecret { claims: request.claims, ..self.clone() };
        Box::pin(async move {
            let deadline = timer_now() + request.attempt_timeout;
            source.attempt(deadline, request.exchange.as_ref()).await.map_err(FetchError::from)
        })
    }

    fn origin(&self) -> Arc<str> {
        self.sources[0].origin()
    }

    fn client_id(&self) -> &str {
        self.sources[0].client_id()
    }

    fn asks_for(&self) -> Option<ProofVersion> {
        self.sources[0].asks_for()
    }

    fn proof_key(&self) -> Option<&Arc<ProofKey>> {
        self.sources[0].proof_key()
    }

    fn subject_bytes(&self) -> usize {
        self.sources.iter().map(Source::subject_bytes).sum()
    }

    fn seed(&self) -> Option<&Secret> {
        self.sources[0].seed()
    }
}
