//! Values for fields: a small random generator with a fixed start, so that a failure repeats.

use bytes::Bytes;
use sabir_kafka::codec::Records;

/// Texts from empty to more than a one-byte compact length can say.
const TEXTS: [&str; 5] = [
    "",
    "t",
    "orders-7",
    "żółć ☃",
    "0123456789012345678901234567890123456789012345678901234567890123456789\
     0123456789012345678901234567890123456789012345678901234567890123456789",
];

/// Produces one value after another.
#[derive(Clone)]
pub struct Filler {
    state: u64,
    /// Every array has elements and nothing is null.
    full: bool,
}

impl Filler {
    pub fn new(seed: u64, full: bool) -> Self {
        Self { state: seed.wrapping_mul(2).wrapping_add(1), full }
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    pub fn bool(&mut self) -> bool {
        self.full || self.below(2) == 1
    }

    pub fn i8(&mut self) -> i8 {
        self.next() as i8
    }

    pub fn i16(&mut self) -> i16 {
        self.next() as i16
    }

    pub fn i32(&mut self) -> i32 {
        self.next() as i32
    }

    pub fn i64(&mut self) -> i64 {
        self.next() as i64
    }

    pub fn uuid(&mut self) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&self.next().to_be_bytes());
        uuid[8..].copy_from_slice(&self.next().to_be_bytes());
        uuid
    }

    pub fn str(&mut self) -> &'static str {
        if self.full {
            TEXTS[1 + self.below(TEXTS.len() - 1)]
        } else {
            TEXTS[self.below(TEXTS.len())]
        }
    }

    pub fn bytes(&mut self) -> &'static [u8] {
        self.str().as_bytes()
    }

    pub fn records(&mut self) -> Records<'static> {
        let large = Bytes::from(vec![self.i8() as u8; 700]);
        match self.below(4) {
            0 => Records::Slice(self.bytes()),
            1 => Records::One(large),
            2 => Records::One(Bytes::from_static(self.bytes())),
            _ => Records::Many(vec![large.clone(), Bytes::from_static(self.bytes()), large]),
        }
    }

    pub fn option<T>(&mut self, nullable: bool, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if nullable && !self.full && self.below(2) == 0 { None } else { Some(value(self)) }
    }

    pub fn array<T>(&mut self, mut value: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = if self.full { 1 + self.below(2) } else { self.below(3) };
        (0..count).map(|_| value(self)).collect()
    }
}
