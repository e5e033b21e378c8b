//! Shared receive queues.

use super::pd::PdInner;
use super::{ProtectionDomain, ReceiveRequest};
use crate::error::{Error, PartialPost};
use crate::sync::lock;
use crate::transport::DmaBuffer;
use ironwarp_proto::abi::doorbell::{Page, srq};
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::queue::SrqEntry;
use ironwarp_proto::abi::receive_entry::SIZE;
use ironwarp_proto::abi::regs::Command;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Shape of a shared receive queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SrqConfig {
    /// Entries; the next power of two is used.
    pub depth: u32,
    /// Tell once when fewer entries than this are left; 0: never. See [`SharedReceiveQueue::set_limit`].
    pub limit: u32,
}

/// The table's entries and who has them. The ring cannot overflow: it has as many words as the table has entries.
struct State {
    free: VecDeque<u16>,
    /// `wr_id` of the entries that are not free.
    posted: Vec<Option<u64>>,
    /// Index behind the last word of the ring.
    producer: u16,
    limit_reached: bool,
}

pub(super) struct SrqInner {
    pub(super) pd: Arc<PdInner>,
    number: u16,
    log2: u8,
    ring: DmaBuffer,
    table: DmaBuffer,
    state: Mutex<State>,
}

impl SrqInner {
    pub(super) fn create(pd: &Arc<PdInner>, config: SrqConfig) -> Result<Arc<Self>, Error> {
        let device = &pd.device;
        if device.hw.attributes().max_srq == 0 {
            return Err(Error::Unsupported("shared receive queues"));
        }
        let log2 = device.ring_log2("shared receive queue depth", config.depth, 0)?;
        let ring = device.hw.transport().alloc(4 << log2)?;
        let table = device.hw.transport().alloc(SIZE << log2)?;
        let number = lock(&device.srq_ids).take()?;
        let entry = SrqEntry { ring: ring.addr(), table: table.addr(), log2, pd: pd.id };
        if let Err(error) = device.hw.start_srq(number, &entry) {
            lock(&device.srq_ids).give(number);
            return Err(error.into());
        }
        let state = State {
            free: (0..1 << log2).collect(),
            posted: vec![None; 1 << log2],
            producer: 0,
            limit_reached: false,
        };
        let srq = Arc::new(Self { pd: Arc::clone(pd), number, log2, ring, table, state: Mutex::new(state) });
        lock(&device.objects).srqs.insert(number, Arc::downgrade(&srq));
        if config.limit > 0 {
            srq.set_limit(config.limit)?;
        }
        Ok(srq)
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    fn set_limit(&self, limit: u32) -> Result<(), Error> {
        let depth = 1u32 << self.log2;
        if limit > depth {
            return Err(Error::range("shared receive queue limit", limit, format_args!("0..={depth}")));
        }
        Ok(self.pd.device.hw.ring(Page::Srq(self.number), srq::LIMIT, limit)?)
    }

    /// The device says that few entries are left.
    pub(super) fn limit_reached(&self) {
        lock(&self.state).limit_reached = true;
    }

    /// Table entry `index` is complete: free it. `None` if it was not posted.
    pub(super) fn complete(&self, index: u16) -> Option<u64> {
        let mut state = lock(&self.state);
        let wr_id = state.posted.get_mut(usize::from(index))?.take()?;
        state.free.push_back(index);
        Some(wr_id)
    }

    fn post(&self, state: &mut State, request: &ReceiveRequest) -> Result<(), Error> {
        let mut entry = request.entry(self.pd.device.hw.attributes())?;
        let Some(index) = state.free.pop_front() else {
            return Err(Error::QueueFull { queue: "shared receive", slots: 1 << self.log2 });
        };
        entry.index = index;
        let word = usize::from(state.producer) & ((1 << self.log2) - 1);
        let stored = self.table.write(usize::from(index) * SIZE, &bytes_of(&entry.encode()))
            && self.ring.write(word * 4, &u32::from(index).to_le_bytes());
        debug_assert!(stored);
        if let Some(slot) = state.posted.get_mut(usize::from(index)) {
            *slot = Some(request.wr_id);
        }
        state.producer = state.producer.wrapping_add(1);
        Ok(())
    }
}

impl Drop for SrqInner {
    fn drop(&mut self) {
        let device = &self.pd.device;
        lock(&device.objects).srqs.remove(&self.number);
        match device.hw.command(Command::StopSrq, self.number, 0) {
            Ok(()) => lock(&device.srq_ids).give(self.number),
            Err(error) => {
                tracing::error!(srq = self.number, %error, "not stopped: its rings are not freed");
                std::mem::forget((self.ring.clone(), self.table.clone()));
            }
        }
    }
}

/// Receive buffers that several queue pairs of a protection domain share.
#[derive(Clone)]
pub struct SharedReceiveQueue(pub(super) Arc<SrqInner>);

impl SharedReceiveQueue {
    /// Number of the queue in the device.
    pub fn number(&self) -> u32 {
        self.0.number.into()
    }
    /// Its protection domain.
    pub fn pd(&self) -> ProtectionDomain {
        ProtectionDomain(Arc::clone(&self.0.pd))
    }
    /// Post a buffer.
    pub fn post_receive(&self, request: &ReceiveRequest) -> Result<(), Error> {
        self.post_receive_many(std::slice::from_ref(request)).map_err(|partial| partial.error)
    }
    /// Post buffers with one doorbell.
    pub fn post_receive_many(&self, requests: &[ReceiveRequest]) -> Result<(), PartialPost> {
        let mut state = lock(&self.0.state);
        let mut posted = 0;
        let result = requests.iter().try_for_each(|request| {
            self.0.post(&mut state, request)?;
            posted += 1;
            Ok(())
        });
        let hw = &self.0.pd.device.hw;
        let rung = if posted > 0 {
            hw.ring(Page::Srq(self.0.number), srq::PRODUCER, state.producer.into()).map_err(Error::from)
        } else {
            Ok(())
        };
        result.and(rung).map_err(|error| PartialPost { posted, error })
    }
    /// Tell once, from now on, when fewer than `limit` entries are left; 0 tells nothing.
    pub fn set_limit(&self, limit: u32) -> Result<(), Error> {
        self.0.set_limit(limit)
    }
    /// Whether the limit was reached since the last call. Set it again to be told again.
    pub fn take_limit_event(&self) -> bool {
        std::mem::take(&mut lock(&self.0.state).limit_reached)
    }
}

impl std::fmt::Debug for SharedReceiveQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedReceiveQueue({}, depth {})", self.0.number, 1 << self.0.log2)
    }
}
