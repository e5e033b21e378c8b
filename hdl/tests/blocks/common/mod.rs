//! A bench for one block: clock, co-simulation, stream ends.

mod bench;
pub mod coverage;
mod host;
mod streams;
mod synth;
mod verilated;

pub use bench::Bench;
pub use host::{Commands, Memory, Reads, Writes};
pub use streams::{Packet, Sink, Source};
pub use synth::check_synthesis;

/// Pseudo-random numbers that depend on the seed alone (splitmix64).
pub struct Random(u64);

/// A generator.
pub fn random(seed: u64) -> Random {
    Random(seed)
}

impl Random {
    /// 32 bits.
    pub fn word(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 32) as u32
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: usize) -> usize {
        self.word() as usize % n
    }
}
