//! Device counters, widened to 64 bits.

use super::{Hw, HwError};
use crate::sync::lock;
use ironwarp_proto::abi::regs::{COUNTERS, Counter};
use std::sync::Mutex;

const COUNT: usize = Counter::NAMES.len();

/// A snapshot of the device's counters, extended to 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters([u64; COUNT]);

impl Counters {
    /// One of them.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }
    /// All of them with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::NAMES.iter().copied().zip(self.0)
    }
}

/// Extends the device's 32-bit counters. It must be read at least once while the fastest one wraps: bytes placed at
/// 1 Gbit/s wrap in 34 s.
#[derive(Default)]
pub(crate) struct CounterExtender(Mutex<[(u32, u64); COUNT]>);

impl CounterExtender {
    /// Read the device and add what came since the last time.
    pub(crate) fn read(&self, hw: &Hw) -> Result<Counters, HwError> {
        let mut state = lock(&self.0);
        let mut values = [0; COUNT];
        for (index, ((last, total), value)) in state.iter_mut().zip(&mut values).enumerate() {
            let now = hw.read(COUNTERS + 4 * index as u32)?;
            *total += u64::from(now.wrapping_sub(*last));
            *last = now;
            *value = *total;
        }
        Ok(Counters(values))
    }
}
