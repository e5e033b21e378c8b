//! PCI configuration space of the device: type 0 header, PCI Express capability with function-level reset, MSI-X.

/// Vendor: nobody's; virtual devices without a vendor of their own use it.
pub const VENDOR: u16 = 0x1234;
/// Device: "IW".
pub const DEVICE: u16 = 0x4957;
/// Length, bytes.
pub const LEN: usize = 256;
/// Length of BAR 2, bytes: the MSI-X table, and the pending bits in its upper half.
pub const MSIX_BAR_LEN: u32 = 4096;

const COMMAND: usize = 0x04;
const BAR0: usize = 0x10;
const BAR2: usize = 0x18;
const EXPRESS: usize = 0x40;
const DEVICE_CONTROL: usize = EXPRESS + 8;
const MSIX: usize = 0x80;
const MSIX_CONTROL: usize = MSIX + 2;

/// `COMMAND`: the device may access memory.
const BUS_MASTER: u8 = 1 << 2;
/// `DEVICE_CONTROL`, upper byte: initiate a function-level reset; reads 0.
const FUNCTION_RESET: u8 = 1 << 7;

/// What a write asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing more.
    None,
    /// Bus mastering is on or off.
    BusMaster(bool),
    /// Function-level reset.
    Reset,
}

/// The bytes, and which of their bits software may change.
pub struct ConfigSpace {
    bytes: [u8; LEN],
    writable: [u8; LEN],
    power_up: [u8; LEN],
}

impl ConfigSpace {
    /// That of a device whose BAR 0 has `bar0` bytes, a power of two of at least 4096.
    pub fn new(bar0: u32) -> Self {
        let mut space = Self { bytes: [0; LEN], writable: [0; LEN], power_up: [0; LEN] };
        space.set(0, &VENDOR.to_le_bytes());
        space.set(2, &DEVICE.to_le_bytes());
        // Status: capability list.
        space.set(6, &[0x10]);
        // Revision 0; class: network controller, other.
        space.set(8, &[0, 0, 0x80, 0x02]);
        // Subsystem, pointer to the capabilities; no interrupt pin.
        space.set(0x2c, &VENDOR.to_le_bytes());
        space.set(0x2e, &DEVICE.to_le_bytes());
        space.set(0x34, &[EXPRESS as u8]);
        // Memory space, bus master, parity, SERR, INTx disable.
        space.allow(COMMAND, &[0x46, 0x05]);
        // BARs: 32-bit memory, not prefetchable. The low bits stay 0, which tells the size.
        space.allow(BAR0, &(!(bar0 - 1)).to_le_bytes());
        space.allow(BAR2, &(!(MSIX_BAR_LEN - 1)).to_le_bytes());
        // Cache line, interrupt line: software's notes.
        space.allow(0x0c, &[0xff]);
        space.allow(0x3c, &[0xff]);
        // PCI Express endpoint, version 2; payloads of 256 bytes; function-level reset (bit 28 of the capabilities).
        space.set(EXPRESS, &[0x10, MSIX as u8, 0x02, 0]);
        space.set(EXPRESS + 4, &(1 | 1u32 << 15 | 1 << 28).to_le_bytes());
        space.allow(DEVICE_CONTROL, &[0xff, 0x7f]);
        // Link: 2.5 GT/s, one lane.
        space.set(EXPRESS + 0x0c, &0x11u32.to_le_bytes());
        space.set(EXPRESS + 0x12, &0x11u16.to_le_bytes());
        // MSI-X: one vector; table at 0 and pending bits at half of BAR 2. Enable and function mask are writable.
        space.set(MSIX, &[0x11, 0, 0, 0]);
        space.set(MSIX + 4, &2u32.to_le_bytes());
        space.set(MSIX + 8, &((MSIX_BAR_LEN / 2) | 2).to_le_bytes());
        space.allow(MSIX_CONTROL, &[0, 0xc0]);
        space.power_up = space.bytes;
        space
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn allow(&mut self, at: usize, bits: &[u8]) {
        self.writable[at..at + bits.len()].copy_from_slice(bits);
    }

    /// Copy bytes at `offset` out; `false` behind the end.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> bool {
        let range = range(offset, data.len());
        range.is_some_and(|range| {
            data.copy_from_slice(&self.bytes[range]);
            true
        })
    }

    /// Change what may be changed; `None` behind the end.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Option<Effect> {
        let range = range(offset, data.len())?;
        let reset = DEVICE_CONTROL + 1;
        let asked = range.contains(&reset) && data[reset - range.start] & FUNCTION_RESET != 0;
        let before = self.bus_master();
        for (at, value) in range.zip(data) {
            let writable = self.writable[at];
            self.bytes[at] = self.bytes[at] & !writable | value & writable;
        }
        Some(match self.bus_master() {
            _ if asked => Effect::Reset,
            now if now != before => Effect::BusMaster(now),
            _ => Effect::None,
        })
    }

    fn bus_master(&self) -> bool {
        self.bytes[COMMAND] & BUS_MASTER != 0
    }

    /// As after power-up.
    pub fn reset(&mut self) {
        self.bytes = self.power_up;
    }
}

fn range(offset: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(len).filter(|end| *end <= LEN)?;
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(space: &ConfigSpace, at: u64) -> u32 {
        let mut bytes = [0; 4];
        assert!(space.read(at, &mut bytes));
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn software_finds_the_capabilities_and_sizes_the_bars() {
        let mut space = ConfigSpace::new(1 << 20);
        assert_eq!(word(&space, 0), 0x4957_1234);
        let mut found = Vec::new();
        let mut at = u64::from(word(&space, 0x34) as u8);
        while at != 0 {
            found.push(word(&space, at) as u8);
            at = u64::from((word(&space, at) >> 8) as u8);
        }
        assert_eq!(found, [0x10, 0x11]);
        assert_eq!(word(&space, 0x44) >> 28 & 1, 1, "function-level reset");
        for (bar, size) in [(0x10, 1u32 << 20), (0x14, 0), (0x18, 4096), (0x1c, 0), (0x30, 0)] {
            assert_eq!(space.write(bar, &[0xff; 4]), Some(Effect::None));
            assert_eq!(word(&space, bar), size.wrapping_neg(), "BAR at {bar:#x}");
        }
    }

    #[test]
    fn writes_change_only_what_may_change_and_have_their_effects() {
        let mut space = ConfigSpace::new(4096);
        assert_eq!(space.write(0, &[0xff; 4]), Some(Effect::None));
        assert_eq!(word(&space, 0), 0x4957_1234);
        assert_eq!(space.write(4, &[6, 0]), Some(Effect::BusMaster(true)));
        assert_eq!(space.write(4, &[6, 0]), Some(Effect::None));
        assert_eq!(space.write(0x48, &[0, 0x80]), Some(Effect::Reset));
        assert_eq!(word(&space, 0x48), 0, "the reset bit reads 0");
        assert_eq!(space.write(4, &[2]), Some(Effect::BusMaster(false)));
        space.write(0x10, &[0xff; 4]).unwrap();
        space.reset();
        assert_eq!((word(&space, 4), word(&space, 0x10)), (0x0010_0000, 0));
        for (offset, len) in [(256, 1), (255, 2), (u64::MAX, 1)] {
            assert_eq!(space.write(offset, &vec![0; len]), None);
            assert!(!space.read(offset, &mut vec![0; len]));
        }
    }
}
