//! Reading an answer whole: bounded as it arrives, bounded again as it is decoded, counted, masked (SEC-13) and checked.

use std::future::poll_fn;
use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};

use super::super::json::Json;
use super::{Answer, Caller};
use crate::proxy::failure::PartCause;
use crate::proxy::forward::Received;
use crate::proxy::redact::{Redactor, Unscannable};
use crate::proxy::source::Source;
use crate::snapshot::Held;

/// How much is decoded before others of the worker have their turn.
const DECODED_BYTES_AT_ONCE: usize = 256 * 1024;

impl Caller<'_> {
    /// Reads the answer's body and checks that it is JSON. An empty one is null if its status says so.
    pub(super) async fn read(self, received: Received) -> Result<Answer, PartCause> {
        let Received { status, headers, body, masks, .. } = received;
        self.asked.saw(self.index, status);
        let bytes_max = self.part().bytes_max;
        let mut held = self.asked.worker.living.aggregate_memory.hold();
        let mut data = arrived(body, bytes_max, &mut held).await?;
        if !data.is_empty() && is_gzip(&headers)? {
            data = decoded(data, bytes_max, &mut held).await?;
        }
        // What is counted is what it takes.
        let mut data = Bytes::from(data.into_boxed_slice());
        if let Some(scanner) = masks.as_ref().and_then(|masks| masks.scanner()) {
            let redactor = Redactor::new(scanner, self.asked.name.clone());
            data = redactor.whole(data).map_err(|Unscannable| PartCause::NotJson("it is no UTF-8".to_owned()))?;
        }
        if data.is_empty() && may_be_empty(status) {
            return Ok(Answer { json: Json::null(), headers, bytes: 0, moved: None });
        }
        let bytes = data.len();
        let data = held.count(data).ok_or(PartCause::NoMemory)?;
        let json = Json::check(data).map_err(|why| PartCause::NotJson(why.to_string()))?;
        Ok(Answer { json, headers, bytes, moved: None })
    }
}

/// Whether that is how an API says that there is nothing to say: an empty 200 is rather one that broke.
fn may_be_empty(status: StatusCode) -> bool {
    use StatusCode as S;
    matches!(status, S::CREATED | S::ACCEPTED | S::NO_CONTENT | S::RESET_CONTENT)
}

/// All of a body as it comes.
async fn arrived(mut body: Source, bytes_max: usize, held: &mut Held) -> Result<Vec<u8>, PartCause> {
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(PartCause::TooLarge(bytes_max));
    }
    let mut data = Vec::new();
    reserve(&mut data, announced as usize, held)?;
    while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
        let frame = frame.map_err(|error| PartCause::Broken(error.to_string()))?;
        // Trailers say nothing to us.
        let Ok(piece) = frame.into_data() else { continue };
        if data.len() + piece.len() > bytes_max {
            return Err(PartCause::TooLarge(bytes_max));
        }
        reserve(&mut data, piece.len(), held)?;
        data.extend_from_slice(&piece);
    }
    Ok(data)
}

/// Makes room for so many further bytes, and counts it.
fn reserve(data: &mut Vec<u8>, more: usize, held: &mut Held) -> Result<(), PartCause> {
    let needed = data.len() + more;
    if needed > data.capacity() {
        // Doubled, so that many small pieces are not copied each time.
        let capacity = needed.max(data.capacity() * 2);
        if !held.resize(capacity) {
            return Err(PartCause::NoMemory);
        }
        data.reserve_exact(capacity - data.len());
    }
    Ok(())
}

/// Whether the body is encoded as we have asked for it; other encodings we have not.
fn is_gzip(headers: &HeaderMap) -> Result<bool, PartCause> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) => match coding.as_bytes().trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(false),
            b"gzip" | b"x-gzip" => Ok(true),
            _ => Err(PartCause::Encoding),
        },
        (Some(_), Some(_)) => Err(PartCause::Encoding),
    }
}

/// What was encoded, unless that is too large: then it is given up at the bound, not at its end.
async fn decoded(encoded: Vec<u8>, bytes_max: usize, held: &mut Held) -> Result<Vec<u8>, PartCause> {
    let mut decoder = MultiGzDecoder::new(encoded.as_slice());
    let mut data = Vec::new();
    loop {
        // One byte more than may be, so that it shows.
        let room = (bytes_max - data.len()).min(DECODED_BYTES_AT_ONCE - 1) + 1;
        let needed = data.len() + room;
        if needed > data.capacity() {
            let capacity = needed.max(data.capacity() * 2).min(bytes_max + 1);
            if !held.resize(encoded.capacity() + capacity) {
                return Err(PartCause::NoMemory);
            }
            data.reserve_exact(capacity - data.len());
        }
        let read = (&mut decoder).take(room as u64).read_to_end(&mut data).map_err(|_| PartCause::Encoding)?;
        if data.len() > bytes_max {
            return Err(PartCause::TooLarge(bytes_max));
        }
        if read < room {
            return Ok(data);
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::HeaderValue;

    use super::*;
    use crate::snapshot::MemoryBudget;
    use crate::upstream::AnswerBody;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn decoding_stops_at_the_bound() {
        let budget = MemoryBudget::new(64 << 20);
        for bytes in [0, 1, DECODED_BYTES_AT_ONCE - 1, DECODED_BYTES_AT_ONCE, DECODED_BYTES_AT_ONCE + 1, 1 << 20] {
            let data = vec![b'a'; bytes];
            let fits = decoded(gzip(&data), bytes, &mut budget.hold()).await;
            assert_eq!(fits.unwrap(), data);
            if bytes > 0 {
                let error = decoded(gzip(&data), bytes - 1, &mut budget.hold()).await.unwrap_err();
                assert!(matches!(error, PartCause::TooLarge(max) if max == bytes - 1));
            }
        }
        // A bomb: a thousand times as large as what came. What is held stays near the bound.
        let bomb = gzip(&vec![0; 32 << 20]);
        let small = MemoryBudget::new(bomb.capacity() + (1 << 20) + 1);
        assert!(matches!(decoded(bomb, 1 << 20, &mut small.hold()).await, Err(PartCause::TooLarge(_))));
        let cut = gzip(b"{\"a\":1}");
        let cut = cut[..cut.len() - 1].to_vec();
        assert!(matches!(decoded(cut, 100, &mut budget.hold()).await, Err(PartCause::Encoding)));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn what_arrives_is_bounded_and_counted() {
        let budget = MemoryBudget::new(10);
        let body = |bytes: usize| Source::new(AnswerBody::ready(Bytes::from(vec![b'1'; bytes])));
        assert_eq!(arrived(body(10), 10, &mut budget.hold()).await.unwrap().len(), 10);
        assert!(matches!(arrived(body(10), 9, &mut budget.hold()).await, Err(PartCause::TooLarge(9))));
        assert!(matches!(arrived(body(11), 20, &mut budget.hold()).await, Err(PartCause::NoMemory)));
    }

    #[test]
    fn only_gzip_was_asked_for() {
        let headers = |values: &[&'static str]| {
            values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value))).collect::<HeaderMap>()
        };
        for (values, expected) in [
            (&[][..], Some(false)),
            (&["identity"], Some(false)),
            (&["GZip"], Some(true)),
            (&["br"], None),
            (&["gzip, gzip"], None),
            (&["gzip", "gzip"], None),
        ] {
            assert_eq!(is_gzip(&headers(values)).ok(), expected, "{values:?}");
        }
    }
}
