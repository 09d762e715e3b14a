//! The last step before a request goes out: the signature over what will really be sent.

use http::{HeaderMap, StatusCode};

use super::challenge;
use super::cookie;
use super::failure::Failure;
use super::forward::Outbound;
use super::source::Source;
use crate::credential::Attachment;
use crate::credential::sign::{Bound, Signing, Unsignable, Unsigned};
use crate::upstream::{Answer, ExchangeError, ExchangeErrorKind, HoldError, OutgoingBody, OutgoingHead, Upstream};

/// What one attempt is sent with.
pub(super) struct Signed {
    pub(super) attachment: Attachment,
    /// The request's, with what the signature sets.
    pub(super) headers: HeaderMap,
}

impl Outbound<'_> {
    /// Signs the next attempt. Reads the whole body first where the signature covers it. What the request itself has stays
    /// as it is, for the attempt after this one.
    pub(super) async fn sign(&mut self, signing: Signing<'_>, upstream: &Upstream) -> Result<Box<Signed>, Failure> {
        if !self.body.is_empty()
            && let Some(bytes_max) =
                self.unsigned(upstream, |request| signing.holds(request)).map_err(Failure::Unsignable)?
        {
            let held = self.body.hold(bytes_max).await;
            self.effort.bytes_in = self.body.bytes();
            held.map_err(unheld)?;
        }
        let clock = &*self.worker.living.clock;
        let signed = self.unsigned(upstream, |request| signing.sign(request, clock)).map_err(Failure::Unsignable)?;
        if let Some(recoder) = signed.recoder {
            self.body.recode(recoder);
        }
        let mut headers = self.headers.clone();
        if let Some(rest) = signed.attachment.rest() {
            cookie::put(rest, &mut headers);
        }
        Ok(Box::new(Signed { attachment: signed.attachment, headers }))
    }

    /// Lets the signer have its part of an answer, of which a client learns nothing. `None`: the upstream only wants its nonce
    /// in the proof (TL-45; RFC 9449 section 9), the answer is discarded, and the request can be signed and sent again. That
    /// says nothing about the token, and leaves the replay of TL-44 for what does. `may_repeat`: it was not sent again so yet.
    pub(super) async fn heed(
        &mut self,
        hearer: Bound<'_>,
        upstream: &Upstream,
        mut answer: Answer,
        may_repeat: bool,
    ) -> Option<Answer> {
        let heard = self.unsigned(upstream, |request| hearer.hear(request, &mut answer.headers));
        let asks = answer.status == StatusCode::UNAUTHORIZED && challenge::says(&answer.headers, "use_dpop_nonce");
        if !(heard && asks && may_repeat && (self.body.is_empty() || self.body.keep_all().await)) {
            return Some(answer);
        }
        self.effort.connect += answer.connect;
        Source::new(answer.body).discard().await;
        None
    }

    /// Shows a signer the request as it will be sent.
    fn unsigned<T>(&self, upstream: &Upstream, look: impl FnOnce(&Unsigned<'_>) -> T) -> T {
        let [via, accept_encoding] = self.own.fields();
        let head = OutgoingHead {
            method: self.method,
            target: &self.target,
            headers: &self.headers,
            over: [via, accept_encoding, None],
            wants_trailers: self.wants_trailers,
        };
        let https = upstream.url().https;
        let body: &OutgoingBody = &self.body;
        look(&Unsigned { https, authority: upstream.authority(), head: &head, body })
    }
}

fn unheld(error: HoldError) -> Failure {
    let kind = match error {
        HoldError::TooLarge => return Failure::Unsignable(Unsignable::BodyTooLarge),
        HoldError::NoMemory => return Failure::Unsignable(Unsignable::NoMemory),
        HoldError::Client(_) => ExchangeErrorKind::ClientBody,
        HoldError::Timeout => ExchangeErrorKind::ClientBodyTimeout,
    };
    let text = error.to_string();
    Failure::Exchange(ExchangeError { kind, text, nothing_sent: true, reused_closed: false, connection_ends: false })
}
