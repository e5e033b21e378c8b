//! Raw frames: the device's rings, and who handles what comes through them.

use super::{Hw, HwError};
use crate::transport::DmaBuffer;
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::raw::{FRAME_MAX, FRAME_OFFSET, RawHeader, SLOT, VALID_OFFSET};
use ironwarp_proto::abi::regs;
use ironwarp_proto::pins::{Frame, Nanos};

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutFrame {
    /// Ethernet frame without FCS.
    pub bytes: Frame,
    /// Feed it to the device's own receive path instead of the wire.
    pub inject: bool,
}

/// A connection that was handed to the device comes back to software.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionNotice {
    /// Both sides have sent FIN and ours is acknowledged. The device has forgotten the connection; software keeps
    /// TIME-WAIT and answers a repeated FIN.
    Closed {
        /// QP that carried it.
        qp: u16,
        /// Sequence number behind our FIN.
        snd_nxt: u32,
        /// Sequence number behind the peer's FIN.
        rcv_nxt: u32,
    },
    /// The connection was given up and the device has forgotten it; software sends RST.
    Aborted {
        /// QP that carried it.
        qp: u16,
        /// Next sequence number to send: that of the RST.
        snd_nxt: u32,
        /// Next sequence number expected.
        rcv_nxt: u32,
    },
    /// The peer has reset the connection; the device has forgotten it and nothing is to be sent.
    Reset {
        /// QP that carried it.
        qp: u16,
    },
}

/// Software behind the raw rings: ARP, ICMP, TCP set-up and teardown.
///
/// It is called from the service routine, one call at a time. It may use queue pairs, but must not wait on the transport
/// or call the service routine. It is owned by the context: hold no `Context` or queue pair of an idle connection in it,
/// or neither is ever freed.
pub trait RawHandler: Send {
    /// A frame has come. Its length is that of the frame, cut to a slot if `header.truncated`.
    fn receive(&mut self, now: Nanos, header: &RawHeader, frame: &[u8]);
    /// A connection came back from the device.
    fn connection(&mut self, now: Nanos, notice: ConnectionNotice);
    /// Run timers; returns when they are due next.
    fn poll(&mut self, now: Nanos) -> Option<Nanos>;
    /// The next frame to send, if any. A frame taken is sent, in order, however long the ring is full.
    fn next_frame(&mut self) -> Option<OutFrame>;
}

/// Reader of the raw receive ring.
pub struct RawReceiver {
    ring: DmaBuffer,
    log2: u8,
    consumer: u16,
    told: u16,
}

impl RawReceiver {
    /// Start a ring of `2^log2` slots.
    pub fn start(hw: &Hw, log2: u8) -> Result<Self, HwError> {
        let ring = hw.transport().alloc(SLOT << log2)?;
        hw.start_ring(regs::RAWRX_BASE_LO, regs::RAWRX_LOG2, &ring, log2)?;
        Ok(Self { ring, log2, consumer: 0, told: 0 })
    }

    /// The next frame and its header.
    pub fn take(&mut self) -> Option<(RawHeader, Frame)> {
        let base = (usize::from(self.consumer) & ((1 << self.log2) - 1)) * SLOT;
        let phase = self.consumer >> self.log2 & 1 == 0;
        let is_valid = |word| RawHeader::is_valid(word, phase);
        let words = super::read_entry(&self.ring, base, VALID_OFFSET, is_valid)?;
        let header = RawHeader::decode(&words);
        let mut frame = vec![0; usize::from(header.length).min(FRAME_MAX)];
        if !self.ring.read(base + FRAME_OFFSET, &mut frame) {
            return None;
        }
        self.consumer = self.consumer.wrapping_add(1);
        Some((header, frame))
    }

    /// Give the slots taken back to the device.
    pub fn acknowledge(&mut self, hw: &Hw) -> Result<(), HwError> {
        if self.told != self.consumer {
            hw.write(regs::RAWRX_CONSUMER, self.consumer.into())?;
            self.told = self.consumer;
        }
        Ok(())
    }
}

/// Writer of the raw transmit ring.
pub struct RawTransmitter {
    ring: DmaBuffer,
    log2: u8,
    producer: u16,
    told: u16,
    consumer: u16,
}

impl RawTransmitter {
    /// Start a ring of `2^log2` slots.
    pub fn start(hw: &Hw, log2: u8) -> Result<Self, HwError> {
        let ring = hw.transport().alloc(SLOT << log2)?;
        hw.start_ring(regs::RAWTX_BASE_LO, regs::RAWTX_LOG2, &ring, log2)?;
        Ok(Self { ring, log2, producer: 0, told: 0, consumer: 0 })
    }

    /// Put a frame into the ring; `false`, and nothing happens, if the ring is full. Frames longer than a slot are dropped:
    /// no link carries them.
    pub fn push(&mut self, hw: &Hw, frame: &OutFrame) -> Result<bool, HwError> {
        let Some(length) = u16::try_from(frame.bytes.len()).ok().filter(|len| usize::from(*len) <= FRAME_MAX)
        else {
            tracing::warn!(len = frame.bytes.len(), "frame longer than a raw slot dropped");
            return Ok(true);
        };
        if self.producer.wrapping_sub(self.consumer) >> self.log2 != 0 {
            let consumer = hw.read(regs::RAWTX_PRODUCER)? as u16;
            // A consumer that runs ahead of the producer is the device's mistake: better no frame than a torn one.
            if self.producer.wrapping_sub(consumer) >> self.log2 != 0 {
                return Ok(false);
            }
            self.consumer = consumer;
        }
        let base = (usize::from(self.producer) & ((1 << self.log2) - 1)) * SLOT;
        let header = RawHeader { length, inject: frame.inject, ..RawHeader::default() };
        let stored = self.ring.write(base + FRAME_OFFSET, &frame.bytes)
            && self.ring.write(base, &bytes_of(&header.encode(false)));
        debug_assert!(stored);
        self.producer = self.producer.wrapping_add(1);
        Ok(true)
    }

    /// Tell the device about the frames pushed.
    pub fn flush(&mut self, hw: &Hw) -> Result<(), HwError> {
        if self.told != self.producer {
            hw.write(regs::RAWTX_PRODUCER, self.producer.into())?;
            self.told = self.producer;
        }
        Ok(())
    }
}
