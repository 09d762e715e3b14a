//! What an instance that runs with this configuration says of a credential: asked of its admin listener, where a token of our
//! own would end the one that it uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// It is on this machine as a rule, and answers at once or is not there.
const PATIENCE: Duration = Duration::from_secs(2);
/// A status has some hundred bytes for each credential.
const STATUS_BYTES_MAX: usize = 16 << 20;

/// The state of a credential in the instance with this admin listener, in a sentence; `None` if none answers there.
pub(super) async fn credential(admin: SocketAddr, name: &str) -> Option<String> {
    Some(match find(admin, name).await? {
        Some(credential) => format!("the instance that runs says: {}", sentence(&credential)),
        None => "the instance that runs does not have it: does it run with another configuration?".to_owned(),
    })
}

/// Whether an instance with this admin listener runs that has the credential.
pub(super) async fn has(admin: SocketAddr, name: &str) -> bool {
    find(admin, name).await.flatten().is_some()
}

/// What the instance says of the credential, if one answers and has it.
async fn find(admin: SocketAddr, name: &str) -> Option<Option<Value>> {
    let status = timeout(PATIENCE, status(reachable(admin))).await.ok().flatten()?;
    let credentials = status.get("credentials")?.as_array()?;
    let is_it = |credential: &&Value| credential.get("name").and_then(Value::as_str) == Some(name);
    Some(credentials.iter().find(is_it).cloned())
}

/// A listener on every address is asked on loopback.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

async fn status(admin: SocketAddr) -> Option<Value> {
    let stream = TcpStream::connect(admin).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get("/status").header(HOST, admin.to_string()).body(Empty::<Bytes>::new()).ok()?;
    let answer = async {
        let answer = sender.send_request(request).await.ok()?;
        Limited::new(answer.into_body(), STATUS_BYTES_MAX).collect().await.ok()
    };
    tokio::pin!(answer, connection);
    let body = tokio::select! {
        biased;
        body = &mut answer => body?,
        // What it received before it ended still waits to be read.
        _ = &mut connection => answer.await?,
    };
    serde_json::from_slice(&body.to_bytes()).ok()
}

fn sentence(credential: &Value) -> String {
    let state = credential.get("state").and_then(Value::as_str).unwrap_or("unknown").replace('_', " ");
    let mut told = format!("its token is {state}");
    if let Some(seconds) = credential.get("expires_in_seconds").and_then(Value::as_f64) {
        told.push_str(&format!(", expires in {seconds:.0} s"));
    }
    if credential.get("suspect").and_then(Value::as_bool) == Some(true) {
        told.push_str(", was rejected by the upstream");
    }
    if let Some(error) = credential.get("last_error").and_then(Value::as_str) {
        told.push_str(&format!("; its last error: {error}"));
    }
    told
}
