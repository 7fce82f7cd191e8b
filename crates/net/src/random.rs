//! The real source of chance: the operating system's generator, read in blocks.

use sabir_broker::random::Random;

const BLOCK_BYTES: usize = 256;

/// Random numbers of the operating system; good enough for secrets. One per thread, so that no
/// lock is needed.
#[derive(Debug)]
pub struct SystemRandom {
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl Default for SystemRandom {
    fn default() -> Self {
        SystemRandom { block: [0; BLOCK_BYTES], used: BLOCK_BYTES }
    }
}

impl SystemRandom {
    fn refill(&mut self) {
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let flags = rustix::rand::GetRandomFlags::empty();
            match rustix::rand::getrandom(&mut self.block[filled..], flags) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                // Ids and nonces without chance would be worse than no server.
                Err(error) => panic!("the operating system gives no random numbers: {error}"),
            }
        }
        self.used = 0;
    }
}

impl Random for SystemRandom {
    fn next(&mut self) -> u64 {
        if self.used + 8 > BLOCK_BYTES {
            self.refill();
        }
        let (from, to) = (self.used, self.used + 8);
        self.used = to;
        let bytes = self.block[from..to].try_into().expect("a slice of eight bytes");
        // What was handed out must not be readable from here later.
        self.block[from..to].fill(0);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn does_not_repeat_itself_over_blocks_and_instances() {
        let (mut one, mut two) = (SystemRandom::default(), SystemRandom::default());
        let drawn: BTreeSet<u64> = (0..100).flat_map(|_| [one.next(), two.next()]).collect();
        assert_eq!(drawn.len(), 200);
    }
}
