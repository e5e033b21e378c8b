//! What the sequencer spends its cycles on.

use std::sync::atomic::{AtomicU64, Ordering};

/// What made the sequencer run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Reset.
    Boot,
    /// A register was read.
    Read,
    /// A register or doorbell was written.
    Write,
    /// A frame arrived.
    Receive,
    /// The wire was free, and a frame was built.
    Transmit,
    /// The wire was free, and there was nothing to send.
    Idle,
    /// The alarm.
    Time,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 7] =
        [Cause::Boot, Cause::Read, Cause::Write, Cause::Receive, Cause::Transmit, Cause::Idle, Cause::Time];
}

/// How often the sequencer ran, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Runs.
    pub runs: u64,
    /// Cycles in which it did not wait.
    pub cycles: u64,
}

impl std::ops::Sub for Spent {
    type Output = Spent;
    fn sub(self, before: Spent) -> Spent {
        Spent { runs: self.runs - before.runs, cycles: self.cycles - before.cycles }
    }
}

/// What a device has done, shared with whoever measures it.
#[derive(Debug, Default)]
pub struct Meter {
    spent: [[AtomicU64; 2]; Cause::ALL.len()],
}

impl Clone for Meter {
    fn clone(&self) -> Self {
        let copy = |count: &AtomicU64| AtomicU64::new(count.load(Ordering::Relaxed));
        Self { spent: self.spent.each_ref().map(|pair| pair.each_ref().map(copy)) }
    }
}

impl Meter {
    /// Count a run.
    pub(super) fn add(&self, cause: Cause, cycles: u64) {
        let [runs, sum] = &self.spent[cause as usize];
        runs.fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(cycles, Ordering::Relaxed);
    }

    /// What was spent for a cause.
    pub fn spent(&self, cause: Cause) -> Spent {
        let [runs, cycles] = &self.spent[cause as usize];
        Spent { runs: runs.load(Ordering::Relaxed), cycles: cycles.load(Ordering::Relaxed) }
    }

    /// Cycles in all.
    pub fn cycles(&self) -> u64 {
        Cause::ALL.iter().map(|cause| self.spent(*cause).cycles).sum()
    }
}
