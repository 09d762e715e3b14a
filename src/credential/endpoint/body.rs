//! The body of an answer: bounded as it arrives, and bounded again as it is decompressed (TL-35).

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use zeroize::Zeroizing;

/// Real answers are a few KiB; discovery documents 10.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// A body that can be read, or why it cannot.
pub(in crate::credential) type Readable = Result<Zeroizing<Vec<u8>>, String>;

/// Receives a body. What is too large is not received to its end.
pub(super) async fn read(headers: &HeaderMap, mut incoming: Incoming) -> Result<Readable, hyper::Error> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if body.len() + data.len() > BODY_BYTES_MAX {
            return Ok(Err(too_large()));
        }
        body.extend_from_slice(&data);
    }
    Ok(decoded(headers, body))
}

/// We ask for `identity`, and some servers compress nevertheless.
pub(in crate::credential) fn decoded(headers: &HeaderMap, body: Zeroizing<Vec<u8>>) -> Readable {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(body) };
    if codings.next().is_some() {
        return Err("the body is encoded several times".to_owned());
    }
    match coding.as_bytes().to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(body),
        _ if body.is_empty() => Ok(body),
        b"gzip" | b"x-gzip" => inflated(MultiGzDecoder::new(body.as_slice())),
        // "deflate" is zlib by the standard (RFC 9110 section 8.4.1.2), and bare with servers that read it literally.
        b"deflate" => {
            inflated(ZlibDecoder::new(body.as_slice())).or_else(|_| inflated(DeflateDecoder::new(body.as_slice())))
        }
        _ => Err("the body has a Content-Encoding that was not asked for".to_owned()),
    }
}

fn inflated(decoder: impl Read) -> Readable {
    let mut body = Zeroizing::new(Vec::new());
    match decoder.take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut body) {
        Ok(_) if body.len() > BODY_BYTES_MAX => Err(too_large()),
        Ok(_) => Ok(body),
        Err(_) => Err("the body cannot be decompressed".to_owned()),
    }
}

fn too_large() -> String {
    format!("the body is larger than {} KiB", BODY_BYTES_MAX / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TL-35: what decompresses to more than memory holds is given up at the bound, not at the end.
    #[test]
    fn decompression_stops_at_the_bound() {
        assert!(inflated(std::io::repeat(b'a')).is_err_and(|why| why.contains("larger than 256 KiB")));
    }
}
