//! Which partition a record goes to when nobody says so: by its key as widely used clients choose
//! it, so that records of one key meet in one partition whoever publishes them.

/// The partition for a key, of `partitions`: MurmurHash2 of 32 bits, its sign dropped, modulo.
///
/// # Panics
/// If there are none.
pub fn by_key(key: &[u8], partitions: usize) -> usize {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// MurmurHash2 (Austin Appleby, public domain) with the seed that these clients share.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_other_clients_hash_them() {
        // Values known from the tests of a widely used client.
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, want) in cases {
            assert_eq!(murmur2(key).cast_signed(), want, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn every_partition_gets_about_its_share() {
        let mut counts = [0; 7];
        for number in 0..7000 {
            counts[by_key(format!("key-{number}").as_bytes(), 7)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(by_key(b"any", 1), 0);
    }
}
