//! The host side of the sequencer's program against the golden model: the same register accesses, commands, doorbells and raw frames
//! give the same answers, frames, memory and interrupts.

use ironwarp_proto::abi::context::{Context, Mode, encode_template};
use ironwarp_proto::abi::doorbell::{Page, Pages};
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::queue::{CqEntry, SrqEntry};
use ironwarp_proto::abi::raw::{self, RawHeader};
use ironwarp_proto::abi::regs::{self, Command, features};
use ironwarp_proto::abi::window::{self, Table};
use ironwarp_proto::pins::{Device, Dma, DmaFault, Frame, Nanos};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_sim::engine::Engine;
use ironwarp_sim::model::ModelConfig;
use ironwarp_sim::model::frame::{Outgoing, Template};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

const CONFIG: ModelConfig = ModelConfig {
    log2_qps: 2,
    log2_regions: 3,
    log2_cqs: 2,
    log2_srqs: 1,
    ird: 4,
    ord: 4,
    mss: 0,
    window: 0,
    features: features::MARKERS
        | features::ATOMICS
        | features::IMMEDIATE
        | features::STREAM
        | features::SRQ
        | features::WINDOWS,
    clock_khz: 62_500,
    dma_latency_ns: 500,
    dma_jitter_ns: 0,
    dma_seed: 0,
};
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

// Where things are in host memory.
const EVENTS: u64 = 0x1_0000;
const CQS: u64 = 0x2_0000;
const SRQS: u64 = 0x2_8000;
const QPS: u64 = 0x3_0000;
const RAW_RX: u64 = 0x10_0000;
const RAW_TX: u64 = 0x20_0000;
const END: u64 = 0x30_0000;

/// Offset of the staging area in a QP's: what stands there is the device's own business.
const STAGING: u64 = 0x2000;

/// Memory from 64 KiB on; everything else faults.
struct Flat(Mutex<Vec<u8>>);

impl Flat {
    fn with<R>(&self, addr: u64, len: usize, f: impl FnOnce(&mut [u8]) -> R) -> Result<R, DmaFault> {
        let fault = DmaFault { addr, len };
        let mut memory = self.0.lock().unwrap();
        let from = addr.checked_sub(EVENTS).and_then(|at| usize::try_from(at).ok()).ok_or(fault)?;
        let part = memory.get_mut(from..).and_then(|rest| rest.get_mut(..len)).ok_or(fault)?;
        Ok(f(part))
    }
}

impl Dma for Flat {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        self.with(addr, buf.len(), |part| buf.copy_from_slice(part))
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
        self.with(addr, data.len(), |part| part.copy_from_slice(data))
    }
}

#[derive(Debug, Clone)]
enum Op {
    Read(u32),
    Write(u32, u32),
    /// A register that holds an index: relative to what the device has reached.
    Consume(u32, i16),
    Look(Table, u16, u8),
    Put(Table, u16, u8, u32),
    /// Activate this QP with a context that mostly can be.
    Prepare(Prepare),
    /// Where the raw transmit ring begins: with slots that cannot be read at all, or from their header on.
    RawBase(u8),
    Command(u8, u16, u32),
    Go(u16, bool),
    Ring(Page, u32, u32),
    /// Frames from the wire.
    Arrive(Vec<Wire>),
    /// Slots filled in the raw transmit ring, and how far the doorbell is off.
    Raw(Vec<(Wire, bool)>, i16),
    Elapse(Nanos),
}

/// How a QP is activated.
#[derive(Debug, Clone)]
struct Prepare {
    qp: u16,
    /// Whose addresses it has.
    twin: u16,
    log2: u8,
    shared: bool,
    stream: bool,
    /// It has a save area.
    saved: bool,
    /// Bits of a context word to invert.
    spoil: Option<(u8, u32)>,
}

fn prepare() -> impl Strategy<Value = Op> {
    let bit = (0u32..32).prop_map(|bit| 1 << bit);
    let word = prop_oneof![4 => 0u8..5, 1 => 0u8..19];
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.3), prop::bool::weighted(0.9));
    let log2 = prop_oneof![6 => 0u8..4, 1 => any::<u8>()];
    (0u16..4, prop::option::weighted(0.2, 0u16..4), log2, flags, prop::option::weighted(0.3, (word, bit)))
        .prop_map(|(qp, twin, log2, (shared, stream, saved), spoil)| {
            let twin = twin.unwrap_or(qp);
            Op::Prepare(Prepare { qp, twin, log2, shared, stream, saved, spoil })
        })
}

/// A frame.
#[derive(Debug, Clone)]
enum Wire {
    /// Ethernet of any kind: destination, type, length.
    Ethernet(u8, u16, u16),
    /// A segment of the connection of QP n: flags, payload, and a byte that is damaged.
    Segment(u16, u8, u8, Option<u8>),
}

fn headers(qp: u16, peer: bool) -> [u8; 54] {
    // All but one fall into the same bucket of the lookup.
    let (mine, other) = ([10, 0, 0, 1], [10, 0, 0, 2 + qp as u8]);
    let ports = (1000u16, 2000 ^ (qp + 2) ^ (qp >> 1));
    let mut bytes = Vec::new();
    let other_mac = [2, 0, 0, 0, 0, 9];
    let (dst, src) = if peer { (MAC, other_mac) } else { (other_mac, MAC) };
    bytes.extend(dst);
    bytes.extend(src);
    bytes.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    let (from, to, ports) = if peer { (other, mine, (ports.1, ports.0)) } else { (mine, other, ports) };
    bytes.extend(from);
    bytes.extend(to);
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
    bytes.try_into().unwrap()
}

fn frame(wire: &Wire) -> Frame {
    match *wire {
        Wire::Ethernet(kind, ethertype, len) => {
            let mut bytes = match kind % 4 {
                0 => MAC.to_vec(),
                1 => vec![0xff; 6],
                2 => vec![1, 0, 0x5e, 0, 0, 1],
                _ => vec![2, 0, 0, 0, 0, 8],
            };
            bytes.extend([2, 0, 0, 0, 0, 9]);
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend((0..len).map(|n| n as u8));
            bytes.truncate(len.into());
            bytes
        }
        Wire::Segment(qp, flags, len, damage) => {
            let mut template = Template::new(headers(qp, true));
            let mut frame = template.begin(len.into());
            frame.extend((0..len).map(|n| n ^ 0x5a));
            let fields = Outgoing { seq: Seq(1000), ack: Seq(5000), window: 10_000, flags: TcpFlags(flags) };
            template.finish(&mut frame, &fields);
            if let Some(at) = damage {
                let at = usize::from(at) % frame.len();
                frame[at] ^= 0x10;
            }
            frame
        }
    }
}

fn page() -> impl Strategy<Value = Page> {
    prop_oneof![
        6 => (0u16..4).prop_map(Page::Qp),
        4 => (0u16..4).prop_map(Page::Cq),
        2 => (0u16..2).prop_map(Page::Srq),
    ]
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(Table::ALL.iter().map(|(table, _)| *table).collect::<Vec<_>>())
}

fn wire() -> impl Strategy<Value = Wire> {
    let flags = prop_oneof![6 => Just(16u8), 2 => Just(24u8), 1 => Just(4u8), 1 => Just(17u8), 1 => 0u8..64];
    prop_oneof![
        2 => (any::<u8>(), prop_oneof![Just(0x806u16), Just(0x800), any::<u16>()],
              prop_oneof![4 => 14u16..200, 1 => 0u16..14, 1 => 1500u16..17_000])
            .prop_map(|(kind, ethertype, len)| Wire::Ethernet(kind, ethertype, len)),
        4 => (0u16..5, flags, prop_oneof![3 => Just(0u8), 1 => any::<u8>()],
              prop::option::weighted(0.1, any::<u8>()))
            .prop_map(|(qp, flags, len, damage)| Wire::Segment(qp, flags, len, damage)),
    ]
}

/// Registers with values that mostly make sense.
fn write() -> impl Strategy<Value = (u32, u32)> {
    let log2 = || prop_oneof![6 => 0u32..4, 1 => any::<u32>()];
    prop_oneof![
        3 => prop_oneof![6 => Just(3u32), 1 => 0u32..8].prop_map(|value| (regs::CTRL, value)),
        1 => (0u32..4).prop_map(|value| (regs::CTRL, 3 | value << 30)),
        1 => any::<u32>().prop_map(|value| (regs::MAC_HI, value)),
        2 => log2().prop_map(|value| (regs::EQ_LOG2, value)),
        2 => any::<u32>().prop_map(|value| (regs::EQ_CTRL, value)),
        2 => (0u32..4, 0u32..4).prop_map(|(events, ticks)| (regs::EQ_COALESCE, events | ticks << 16)),
        2 => log2().prop_map(|value| (regs::RAWRX_LOG2, value)),
        1 => (0u32..64).prop_map(|at| (4 * at, 0)).prop_filter("a base, or what drives the test", |(at, _)| {
            let driven = regs::CTRL..=regs::CTRL;
            !(driven.contains(at) || (regs::EQ_BASE_LO..=regs::RAWTX_PRODUCER).contains(at)
                || *at == regs::MAC_LO || *at == regs::TICK || *at == regs::TCPCFG)
        }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let object = || prop_oneof![12 => 0u16..4, 1 => any::<u16>()];
    let word = || prop_oneof![12 => 0u8..20, 1 => any::<u8>()];
    let index = || prop_oneof![8 => 0u32..4, 2 => 0u32..20, 1 => any::<u32>()];
    prop_oneof![
        6 => (0u32..0x70).prop_map(|at| Op::Read(4 * at)),
        1 => (0u32..0x8000).prop_map(|at| Op::Read(4 * at)),
        6 => write().prop_map(|(at, value)| Op::Write(at, value)),
        4 => (prop::sample::select(vec![regs::EQ_CONSUMER, regs::RAWRX_CONSUMER]),
              prop_oneof![6 => 0i16..4, 1 => any::<i16>()]).prop_map(|(at, by)| Op::Consume(at, by)),
        6 => (table(), object(), word()).prop_map(|(t, o, w)| Op::Look(t, o, w)),
        4 => (table(), object(), word(), any::<u32>()).prop_map(|(t, o, w, v)| Op::Put(t, o, w, v)),
        8 => prepare(),
        1 => (0u8..4).prop_map(Op::RawBase),
        14 => (prop_oneof![12 => 1u8..11, 1 => any::<u8>()], object(),
               prop_oneof![4 => 0u32..2, 2 => Just(1400 | 1400 << 16), 2 => (0u32..8).prop_map(|n| n << 8 | n), 1 => any::<u32>()])
            .prop_map(|(c, o, a)| Op::Command(c, o, a)),
        6 => (0u16..4, prop::bool::weighted(0.9)).prop_map(|(qp, right)| Op::Go(qp, right)),
        10 => (page(), prop_oneof![8 => 0u32..8, 1 => 0u32..1024], index(), prop_oneof![4 => Just(0u32), 3 => 1u32..4])
            .prop_map(|(page, at, value, arm)| Op::Ring(page, 4 * at, value | arm << 16)),
        8 => prop::collection::vec(wire(), 1..4).prop_map(Op::Arrive),
        5 => (prop::collection::vec((wire(), any::<bool>()), 0..4), prop_oneof![12 => Just(0i16), 1 => any::<i16>()])
            .prop_map(|(frames, off)| Op::Raw(frames, off)),
        3 => (1u64..60).prop_map(|n| Op::Elapse(n * 700_001)),
    ]
}

struct Side {
    device: Box<dyn Device>,
    memory: Arc<Flat>,
    now: Nanos,
    raw_tx: u16,
    raw_base: u64,
}

const RAW_LOG2: u8 = 3;

impl Side {
    fn new(engine: Engine) -> Self {
        let memory = Arc::new(Flat(Mutex::new(vec![0; (END - EVENTS) as usize])));
        let device = engine.device(&CONFIG, memory.clone()).unwrap();
        let mut side = Self { device, memory, now: 1 << 20, raw_tx: 0, raw_base: RAW_TX };
        side.bring_up();
        side
    }

    fn bring_up(&mut self) {
        for (at, base) in
            [(regs::EQ_BASE_LO, EVENTS), (regs::RAWRX_BASE_LO, RAW_RX), (regs::RAWTX_BASE_LO, RAW_TX)]
        {
            self.write(at, base as u32);
        }
        self.write(regs::MAC_LO, u32::from_le_bytes([MAC[0], MAC[1], MAC[2], MAC[3]]));
        self.write(regs::MAC_HI, u32::from_le_bytes([MAC[4], MAC[5], 0, 0]));
        self.write(regs::EQ_LOG2, 4);
        self.write(regs::RAWRX_LOG2, 3);
        self.write(regs::RAWTX_LOG2, RAW_LOG2.into());
        self.raw_tx = 0;
        self.raw_base = RAW_TX;
        self.write(regs::CTRL, 3);
    }

    fn read(&mut self, at: u32) -> u32 {
        self.device.read32(self.now, at)
    }
    fn write(&mut self, at: u32, value: u32) {
        self.device.write32(self.now, at, value);
    }
    fn put(&mut self, table: Table, object: u16, first: u8, words: &[u32]) {
        self.write(regs::WIN_ADDR, window::address(table, object, first));
        for word in words {
            self.write(regs::WIN_DATA, *word);
        }
    }

    /// Frames to send, until there is none. Whose turn comes first is not said.
    fn frames(&mut self) -> Vec<Frame> {
        // A delay of nothing has passed.
        self.device.advance(self.now);
        let mut frames: Vec<_> = std::iter::from_fn(|| self.device.transmit(self.now)).take(100).collect();
        frames.sort();
        frames
    }

    fn prepare(&mut self, prepare: &Prepare) -> Vec<u32> {
        let Prepare { qp, twin, log2, shared, stream, saved, spoil } = *prepare;
        let area = QPS + u64::from(qp) * 0x2_0000;
        // Entries of the first pass over the send ring: Nops, every other with a completion.
        for index in 0..1u32 << log2.min(3) {
            let word = index << 16 | (index & 1) << 9;
            self.memory.write(area + u64::from(index) * 64, &word.to_le_bytes()).unwrap();
        }
        let context = Context {
            mode: if stream { Mode::Stream } else { Mode::Rdma },
            crc: true,
            pd: 7,
            scq: qp & 1,
            rcq: !qp & 1,
            srq: shared.then_some(qp & 1),
            ird: 2,
            ord: 2,
            mss: 1400,
            mulpdu: 1400,
            sq_log2: log2,
            rq_log2: log2,
            sq_base: area,
            rq_base: area + 0x1000,
            staging: area + if stream { 0x1_e000 } else { STAGING },
            save: if saved { area + 0x1_f000 } else { 0 },
            rcv_nxt: 1000,
            rcv_wnd: 10_000,
            snd_nxt: 5000,
            snd_wnd: 10_000,
            rcv_adv: 1000 + if stream { 1 << log2.min(12) } else { 10_000 },
            ..Context::default()
        };
        let mut words = context.encode();
        if let Some((word, bits)) = spoil {
            words[usize::from(word)] ^= bits;
        }
        self.put(Table::Context, qp, 0, &words);
        self.put(Table::Template, qp, 0, &encode_template(&headers(twin, false)));
        for number in 0..2 {
            let cq = CqEntry { base: CQS + u64::from(number) * 0x1000, log2: log2 & 7 };
            self.put(Table::Cq, number, 0, &cq.encode());
            self.write(regs::CMD, Command::StartCq as u32 | u32::from(number) << 8);
        }
        let at = SRQS + u64::from(qp) * 0x1000;
        let srq = SrqEntry { ring: at, table: at + 0x100, log2: log2 & 3, pd: 7 };
        self.put(Table::Srq, qp, 0, &srq.encode());
        for command in [Command::StartSrq, Command::Activate] {
            self.write(regs::CMD, command as u32 | u32::from(qp) << 8);
        }
        vec![self.read(regs::CMD_STAT)]
    }

    fn apply(&mut self, op: &Op) -> Vec<u32> {
        match op {
            // What the transmitter has left depends on when frames are built.
            Op::Read(regs::STATUS) => vec![self.read(regs::STATUS) & !regs::status::TX_IDLE],
            Op::Read(at) => vec![self.read(*at)],
            Op::Write(at, value) => {
                self.write(*at, *value);
                if *at == regs::CTRL && value >> 31 != 0 {
                    self.bring_up();
                }
                Vec::new()
            }
            Op::Consume(at, by) => {
                let index = self.read(*at).wrapping_add_signed((*by).into());
                self.write(*at, index);
                vec![self.read(*at)]
            }
            Op::Look(table, object, word) => {
                self.write(regs::WIN_ADDR, window::address(*table, *object, *word));
                vec![self.read(regs::WIN_DATA), self.read(regs::WIN_DATA), self.read(regs::WIN_ADDR)]
            }
            Op::Put(table, object, word, value) => {
                // Of a template only addresses and ports are free to choose: the rest is 0 by contract.
                let free = *table != Table::Template || matches!(word, 0..=2 | 7..=9 | 14..);
                self.put(*table, *object, *word, &[if free { *value } else { 0 }]);
                vec![self.read(regs::CMD_STAT), self.read(regs::WIN_ADDR)]
            }
            Op::Prepare(prepare) => self.prepare(prepare),
            Op::RawBase(place) => {
                let base = [RAW_TX, END - 64, 0, RAW_TX][usize::from(*place)];
                self.write(regs::RAWTX_BASE_LO, base as u32);
                self.write(regs::RAWTX_LOG2, RAW_LOG2.into());
                self.raw_tx = 0;
                self.raw_base = base;
                Vec::new()
            }
            Op::Command(command, object, argument) => {
                self.write(regs::CMD_ARG, *argument);
                self.write(regs::CMD, u32::from(*command) | u32::from(*object) << 8);
                vec![self.read(regs::CMD_STAT), self.read(regs::CMD)]
            }
            Op::Go(qp, right) => {
                self.write(regs::WIN_ADDR, window::address(Table::State, *qp, 1));
                let diverted = self.read(regs::WIN_DATA);
                self.write(regs::CMD_ARG, diverted.wrapping_add(u32::from(!right)));
                self.write(regs::CMD, Command::Go as u32 | u32::from(*qp) << 8);
                vec![diverted, self.read(regs::CMD_STAT)]
            }
            Op::Ring(page, at, value) => {
                let pages = Pages::from_registers(self.read(regs::DOORBELLS), self.read(regs::LIMITS0));
                let at = pages.unwrap().offset(*page, *at);
                self.write(at, *value);
                Vec::new()
            }
            Op::Arrive(frames) => {
                for wire in frames {
                    self.device.receive(self.now, &frame(wire));
                }
                Vec::new()
            }
            Op::Raw(frames, off) => {
                for (wire, inject) in frames {
                    let frame = frame(wire);
                    let frame = &frame[..frame.len().min(raw::FRAME_MAX)];
                    let header =
                        RawHeader { length: frame.len() as u16, inject: *inject, ..RawHeader::default() };
                    let slot =
                        self.raw_base + u64::from(self.raw_tx & ((1 << RAW_LOG2) - 1)) * raw::SLOT as u64;
                    let _ = self.memory.write(slot, &bytes_of(&header.encode(true)));
                    let _ = self.memory.write(slot + raw::FRAME_OFFSET as u64, frame);
                    self.raw_tx = self.raw_tx.wrapping_add(1);
                }
                self.write(regs::RAWTX_PRODUCER, u32::from(self.raw_tx.wrapping_add_signed(*off)));
                Vec::new()
            }
            Op::Elapse(time) => {
                let end = self.now + time;
                while let Some(at) = self.device.next_event().filter(|at| *at <= end) {
                    self.now = at.max(self.now + 1);
                    self.device.advance(self.now);
                }
                self.now = end;
                self.device.advance(end);
                Vec::new()
            }
        }
    }

    /// Every register and table.
    fn everything(&mut self) -> Vec<u32> {
        let mut words: Vec<_> = (0..0x98).step_by(4).flat_map(|at| self.apply(&Op::Read(at))).collect();
        words.extend((0x100..0x180).step_by(4).map(|at| self.read(at)));
        for (table, _) in Table::ALL {
            for object in 0..8 {
                self.write(regs::WIN_ADDR, window::address(*table, object, 0));
                words.extend((0..20).map(|_| self.read(regs::WIN_DATA)));
            }
        }
        words
    }
}

proptest! {
    #[test]
    fn the_host_sees_the_same_device(
        // Software sets the timing once: what runs already keeps its time-out.
        tick in prop_oneof![4 => Just(62_500u32), 1 => Just(125_000), 1 => Just(u32::MAX)],
        timing in prop_oneof![Just(0x8ca2_80c8_u32), Just(0), any::<u32>()],
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let (mut model, mut micro) = (Side::new(Engine::Model), Side::new(Engine::Micro));
        for side in [&mut model, &mut micro] {
            side.write(regs::TICK, tick);
            side.write(regs::TCPCFG, timing);
        }
        for (at, op) in ops.iter().enumerate() {
            let enabled = model.read(regs::CTRL) & 2 != 0;
            // Raw frames that may not leave stay where they are, in the device or in the ring.
            if !enabled && matches!(op, Op::Raw(..)) {
                continue;
            }
            prop_assert_eq!(model.apply(op), micro.apply(op), "op {} {:?}", at, op);
            prop_assert_eq!(model.frames(), micro.frames(), "frames after op {} {:?}", at, op);
            prop_assert_eq!(model.device.interrupt(), micro.device.interrupt(), "interrupt after op {} {:?}", at, op);
        }
        prop_assert_eq!(model.everything(), micro.everything());
        let (a, b) = (model.memory.0.lock().unwrap(), micro.memory.0.lock().unwrap());
        let different = (EVENTS..END).zip(a.iter().zip(b.iter())).find(|(at, (a, b))| {
            let staged = (QPS..QPS + 0x8_0000).contains(at) && (STAGING..0x1_8000).contains(&((at - QPS) % 0x2_0000));
            a != b && !staged
        });
        prop_assert_eq!(different, None, "first byte of memory that differs");
    }
}
