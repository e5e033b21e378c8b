//! A device on the bench: the least host software that exercises the ABI directly, without driver or connection set-up.

use crate::spy::Spy;
use ironwarp_driver::transport::{DmaBuffer, HostMemory};
use ironwarp_proto::abi::completion::{self, Completion};
use ironwarp_proto::abi::context::{self, Context, Mode, StateWords, encode_template};
use ironwarp_proto::abi::doorbell::{Page, Pages, qp as qp_doorbell};
use ironwarp_proto::abi::event::{self, Event};
use ironwarp_proto::abi::field::{bytes_of, load};
use ironwarp_proto::abi::queue::CqEntry;
use ironwarp_proto::abi::queue::SrqEntry;
use ironwarp_proto::abi::raw::{self, RawHeader};
use ironwarp_proto::abi::receive_entry::{self, ReceiveEntry};
use ironwarp_proto::abi::region::{Region, index_of};
use ironwarp_proto::abi::regs::{self, Command, CommandStatus, Counter, ctrl};
use ironwarp_proto::abi::send_entry::{SLOT, SendEntry, Sge};
use ironwarp_proto::abi::window::{self, Table};
use ironwarp_proto::pins::{Device, Dma, Frame, Nanos};
use ironwarp_sim::engine::Engine;
use ironwarp_sim::model::ModelConfig;
use ironwarp_sim::size::Size;
use std::collections::BTreeMap;
use std::sync::Arc;

/// log2 of the rings that the rig makes.
const LOG2: u8 = 6;

struct Queue {
    ring: DmaBuffer,
    index: u16,
}

/// Rings and areas of a QP.
pub struct QpMemory {
    /// Send ring.
    pub sq: DmaBuffer,
    /// Receive ring.
    pub rq: DmaBuffer,
    /// Save area.
    pub save: DmaBuffer,
    /// Staging area or status block.
    pub staging: DmaBuffer,
    sq_index: u16,
    rq_index: u16,
}

/// A device with a bare host.
pub struct Rig {
    /// The device.
    pub device: Box<dyn Device>,
    /// Host memory.
    pub memory: Arc<HostMemory>,
    /// The device's way to it.
    pub dma: Arc<Spy>,
    /// Time.
    pub now: Nanos,
    pages: Pages,
    regions_log2: u8,
    events: Queue,
    raw_rx: Queue,
    raw_tx: Queue,
    cqs: BTreeMap<u16, Queue>,
    srqs: BTreeMap<u16, SrqMemory>,
    qps: BTreeMap<u16, QpMemory>,
    /// Memory of all regions, which would be unmapped without an owner.
    regions: Vec<DmaBuffer>,
}

/// Ring and table of a shared receive queue.
struct SrqMemory {
    ring: DmaBuffer,
    table: DmaBuffer,
    index: u16,
}

fn buffer(memory: &HostMemory, len: usize) -> DmaBuffer {
    memory.alloc(len).expect("bench memory")
}

impl Rig {
    /// The device under test, brought up: the golden model, or what `IRONWARP_ENGINE` names, [settled](Engine::settled) since the rig
    /// is its clock, of the size that `IRONWARP_CONFIG` names.
    pub fn device() -> Self {
        Self::sized(&Size::from_env().expect("known size").device())
    }

    /// One of this size.
    pub fn sized(config: &ModelConfig) -> Self {
        let engine = Engine::from_env().expect("known engine").settled();
        Self::new(|dma| engine.device(config, dma).expect("device under test"))
    }

    /// Any device, brought up.
    pub fn new(make: impl FnOnce(Arc<dyn Dma>) -> Box<dyn Device>) -> Self {
        Self::try_new(|dma| Some(make(dma))).expect("device")
    }

    /// Any device, brought up, if there is one.
    pub fn try_new(make: impl FnOnce(Arc<dyn Dma>) -> Option<Box<dyn Device>>) -> Option<Self> {
        let memory = HostMemory::new();
        let dma = Arc::new(Spy::new(memory.clone()));
        let mut device = make(dma.clone())?;
        assert_eq!(device.read32(0, regs::ID), ironwarp_proto::abi::DEVICE_ID);
        let limits = device.read32(0, regs::LIMITS0);
        let pages = Pages::from_registers(device.read32(0, regs::DOORBELLS), limits).expect("doorbell pages");
        let queue = |bytes: usize| Queue { ring: buffer(&memory, bytes << LOG2), index: 0 };
        let (events, raw_rx, raw_tx) = (queue(event::SIZE), queue(raw::SLOT), queue(raw::SLOT));
        for (ring, base) in
            [(&events, regs::EQ_BASE_LO), (&raw_rx, regs::RAWRX_BASE_LO), (&raw_tx, regs::RAWTX_BASE_LO)]
        {
            device.write32(0, base, ring.ring.addr() as u32);
            device.write32(0, base + 4, (ring.ring.addr() >> 32) as u32);
            device.write32(0, base + 8, LOG2.into());
        }
        let [a, b, c, d, e, f] = MAC;
        device.write32(0, regs::MAC_LO, u32::from_le_bytes([a, b, c, d]));
        device.write32(0, regs::MAC_HI, u32::from_le_bytes([e, f, 0, 0]));
        device.write32(0, regs::CTRL, ctrl::RX_ENABLE | ctrl::TX_ENABLE);
        device.write32(0, regs::EQ_CTRL, 1);
        Some(Self {
            device,
            memory,
            dma,
            now: 0,
            pages,
            regions_log2: limits.to_le_bytes()[1],
            events,
            raw_rx,
            raw_tx,
            cqs: BTreeMap::new(),
            srqs: BTreeMap::new(),
            qps: BTreeMap::new(),
            regions: Vec::new(),
        })
    }

    /// Write a register.
    pub fn write(&mut self, offset: u32, value: u32) {
        self.device.write32(self.now, offset, value);
    }
    /// Read a register.
    pub fn read(&mut self, offset: u32) -> u32 {
        self.device.read32(self.now, offset)
    }
    /// Ring a doorbell.
    pub fn ring(&mut self, page: Page, doorbell: u32, value: u32) {
        self.write(self.pages.offset(page, doorbell), value);
    }
    /// Value of a counter.
    pub fn counter(&mut self, counter: Counter) -> u32 {
        self.read(counter.offset())
    }
    /// Run a command.
    pub fn command(&mut self, command: Command, object: u16, argument: u32) -> CommandStatus {
        self.write(regs::CMD_ARG, argument);
        self.write(regs::CMD, u32::from(object) << 8 | command as u32);
        CommandStatus::from_code(self.read(regs::CMD_STAT) as u8).expect("known status")
    }
    /// Write words through the window.
    pub fn window(&mut self, table: Table, object: u16, first: u8, words: &[u32]) {
        self.write(regs::WIN_ADDR, window::address(table, object, first));
        for word in words {
            self.write(regs::WIN_DATA, *word);
        }
    }
    /// State words of a QP.
    pub fn state(&mut self, qp: u16) -> StateWords {
        self.write(regs::WIN_ADDR, window::address(Table::State, qp, 0));
        let words = [(); context::STATE_WORDS].map(|()| self.read(regs::WIN_DATA));
        StateWords::decode(&words)
    }

    /// Start completion queue `number` with `2^log2` entries.
    pub fn cq(&mut self, number: u16, log2: u8) {
        let ring = buffer(&self.memory, completion::SIZE << log2);
        self.window(Table::Cq, number, 0, &CqEntry { base: ring.addr(), log2 }.encode());
        assert_eq!(self.command(Command::StartCq, number, 0), CommandStatus::Ok);
        self.cqs.insert(number, Queue { ring, index: 0 });
    }

    /// Start shared receive queue `number` for buffers of `pd`.
    pub fn srq(&mut self, number: u16, pd: u16) {
        let ring = buffer(&self.memory, 4 << LOG2);
        let table = buffer(&self.memory, receive_entry::SIZE << LOG2);
        let entry = SrqEntry { ring: ring.addr(), table: table.addr(), log2: LOG2, pd };
        self.window(Table::Srq, number, 0, &entry.encode());
        assert_eq!(self.command(Command::StartSrq, number, 0), CommandStatus::Ok);
        self.srqs.insert(number, SrqMemory { ring, table, index: 0 });
    }

    /// Post entry `slot` of a shared receive queue's table.
    pub fn post_shared(&mut self, number: u16, slot: u16, sges: Vec<Sge>) {
        let srq = self.srqs.get_mut(&number).expect("SRQ exists");
        let words = ReceiveEntry { index: slot, sges }.encode();
        assert!(srq.table.write(usize::from(slot) * receive_entry::SIZE, &bytes_of(&words)));
        assert!(srq.ring.write(usize::from(srq.index % (1 << LOG2)) * 4, &u32::from(slot).to_le_bytes()));
        srq.index = srq.index.wrapping_add(1);
        let producer = srq.index;
        self.ring(Page::Srq(number), ironwarp_proto::abi::doorbell::srq::PRODUCER, producer.into());
    }

    /// New completions of a queue; with `consume` the device is told.
    pub fn completions(&mut self, number: u16, consume: bool) -> Vec<Completion> {
        let queue = self.cqs.get_mut(&number).expect("queue exists");
        let size = (queue.ring.len() / completion::SIZE) as u16;
        let mut found = Vec::new();
        loop {
            let mut bytes = [0; completion::SIZE];
            let at = usize::from(queue.index % size) * completion::SIZE;
            assert!(queue.ring.read(at, &mut bytes));
            let words: [u32; 8] = load(&bytes);
            let phase = (queue.index / size).is_multiple_of(2);
            if !Completion::is_valid(words[7], phase) {
                break;
            }
            found.push(Completion::decode(&words));
            queue.index = queue.index.wrapping_add(1);
        }
        let index = queue.index;
        if consume && !found.is_empty() {
            self.ring(Page::Cq(number), ironwarp_proto::abi::doorbell::cq::CONSUMER, index.into());
        }
        found
    }

    /// New events.
    pub fn events(&mut self) -> Vec<Event> {
        let mut found = Vec::new();
        loop {
            let mut bytes = [0; event::SIZE];
            let at = usize::from(self.events.index % (1 << LOG2)) * event::SIZE;
            assert!(self.events.ring.read(at, &mut bytes));
            let words: [u32; 4] = load(&bytes);
            if !Event::is_valid(words[3], self.events.index >> LOG2 & 1 == 0) {
                break;
            }
            found.push(Event::decode(&words).expect("known event"));
            self.events.index = self.events.index.wrapping_add(1);
        }
        let index = self.events.index;
        self.write(regs::EQ_CONSUMER, index.into());
        found
    }

    /// New raw frames.
    pub fn raw_frames(&mut self) -> Vec<(RawHeader, Frame)> {
        let mut found = Vec::new();
        loop {
            let slot = usize::from(self.raw_rx.index % (1 << LOG2)) * raw::SLOT;
            let mut header = [0; 16];
            assert!(self.raw_rx.ring.read(slot, &mut header));
            let words: [u32; 4] = load(&header);
            if !RawHeader::is_valid(words[0], self.raw_rx.index >> LOG2 & 1 == 0) {
                break;
            }
            let header = RawHeader::decode(&words);
            let mut frame = vec![0; header.length.into()];
            assert!(self.raw_rx.ring.read(slot + raw::FRAME_OFFSET, &mut frame));
            found.push((header, frame));
            self.raw_rx.index = self.raw_rx.index.wrapping_add(1);
        }
        let index = self.raw_rx.index;
        self.write(regs::RAWRX_CONSUMER, index.into());
        found
    }

    /// Send or inject a raw frame.
    pub fn raw_send(&mut self, frame: &[u8], inject: bool) {
        let slot = usize::from(self.raw_tx.index % (1 << LOG2)) * raw::SLOT;
        let header = RawHeader { length: frame.len() as u16, inject, ..RawHeader::default() };
        assert!(self.raw_tx.ring.write(slot, &bytes_of(&header.encode(true))));
        assert!(self.raw_tx.ring.write(slot + raw::FRAME_OFFSET, frame));
        self.raw_tx.index = self.raw_tx.index.wrapping_add(1);
        let index = self.raw_tx.index;
        self.write(regs::RAWTX_PRODUCER, index.into());
    }

    /// A region with this STag over fresh memory; `base` is the TO of its first byte, else its device address.
    pub fn region(&mut self, stag: u32, base: Option<u64>, len: usize, access: u8, pd: u16) -> DmaBuffer {
        let memory = buffer(&self.memory, len);
        let host = memory.addr();
        let base = base.unwrap_or(host);
        self.entry(&Region {
            valid: true,
            access,
            pd,
            length: len as u64,
            base,
            host,
            stag,
            ..Region::default()
        });
        self.regions.push(memory.clone());
        memory
    }

    /// Write a region entry.
    pub fn entry(&mut self, region: &Region) {
        let words = region.encode();
        let index = index_of(region.stag, self.regions_log2);
        self.window(Table::Region, index, 1, &words[1..]);
        self.window(Table::Region, index, 0, &words[..1]);
    }

    /// Activate a QP: fills in the queues and areas of `context`.
    pub fn activate(&mut self, number: u16, mut context: Context, headers: &[u8; 54]) {
        let stream = context.mode == Mode::Stream;
        if context.sq_log2 == 0 {
            context.sq_log2 = if stream { 16 } else { LOG2 };
            context.rq_log2 = if stream { 16 } else { LOG2 };
        }
        let (sq_slot, rq_slot) = if stream { (1, 1) } else { (SLOT, receive_entry::SIZE) };
        let memory = QpMemory {
            sq: buffer(&self.memory, sq_slot << context.sq_log2),
            rq: buffer(&self.memory, rq_slot << context.rq_log2),
            save: buffer(&self.memory, context::SAVE_BYTES),
            staging: buffer(&self.memory, 66 << 10),
            sq_index: 0,
            rq_index: 0,
        };
        context.sq_base = memory.sq.addr();
        context.rq_base = memory.rq.addr();
        context.save = memory.save.addr();
        context.staging = memory.staging.addr();
        self.window(Table::Context, number, 0, &context.encode());
        self.window(Table::Template, number, 0, &encode_template(headers));
        assert_eq!(self.command(Command::Activate, number, 0), CommandStatus::Ok);
        self.qps.insert(number, memory);
    }

    /// Memory of a QP.
    pub fn qp_memory(&self, number: u16) -> &QpMemory {
        &self.qps[&number]
    }

    /// Post a send entry; its index.
    pub fn post_send(&mut self, qp: u16, entry: &SendEntry) -> u16 {
        let memory = self.qps.get_mut(&qp).expect("QP exists");
        let index = memory.sq_index;
        let words = SendEntry { index, ..entry.clone() }.encode();
        for (slot, words) in words.chunks(16).enumerate() {
            let at = usize::from(index.wrapping_add(slot as u16) % (1 << LOG2)) * SLOT;
            assert!(memory.sq.write(at, &bytes_of(words)));
        }
        memory.sq_index = index.wrapping_add(entry.slots());
        let producer = memory.sq_index;
        self.ring(Page::Qp(qp), qp_doorbell::SQ_PRODUCER, producer.into());
        index
    }

    /// Post a receive entry; its index.
    pub fn post_receive(&mut self, qp: u16, entry: &ReceiveEntry) -> u16 {
        let memory = self.qps.get_mut(&qp).expect("QP exists");
        let index = memory.rq_index;
        let words = ReceiveEntry { index, ..entry.clone() }.encode();
        let at = usize::from(index % (1 << LOG2)) * receive_entry::SIZE;
        assert!(memory.rq.write(at, &bytes_of(&words)));
        memory.rq_index = index.wrapping_add(1);
        let producer = memory.rq_index;
        self.ring(Page::Qp(qp), qp_doorbell::RQ_PRODUCER, producer.into());
        index
    }

    /// Everything the device wants to send now.
    pub fn frames(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.device.transmit(self.now)).collect()
    }

    /// Let `time` pass, with all timers on the way; the frames sent meanwhile.
    pub fn elapse(&mut self, time: Nanos) -> Vec<Frame> {
        let until = self.now + time;
        let mut sent = self.frames();
        while let Some(at) = self.device.next_event().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.device.advance(self.now);
            sent.extend(self.frames());
        }
        self.now = until;
        sent
    }
}

/// MAC address of the device.
pub const MAC: [u8; 6] = [2, 0x1a, 0xce, 0, 0, 1];
