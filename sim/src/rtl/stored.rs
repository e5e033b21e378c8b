//! A core whose program is in a serial flash, at the speed of that flash.

use super::pins::{Inputs, Outputs, Rtl};
use super::waves::WavesError;
use ironwarp_hdl::mem::{FLASH_EACH, FLASH_FIRST, FLASH_NEXT};
use ironwarp_micro::asm::Program;
use std::path::Path;
use std::sync::Arc;

/// Gives the core the lines of its program that it asks for, as `mem/flash` with a flash behind it would.
pub struct Stored {
    rtl: Box<dyn Rtl>,
    program: Arc<Program>,
    /// The next word, and cycles until it is there.
    reading: Option<(usize, u32)>,
    /// The word behind the last one given.
    behind: usize,
    /// What the core says in this cycle.
    wanted: Option<u16>,
}

impl Stored {
    /// This core with this program.
    pub fn new(rtl: Box<dyn Rtl>, program: Arc<Program>) -> Self {
        Self { rtl, program, reading: None, behind: usize::MAX, wanted: None }
    }
}

impl Rtl for Stored {
    fn settle(&mut self, inputs: &Inputs) -> Outputs {
        let mut inputs = *inputs;
        if let Some((at, 0)) = self.reading {
            inputs.fill = Some(self.program.words.get(at).copied().unwrap_or(0));
        }
        let outputs = self.rtl.settle(&inputs);
        self.wanted = outputs.fill;
        outputs
    }

    fn rise(&mut self) {
        self.reading = match (self.wanted, self.reading) {
            (None, _) => None,
            (Some(line), None) if usize::from(line) == self.behind => Some((self.behind, FLASH_NEXT - 1)),
            (Some(line), None) => Some((line.into(), FLASH_FIRST - 1)),
            (_, Some((at, 0))) => {
                self.behind = at + 1;
                Some((self.behind, FLASH_EACH - 1))
            }
            (_, Some((at, wait))) => Some((at, wait - 1)),
        };
        self.rtl.rise();
    }

    fn trace(&mut self, path: &Path) -> Result<(), WavesError> {
        self.rtl.trace(path)
    }

    fn dump(&mut self, time: u64) {
        self.rtl.dump(time);
    }
}
