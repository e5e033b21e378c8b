//! A connection in stream mode: plain TCP between two byte rings in host memory.

use super::core::Core;
use super::rdma::Cut;
use ironwarp_proto::abi::context::{Context, StreamStatus};
use ironwarp_proto::abi::doorbell::{STREAM_ARM_RX, STREAM_ARM_TX};
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::pins::DmaFault;
use ironwarp_proto::seq::Seq;

/// A byte ring in host memory, a power of two long.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    base: u64,
    size: u32,
}

impl Bytes {
    /// Address and length of the contiguous parts of `len` bytes at stream offset `offset`.
    fn parts(self, offset: u32, len: u32) -> [(u64, u32); 2] {
        let at = offset & (self.size - 1);
        let first = len.min(self.size - at);
        [(self.base.wrapping_add(u64::from(at)), first), (self.base, len - first)]
    }
}

/// State of a connection in stream mode. Offsets count bytes since the hand-over, modulo 2^32.
pub struct Stream {
    qp: u16,
    send: Bytes,
    start: Seq,
    /// Bytes that software has written.
    written: u32,
    /// Where FIN stands, once it was sent.
    last: Option<Seq>,
    receive: Bytes,
    /// Bytes that software has taken.
    consumed: u32,
    status_at: u64,
    status: StreamStatus,
    changed: u32,
    armed: u32,
}

impl Stream {
    /// A connection as software hands it over.
    pub fn new(context: &Context, qp: u16) -> Self {
        Self {
            qp,
            send: Bytes { base: context.sq_base, size: 1 << context.sq_log2 },
            start: Seq(context.snd_nxt),
            written: 0,
            last: None,
            receive: Bytes { base: context.rq_base, size: 1 << context.rq_log2 },
            consumed: 0,
            status_at: context.staging,
            status: StreamStatus::default(),
            changed: 0,
            armed: 0,
        }
    }

    /// `STREAM_SEND`; `false` if it claims more than the ring holds.
    pub fn post(&mut self, offset: u32) -> bool {
        let room = self.send.size - self.written.wrapping_sub(self.status.acked);
        move_offset(&mut self.written, offset, room, self.send.size)
    }

    /// `STREAM_CONSUMED`; `false` if it claims more than was received.
    pub fn consume(&mut self, offset: u32) -> bool {
        let filled = self.status.received.wrapping_sub(self.consumed);
        move_offset(&mut self.consumed, offset, filled, self.receive.size)
    }

    /// `STREAM_ARM`: at once if the status is newer than what software has seen.
    pub fn arm(&mut self, core: &mut Core, value: u32) {
        self.armed |= value & (STREAM_ARM_RX | STREAM_ARM_TX);
        if self.armed != 0 && self.status.sequence as u16 != value as u16 {
            self.fire(core);
        }
    }

    fn fire(&mut self, core: &mut Core) {
        self.armed = 0;
        core.host.event(EventKind::Stream, 0, self.qp, [0; 2]);
    }

    /// Free space of the receive ring.
    pub fn window(&self) -> u32 {
        self.receive.size - self.status.received.wrapping_sub(self.consumed)
    }

    /// Size of the receive ring.
    pub fn receive_size(&self) -> u32 {
        self.receive.size
    }

    /// Sequence number behind everything written, or of FIN.
    pub fn end(&self) -> Seq {
        self.last.unwrap_or(self.start + self.written)
    }

    /// FIN leaves behind what is written: the stream has an end.
    pub fn close(&mut self) {
        self.last = Some(self.end());
    }

    /// How much from `from` on makes a segment of at most `room` bytes. `Some` with length 0: something waits that should not
    /// be cut this small (sender's silly window avoidance).
    pub fn plan(&self, from: Seq, room: u32, may_cut: bool, mss: u32) -> Option<Cut> {
        let waiting = self.end().diff(from).max(0) as u32;
        if waiting == 0 {
            return None;
        }
        let len = waiting.min(room);
        let silly = len < waiting && len < mss && !may_cut;
        Some(Cut { len: if silly { 0 } else { len }, push: len == waiting })
    }

    /// Append `len` bytes from `from` on.
    pub fn build(&self, core: &mut Core, from: Seq, len: u32, out: &mut Vec<u8>) -> Result<(), DmaFault> {
        for (addr, len) in self.send.parts(from.0.wrapping_sub(self.start.0), len) {
            let start = out.len();
            out.resize(start + len as usize, 0);
            core.host.read(addr, &mut out[start..])?;
        }
        Ok(())
    }

    /// TCP has acknowledged everything before `una`.
    pub fn acknowledged(&mut self, una: Seq) {
        // FIN is not a byte of the stream.
        self.status.acked = una.min(self.end()).0.wrapping_sub(self.start.0);
        self.changed |= STREAM_ARM_TX;
    }

    /// Take bytes that TCP delivers, never more than the window offered.
    pub fn receive(&mut self, core: &mut Core, bytes: &[u8]) -> Result<(), DmaFault> {
        self.keep(core, 0, bytes)?;
        self.join(bytes.len() as u32);
        Ok(())
    }

    /// Put bytes where they belong, `behind` bytes behind what was received; within the window offered.
    pub fn keep(&mut self, core: &mut Core, behind: u32, bytes: &[u8]) -> Result<(), DmaFault> {
        let mut rest = bytes;
        for (addr, len) in self.receive.parts(self.status.received.wrapping_add(behind), bytes.len() as u32) {
            let (now, later) = rest.split_at(len as usize);
            core.host.write(addr, now)?;
            rest = later;
        }
        core.host.add(Counter::BytesPlaced, bytes.len() as u32);
        Ok(())
    }

    /// The next `len` bytes are in the ring: they are received.
    pub fn join(&mut self, len: u32) {
        if len > 0 {
            self.status.received = self.status.received.wrapping_add(len);
            self.changed |= STREAM_ARM_RX;
        }
    }

    /// The peer's FIN was reached.
    pub fn closed(&mut self) {
        self.status.closed = true;
        self.changed |= STREAM_ARM_RX;
    }

    /// Tell software what changed.
    pub fn publish(&mut self, core: &mut Core) -> Result<(), DmaFault> {
        if self.changed == 0 {
            return Ok(());
        }
        self.status.sequence = self.status.sequence.wrapping_add(1);
        core.host.write(self.status_at, &bytes_of(&self.status.encode()))?;
        if self.armed & std::mem::take(&mut self.changed) != 0 {
            self.fire(core);
        }
        Ok(())
    }
}

/// Move a free-running 32-bit offset forward by at most `room`; stale ones are ignored, others refused.
fn move_offset(current: &mut u32, new: u32, room: u32, size: u32) -> bool {
    let forward = new.wrapping_sub(*current);
    if forward <= room {
        *current = new;
        return true;
    }
    current.wrapping_sub(new) <= size
}
