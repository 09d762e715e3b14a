//! Whoever grants something that is no answer of a token endpoint's: a login, a metadata server, a server of refresh tokens
//! and of signed assertions. Each repeats at first what it was sent, and only then grants.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Connection, Peer, Request, Watched};

/// What is granted, and must be seen by nobody but the upstreams.
pub const GRANTED: [&str; 11] = [
    "planted-by-login-session-0030",
    "planted-by-identity-token-0031",
    "planted-by-refresh-token-00032",
    "planted-by-assertion-token-033",
    ROTATED_REFRESH_TOKEN,
    IMDS_SESSION,
    FETCHED_AWS_KEY[1],
    FETCHED_AWS_KEY[2],
    "planted-by-bound-token-0000038",
    "planted-by-exchange-token-0039",
    "planted-by-based-token-0000040",
];
pub const ROTATED_REFRESH_TOKEN: &str = "planted+rotated/refresh=:00034";
pub const IMDS_SESSION: &str = "planted+imds/session=:00000035";
pub const FETCHED_AWS_KEY: [&str; 3] =
    ["ASIAFETCHED", "planted+fetched/aws-secret=:36", "planted+fetched/aws-session=37"];

pub struct Grantor {
    pub peer: Peer,
    pub requests: Arc<Watched<Vec<Request>>>,
}

impl Grantor {
    /// `instance_url`: where the token of `/based` says that the API is.
    pub fn start(instance_url: &str) -> Grantor {
        let requests = Arc::new(Watched::<Vec<Request>>::default());
        let failed = Watched::<BTreeSet<String>>::default();
        let seen = requests.clone();
        let instance_url = instance_url.to_owned();
        let peer = Peer::start(move |connection| serve(connection, &seen, &failed, &instance_url));
        Grantor { peer, requests }
    }

    /// By a name of this machine, which is never reached through an egress proxy.
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.peer.address.port())
    }

    /// The first request for this that was granted.
    pub fn request(&self, path: &str) -> Request {
        let found = self.requests.look(|seen| seen.iter().filter(|seen| is_for(seen, path)).nth(1).cloned());
        found.unwrap_or_else(|| panic!("{path} was not asked for twice"))
    }

    /// The proofs that were sent, each of another signature.
    pub fn proofs(&self) -> Vec<String> {
        let proof = |request: &Request| request.headers.get("dpop").map(str::to_owned);
        self.requests.look(|seen| seen.iter().filter_map(proof).collect())
    }

    /// The assertions that were sent, each of another signature.
    pub fn assertions(&self) -> Vec<String> {
        self.requests.look(|seen| seen.iter().filter_map(|request| request.form("assertion")).collect())
    }
}

fn is_for(request: &Request, path: &str) -> bool {
    request.target.split('?').next() == Some(path)
}

fn serve(
    connection: &mut Connection,
    seen: &Watched<Vec<Request>>,
    failed: &Watched<BTreeSet<String>>,
    instance_url: &str,
) -> io::Result<()> {
    while let Some(mut request) = Request::read_head(&mut connection.reader)? {
        request.read_body(&mut connection.reader)?;
        let path = request.target.split('?').next().unwrap_or_default().to_owned();
        let (status, body) = match failed.update(|failed| failed.insert(path.clone())) {
            true => {
                (500, format!("{:?} {:?} {}", request.target, request.headers, String::from_utf8_lossy(&request.body)))
            }
            false => (200, granted(&path, instance_url)),
        };
        seen.update(|seen| seen.push(request));
        let head = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.stream().write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

fn granted(path: &str, instance_url: &str) -> String {
    let token = |token: &str| json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 });
    let granted: Value = match path {
        "/login" => json!({ "session": { "id": GRANTED[0] }, "lifetime": 3600 }),
        "/identity" => token(GRANTED[1]),
        "/refresh" => {
            let mut granted = token(GRANTED[2]);
            granted["refresh_token"] = ROTATED_REFRESH_TOKEN.into();
            granted
        }
        "/assertion" => token(GRANTED[3]),
        "/bound" => {
            let mut granted = token(GRANTED[8]);
            granted["token_type"] = "DPoP".into();
            granted
        }
        "/exchanged" => token(GRANTED[9]),
        "/based" => {
            let mut granted = token(GRANTED[10]);
            granted["instance_url"] = instance_url.into();
            granted
        }
        "/latest/api/token" => return IMDS_SESSION.to_owned(),
        "/latest/meta-data/iam/security-credentials/" => return "my-role".to_owned(),
        "/latest/meta-data/iam/security-credentials/my-role" => {
            let [id, secret, session] = FETCHED_AWS_KEY;
            json!({ "Code": "Success", "AccessKeyId": id, "SecretAccessKey": secret, "Token": session })
        }
        other => panic!("nobody grants {other}"),
    };
    granted.to_string()
}
