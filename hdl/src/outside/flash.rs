//! The configuration flash.

use crate::mem::{FLASH_BASE, flash_image};

/// A serial flash, clock by clock: what commands 0xAB and 0x3B do; others it does not know.
#[derive(Debug, Clone)]
pub struct FlashChip {
    bytes: Vec<u8>,
    asleep: bool,
    command: u64,
    clocks: usize,
}

impl FlashChip {
    /// With this program, asleep, as it is when an FPGA has been configured from it.
    pub fn new(program: &[u32]) -> Self {
        Self { bytes: flash_image(program), asleep: true, command: 0, clocks: 0 }
    }

    /// What it drives on IO1 and IO0.
    pub fn drives(&self) -> Option<(bool, bool)> {
        let pair = self.clocks.checked_sub(40)?;
        let at = (self.command as usize & 0xff_ffff) + pair / 4;
        let byte =
            at.checked_sub(FLASH_BASE as usize).and_then(|at| self.bytes.get(at)).copied().unwrap_or(0xff);
        let bits = byte >> (6 - 2 * (pair % 4));
        Some((bits & 2 != 0, bits & 1 != 0))
    }

    /// A cycle: whether it is selected, has a clock, and what is driven on IO0.
    ///
    /// # Panics
    /// If that is against the rules of the flash: the design is wrong then.
    pub fn cycle(&mut self, selected: bool, run: bool, io0: Option<bool>) {
        if !selected {
            assert!(!run, "a clock while it is not selected");
            match (self.clocks, self.command) {
                (8, 0xab) => self.asleep = false,
                // Given up, or over.
                (clocks, command) => {
                    assert!(clocks < 32 || command >> 24 == 0x3b, "{clocks} clocks: {command:x}");
                }
            }
            (self.clocks, self.command) = (0, 0);
        } else if run {
            if self.clocks < 32 {
                self.command = self.command << 1 | u64::from(io0.expect("driven"));
            } else {
                assert_eq!(self.command >> 24, 0x3b, "read, dual output");
                assert!(!self.asleep && io0.is_none(), "it answers when it is awake, and on IO0 too");
            }
            self.clocks += 1;
        }
    }
}
