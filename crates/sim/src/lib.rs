//! The whole broker under one seed in one thread: the real protocol machine, the real core and the
//! real storage over a simulated disk, clock and network. A seed is a run; a run that breaks a
//! promise prints how to repeat it.

pub mod chance;
pub mod checkers;
pub mod crash;
pub mod flip;
pub mod life;
pub mod model;
pub mod net;
pub mod plan;
pub mod seed;
pub mod workload;
pub mod world;
