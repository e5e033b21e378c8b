//! The host ABI: what a driver and a device say to each other through registers, doorbells and host memory.
//!
//! Rules that hold everywhere, chosen so that a small state machine can fetch and parse in order:
//! - All structures are 32-bit little-endian words, naturally aligned, of fixed size; reserved fields are written 0 and
//!   ignored.
//! - Rings hold a power of two of entries. Indices are free-running 16-bit numbers; slot = index mod size.
//! - Host addresses are 64-bit device addresses (IOVA); a region or a ring is contiguous in them.
//! - `wr_id` and other host bookkeeping never reach the device: an entry is named by its queue and index.
//!
//! Every field is declared once, as a [`Field`]; the codecs here and `docs/registers.md` are made from these declarations.

pub mod completion;
pub mod context;
pub mod doc;
pub mod doorbell;
pub mod event;
pub mod field;
pub mod queue;
pub mod raw;
pub mod receive_entry;
pub mod region;
pub mod regs;
pub mod send_entry;
pub mod window;

pub use field::{Field, Layout};

/// `ID` register of every Ironwarp device: "IWRP" in memory order.
pub const DEVICE_ID: u32 = u32::from_le_bytes(*b"IWRP");
/// ABI version, major in the upper half: drivers refuse another major.
pub const ABI_VERSION: u32 = 0x0001_0000;

/// Free-running 16-bit ring index arithmetic.
///
/// A doorbell carries an absolute index, so a lost or merged one is harmless. With `d` = `new - current` modulo 2^16:
/// `0 <= d <= room` is taken, `-size <= d < 0` is a stale doorbell and ignored, anything else is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doorbell {
    /// Advance by this many entries.
    Advance(u16),
    /// Older than what is known; ignore.
    Stale,
    /// Impossible; the queue is broken.
    Invalid,
}

/// Judge doorbell index `new` against the `current` one of a ring of `size` entries with `room` entries to go.
pub fn judge_doorbell(current: u16, new: u16, room: u16, size: u16) -> Doorbell {
    let distance = new.wrapping_sub(current);
    if distance <= room {
        Doorbell::Advance(distance)
    } else if current.wrapping_sub(new) <= size {
        Doorbell::Stale
    } else {
        Doorbell::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doorbells_are_judged_around_the_wrap() {
        assert_eq!(judge_doorbell(65_530, 4, 16, 16), Doorbell::Advance(10));
        assert_eq!(judge_doorbell(4, 65_530, 16, 16), Doorbell::Stale);
        assert_eq!(judge_doorbell(4, 4, 0, 16), Doorbell::Advance(0));
        assert_eq!(judge_doorbell(4, 21, 16, 16), Doorbell::Invalid);
        assert_eq!(judge_doorbell(4, 5, 0, 16), Doorbell::Invalid);
    }
}
