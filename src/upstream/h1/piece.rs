//! A few bytes with the count of those who share them.

use bytes::Bytes;

/// A copy of a small answer, in one allocation: a plain copy that is shared takes two. It leaves the buffer that was read
/// into to its connection, where a buffer that is shared has to be replaced for the next answer.
pub(super) struct Piece {
    bytes: [u8; Piece::BYTES_MAX],
    length: usize,
}

impl Piece {
    /// Measured: clearing and moving a larger one costs what it saves.
    pub(super) const BYTES_MAX: usize = 512;

    /// # Panics
    /// If there are more bytes than `BYTES_MAX`.
    pub(super) fn copy(bytes: &[u8]) -> Bytes {
        let mut piece = Piece { bytes: [0; Piece::BYTES_MAX], length: bytes.len() };
        piece.bytes[..bytes.len()].copy_from_slice(bytes);
        Bytes::from_owner(piece)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
