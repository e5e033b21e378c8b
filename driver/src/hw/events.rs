//! The event queue.

use super::{Hw, HwError};
use crate::transport::DmaBuffer;
use ironwarp_proto::abi::event::{self, Event};
use ironwarp_proto::abi::regs;

/// Reader of the event queue.
pub struct EventQueue {
    ring: DmaBuffer,
    log2: u8,
    consumer: u16,
    /// Events taken since the last time it was found empty.
    burst: u32,
}

impl EventQueue {
    /// Start a queue of `2^log2` events.
    pub fn start(hw: &Hw, log2: u8) -> Result<Self, HwError> {
        let ring = hw.transport().alloc(event::SIZE << log2)?;
        hw.start_ring(regs::EQ_BASE_LO, regs::EQ_LOG2, &ring, log2)?;
        Ok(Self { ring, log2, consumer: 0, burst: 0 })
    }

    /// The next event. Entries of unknown type are skipped: a newer device may have more to say than we ask for.
    pub fn take(&mut self) -> Option<Event> {
        loop {
            let slot = usize::from(self.consumer) & ((1 << self.log2) - 1);
            let phase = self.consumer >> self.log2 & 1 == 0;
            let is_valid = |word| Event::is_valid(word, phase);
            let words = super::read_entry(&self.ring, slot * event::SIZE, event::VALID_OFFSET, is_valid)?;
            self.consumer = self.consumer.wrapping_add(1);
            self.burst = self.burst.saturating_add(1);
            match Event::decode(&words) {
                Some(event) => return Some(event),
                None => tracing::warn!(word = words[0], "event of unknown type ignored"),
            }
        }
    }

    /// Tell the device what was taken; says whether the queue may have been full meanwhile, so that events were lost.
    pub fn acknowledge(&mut self, hw: &Hw) -> Result<bool, HwError> {
        if self.burst == 0 {
            return Ok(false);
        }
        hw.write(regs::EQ_CONSUMER, self.consumer.into())?;
        // The device drops an event only if a whole ring waits for us: then we have just taken a whole ring.
        let was_full = self.burst >> self.log2 != 0;
        self.burst = 0;
        if was_full { hw.take_event_overflow() } else { Ok(false) }
    }
}
