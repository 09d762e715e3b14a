//! What is attached to one request.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::fixed::Fixed;
use crate::secret::Masks;
use crate::token::{Generation, Token};

/// What is attached to one request. Cheap to make, to clone and to hold: one counted pointer, and no allocation.
#[derive(Debug, Clone)]
pub struct Attachment {
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Fixed(Arc<Fixed>),
    Token(Arc<Token>),
}

impl Attachment {
    pub(super) fn fixed(fixed: &Arc<Fixed>) -> Self {
        Attachment { what: What::Fixed(fixed.clone()) }
    }

    pub(super) fn token(token: Arc<Token>) -> Self {
        Attachment { what: What::Token(token) }
    }

    /// The header to set. Its value is marked sensitive.
    pub fn header(&self) -> Option<(&HeaderName, &HeaderValue)> {
        match &self.what {
            What::Fixed(fixed) => fixed.header_value(),
            What::Token(token) => Some((&AUTHORIZATION, &token.authorization)),
        }
    }

    /// A parameter to add to the query, already encoded (`key=VALUE`).
    pub fn query(&self) -> Option<&str> {
        match &self.what {
            What::Fixed(fixed) => fixed.query_pair(),
            What::Token(_) => None,
        }
    }

    /// How to recognise what was attached.
    pub fn masks(&self) -> &Arc<Masks> {
        match &self.what {
            What::Fixed(fixed) => fixed.masks(),
            What::Token(token) => &token.masks,
        }
    }

    /// The token's generation, for a rejection. `None`: nothing that could be renewed.
    pub fn generation(&self) -> Option<Generation> {
        match &self.what {
            What::Fixed(_) => None,
            What::Token(token) => Some(token.generation),
        }
    }
}
