//! Access to the device: registers, commands, tables, doorbells, the event queue and raw frames.
//!
//! Nothing here knows verbs. The rules are in `docs/host-abi.md`, the layouts in `ironwarp_proto::abi`.

mod attributes;
mod counters;
mod device;
mod events;
mod ids;
mod raw;

pub use attributes::DeviceAttributes;
pub(crate) use counters::CounterExtender;
pub use counters::Counters;
pub use device::{Hw, HwError, TcpTiming};
pub use events::EventQueue;
pub use ids::{IdPool, StagPool};
pub use raw::{ConnectionNotice, OutFrame, RawHandler, RawReceiver, RawTransmitter};

use crate::transport::DmaBuffer;
use ironwarp_proto::abi::field::load;

/// The entry of `N` words at byte `offset` of a ring that the device writes, if the word at `valid` inside it says that it
/// is there. That word is written last, so it is read first.
pub(crate) fn read_entry<const N: usize>(
    ring: &DmaBuffer,
    offset: usize,
    valid: usize,
    is_valid: impl Fn(u32) -> bool,
) -> Option<[u32; N]> {
    let mut word = [0; 4];
    if !ring.read(offset + valid, &mut word) || !is_valid(u32::from_le_bytes(word)) {
        return None;
    }
    let mut bytes = vec![0; 4 * N];
    ring.read(offset, &mut bytes).then(|| load(&bytes))
}
