//! A credential whose token is another one for each subject: a client says in a header on whose behalf it calls, and that
//! token is exchanged (RFC 8693), so that the upstream knows, too.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::either_secret::EitherSecret;
use super::oauth2::identity::{identity, proof};
use super::oauth2::{OAuth2, names};
use super::{Credential, Parts, TokenCredential, policy};
use crate::config::{self, SubjectHeader};
use crate::secret::Secret;
use crate::token::{PlaceNames, Source, Subjects, TokenCache, TokenUnavailable};

/// A longer token fits no header limits (TL-37).
const SUBJECT_TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A credential with a cell for each subject.
#[derive(Debug)]
pub struct PerSubject {
    header: SubjectHeader,
    names: Arc<PlaceNames>,
    source: Exchanger,
    subjects: Arc<Subjects>,
    tokens: Arc<TokenCache>,
}

/// What exchanges subject tokens.
#[derive(Debug)]
enum Exchanger {
    One(OAuth2),
    Either(EitherSecret),
}

/// Why a request has no credential of a subject.
#[derive(Debug, Clone)]
pub enum NoSubject {
    Flawed(SubjectFlaw),
    /// No token can be asked for now.
    Unavailable(TokenUnavailable),
}

/// What is wrong with how a request says on whose behalf it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectFlaw {
    /// Its client may not say that.
    NotAllowed,
    /// It does not say it.
    Missing,
    /// It says it in a way that is no token, or twice.
    Malformed,
}

impl PerSubject {
    pub(super) fn new(name: &Arc<str>, config: &config::OAuth2, header: &SubjectHeader, parts: &Parts) -> Self {
        let tokens = &parts.tokens;
        // Not that of the credential with a token of its own, which this may have been before.
        let identity = tokens.of_configuration(&identity(name, config, tokens), &[b"subjects"]);
        let proof = proof(config, tokens);
        PerSubject {
            header: header.clone(),
            names: names(config),
            source: match &config.older_proof {
                None => Exchanger::One(OAuth2::new(config, parts)),
                Some(older) => Exchanger::Either(EitherSecret::new(config, older, parts)),
            },
            subjects: tokens.declare_subjects(identity, proof, policy(name, &config.life)),
            tokens: tokens.clone(),
        }
    }

    /// The header that subjects come in.
    pub fn header(&self) -> &HeaderName {
        &self.header.name
    }

    pub(super) fn names(&self) -> &PlaceNames {
        &self.names
    }

    /// Tells its cells from those of other credentials.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// The credential of the subject that a request of this client is for.
    ///
    /// # Errors
    /// Says what is wrong with the request, or that there is no room.
    pub fn of_request(&self, client: Option<&str>, headers: &HeaderMap) -> Result<Credential, NoSubject> {
        if !self.header.clients.iter().any(|named| Some(&**named) == client) {
            return Err(NoSubject::Flawed(SubjectFlaw::NotAllowed));
        }
        let mut values = headers.get_all(&self.header.name).iter();
        let value = values.next().ok_or(NoSubject::Flawed(SubjectFlaw::Missing))?;
        let token =
            token(value).filter(|_| values.next().is_none()).ok_or(NoSubject::Flawed(SubjectFlaw::Malformed))?;
        let cell = self.tokens.subject(&self.subjects, &token, || self.source.for_subject(&token));
        let cell = cell.map_err(NoSubject::Unavailable)?;
        let (identity, names) = (cell.identity(), self.names.clone());
        Ok(Credential::Token(TokenCredential { cell, identity, names, signer: None }))
    }
}

impl Exchanger {
    fn for_subject(&self, token: &Secret) -> Arc<dyn Source> {
        match self {
            Exchanger::One(source) => Arc::new(source.for_subject(token.clone())),
            Exchanger::Either(source) => Arc::new(source.for_subject(token)),
        }
    }
}

/// The token, which stands alone: visible ASCII, without a scheme before it.
fn token(value: &HeaderValue) -> Option<Secret> {
    let text = value.to_str().ok()?;
    let legal = text.bytes().all(|byte| byte.is_ascii_graphic());
    (legal && (1..=SUBJECT_TOKEN_BYTES_MAX).contains(&text.len())).then(|| Secret::new(text))
}
