//! The chance of one seed: every decision of a run is drawn from it, so a seed is a run.

use sabir_broker::random::{Random, Seeded};

/// Random numbers in the forms that a simulation asks for.
#[derive(Clone, Debug)]
pub struct Chance(Seeded);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(Seeded(seed))
    }

    #[expect(clippy::should_implement_trait, reason = "chance never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length")
    }

    /// True once in `count` times; never for 0.
    pub fn one_in(&mut self, count: u64) -> bool {
        count > 0 && self.below(count) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// A source of its own, for a part whose draws must not shift those of the others.
    pub fn fork(&mut self) -> Seeded {
        Seeded(self.next())
    }
}
