//! Two simulations of a core side by side: any difference is told and counted.

use super::pins::{Inputs, Outputs, Rtl};
use super::waves::WavesError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a comparison has seen.
#[derive(Debug, Default)]
pub struct Comparison {
    cycles: AtomicU64,
    mismatches: AtomicU64,
}

impl Comparison {
    /// Cycles compared.
    pub fn cycles(&self) -> u64 {
        self.cycles.load(Ordering::Relaxed)
    }
    /// Cycles in which an output differed.
    pub fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }
}

/// Gives both the same inputs and compares every output in every cycle. What goes on is what the first says.
pub struct Compared {
    first: Box<dyn Rtl>,
    second: Box<dyn Rtl>,
    seen: Arc<Comparison>,
}

impl Compared {
    /// These two, which must be in the same state.
    pub fn new(first: Box<dyn Rtl>, second: Box<dyn Rtl>, seen: Arc<Comparison>) -> Self {
        Self { first, second, seen }
    }
}

impl Rtl for Compared {
    fn settle(&mut self, inputs: &Inputs) -> Outputs {
        let (ours, theirs) = (self.first.settle(inputs), self.second.settle(inputs));
        let cycle = self.seen.cycles.fetch_add(1, Ordering::Relaxed);
        if ours != theirs {
            let before = self.seen.mismatches.fetch_add(1, Ordering::Relaxed);
            if before == 0 {
                tracing::error!("cycle {cycle}: {ours:x?} and {theirs:x?} with {inputs:x?}");
            }
        }
        ours
    }

    fn rise(&mut self) {
        self.first.rise();
        self.second.rise();
    }

    fn trace(&mut self, path: &Path) -> Result<(), WavesError> {
        self.first.trace(path)
    }

    fn dump(&mut self, ps: u64) {
        self.first.dump(ps);
    }
}
