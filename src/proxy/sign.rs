//! The last step before a request goes out: the signature over what will really be sent.

use http::{HeaderMap, StatusCode};

use super::challenge;
use super::cookie;
use super::failure::Failure;
use super::forward::{Attempts, Outbound, Received, rewind, with_parameter};
use super::source::Source;
use crate::credential::Attachment;
use crate::credential::sign::{Bound, Signing, Unsignable, Unsigned};
use crate::token::Attached;
use crate::upstream::{Answer, ExchangeError, ExchangeErrorKind, HoldError, OutgoingBody, Upstream};

/// What one attempt is sent with.
struct Signed {
    attachment: Attachment,
    /// The request's, with what the signature sets.
    headers: HeaderMap,
}

impl Outbound<'_> {
    /// Sends as `send` does, where something signs each attempt. `attachment` is what signs.
    pub(super) async fn send_signed(
        &mut self,
        attachment: Option<&Attachment>,
        signing: Signing<'_>,
    ) -> Result<Received, Failure> {
        if let Some(rest) = attachment.and_then(Attachment::attached).and_then(Attached::rest) {
            cookie::put(rest, &mut self.head.headers);
        }
        let mut place = None;
        let upstream = self.reach(attachment, &mut place)?;
        let (mut attempts, mut may_sign_anew) = (Attempts::One, true);
        loop {
            let signed = self.sign(signing, upstream).await?;
            let attached = signed.attachment.attached();
            let target = with_parameter(&self.head.target, attached.and_then(Attached::query));
            let head = self.head.outgoing(&target, &signed.headers, attached);
            let (pool, timeouts) = (&self.worker.pool, &self.call.timeouts);
            let exchanged = upstream.exchange(attempts.over(), pool, &head, &mut self.body, timeouts).await;
            self.effort.bytes_in = self.body.bytes();
            let answer = match exchanged {
                Ok(answer) => answer,
                Err(error) => {
                    attempts = attempts.again(error, head.method, &mut self.body, self.effort)?;
                    continue;
                }
            };
            let Some(hearer) = signing.hearer() else { return Ok(Received::of(answer, attached, self.effort)) };
            match self.heed(hearer, upstream, answer, may_sign_anew).await {
                Some(answer) => return Ok(Received::of(answer, attached, self.effort)),
                None => may_sign_anew = false,
            }
            self.effort.retries += 1;
            rewind(&mut self.body);
        }
    }

    /// Signs the next attempt. Reads the whole body first where the signature covers it. What the request itself has stays
    /// as it is, for the attempt after this one.
    async fn sign(&mut self, signing: Signing<'_>, upstream: &Upstream) -> Result<Signed, Failure> {
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
        let mut headers = self.head.headers.clone();
        if let Some(rest) = signed.attachment.attached().and_then(Attached::rest) {
            cookie::put(rest, &mut headers);
        }
        Ok(Signed { attachment: signed.attachment, headers })
    }

    /// Lets the signer have its part of an answer, of which a client learns nothing. `None`: the upstream only wants its nonce
    /// in the proof (TL-45; RFC 9449 section 9), the answer is discarded, and the request can be signed and sent again. That
    /// says nothing about the token, and leaves the replay of TL-44 for what does. `may_repeat`: it was not sent again so yet.
    async fn heed(
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
        let head = self.head.outgoing(&self.head.target, &self.head.headers, None);
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
