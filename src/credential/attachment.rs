//! What is attached to one request.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::fixed::{Fixed, Rest};
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

    /// The header to set; of several the first, the others are in `rest`. Its value is marked sensitive.
    pub fn header(&self) -> Option<(&HeaderName, &HeaderValue)> {
        match &self.what {
            What::Fixed(fixed) => fixed.first_header(),
            What::Token(token) => Some((&AUTHORIZATION, &token.authorization)),
        }
    }

    /// What few credentials set: cookies, and headers beside the first one.
    pub fn rest(&self) -> Option<&Rest> {
        match &self.what {
            What::Fixed(fixed) => fixed.rest(),
            What::Token(_) => None,
        }
    }

    /// Whether it sets the header of this name.
    pub fn sets(&self, name: &HeaderName) -> bool {
        match &self.what {
            What::Fixed(fixed) => fixed.header_names().contains(name),
            What::Token(_) => *name == AUTHORIZATION,
        }
    }

    /// What to add to the query, already encoded (`key=VALUE`, with `&` between several).
    pub fn query(&self) -> Option<&str> {
        match &self.what {
            What::Fixed(fixed) => fixed.query(),
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
