//! The lines that the demo prints, each with what to expect of it.

use std::net::SocketAddr;

/// Something to try in another terminal.
#[derive(Debug)]
pub(super) struct Line {
    pub expect: &'static str,
    /// For `sh`, with nothing but curl.
    pub command: String,
}

/// The seven lines, in the order in which they make sense: the last but one takes the authorization server away.
pub(super) fn lines(authorization_server: SocketAddr, api: SocketAddr, proxy: SocketAddr) -> [Line; 7] {
    let hello = format!("http://{proxy}/demo/hello");
    let status = format!("curl -s -o /dev/null -w '%{{http_code}} ' {hello}");
    [
        Line {
            expect: "the API without attache: 401, it wants a token",
            command: format!("curl -si http://{api}/hello"),
        },
        Line { expect: "the same through attache: 200, no token in sight", command: format!("curl -si {hello}") },
        Line {
            expect: "an endpoint that repeats every header it was sent: 200, and the token is masked with *",
            command: format!("curl -si http://{proxy}/demo/echo"),
        },
        Line {
            expect: "40 s of requests, longer than a token lives: all 200, and the log says `token granted` meanwhile, a renewal",
            command: format!("for second in $(seq 40); do {status}; sleep 1; done; echo"),
        },
        Line {
            expect: "revoke the token (this waits until it is more than 3 s old): still 200, and the log shows one replay",
            command: format!(
                "curl -s -o /dev/null {hello}; curl -sX POST http://{authorization_server}/revoke-all; curl -si {hello}"
            ),
        },
        Line {
            expect: "stop the authorization server: still 200 until the token expires, then a 503 that names it",
            command: format!(
                "curl -sX POST http://{authorization_server}/stop; while [ \"$({status})\" = '200 ' ]; do printf '200 '; sleep 1; \
                 done; echo; curl -si {hello}"
            ),
        },
        Line {
            expect: "one answer of two APIs: 200; without a token its orders are [], and `attache-parts` says why (try it \
                     before 6, too: then they are there)",
            command: format!("curl -si http://{proxy}/customers/7/overview"),
        },
    ]
}
