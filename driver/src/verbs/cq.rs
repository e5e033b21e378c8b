//! Completion queues.

use super::channel::ChannelInner;
use super::device::Device;
use super::queues::{Queues, Side};
use super::{Notify, WorkCompletion};
use crate::error::Error;
use crate::hw::read_entry;
use crate::sync::lock;
use crate::transport::DmaBuffer;
use ironwarp_proto::abi::completion::{Completion, SIZE, VALID_OFFSET};
use ironwarp_proto::abi::doorbell::{ARM_ANY, ARM_SOLICITED, Page, cq};
use ironwarp_proto::abi::queue::CqEntry;
use ironwarp_proto::abi::regs::Command;
use ironwarp_proto::pins::Nanos;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

/// A completion that does not come from the ring.
enum Pending {
    /// Was taken from the ring early.
    Done(WorkCompletion),
    /// The next entry of a stopped queue. The entry stays posted until it is polled, so that a queue never has more
    /// entries outstanding than slots.
    Flush(Arc<Queues>, Side),
}

struct State {
    consumer: u16,
    /// Consumer index that the device knows.
    told: u16,
    /// Comes before what is in the ring.
    pending: VecDeque<Pending>,
    /// Queue pairs that complete here, by number.
    queues: BTreeMap<u16, Arc<Queues>>,
    armed: Option<Notify>,
    broken: bool,
}

/// A completion queue; shared by its handles and its queue pairs.
pub(super) struct CqInner {
    device: Arc<Device>,
    number: u16,
    log2: u8,
    ring: DmaBuffer,
    state: Mutex<State>,
    channel: Option<Arc<ChannelInner>>,
}

impl CqInner {
    pub(super) fn create(
        device: &Arc<Device>,
        depth: u32,
        channel: Option<Arc<ChannelInner>>,
    ) -> Result<Arc<Self>, Error> {
        let log2 = device.ring_log2("completion queue depth", depth, 1)?;
        let ring = device.hw.transport().alloc(SIZE << log2)?;
        let number = lock(&device.cq_ids).take()?;
        if let Err(error) = device.hw.start_cq(number, &CqEntry { base: ring.addr(), log2 }) {
            lock(&device.cq_ids).give(number);
            return Err(error.into());
        }
        let state = State {
            consumer: 0,
            told: 0,
            pending: VecDeque::new(),
            queues: BTreeMap::new(),
            armed: None,
            broken: false,
        };
        let device = Arc::clone(device);
        let cq = Arc::new(Self { device, number, log2, ring, state: Mutex::new(state), channel });
        lock(&cq.device.objects).cqs.insert(number, Arc::downgrade(&cq));
        Ok(cq)
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }
    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// From now on completions of this queue pair are understood.
    pub(super) fn attach(&self, queues: &Arc<Queues>) {
        lock(&self.state).queues.insert(queues.qp, Arc::clone(queues));
    }

    /// The queue pair is gone, and so are its completions.
    pub(super) fn detach(&self, qp: u16) {
        let mut state = lock(&self.state);
        self.drain(&mut state);
        state.pending.retain(|pending| match pending {
            Pending::Done(completion) => completion.qp != u32::from(qp),
            Pending::Flush(queues, _) => queues.qp != qp,
        });
        state.queues.remove(&qp);
    }

    /// The device has stopped a queue: behind what it completed, all entries left are flushed, and `taken`, a buffer
    /// that a shared receive queue had given to it.
    pub(super) fn flush(self: &Arc<Self>, queues: &Arc<Queues>, side: Side, taken: Option<WorkCompletion>) {
        let mut state = lock(&self.state);
        self.drain(&mut state);
        let entries = queues.len(side);
        let flush = || Pending::Flush(Arc::clone(queues), side);
        state.pending.extend(taken.map(Pending::Done));
        state.pending.extend(std::iter::repeat_with(flush).take(entries));
        self.notify_if(&mut state);
    }

    /// One more entry was posted to a stopped queue.
    pub(super) fn flush_posted(self: &Arc<Self>, queues: &Arc<Queues>, side: Side) {
        let mut state = lock(&self.state);
        state.pending.push_back(Pending::Flush(Arc::clone(queues), side));
        self.notify_if(&mut state);
    }

    /// The device says that the armed queue has something.
    pub(super) fn ready(self: &Arc<Self>) {
        self.fire(&mut lock(&self.state));
    }

    /// The device has dropped a completion.
    pub(super) fn overflowed(self: &Arc<Self>) {
        tracing::error!(cq = self.number, "completion queue overflow: its queue pairs stop");
        let mut state = lock(&self.state);
        state.broken = true;
        self.fire(&mut state);
    }

    fn notify_if(self: &Arc<Self>, state: &mut State) {
        if !state.pending.is_empty() {
            self.fire(state);
        }
    }

    fn fire(self: &Arc<Self>, state: &mut State) {
        if state.armed.take().is_some()
            && let Some(channel) = &self.channel
        {
            channel.push(self);
        }
    }

    fn arm(self: &Arc<Self>, notify: Notify) -> Result<(), Error> {
        let mut state = lock(&self.state);
        // Whatever comes fires it: a doorbell more would only take the device's time.
        let stands = state.armed == Some(notify);
        state.armed = Some(notify);
        if !state.pending.is_empty() {
            self.fire(&mut state);
            return Ok(());
        }
        if stands {
            return Ok(());
        }
        let which = match notify {
            Notify::Any => ARM_ANY,
            Notify::Solicited => ARM_SOLICITED,
        };
        self.device.hw.ring(Page::Cq(self.number), cq::ARM, which | u32::from(state.consumer))?;
        Ok(())
    }

    /// Take the next entry of the ring.
    fn take(&self, state: &mut State) -> Option<Completion> {
        let slot = usize::from(state.consumer) & ((1 << self.log2) - 1);
        let phase = state.consumer >> self.log2 & 1 == 0;
        let words =
            read_entry(&self.ring, slot * SIZE, VALID_OFFSET, |word| Completion::is_valid(word, phase))?;
        state.consumer = state.consumer.wrapping_add(1);
        Some(Completion::decode(&words))
    }

    /// Give the entries taken back to the device.
    fn tell(&self, state: &mut State) {
        if state.told == state.consumer {
            return;
        }
        state.told = state.consumer;
        if let Err(error) = self.device.hw.ring(Page::Cq(self.number), cq::CONSUMER, state.consumer.into()) {
            tracing::error!(cq = self.number, %error, "consumer doorbell");
        }
    }

    /// The next completion in the ring that the application shall see.
    fn next_in_ring(&self, state: &mut State) -> Option<WorkCompletion> {
        let batch = (1u16 << self.log2).div_ceil(4);
        while let Some(cqe) = self.take(state) {
            if state.consumer.wrapping_sub(state.told) >= batch {
                self.tell(state);
            }
            match state.queues.get(&cqe.qp) {
                Some(queues) => {
                    if let Some(completion) = queues.translate(&cqe) {
                        return Some(completion);
                    }
                }
                None => tracing::warn!(?cqe, "completion of an unknown queue pair ignored"),
            }
        }
        self.tell(state);
        None
    }

    /// Empty the ring, so that software's completions come behind the device's.
    fn drain(&self, state: &mut State) {
        // A device that never stops completing must not hold us here: more than a ring cannot be waiting.
        for _ in 0..1u32 << self.log2 {
            match self.next_in_ring(state) {
                Some(completion) => state.pending.push_back(Pending::Done(completion)),
                None => return,
            }
        }
    }

    fn poll(&self, state: &mut State) -> Option<WorkCompletion> {
        while let Some(pending) = state.pending.pop_front() {
            let completion = match pending {
                Pending::Done(completion) => Some(completion),
                Pending::Flush(queues, side) => queues.flush_one(side),
            };
            if completion.is_some() {
                return completion;
            }
        }
        self.next_in_ring(state)
    }
}

impl Drop for CqInner {
    fn drop(&mut self) {
        lock(&self.device.objects).cqs.remove(&self.number);
        match self.device.hw.command(Command::StopCq, self.number, 0) {
            Ok(()) => lock(&self.device.cq_ids).give(self.number),
            Err(error) => {
                tracing::error!(cq = self.number, %error, "not stopped: its ring is not freed");
                std::mem::forget(self.ring.clone());
            }
        }
    }
}

/// A completion queue.
///
/// As in libibverbs, the application makes it deep enough: never more requests that can write a completion may be
/// outstanding on all its queue pairs than it has entries. When it overflows, a completion is lost, all its queue pairs stop with
/// [`QpEvent::Fatal`](super::QpEvent::Fatal), and all their requests are flushed (into memory, so that is not lost).
#[derive(Clone)]
pub struct CompletionQueue(pub(super) Arc<CqInner>);

impl CompletionQueue {
    pub(super) fn upgrade(cq: &Weak<CqInner>) -> Option<Self> {
        cq.upgrade().map(Self)
    }
    /// Number of the queue in the device.
    pub fn number(&self) -> u32 {
        self.0.number.into()
    }
    /// Completions it holds.
    pub fn depth(&self) -> u32 {
        1 << self.0.log2
    }
    /// Whether it has overflowed. Its queue pairs are of no use then, and it takes no new ones.
    pub fn is_broken(&self) -> bool {
        lock(&self.0.state).broken
    }

    /// The next completion, if any.
    pub fn poll(&self) -> Option<WorkCompletion> {
        self.0.poll(&mut lock(&self.0.state))
    }

    /// Fill `out` with the next completions; returns how many.
    pub fn poll_into(&self, out: &mut [WorkCompletion]) -> usize {
        let mut state = lock(&self.0.state);
        let mut count = 0;
        while let Some(slot) = out.get_mut(count)
            && let Some(completion) = self.0.poll(&mut state)
        {
            *slot = completion;
            count += 1;
        }
        count
    }

    /// The next completions, at most `max`.
    pub fn poll_many(&self, max: usize) -> Vec<WorkCompletion> {
        let mut state = lock(&self.0.state);
        std::iter::from_fn(|| self.0.poll(&mut state)).take(max).collect()
    }

    /// Ask for one event when the next completion comes, at once if one that was not polled is there already.
    /// An event may be spurious.
    pub fn arm(&self, notify: Notify) -> Result<(), Error> {
        self.0.arm(notify)
    }

    /// The next completion, waiting for it until `deadline`.
    pub fn wait(&self, deadline: Option<Nanos>) -> Result<WorkCompletion, Error> {
        self.0.device.wait_for(deadline, || {
            if let Some(completion) = self.poll() {
                return Ok(Some(completion));
            }
            // Only an armed queue interrupts.
            if lock(&self.0.state).armed != Some(Notify::Any) {
                self.arm(Notify::Any)?;
            }
            Ok(self.poll())
        })
    }
}

impl PartialEq for CompletionQueue {
    /// Whether both are handles of the same queue.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for CompletionQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CompletionQueue({}, depth {})", self.0.number, self.depth())
    }
}
