//! Counts the cycles that are simulated.

use super::pins::{Inputs, Outputs, Rtl};
use crate::emulated::Meter;
use std::sync::Arc;

/// A core whose cycles are counted.
pub struct Metered {
    rtl: Box<dyn Rtl>,
    meter: Arc<Meter>,
}

impl Metered {
    /// Count the cycles of `rtl` with `meter`.
    pub fn new(rtl: Box<dyn Rtl>, meter: Arc<Meter>) -> Self {
        Self { rtl, meter }
    }
}

impl Rtl for Metered {
    fn settle(&mut self, inputs: &Inputs) -> Outputs {
        self.rtl.settle(inputs)
    }

    fn rise(&mut self) {
        self.meter.simulate();
        self.rtl.rise();
    }
}
