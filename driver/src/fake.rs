//! A scripted device for unit tests: it keeps what the driver writes, and says what the test wants it to say.

use crate::sync::lock;
use crate::transport::{DmaBuffer, HostMemory, Service, Transport, TransportError, Wait};
use ironwarp_proto::abi::completion::Completion;
use ironwarp_proto::abi::context::{QpState, StateWords};
use ironwarp_proto::abi::doorbell::{Page, Pages};
use ironwarp_proto::abi::event::Event;
use ironwarp_proto::abi::field::{bytes_of, load};
use ironwarp_proto::abi::queue::CqEntry;
use ironwarp_proto::abi::raw::{FRAME_OFFSET, RawHeader, SLOT};
use ironwarp_proto::abi::region::{Region, index_of};
use ironwarp_proto::abi::regs::{self, Command, CommandStatus};
use ironwarp_proto::abi::window::{Table, split};
use ironwarp_proto::abi::{ABI_VERSION, DEVICE_ID};
use ironwarp_proto::pins::{Dma, Nanos};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

/// Pages of the fake device: 4 QPs, 4 CQs, 2 SRQs.
pub(crate) const PAGES: Pages = Pages { first: 0x1000, log2_size: 8, qps: 4, cqs: 4, srqs: 2 };
/// log2 of its regions.
pub(crate) const MR_LOG2: u8 = 4;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) registers: BTreeMap<u32, u32>,
    /// Register writes in order, doorbells and table accesses not included.
    pub(crate) writes: Vec<(u32, u32)>,
    /// Doorbells in order.
    pub(crate) doorbells: Vec<(Page, u32, u32)>,
    /// Commands in order: command, object, argument.
    pub(crate) commands: Vec<(Command, u16, u32)>,
    /// Answer this command with this status.
    pub(crate) refuse: Option<(Command, CommandStatus)>,
    /// QUIESCE is done at once, else by an event of the test.
    pub(crate) quiesce_at_once: bool,
    /// Frames sent: inject flag and bytes.
    pub(crate) sent: Vec<(bool, Vec<u8>)>,
    /// The transmitter takes no frames.
    pub(crate) transmit_stuck: bool,
    tables: BTreeMap<(u8, u16), [u32; 32]>,
    window: u32,
    status: u32,
    now: Nanos,
    scheduled: Option<Nanos>,
    service: Option<Weak<dyn Service>>,
    event_producer: u16,
    raw_producer: u16,
    raw_consumer: u16,
    cq_producer: BTreeMap<u16, u16>,
}

pub(crate) struct Fake {
    pub(crate) memory: Arc<HostMemory>,
    pub(crate) state: Mutex<State>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        let limits0 = u32::from_le_bytes([2, MR_LOG2, 2, 1]);
        let limits1 = u32::from_le_bytes([2, 2, 6, 32]);
        let registers = [
            (regs::ID, DEVICE_ID),
            (regs::VERSION, ABI_VERSION),
            (regs::FEATURES, 0x3f),
            (regs::LIMITS0, limits0),
            (regs::LIMITS1, limits1),
            (regs::CLOCK, 62_500),
            (regs::DOORBELLS, PAGES.register()),
        ];
        let state = State { registers: registers.into(), quiesce_at_once: true, ..State::default() };
        Arc::new(Self { memory: HostMemory::new(), state: Mutex::new(state) })
    }

    /// Change what the device says or does.
    pub(crate) fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.state))
    }
    /// Values rung at a doorbell, in order.
    pub(crate) fn rung(&self, page: Page, doorbell: u32) -> Vec<u32> {
        let state = lock(&self.state);
        let matching = state.doorbells.iter().filter(|rung| (rung.0, rung.1) == (page, doorbell));
        matching.map(|rung| rung.2).collect()
    }
    /// Commands of a kind, in order: object and argument.
    pub(crate) fn commands(&self, command: Command) -> Vec<(u16, u32)> {
        let state = lock(&self.state);
        state.commands.iter().filter(|entry| entry.0 == command).map(|entry| (entry.1, entry.2)).collect()
    }
    /// Words of a table entry.
    pub(crate) fn table<const N: usize>(&self, table: Table, object: u16) -> [u32; N] {
        let words = lock(&self.state).tables.get(&(table as u8, object)).copied().unwrap_or_default();
        words[..N].try_into().unwrap()
    }
    pub(crate) fn region(&self, stag: u32) -> Region {
        Region::decode(&self.table(Table::Region, index_of(stag, MR_LOG2)))
    }
    pub(crate) fn set_qp_state(&self, qp: u16, state: StateWords) {
        self.set(|fake| store(fake, Table::State, qp, &state.encode()));
    }
    fn base(&self, register: u32) -> u64 {
        let state = lock(&self.state);
        let word = |offset| u64::from(state.registers.get(&offset).copied().unwrap_or(0));
        word(register) | word(register + 4) << 32
    }
    fn register(&self, offset: u32) -> u32 {
        lock(&self.state).registers.get(&offset).copied().unwrap_or(0)
    }

    /// Write a completion to the ring of a CQ, as it stands in memory.
    pub(crate) fn complete(&self, cq: u16, completion: Completion) {
        let entry = CqEntry::decode(&self.table(Table::Cq, cq));
        let producer = self.set(|state| {
            let producer = state.cq_producer.entry(cq).or_default();
            let now = *producer;
            *producer = now.wrapping_add(1);
            now
        });
        let slot = u64::from(producer & ((1 << entry.log2) - 1));
        let words = completion.encode(producer >> entry.log2 & 1 == 0);
        self.memory.write(entry.base + 32 * slot, &bytes_of(&words)).unwrap();
    }

    /// Put an event into the event queue.
    pub(crate) fn event(&self, event: Event) {
        let (base, log2) = (self.base(regs::EQ_BASE_LO), self.register(regs::EQ_LOG2));
        let producer = self.set(|state| {
            state.event_producer = state.event_producer.wrapping_add(1);
            state.event_producer.wrapping_sub(1)
        });
        let words = event.encode(producer, producer >> log2 & 1 == 0);
        let slot = u64::from(producer & ((1 << log2) - 1));
        self.memory.write(base + 16 * slot, &bytes_of(&words)).unwrap();
    }

    /// Put a frame into the raw receive ring.
    pub(crate) fn frame(&self, header: RawHeader, frame: &[u8]) {
        let (base, log2) = (self.base(regs::RAWRX_BASE_LO), self.register(regs::RAWRX_LOG2));
        let producer = self.set(|state| {
            state.raw_producer = state.raw_producer.wrapping_add(1);
            state.raw_producer.wrapping_sub(1)
        });
        let slot = base + u64::from(producer & ((1 << log2) - 1)) * SLOT as u64;
        self.memory.write(slot + FRAME_OFFSET as u64, frame).unwrap();
        let words = header.encode(producer >> log2 & 1 == 0);
        self.memory.write(slot, &bytes_of(&words)).unwrap();
    }

    /// Send what the raw transmit ring holds.
    fn transmit(&self, state: &mut State) {
        let word = |offset| u64::from(state.registers.get(&offset).copied().unwrap_or(0));
        let base = word(regs::RAWTX_BASE_LO) | word(regs::RAWTX_BASE_HI) << 32;
        let (log2, producer) = (word(regs::RAWTX_LOG2), word(regs::RAWTX_PRODUCER) as u16);
        while !state.transmit_stuck && state.raw_consumer != producer {
            let slot = base + u64::from(state.raw_consumer & ((1 << log2) - 1)) * SLOT as u64;
            let mut head = [0; 16];
            self.memory.read(slot, &mut head).unwrap();
            let header = RawHeader::decode(&load(&head));
            let mut frame = vec![0; header.length.into()];
            self.memory.read(slot + FRAME_OFFSET as u64, &mut frame).unwrap();
            state.sent.push((header.inject, frame));
            state.raw_consumer = state.raw_consumer.wrapping_add(1);
        }
    }

    /// Call the service routine.
    pub(crate) fn serve(&self) -> Option<Nanos> {
        let service = self.set(|state| state.service.clone()).and_then(|service| service.upgrade());
        service.and_then(|service| service.service())
    }
}

fn store(state: &mut State, table: Table, object: u16, words: &[u32]) {
    let entry = state.tables.entry((table as u8, object)).or_default();
    entry[..words.len()].copy_from_slice(words);
}

fn run(state: &mut State, command: u32) -> CommandStatus {
    let (Some(command), object) = (Command::from_code(command as u8), (command >> 8) as u16) else {
        return CommandStatus::BadObject;
    };
    let argument = state.registers.get(&regs::CMD_ARG).copied().unwrap_or(0);
    state.commands.push((command, object, argument));
    if let Some((refused, status)) = state.refuse
        && refused == command
    {
        return status;
    }
    let mut words = [0; 12];
    words.copy_from_slice(&state.tables.entry((Table::State as u8, object)).or_default()[..12]);
    let mut qp = StateWords::decode(&words);
    match command {
        Command::Activate => qp.state = QpState::Activated,
        Command::Go => qp.state = QpState::Running,
        Command::Quiesce if state.quiesce_at_once => qp.state = QpState::Quiesced,
        Command::Reset => qp = StateWords::default(),
        _ => {}
    }
    store(state, Table::State, object, &qp.encode());
    CommandStatus::Ok
}

impl Transport for Fake {
    fn read32(&self, offset: u32) -> Result<u32, TransportError> {
        let mut state = lock(&self.state);
        Ok(match offset {
            regs::CMD_STAT => state.status,
            regs::WIN_DATA => {
                let (table, object, word) = split(state.window);
                state.window += 1;
                let entry = state.tables.get(&(table, object));
                entry.and_then(|words| words.get(usize::from(word))).copied().unwrap_or(0)
            }
            regs::RAWTX_PRODUCER => {
                self.transmit(&mut state);
                state.raw_consumer.into()
            }
            _ => state.registers.get(&offset).copied().unwrap_or(0),
        })
    }
    fn write32(&self, offset: u32, value: u32) -> Result<(), TransportError> {
        let mut state = lock(&self.state);
        if let Some((page, doorbell)) = PAGES.decode(offset) {
            state.doorbells.push((page, doorbell, value));
            return Ok(());
        }
        match offset {
            regs::CMD => state.status = run(&mut state, value) as u32,
            regs::WIN_ADDR => state.window = value,
            regs::WIN_DATA => {
                let (table, object, word) = split(state.window);
                state.window += 1;
                state.tables.entry((table, object)).or_default()[usize::from(word)] = value;
                state.status = 0;
            }
            _ => {
                state.writes.push((offset, value));
                state.registers.insert(offset, value);
                if offset == regs::RAWTX_PRODUCER {
                    self.transmit(&mut state);
                }
            }
        }
        Ok(())
    }
    fn alloc(&self, len: usize) -> Result<DmaBuffer, TransportError> {
        self.memory.alloc(len)
    }
    fn now(&self) -> Nanos {
        lock(&self.state).now
    }
    fn wait(&self, deadline: Option<Nanos>) -> Result<Wait, TransportError> {
        if self.set(|state| state.scheduled.take()).is_some() {
            self.serve();
            return Ok(Wait::Progress);
        }
        Ok(if let Some(deadline) = deadline {
            self.set(|state| state.now = deadline);
            Wait::Deadline
        } else {
            Wait::Idle
        })
    }
    fn attach(&self, service: Weak<dyn Service>) {
        self.set(|state| state.service = Some(service));
    }
    fn schedule(&self, at: Nanos) {
        self.set(|state| state.scheduled = Some(at));
    }
}
