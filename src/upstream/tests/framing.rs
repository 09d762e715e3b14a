use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Frame;

use super::rig::*;
use crate::upstream::*;

/// What an answer comes to: status and body, or why not.
async fn outcome(answer: Result<Answer, ExchangeError>) -> Result<(u16, Bytes), String> {
    match answer {
        Ok(answer) => match collect(answer.body).await {
            Ok((body, _)) => Ok((answer.status.as_u16(), body)),
            Err(error) => Err(format!("{error:?}")),
        },
        Err(error) => Err(format!("{:?}", error.kind)),
    }
}

/// SEC-33: what is cut off is an error, and never a clean end.
#[test]
fn a_truncated_answer_is_an_error() {
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "Closed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "Closed"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Closed"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Closed"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "Closed"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n", "Closed"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n", "BadFraming"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n", "BadFraming"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "Closed"),
        ("", "Closed"),
    ];
    for (text, error) in table {
        with_rig(|rig| async move {
            assert_eq!(outcome(rig.answered(Method::GET, text, true).await).await, Err(error.to_owned()), "{text:?}");
            assert_eq!(rig.idle(), 0);
        });
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_complete_and_not_reused() {
    for head in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
        with_rig(|rig| async move {
            let answer = rig.answered(Method::GET, &format!("{head}hello"), true).await;
            assert_eq!(outcome(answer).await.unwrap(), (200, "hello".into()));
            assert_eq!(rig.idle(), 0);
        });
    }
}

/// SEC "1xx": attacks R08 and R09, and an unasked-for 101.
#[test]
fn interim_answers_are_consumed_within_a_bound() {
    let hints = |count: usize| format!("{}{HELLO}", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n".repeat(count));
    let large = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(40_000));
    let table = [
        (format!("HTTP/1.1 100 Continue\r\n\r\n{HELLO}"), Ok((200, "hello".into()))),
        (hints(16), Ok((200, "hello".into()))),
        (hints(17), Err("TooManyInformational".to_owned())),
        (format!("{large}{HELLO}"), Ok((200, "hello".into()))),
        (format!("{large}{large}{HELLO}"), Err("TooManyInformational".to_owned())),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_owned(), Err("BadAnswer".to_owned())),
    ];
    for (text, expected) in table {
        with_rig(|rig| async move {
            assert_eq!(outcome(rig.answered(Method::GET, &text, false).await).await, expected, "{:.60}", text);
        });
    }
}

#[test]
fn a_small_body_leaves_with_its_head() {
    with_rig(|rig| async move {
        let (sender, mut body) = rig.body(Some(5));
        let peer = async {
            let mut peer = rig.accept().await;
            let text = peer.segment().await;
            assert_eq!(text, "POST /a HTTP/1.1\r\nhost: api.example\r\ncontent-length: 5\r\n\r\nhello");
            peer.write(HELLO).await;
            peer
        };
        sender.send(data("hello")).await.unwrap();
        let (answer, _peer) = tokio::join!(rig.send(Method::POST, &mut body), peer);
        assert_eq!(outcome(answer).await.unwrap(), (200, "hello".into()));
        assert_eq!(rig.idle(), 1);
    });
}

/// SEC "GET with a chunked body": it does not vanish. Trailers pass, without what must not stand in them.
#[test]
fn a_body_of_unknown_length_is_chunked_with_its_trailers() {
    with_rig(|rig| async move {
        let (sender, mut body) = rig.body(None);
        let peer = async {
            let mut peer = rig.accept().await;
            let head = peer.head().await;
            assert_eq!(head, "GET /a HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: chunked\r\n\r\n");
            let expected = "5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 7\r\n\r\n";
            assert_eq!(peer.body(expected.len()).await, expected);
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n").await;
            peer.write("Grpc-Status: 0\r\nContent-Length: 7\r\n\r\n").await;
            peer
        };
        let client = async {
            let feed = async {
                sender.send(data("hello")).await.unwrap();
                sender.send(data("")).await.unwrap();
                sender.send(data(" world")).await.unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", "7".parse().unwrap());
                trailers.insert("authorization", "evil".parse().unwrap());
                sender.send(Frame::trailers(trailers)).await.unwrap();
                drop(sender);
            };
            tokio::join!(rig.send(Method::GET, &mut body), feed).0.unwrap()
        };
        let (answer, _peer) = tokio::join!(client, peer);
        let (body, trailers) = collect(answer.body).await.unwrap();
        assert_eq!(body, "ok");
        assert_eq!(trailers.unwrap().keys().collect::<Vec<_>>(), ["grpc-status"]);
        assert_eq!(rig.idle(), 1);
    });
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    with_rig(|rig| async move {
        const PIECES: usize = 40;
        let piece = "0123456789abcdef".repeat(10_000);
        for (length, head) in [(Some((piece.len() * PIECES) as u64), ""), (None, "2710\r\n")] {
            let (sender, mut body) = rig.body(length);
            let peer = async {
                let mut peer = rig.accept().await;
                peer.head().await;
                for _ in 0..PIECES {
                    if head.is_empty() {
                        assert_eq!(peer.body(piece.len()).await, piece);
                    } else {
                        assert_eq!(peer.body(piece.len() + 9).await, format!("27100\r\n{piece}\r\n"));
                    }
                }
                peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", piece.len() * PIECES)).await;
                for _ in 0..PIECES {
                    peer.write(&piece).await;
                }
            };
            let client = async {
                let feed = async {
                    for _ in 0..PIECES {
                        sender.send(Frame::data(piece.clone().into())).await.unwrap();
                    }
                    drop(sender);
                };
                let (answer, ()) = tokio::join!(rig.send(Method::POST, &mut body), feed);
                assert_eq!(collect(answer.unwrap().body).await.unwrap().0, piece.repeat(PIECES));
            };
            tokio::join!(client, peer);
            rig.close_idle();
        }
    });
}
