//! What the APIs answer: all that they were sent, as the worst of upstreams do.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::body::Frame;
use serde_json::json;

use super::planted::GRANTED_OVER_TLS;
use crate::support::{Frames, Reply, TlsRequest};

/// An issuer, its token endpoint, and an API that repeats what it was sent, as events that are cut anywhere, and in
/// trailers.
pub fn answer_over_tls(request: &TlsRequest) -> Response<Frames> {
    let issuer = format!("https://{}", request.authority);
    let document = match request.target.as_str() {
        path if path.starts_with("/.well-known/") => json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }),
        "/token" => json!({ "access_token": GRANTED_OVER_TLS, "token_type": "Bearer", "expires_in": 3600 }),
        _ => return repeated_as_events(request),
    };
    let body = Frame::data(Bytes::from(document.to_string()));
    Response::builder().header("content-type", "application/json").body(vec![body]).expect("it is an answer")
}

fn repeated_as_events(request: &TlsRequest) -> Response<Frames> {
    let authorization = request.headers.get("authorization").expect("the credential is attached").clone();
    let said = authorization.to_str().expect("it is ASCII");
    let events = format!("data: {said}\n\ndata: {}\n\n", STANDARD.encode(said));
    let mut frames: Frames =
        events.as_bytes().chunks(7).map(|piece| Frame::data(Bytes::copy_from_slice(piece))).collect();
    frames.push(Frame::trailers(HeaderMap::from_iter([(http::HeaderName::from_static("x-repeated"), authorization)])));
    let head = Response::builder().header("content-type", "text/event-stream").header("trailer", "x-repeated");
    head.body(frames).expect("it is an answer")
}

/// Repeats everything it was sent, also encoded.
pub fn echo() -> Reply {
    echo_with("200 OK", "Content-Type: application/json\r\n")
}

/// The same with another status, and these header lines.
pub fn echo_with(status: &'static str, lines: &'static str) -> Reply {
    Reply::custom(move |request, connection| {
        let sent: Vec<_> = request.headers.0.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let sent = format!("{} {}", request.target, sent.join(" "));
        let encoded: String =
            percent_encoding::utf8_percent_encode(&sent, percent_encoding::NON_ALPHANUMERIC).collect();
        let body = json!({ "raw": sent, "percent": encoded, "base64": STANDARD.encode(&sent) }).to_string();
        let authorization = request.headers.get("authorization").unwrap_or("none");
        let head = format!(
            "HTTP/1.1 {status}\r\n{lines}X-Seen: {authorization}\r\nX-Target: {}\r\nContent-Length: {}\r\n\r\n",
            request.target,
            body.len()
        );
        io::Write::write_all(connection.stream(), (head + &body).as_bytes())
    })
}
