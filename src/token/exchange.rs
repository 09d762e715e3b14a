//! One exchange of a refresh token: what is sent, and what came back of it, however the attempt ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::secret::Secret;

/// One use of a refresh token. The cell and the attempt share it: what the attempt puts into it is there even if the
/// attempt is cut off in the next moment (TL-53).
#[derive(Debug, Clone)]
pub struct Exchange(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    refresh_token: Secret,
    sent: AtomicBool,
    named: AtomicBool,
    received: Mutex<Option<Secret>>,
}

impl Exchange {
    /// One use of this refresh token, of which nothing was sent yet.
    pub fn new(refresh_token: Secret) -> Self {
        let (sent, named) = (AtomicBool::new(false), AtomicBool::new(false));
        Exchange(Arc::new(Shared { refresh_token, sent, named, received: Mutex::default() }))
    }

    /// What is exchanged.
    pub fn refresh_token(&self) -> &Secret {
        &self.0.refresh_token
    }

    /// Says whether bytes of it may have been sent: `true` before they are, `false` once it is known that none were.
    pub fn set_sent(&self, sent: bool) {
        self.0.sent.store(sent, Ordering::SeqCst);
        // What a server said of the client's other secret says nothing about this attempt.
        self.0.named.store(false, Ordering::SeqCst);
    }

    /// Says that the server answered with an error of some name: it was not carried out (TL-52).
    pub fn set_named(&self) {
        self.0.named.store(true, Ordering::SeqCst);
    }

    /// The refresh token that came, said as soon as it is read, whatever becomes of the access token beside it.
    pub fn received(&self, refresh_token: Secret) {
        *self.0.received.lock().unwrap_or_else(PoisonError::into_inner) = Some(refresh_token);
    }

    /// Whether bytes of it may have been sent.
    pub fn was_sent(&self) -> bool {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Whether the server answered with an error of some name.
    pub fn was_named(&self) -> bool {
        self.0.named.load(Ordering::SeqCst)
    }

    /// The refresh token that came, once.
    pub fn take_received(&self) -> Option<Secret> {
        self.0.received.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
