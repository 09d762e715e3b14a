//! A small HTTP/1.1 server for the demo's own peers. It is not what attache serves with.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

/// The demo's requests are small; more than this is refused.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) type Answer = Response<Full<Bytes>>;

/// A request that has been read whole.
pub(super) type Asked = Request<Bytes>;

/// Serves until `stopped` turns true; then the listener is closed, and so is every connection once its answer is out. The
/// port stays ours, though nobody listens: another program that is given it would answer in the stopped server's name.
pub(super) async fn serve<F, Fut>(listener: TcpListener, stopped: watch::Receiver<bool>, handle: F)
where
    F: Fn(Asked) -> Fut + Clone + 'static,
    Fut: Future<Output = Answer> + 'static,
{
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = listener.expect("a bound listener can be polled");
    let address = listener.local_addr().expect("a bound listener has an address");
    let mut stop = stopped.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::task::spawn_local(serve_connection(stream, stopped.clone(), handle.clone()));
                }
            }
            _ = stop.wait_for(|stopped| *stopped) => break,
        }
    }
    drop(listener);
    let _held = hold(address);
    std::future::pending::<()>().await;
}

/// Binds an address without listening: connections to it are refused.
fn hold(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn serve_connection<F, Fut>(stream: tokio::net::TcpStream, mut stopped: watch::Receiver<bool>, handle: F)
where
    F: Fn(Asked) -> Fut + Clone + 'static,
    Fut: Future<Output = Answer> + 'static,
{
    let service = service_fn(|request| {
        let handle = handle.clone();
        async move {
            let answer = match read(request).await {
                Some(asked) => handle(asked).await,
                None => json(StatusCode::PAYLOAD_TOO_LARGE, &serde_json::json!({ "error": "the body is too large" })),
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    // How a connection ended is of no interest here: the one at its other end has seen it.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn read(request: Request<Incoming>) -> Option<Asked> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.ok()?;
    Some(Request::from_parts(head, body.to_bytes()))
}

/// An answer in JSON, one line long.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::from(format!("{value}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Tokens must not be kept by caches (RFC 6749 section 5.1); nothing else here needs to be.
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
