//! What is attached to one request.

use std::sync::Arc;

use super::sign::{Bound, Signer, Signing};
use crate::config::HttpUrl;
use crate::token::{Attached, Generation, Token};

/// What is attached to one request. Cheap to make, to clone and to hold: counted pointers, and no allocation.
#[derive(Debug, Clone)]
pub struct Attachment {
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Fixed(Arc<Attached>),
    /// As it is, or with a proof of its key: which of them, the token alone says. A reload can bring either to a request.
    Token(Arc<Token>),
    /// Nothing before it has signed, which attaches a fixed credential for one attempt.
    Signer(Arc<Signer>),
    /// The same, with the token that is signed with.
    SignedToken(Arc<Signer>, Arc<Token>),
}

impl Attachment {
    pub(super) fn fixed(fixed: &Arc<Attached>) -> Self {
        Attachment { what: What::Fixed(fixed.clone()) }
    }

    pub(super) fn token(token: Arc<Token>) -> Self {
        Attachment { what: What::Token(token) }
    }

    pub(super) fn signer(signer: &Arc<Signer>) -> Self {
        Attachment { what: What::Signer(signer.clone()) }
    }

    /// A token with what signs with it.
    pub(super) fn signed_token(signer: &Arc<Signer>, token: Arc<Token>) -> Self {
        Attachment { what: What::SignedToken(signer.clone(), token) }
    }

    /// What signs each attempt of the request, if something does. What it attaches stands in place of this.
    pub fn signs(&self) -> Option<Signing<'_>> {
        match &self.what {
            What::Fixed(_) => None,
            What::Token(token) => token.proof_key.as_ref().map(|key| Signing::Bound(Bound { token, key })),
            What::Signer(signer) => Some(Signing::Signer(signer, None)),
            What::SignedToken(signer, token) => Some(Signing::Signer(signer, Some(token))),
        }
    }

    /// What it sets. `None`: nothing before something has signed.
    pub fn attached(&self) -> Option<&Attached> {
        match &self.what {
            What::Fixed(fixed) => Some(fixed),
            What::Token(token) => Some(&token.attached),
            What::Signer(_) | What::SignedToken(..) => None,
        }
    }

    /// The base URL of an upstream that the token's answer names, by the value's name.
    pub fn base_url(&self, name: &str) -> Option<&HttpUrl> {
        match &self.what {
            What::SignedToken(_, token) => token.attached.base_url(name),
            What::Fixed(_) | What::Token(_) | What::Signer(_) => self.attached()?.base_url(name),
        }
    }

    /// The token's generation, for a rejection. `None`: nothing that could be renewed.
    pub fn generation(&self) -> Option<Generation> {
        match &self.what {
            What::Fixed(_) | What::Signer(_) => None,
            What::Token(token) | What::SignedToken(_, token) => Some(token.generation),
        }
    }
}
