//! Uploads to S3 whose chunks are signed one by one, so that they stream (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`).
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use ring::hmac;

use super::hex;
use crate::upstream::Recoder;

/// What stands in the canonical request for the hash of the body.
pub(super) const PAYLOAD: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

/// S3 takes chunks of at least 8 KiB, but for the last one.
const CHUNK_BYTES: usize = 64 * 1024;

const SIGNATURE_FIELD: &str = ";chunk-signature=";
const SIGNATURE_HEX_BYTES: u64 = 64;

/// What the signatures of chunks have in common.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) key: hmac::Key,
    /// `20130524T000000Z`
    pub(super) time: String,
    /// `20130524/us-east-1/s3/aws4_request`
    pub(super) scope: String,
    /// The signature of what comes before: at first that of the request itself.
    pub(super) previous: String,
}

impl Chain {
    /// Sends a body of this many bytes in signed chunks.
    pub(super) fn recoder(mut self, length: u64) -> Recoder {
        Recoder::new(CHUNK_BYTES, encoded_length(length), move |chunk| self.encode(chunk))
    }

    fn encode(&mut self, chunk: &[u8]) -> Bytes {
        let hash = |data: &[u8]| hex(digest(&SHA256, data).as_ref());
        let to_sign = ["AWS4-HMAC-SHA256-PAYLOAD", &self.time, &self.scope, &self.previous, &hash(b""), &hash(chunk)];
        self.previous = hex(hmac::sign(&self.key, to_sign.join("\n").as_bytes()).as_ref());
        let head = format!("{:x}{SIGNATURE_FIELD}{}\r\n", chunk.len(), self.previous);
        [head.as_bytes(), chunk, b"\r\n"].concat().into()
    }
}

fn encoded_length(length: u64) -> u64 {
    let chunk = |bytes: u64| {
        let digits = u64::from((u64::BITS - bytes.leading_zeros()).div_ceil(4)).max(1);
        digits + SIGNATURE_FIELD.len() as u64 + SIGNATURE_HEX_BYTES + 2 + bytes + 2
    };
    let full = CHUNK_BYTES as u64;
    let rest = length % full;
    length / full * chunk(full) + if rest > 0 { chunk(rest) } else { 0 } + chunk(0)
}

#[cfg(test)]
mod tests {
    use super::super::aws_sigv4::signing_key;
    use super::*;
    use crate::secret::Secret;

    /// The example of the API reference, "Example: PUT Object".
    #[test]
    fn chunks_are_signed_as_in_the_example_of_aws() {
        let mut chain = Chain {
            key: signing_key(&Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "20130524", "us-east-1", "s3"),
            time: "20130524T000000Z".to_owned(),
            scope: "20130524/us-east-1/s3/aws4_request".to_owned(),
            previous: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".to_owned(),
        };
        let mut sent = 0;
        for (bytes, size, signature) in [
            (65536, "10000", "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "400", "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "0", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            let data = vec![b'a'; bytes];
            let chunk = chain.encode(&data);
            let head = format!("{size};chunk-signature={signature}\r\n");
            assert_eq!(chunk, [head.as_bytes(), &data, b"\r\n"].concat());
            sent += chunk.len();
        }
        assert_eq!((encoded_length(66560), sent), (66824, 66824), "its Content-Length is there, too");
    }

    #[test]
    fn the_length_is_that_of_all_chunks() {
        for (length, chunks) in [(1, 2), (65535, 2), (65536, 2), (65537, 3), (1 << 20, 17)] {
            let mut chain = Chain {
                key: hmac::Key::new(hmac::HMAC_SHA256, b"k"),
                time: String::new(),
                scope: String::new(),
                previous: String::new(),
            };
            let data = vec![0; length];
            let mut sent: Vec<Bytes> = data.chunks(CHUNK_BYTES).map(|chunk| chain.encode(chunk)).collect();
            sent.push(chain.encode(b""));
            assert_eq!(sent.len(), chunks);
            assert_eq!(encoded_length(length as u64), sent.iter().map(Bytes::len).sum::<usize>() as u64);
        }
    }
}
