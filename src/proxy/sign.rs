//! The last step before a request goes out: the signature over what will really be sent.

use http::HeaderMap;

use super::cookie;
use super::failure::Failure;
use super::forward::Outbound;
use crate::credential::Attachment;
use crate::credential::sign::{Signer, Unsignable, Unsigned};
use crate::upstream::{ExchangeError, ExchangeErrorKind, HoldError, OutgoingBody, OutgoingHead};

/// What one attempt is sent with.
pub(super) struct Signed {
    pub(super) attachment: Attachment,
    /// The request's, with what the signature sets.
    pub(super) headers: HeaderMap,
}

impl Outbound<'_> {
    /// Signs the next attempt. Reads the whole body first where the signature covers it. What the request itself has stays
    /// as it is, for the attempt after this one.
    pub(super) async fn sign(&mut self, signer: &Signer) -> Result<Box<Signed>, Failure> {
        if !self.body.is_empty()
            && let Some(bytes_max) = self.unsigned(signer, Signer::holds).map_err(Failure::Unsignable)?
        {
            let held = self.body.hold(bytes_max).await;
            self.effort.bytes_in = self.body.bytes();
            held.map_err(unheld)?;
        }
        let signed = self.unsigned(signer, Signer::sign).map_err(Failure::Unsignable)?;
        if let Some(recoder) = signed.recoder {
            self.body.recode(recoder);
        }
        let mut headers = self.headers.clone();
        if let Some(rest) = signed.attachment.rest() {
            cookie::put(rest, &mut headers);
        }
        Ok(Box::new(Signed { attachment: signed.attachment, headers }))
    }

    /// Shows the signer the request as it will be sent.
    fn unsigned<T>(&self, signer: &Signer, look: impl FnOnce(&Signer, &Unsigned<'_>) -> T) -> T {
        let [via, accept_encoding] = self.own.fields();
        let head = OutgoingHead {
            method: self.method,
            target: &self.target,
            headers: &self.headers,
            over: [via, accept_encoding, None],
            wants_trailers: self.wants_trailers,
        };
        let https = self.call.config.url.https;
        let body: &OutgoingBody = &self.body;
        look(signer, &Unsigned { https, authority: self.call.upstream.authority(), head: &head, body })
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
