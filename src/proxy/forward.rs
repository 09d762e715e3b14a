//! Forwarding, retrying, replaying once after a rejection.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::access_log::{Effort, Label};
use super::challenge;
use super::cookie;
use super::failure::Failure;
use super::own::Own;
use super::present::Present;
use super::redact::Judgement;
use super::rejection::{self, Rejection};
use super::source::Source;
use super::worker::Worker;
use crate::clock::Boot;
use crate::credential::{Attachment, Credential};
use crate::secret::Masks;
use crate::snapshot::Call;
use crate::token::{Attached, Generation};
use crate::upstream::{Answer, Destination, ExchangeError, ExchangeErrorKind};
use crate::upstream::{OutgoingBody, OutgoingHead, Over, Upstream};

/// A request that is clean and ready to go out, but for its credential.
pub(super) struct Outbound<'a> {
    pub(super) worker: &'a Worker,
    pub(super) call: &'a Call,
    /// The call's, or that of the subject whom the request is for.
    pub(super) credential: Option<&'a Credential>,
    /// When the request began, which may be a while before now.
    pub(super) begin: Boot,
    pub(super) label: Label<'a>,
    pub(super) effort: &'a mut Effort,
    pub(super) head: CleanHead<'a>,
    pub(super) body: OutgoingBody,
    /// Where it was sent to last, if the token says where that is.
    pub(super) moved: Option<Arc<Upstream>>,
}

/// The head of such a request.
pub(super) struct CleanHead<'a> {
    pub(super) method: &'a Method,
    /// Path and query, the upstream's own path in front.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) own: Own<'a>,
    pub(super) wants_trailers: bool,
}

/// The upstream's answer, as received.
pub(super) struct Received {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) present: Present,
    pub(super) body: Source,
    /// How to recognise what was attached to the request that it answers.
    pub(super) masks: Option<Arc<Masks>>,
}

/// What follows an answer that cannot go to the client.
type Rare<'f> = Pin<Box<dyn Future<Output = Result<Received, Failure>> + 'f>>;

impl<'a> Outbound<'a> {
    /// Attaches, sends, and if the credential was rejected renews and sends once more (TL-40 to TL-45).
    ///
    /// What happens rarely is boxed: a future is as large as its largest branch, and hyper moves it for each request. What is
    /// live while nothing is awaited takes no place in it, hence the block.
    pub(super) async fn forward(&mut self) -> Result<Received, Failure> {
        let attachment = self.attachment(self.begin).await?;
        let rare: Rare<'_> = {
            let received = self.send(attachment.as_ref()).await?;
            match attachment.as_ref().and_then(Attachment::generation) {
                Some(sent)
                    if rejection::is_suspected(self.call, received.status, &received.headers, received.present) =>
                {
                    Box::pin(self.renew_and_replay(sent, received))
                }
                _ if self.is_unscannable_part(&received) => Box::pin(self.ask_for_the_whole(received)),
                _ => return Ok(received),
            }
        };
        rare.await
    }

    /// If the answer really is a rejection, waits for another token and sends once more with that.
    async fn renew_and_replay(&mut self, sent: Generation, mut received: Received) -> Result<Received, Failure> {
        if let Some(rejection) = self.rejection(&mut received).await {
            if let (Some(credential), Some(claims)) = (self.credential, challenge::lacking_claims(&received.headers)) {
                credential.lacks(sent, &claims);
            }
            if let Some(fresh) = self.renew(sent, rejection).await {
                received.body.discard().await;
                received = self.replay(&fresh).await?;
            }
        }
        match self.is_unscannable_part(&received) {
            true => self.ask_for_the_whole(received).await,
            false => Ok(received),
        }
    }

    /// What to attach; waits only if there is no token that serves.
    async fn attachment(&mut self, now: Boot) -> Result<Option<Attachment>, Failure> {
        let Some(credential) = self.credential else { return Ok(None) };
        match credential.ready(now) {
            Some(attachment) => Ok(Some(attachment)),
            None => Box::pin(self.wait_for_attachment(credential)).await.map(Some),
        }
    }

    async fn wait_for_attachment(&mut self, credential: &Credential) -> Result<Attachment, Failure> {
        let begin = self.worker.living.clock.now();
        self.effort.awaits_token = true;
        let taken = credential.take(self.call.timeouts.first_byte).await;
        self.effort.awaits_token = false;
        self.effort.token_wait += self.worker.living.clock.now().since(begin);
        match (taken, self.call.credential_name()) {
            (Ok(attachment), _) => Ok(attachment),
            (Err(cause), name) => {
                let credential = name.cloned().unwrap_or_else(|| Arc::from(""));
                Err(Failure::NoToken { credential, cause })
            }
        }
    }

    /// Sends with this attachment; again if the connection failed and that is safe (SEC-31, SEC-32).
    async fn send(&mut self, attachment: Option<&Attachment>) -> Result<Received, Failure> {
        if let Some(signing) = attachment.and_then(Attachment::signs) {
            return Box::pin(self.send_signed(attachment, signing)).await;
        }
        let attached = attachment.and_then(Attachment::attached);
        if let Some(rest) = attached.and_then(Attached::rest) {
            cookie::put(rest, &mut self.head.headers);
        }
        let mut place = None;
        let upstream = self.reach(attachment, &mut place)?;
        let target = with_parameter(&self.head.target, attached.and_then(Attached::query));
        let head = self.head.outgoing(&target, &self.head.headers, attached);
        let mut attempts = Attempts::One;
        loop {
            let (pool, timeouts) = (&self.worker.pool, &self.call.timeouts);
            let exchanged = upstream.exchange(attempts.over(), pool, &head, &mut self.body, timeouts).await;
            self.effort.bytes_in = self.body.bytes();
            match exchanged {
                Ok(answer) => return Ok(Received::of(answer, attached, self.effort)),
                Err(error) => attempts = attempts.again(error, head.method, &mut self.body, self.effort)?,
            }
        }
    }

    /// Where to send what is attached. `place` holds it if a token says where that is.
    pub(super) fn reach<'u>(
        &mut self,
        attachment: Option<&Attachment>,
        place: &'u mut Option<Arc<Upstream>>,
    ) -> Result<&'u Upstream, Failure>
    where
        'a: 'u,
    {
        let call = self.call;
        match &*call.destination {
            Destination::Fixed(upstream) => Ok(upstream),
            Destination::OfToken(moving) => {
                let base_url = attachment.and_then(|attachment| attachment.base_url(moving.value()));
                let reached = moving.reach(base_url).map_err(Failure::Exchange)?;
                self.moved = Some(reached.clone());
                Ok(place.insert(reached))
            }
        }
    }

    async fn rejection(&self, received: &mut Received) -> Option<Rejection> {
        rejection::of(self.call, received.status, &received.headers, &mut received.body).await
    }

    /// Reports a rejection, and waits for another token if the request can be sent again (TL-40).
    async fn renew(&mut self, sent: Generation, rejection: Rejection) -> Option<Attachment> {
        let can_replay = rejection.may_replay(self.head.method, self.call.replays_any())
            && (self.body.is_empty() || self.body.keep_all().await);
        self.report(sent, can_replay).await
    }

    /// Tells the cell that its token was rejected; waits for another one only if the request can be sent again.
    async fn report(&mut self, sent: Generation, can_replay: bool) -> Option<Attachment> {
        let credential = self.credential?;
        let begin = self.worker.living.clock.now();
        let fresh = credential.rejected(sent, can_replay, self.call.timeouts.first_byte).await;
        self.effort.token_wait += self.worker.living.clock.now().since(begin);
        fresh.filter(|_| can_replay)
    }

    /// The one replay of this request (TL-44). What it brings is the client's answer, a second rejection too.
    async fn replay(&mut self, fresh: &Attachment) -> Result<Received, Failure> {
        rewind(&mut self.body);
        self.effort.replayed = true;
        let mut received = self.send(Some(fresh)).await?;
        let accepted = self.rejection(&mut received).await.is_none();
        if let (Some(credential), Some(generation)) = (self.credential, fresh.generation()) {
            credential.replayed(generation, accepted);
        }
        tracing::info!(
            target: "attache::proxy",
            request_id = %self.label.id,
            route = self.label.route,
            credential = self.call.credential_name().map(|name| &**name),
            accepted,
            "the upstream rejected the token; the request was replayed with a new one"
        );
        Ok(received)
    }

    /// Whether this is a part of a body that would have to be scanned whole (SEC-13).
    fn is_unscannable_part(&self, received: &Received) -> bool {
        received.status == StatusCode::PARTIAL_CONTENT
            && *self.head.method != Method::HEAD
            && self.head.headers.contains_key(RANGE)
            && self.call.redact_bodies
            && self.worker.body_judge.judge(received.status, &received.headers, received.present) == Judgement::Partial
            && received.masks.as_ref().is_some_and(|masks| masks.concern_bodies())
    }

    /// Asks once more without `Range`. A range is optional to grant (RFC 9110 section 14.2), so the whole is a valid answer.
    async fn ask_for_the_whole(&mut self, received: Received) -> Result<Received, Failure> {
        if !self.head.method.is_idempotent() || !is_kept(&self.body) {
            return Err(Failure::PartialAnswer);
        }
        received.body.discard().await;
        self.head.headers.remove(RANGE);
        self.head.headers.remove(IF_RANGE);
        rewind(&mut self.body);
        self.effort.retries += 1;
        // The token may have been renewed meanwhile: what is attached now is what is masked.
        let attachment = self.attachment(self.worker.living.clock.now()).await?;
        let mut whole = self.send(attachment.as_ref()).await?;
        if let Some(sent) = attachment.as_ref().and_then(Attachment::generation)
            && self.rejection(&mut whole).await.is_some()
        {
            // The cell learns of it, but a third request is too many.
            self.report(sent, false).await;
        }
        Ok(whole)
    }
}

impl CleanHead<'_> {
    /// As it goes out. What the credential sets wins over everything that would stand there.
    pub(super) fn outgoing<'h>(
        &'h self,
        target: &'h str,
        headers: &'h HeaderMap,
        attached: Option<&'h Attached>,
    ) -> OutgoingHead<'h> {
        let is_set = |name: &HeaderName| attached.is_some_and(|attached| attached.names().headers.contains(name));
        let [via, accept_encoding] = self.own.fields();
        let over = [via, accept_encoding.filter(|own| !is_set(own.0)), attached.and_then(Attached::first_header)];
        OutgoingHead { method: self.method, target, headers, over, wants_trailers: self.wants_trailers }
    }
}

impl Received {
    /// `attached`: what was attached to the request.
    pub(super) fn of(answer: Answer, attached: Option<&Attached>, effort: &mut Effort) -> Self {
        effort.connect += answer.connect;
        Received {
            status: answer.status,
            present: Present::among(answer.headers.keys()),
            headers: answer.headers,
            body: Source::new(answer.body),
            masks: attached.map(|attached| attached.masks().clone()),
        }
    }
}

/// The credential's parameters come last.
pub(super) fn with_parameter<'t>(target: &'t str, parameter: Option<&str>) -> Cow<'t, str> {
    let Some(parameter) = parameter else { return Cow::Borrowed(target) };
    let separator = match target.find('?') {
        None => "?",
        Some(at) if at + 1 == target.len() => "",
        Some(_) => "&",
    };
    Cow::Owned([target, separator, parameter].concat())
}

/// How often a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempts {
    One,
    Two,
    /// Where the upstream renews its HTTP/2 connections, the second one may meet another that ends. The third has a
    /// connection of its own.
    Three,
}

impl Attempts {
    pub(super) fn over(self) -> Over {
        match self {
            Attempts::One | Attempts::Two => Over::Any,
            Attempts::Three => Over::ItsOwn,
        }
    }

    /// What follows a failure, if something does.
    fn after(self, error: &ExchangeError, method: &Method) -> Option<Attempts> {
        match self {
            Attempts::One => is_safe_to_retry(error, method).then_some(Attempts::Two),
            Attempts::Two => error.connection_ends.then_some(Attempts::Three),
            Attempts::Three => None,
        }
    }

    /// The attempt after a failed one, the body again at its beginning.
    ///
    /// # Errors
    /// There is none: it failed for good.
    #[cold]
    pub(super) fn again(
        self,
        error: ExchangeError,
        method: &Method,
        body: &mut OutgoingBody,
        effort: &mut Effort,
    ) -> Result<Attempts, Failure> {
        match self.after(&error, method) {
            Some(next) if is_kept(body) => {
                effort.retries += 1;
                rewind(body);
                Ok(next)
            }
            _ => Err(Failure::Exchange(error)),
        }
    }
}

/// Whether a failed attempt may be made again: nothing was sent (SEC-31), or the connection had gone stale and doing it
/// twice is as good as once (SEC-32; RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
fn is_safe_to_retry(error: &ExchangeError, method: &Method) -> bool {
    match error.kind {
        ExchangeErrorKind::Connect | ExchangeErrorKind::Closed => {
            error.nothing_sent || (error.reused_closed && method.is_idempotent())
        }
        // Trying at once would bring the same, or double a wait that has already been too long.
        ExchangeErrorKind::Resolve
        | ExchangeErrorKind::AddressRefused
        | ExchangeErrorKind::NoDescriptor
        | ExchangeErrorKind::EgressRefused
        | ExchangeErrorKind::ConnectTimeout
        | ExchangeErrorKind::TlsTimeout
        | ExchangeErrorKind::Tls
        | ExchangeErrorKind::FirstByteTimeout
        | ExchangeErrorKind::BadAnswer
        | ExchangeErrorKind::TargetTooLong
        | ExchangeErrorKind::ClientBody
        | ExchangeErrorKind::ClientBodyTimeout
        | ExchangeErrorKind::TooManyInformational => false,
    }
}

fn is_kept(body: &OutgoingBody) -> bool {
    body.is_empty() || body.is_kept()
}

pub(super) fn rewind(body: &mut OutgoingBody) {
    if !body.is_empty() {
        body.rewind();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ExchangeErrorKind, nothing_sent: bool, reused_closed: bool) -> ExchangeError {
        ExchangeError { kind, text: String::new(), nothing_sent, reused_closed, connection_ends: false }
    }

    /// SEC-31, SEC-32: what was not sent is sent again, whatever it is; a stale connection only excuses what is
    /// idempotent.
    #[test]
    fn retries_are_for_what_cannot_be_done_twice() {
        let closed = ExchangeErrorKind::Closed;
        for (method, nothing_sent, reused_closed, safe) in [
            (Method::POST, true, false, true),
            (Method::POST, true, true, true),
            (Method::POST, false, true, false),
            (Method::PATCH, false, true, false),
            (Method::GET, false, true, true),
            (Method::PUT, false, true, true),
            (Method::DELETE, false, true, true),
            (Method::GET, false, false, false),
        ] {
            assert_eq!(is_safe_to_retry(&error(closed, nothing_sent, reused_closed), &method), safe, "{method}");
        }
        assert!(is_safe_to_retry(&error(ExchangeErrorKind::Connect, true, false), &Method::POST));
        assert!(!is_safe_to_retry(&error(ExchangeErrorKind::EgressRefused, true, false), &Method::GET));
        assert!(!is_safe_to_retry(&error(ExchangeErrorKind::ConnectTimeout, true, false), &Method::GET));
        assert!(!is_safe_to_retry(&error(ExchangeErrorKind::FirstByteTimeout, false, true), &Method::GET));
    }

    /// SEC-32: only a connection that the upstream ends without having seen the request is worth a third attempt.
    #[test]
    fn the_third_attempt_is_the_last_and_for_connections_that_end() {
        let refused = error(ExchangeErrorKind::Closed, true, false);
        let ends = ExchangeError { connection_ends: true, ..error(ExchangeErrorKind::Closed, true, false) };
        for (attempts, after_refused, after_ends) in [
            (Attempts::One, Some(Attempts::Two), Some(Attempts::Two)),
            (Attempts::Two, None, Some(Attempts::Three)),
            (Attempts::Three, None, None),
        ] {
            let after = [&refused, &ends].map(|error| attempts.after(error, &Method::POST));
            assert_eq!(after, [after_refused, after_ends], "{attempts:?}");
        }
    }

    #[test]
    fn a_query_parameter_is_added_at_the_end() {
        for (target, sent) in [("/a", "/a?key=s%26"), ("/a?", "/a?key=s%26"), ("/a?b=c", "/a?b=c&key=s%26")] {
            assert_eq!(with_parameter(target, Some("key=s%26")), sent);
        }
        assert_eq!(with_parameter("/a?b", None), "/a?b");
    }
}
