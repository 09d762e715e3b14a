//! One connection: TLS, HTTP version, hyper, and its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::activity::{Activity, Due, Exchange};
use super::io::{Io, Stream, Watch};
use super::streams::{StreamBody, StreamTasks};
use super::{Removal, Shared};

/// The bodies of answers.
pub trait AnswerBody: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + 'static {
    /// The client did not take all of what the body has yielded: it is known not to be answered. The body is dropped next.
    fn cut_off(self: Pin<&mut Self>) {}
}

/// Serves a connection until it ends. `answer` is called for each request, also for several at a time.
pub(super) async fn serve<S, F, B>(
    tcp: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    removal: Removal,
    shared: Rc<Shared>,
    answer: S,
) where
    S: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: AnswerBody,
{
    let activity = Activity::new(&shared, removal, tls.is_some());
    let _open = shared.connections.add(&activity);
    let end = match tls {
        None => match detect(Io::new(Stream::Plain(tcp), activity.clone()), &activity).await {
            Ok((io, true)) => serve_http2(io, &activity, &shared, answer).await,
            Ok((io, false)) => serve_http1(io, &activity, answer).await,
            Err(end) => end,
        },
        Some(config) => match handshake(tcp, config, &activity).await {
            Ok((io, true)) => serve_http2(io, &activity, &shared, answer).await,
            Ok((io, false)) => serve_http1(io, &activity, answer).await,
            Err(end) => end,
        },
    };
    count(&end, &shared);
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    Closed,
    Broke(hyper::Error),
    Deadline(Due),
    Handshake(std::io::Error),
    Unreadable(std::io::Error),
}

/// Finds out whether a client begins with HTTP/2's preface.
async fn detect(mut io: Io, activity: &Activity) -> Result<(Io, bool), End> {
    let http2 = poll_fn(|cx| {
        if let Poll::Ready(http2) = io.poll_speaks_http2(cx) {
            return Poll::Ready(http2.map_err(End::Unreadable));
        }
        activity.poll_due(cx).map(|due| Err(End::Deadline(due)))
    })
    .await?;
    Ok((io, http2))
}

async fn handshake(
    tcp: TcpStream,
    config: Arc<rustls::ServerConfig>,
    activity: &Rc<Activity>,
) -> Result<(Io, bool), End> {
    let mut accept = pin!(TlsAcceptor::from(config).accept(tcp));
    let tls = poll_fn(|cx| {
        if let Poll::Ready(accepted) = accept.as_mut().poll(cx) {
            return Poll::Ready(accepted.map_err(End::Handshake));
        }
        activity.poll_due(cx).map(|due| Err(End::Deadline(due)))
    })
    .await?;
    activity.become_new();
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = Io::new(Stream::Tls(Box::new(tls)), activity.clone());
    match http2 {
        // A connection that is agreed to be HTTP/2 has as long to begin as any other: a byte of the preface is not yet one.
        // Should the client send something else, hyper refuses it.
        true => detect(io, activity).await.map(|(io, _begins_as_agreed)| (io, true)),
        false => Ok((io, false)),
    }
}

async fn serve_http1<S, F, B>(io: Io, activity: &Rc<Activity>, answer: S) -> End
where
    S: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: AnswerBody,
{
    let limits = &activity.settings().limits;
    // hyper's buffer bounds the size of reads, too, and bulk uploads want them large (it begins with 8 KiB and adapts,
    // to 408 KiB at most); the head has a bound of its own.
    let (tracking, watch) = (activity.clone(), io.watch());
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        // Watching for the client's end is ours: hyper would do it by reading, into a buffer that it allocates for every
        // request, since the request's headers still lie in the last one.
        .half_close(true)
        .max_headers(limits.headers_max)
        .max_header_size(limits.request_line_bytes_max + limits.header_bytes_max)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request| {
                let exchange = tracking.begin(request.version());
                Tracked::new(answer(request), |mut response: Response<B>| {
                    if exchange.version == http::Version::HTTP_10 && ends_with_the_connection(&response) {
                        // Of an answer that is of HTTP/1.0 itself, hyper does not say that the connection is kept.
                        *response.version_mut() = http::Version::HTTP_10;
                    }
                    response.map(|body| TrackedBody { body, exchange })
                })
            }),
        );
    drive(pin!(connection), activity, Some(&watch)).await
}

async fn serve_http2<S, F, B>(io: Io, activity: &Rc<Activity>, shared: &Shared, answer: S) -> End
where
    S: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: AnswerBody,
{
    activity.become_multiplexed();
    let window = shared.receive_memory.reserve();
    let tracking = activity.clone();
    let connection = super::http2::builder(activity, &window).serve_connection(
        TokioIo::new(io),
        service_fn(move |request| {
            let stream = tracking.begin_stream();
            Tracked::new(answer(request), |response: Response<B>| response.map(|body| StreamBody::new(body, stream)))
        }),
    );
    drive(pin!(connection), activity, None).await
}

/// Whether only the end of the connection tells an HTTP/1.0 client where the answer ends (RFC 9112 section 6.3), so that
/// keeping the connection must not be announced.
fn ends_with_the_connection<B: Body>(response: &Response<B>) -> bool {
    !response.headers().contains_key(http::header::CONTENT_LENGTH) && response.body().size_hint().exact().is_none()
}

pin_project! {
    /// Answers a request; the connection counts as busy with it until its answer's body has ended. Written by hand,
    /// because an `async` block would copy the whole answering future when it is polled first.
    struct Tracked<F, T> {
        #[pin]
        answer: F,
        track: Option<T>,
    }
}

impl<F, T> Tracked<F, T> {
    /// `track` makes of the answer one whose body is tracked. It is kept, with what it holds, until there is one.
    fn new(answer: F, track: T) -> Self {
        Tracked { answer, track: Some(track) }
    }
}

impl<F, B, T, C> Future for Tracked<F, T>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    T: FnOnce(Response<B>) -> Response<C>,
{
    type Output = Result<Response<C>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(cx))?;
        let track = this.track.take().expect("a future that has ended is not polled");
        Poll::Ready(Ok(track(response)))
    }
}

/// Runs hyper's side of a connection, with its deadlines and until it is drained. `watch`: if that has to be looked at to
/// see that the client leaves while it is being answered (SEC-36).
async fn drive<C: Served>(mut connection: Pin<&mut C>, activity: &Activity, watch: Option<&Watch>) -> End {
    let mut told = false;
    poll_fn(|cx| {
        loop {
            let drain = activity.is_draining() && !told && activity.may_close();
            if drain {
                told = true;
                connection.as_mut().close_gracefully();
            }
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(result.map_or_else(End::Broke, |()| End::Closed));
            }
            // Its first request has come in just now: say `Connection: close` with the answer to it.
            if activity.is_draining() && !told && activity.may_close() {
                continue;
            }
            if let Some(watch) = watch
                && activity.is_busy()
                && let Poll::Ready(left) = watch.poll_left(cx)
            {
                return Poll::Ready(left.map_or_else(End::Unreadable, |()| End::Closed));
            }
            match ready!(activity.poll_due(cx)) {
                Due::Idle if activity.is_multiplexed() && !told => {
                    // GOAWAY tells the client which of its requests were not seen. It gets a moment to read that.
                    told = true;
                    connection.as_mut().close_gracefully();
                    activity.linger();
                }
                due => return Poll::Ready(End::Deadline(due)),
            }
        }
    })
    .await
}

/// What hyper's two kinds of connection have in common.
trait Served: Future<Output = hyper::Result<()>> {
    fn close_gracefully(self: Pin<&mut Self>);
}

impl<S, B> Served for http1::Connection<TokioIo<Io>, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B, Error: Into<Box<dyn Error + Send + Sync>>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    fn close_gracefully(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, B> Served for http2::Connection<TokioIo<Io>, S, StreamTasks>
where
    S: hyper::service::HttpService<Incoming, ResBody = B, Future: 'static, Error: Into<Box<dyn Error + Send + Sync>>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    fn close_gracefully(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn count(end: &End, shared: &Shared) {
    let metrics = &shared.metrics;
    match end {
        End::Closed => {}
        // Clients leave all the time; what that means for a request is logged with the request.
        End::Unreadable(error) => tracing::debug!(%error, "a client's connection could not be read"),
        End::Broke(error) => {
            if error.is_parse() {
                metrics.requests_unparsable.add(1);
            }
            tracing::debug!(%error, "a client's connection broke");
        }
        End::Handshake(error) => {
            metrics.tls_handshakes_failed.add(1);
            tracing::debug!(%error, "a client's TLS handshake failed");
        }
        End::Deadline(due) => {
            match due {
                Due::Handshake => metrics.tls_handshakes_failed.add(1),
                Due::Header => metrics.header_timeouts.add(1),
                Due::Write => metrics.write_timeouts.add(1),
                Due::Idle | Due::Linger | Due::Removed => {}
            }
            tracing::debug!(?due, "a client's connection was closed at a deadline");
        }
    }
}

pin_project! {
    /// An HTTP/1 answer's body on its way to hyper; its drop ends the exchange.
    struct TrackedBody<B> {
        #[pin]
        body: B,
        exchange: Exchange,
    }
}

impl<B: Body<Data = Bytes>> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        if matches!(frame, Some(Err(_))) {
            this.exchange.broke();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
