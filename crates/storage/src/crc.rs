//! The one checksum of everything on disk: CRC-32C (Castagnoli), as RFC 3720 uses it.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-32C of the parts as if they were one.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    if let [one] = parts {
        return crc_fast::crc32_iscsi(one);
    }
    let mut digest = Crc32c::new();
    for part in parts {
        digest.update(part);
    }
    digest.value()
}

/// CRC-32C of what comes piece by piece.
pub struct Crc32c(Digest);

impl Crc32c {
    pub fn new() -> Crc32c {
        Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    pub fn value(&self) -> u32 {
        u32::try_from(self.0.finalize()).expect("a 32-bit checksum")
    }
}

impl Default for Crc32c {
    fn default() -> Crc32c {
        Crc32c::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc32c(&[&[0xff; 32]]), 0x62a8_ab43);
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
    }
}
