//! The serial bridge, bit by bit, between a core that asks for everything at once and the driver's end of the line.

use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, Random, check_synthesis, random};
use ironwarp_driver::transport::serial::{Link, Patience};
use ironwarp_hdl::bridge::{Baud, Bridge, Crc16, UartReceiver, UartSender};
use ironwarp_hdl::dma::{ReadSlave, WriteSlave};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::outside::Line;
use ironwarp_proto::bridge::{MAX_FRAME, SYNC, crc16};
use ironwarp_proto::pins::{Dma, DmaFault, Nanos};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

const CLOCK: u64 = 31_250_000;
const PERIOD_PS: u64 = 1_000_000_000_000 / CLOCK;
const BAUD: u64 = 12_000_000;

type Unit = Bridge<10>;

fn unit() -> Unit {
    Unit::new(Baud::new(CLOCK, BAUD))
}

/// Host memory from 0x1000 to 0x9000, with a hole at 0x5000.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<u64, u8>>);

fn is_there(address: u64) -> bool {
    (0x1000..0x9000).contains(&address) && !(0x5000..0x6000).contains(&address)
}

fn original(address: u64) -> u8 {
    ((address * 7) ^ (address >> 8)) as u8
}

impl Memory {
    fn byte(&self, address: u64) -> u8 {
        self.0.lock().unwrap().get(&address).copied().unwrap_or_else(|| original(address))
    }
    fn word(&self, address: u64) -> u32 {
        u32::from_le_bytes([0, 1, 2, 3].map(|lane| self.byte(address + lane)))
    }
}

impl Dma for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        let fault = DmaFault { addr, len: buf.len() };
        if !(addr..addr + buf.len() as u64).all(is_there) {
            return Err(fault);
        }
        buf.iter_mut().zip(addr..).for_each(|(byte, at)| *byte = self.byte(at));
        Ok(())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
        if !(addr..addr + data.len() as u64).all(is_there) {
            return Err(DmaFault { addr, len: data.len() });
        }
        self.0.lock().unwrap().extend((addr..).zip(data.iter().copied()));
        Ok(())
    }
}

/// A read master of the core. What it reads, nobody writes.
struct Reader {
    random: Random,
    todo: VecDeque<(u64, u64)>,
    requested: bool,
    at: u64,
    ready: bool,
    seen: u64,
}

impl Reader {
    fn new(seed: u64, bursts: &[(u64, u64)]) -> Self {
        let todo = bursts.iter().copied().collect();
        Reader { random: random(seed), todo, requested: true, at: 0, ready: false, seen: 0 }
    }

    fn drive(&mut self, port: &mut ReadSlave, memory_off: bool) {
        let (address, words) = self.todo.front().copied().unwrap_or((u64::MAX - 3, 5));
        port.address.next = FB::new(address & !3);
        port.words.next = FB::new(words);
        port.request.next = self.requested && !self.todo.is_empty() && !memory_off;
        self.ready = !self.requested && self.random.below(3) > 0;
        port.ready.next = self.ready;
    }

    fn look(&mut self, port: &ReadSlave, memory: &Memory) {
        let Some((address, words)) = self.todo.front().copied() else {
            assert!(!port.valid.val(), "a word that nobody has asked for");
            return;
        };
        if self.requested {
            assert!(!port.valid.val(), "a word before the command was taken");
            if port.request.val() && port.accept.val() {
                self.requested = false;
            }
        } else if port.valid.val() && self.ready {
            let at = address + 4 * self.at;
            let there = is_there(address) && is_there(address + 4 * words - 1);
            assert_eq!(port.error.val(), !there, "{words} words at {address:#x}, word {}", self.at);
            if there {
                assert_eq!(port.data.val().get() as u32, memory.word(at), "at {at:#x}");
            }
            self.at += 1;
            self.seen += 1;
            assert_eq!(port.last.val(), self.at == words, "word {} of {words}", self.at);
            if self.at == words {
                self.todo.pop_front();
                (self.at, self.requested) = (0, true);
            }
        }
    }
}

/// A burst to write: address, then words with strobes.
type Burst = (u64, Vec<(u32, u8)>);

/// The write master of the core.
struct Writer {
    random: Random,
    todo: VecDeque<Burst>,
    /// Commands of those that are taken, words of those that have passed.
    taken: bool,
    at: usize,
    valid: bool,
    expected: BTreeMap<u64, u8>,
}

impl Writer {
    fn new(seed: u64, bursts: Vec<Burst>) -> Self {
        Writer {
            random: random(seed),
            todo: bursts.into(),
            taken: false,
            at: 0,
            valid: false,
            expected: BTreeMap::new(),
        }
    }

    fn drive(&mut self, port: &mut WriteSlave) {
        let noise = self.random.word();
        port.address.next = FB::new(self.todo.front().map_or(u64::from(noise & !3), |burst| burst.0));
        port.words.next = FB::new(self.todo.front().map_or(1, |burst| burst.1.len() as u64));
        port.request.next = !self.taken && !self.todo.is_empty();
        let word = self.todo.front().and_then(|burst| burst.1.get(self.at)).copied();
        self.valid = word.is_some() && (self.valid || self.random.below(3) > 0);
        port.valid.next = self.valid;
        let (data, strobes) = word.filter(|_| self.valid).unwrap_or((noise, (noise & 15) as u8));
        port.data.next = FB::new(data.into());
        port.strobes.next = FB::new(strobes.into());
        let count = self.todo.front().map_or(0, |burst| burst.1.len());
        port.last.next = if self.valid { self.at + 1 == count } else { noise & 16 != 0 };
    }

    fn look(&mut self, port: &WriteSlave) {
        if self.valid && port.ready.val() {
            self.at += 1;
            self.valid = false;
        }
        let told = port.answered.val();
        assert!(!told || self.taken, "an answer before the command was taken");
        if port.request.val() && port.accept.val() {
            self.taken = true;
        }
        if told {
            let (address, words) = self.todo.pop_front().expect("an answer to nothing");
            assert_eq!(self.at, words.len(), "an answer before the words have passed");
            let there = is_there(address) && is_there(address + 4 * words.len() as u64 - 1);
            let writes = words.iter().any(|(_, strobes)| *strobes != 0);
            // Nothing to write needs no memory, unless it is out of reach altogether.
            assert_eq!(port.failed.val(), (!there && writes) || address >> 32 != 0, "at {address:#x}");
            if there {
                for (at, (data, strobes)) in (address..).step_by(4).zip(words) {
                    for (lane, byte) in data.to_le_bytes().into_iter().enumerate() {
                        if strobes >> lane & 1 != 0 {
                            self.expected.insert(at + lane as u64, byte);
                        }
                    }
                }
            }
            (self.taken, self.at) = (false, 0);
        }
    }
}

/// The registers of the core: takes accesses when it likes.
struct Registers {
    random: Random,
    ready: bool,
    log: Vec<(u32, Option<u32>)>,
    answers: VecDeque<u32>,
    offered: bool,
}

fn register(offset: u32) -> u32 {
    offset.wrapping_mul(0x9e37_79b9) ^ 0x55
}

/// What happens to the bytes on the way.
#[derive(Clone, Copy)]
struct Trouble {
    /// One in so many bytes is damaged, lost or has others in front; 0: none.
    one_in: usize,
}

impl Trouble {
    fn on(self, random: &mut Random, bytes: Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes {
            let hit = self.one_in != 0 && random.below(self.one_in) == 0;
            match random.below(4) {
                0 if hit => out.push(byte ^ 1 << random.below(8)),
                1 if hit => {}
                2 if hit => out.extend([SYNC, 0x13, 64, byte]),
                3 if hit => out.extend([random.word() as u8, SYNC, byte]),
                _ => out.push(byte),
            }
        }
        out
    }
}

struct World {
    bench: Bench<Unit>,
    line: Line,
    link: Link,
    memory: Arc<Memory>,
    random: Random,
    trouble: Trouble,
    readers: [Reader; 4],
    writer: Writer,
    registers: Registers,
    irq: bool,
    to_device: Vec<u8>,
}

/// As the driver's, in the time of a line that has no USB in it.
fn patience() -> Patience {
    Patience { answer: 1_500_000, silence: 600_000, hello: 1_000_000, end: 40_000_000 }
}

impl World {
    fn new(bench: Bench<Unit>, seed: u64, trouble: Trouble) -> Self {
        let memory = Arc::new(Memory::default());
        let mut random = random(seed);
        // What is read is below 0x3000, what is written above.
        let mut burst = |most: usize| {
            let words = 1 + random.below(most) as u64;
            let address = 0x1000 + 4 * random.below((0x2000 - 4 * most) / 4) as u64;
            match random.below(12) {
                0 => (0x5000 + 4 * random.below(100) as u64, words),
                1 => (address | 1 << (32 + random.below(32)), words),
                _ => (address, words),
            }
        };
        let mut bursts = |most, count| (0..count).map(|_| burst(most)).collect::<Vec<_>>();
        let readers = [bursts(40, 5), bursts(150, 4), bursts(64, 5), bursts(130, 4)];
        let mut at = 0x3000u64;
        let writes = (0..10).map(|_| {
            let most = if random.below(3) == 0 { 140 } else { 10 };
            let count = 1 + random.below(most);
            let first = 15 << random.below(4) & 15;
            let last = 15 >> random.below(4);
            let cut = if random.below(4) == 0 { random.below(count) } else { count };
            let words = (0..count)
                .map(|i| {
                    let mut strobes = 15u8;
                    strobes &= if i == 0 { first } else { 15 };
                    strobes &= if i + 1 == count { last } else { 15 };
                    // A source that failed on the way.
                    (random.word(), if i < cut { strobes } else { 0 })
                })
                .collect();
            at += 0x300;
            let address = match random.below(8) {
                0 => 0x5100,
                1 => at | 1 << 33,
                _ if is_there(at) => at,
                _ => at + 0x1000,
            };
            (address, words)
        });
        let writer = Writer::new(seed ^ 1, writes.collect());
        let mut index = 0;
        let readers = readers.map(|bursts| {
            index += 1;
            Reader::new(seed ^ index << 8, &bursts)
        });
        let link = Link::new(memory.clone(), patience(), 9, 0);
        World {
            bench,
            line: Line::new(BAUD),
            link,
            memory,
            random,
            trouble,
            readers,
            writer,
            registers: Registers {
                random: crate::common::random(seed ^ 2),
                ready: false,
                log: Vec::new(),
                answers: VecDeque::new(),
                offered: false,
            },
            irq: false,
            to_device: Vec::new(),
        }
    }

    fn now(&self) -> Nanos {
        self.bench.cycles() * PERIOD_PS / 1000
    }

    fn cycle(&mut self) {
        let ps = self.bench.cycles() * PERIOD_PS;
        let (now, irq) = (self.now(), self.irq);
        let out = self.link.take_output();
        self.to_device.extend(self.trouble.on(&mut self.random, out));
        if !self.to_device.is_empty() {
            self.line.send(&std::mem::take(&mut self.to_device));
        }
        let rx = self.line.drive(ps);
        let (readers, writer, registers) = (&mut self.readers, &mut self.writer, &mut self.registers);
        self.bench.fall(|unit| {
            unit.rx.next = rx;
            unit.irq.next = irq;
            readers[0].drive(&mut unit.walk, false);
            readers[1].drive(&mut unit.source, false);
            readers[2].drive(&mut unit.small, false);
            readers[3].drive(&mut unit.send, false);
            writer.drive(&mut unit.write);
            registers.ready = registers.random.below(5) == 0;
            unit.host_ready.next = registers.ready;
            registers.offered =
                !registers.answers.is_empty() && (registers.offered || registers.random.below(50) == 0);
            unit.answer_valid.next = registers.offered;
            let noise = registers.random.word();
            let answer = registers.answers.front().copied().filter(|_| registers.offered).unwrap_or(noise);
            unit.answer.next = FB::new(answer.into());
        });
        let unit = &self.bench.block;
        for (reader, port) in readers.iter_mut().zip([&unit.walk, &unit.source, &unit.small, &unit.send]) {
            reader.look(port, &self.memory);
        }
        writer.look(&unit.write);
        if unit.host_valid.val() && registers.ready {
            let offset = unit.host_offset.val().get() as u32;
            let data = unit.host_data.val().get() as u32;
            let write = unit.host_write.val();
            registers.log.push((offset, write.then_some(data)));
            if !write {
                registers.answers.push_back(register(offset));
            }
        }
        if unit.answer_ready.val() && registers.offered {
            registers.answers.pop_front();
            registers.offered = false;
        }
        self.line.look(ps, unit.tx.val());
        self.bench.rise();
        let bytes = self.line.take();
        if !bytes.is_empty() {
            let bytes = self.trouble.on(&mut self.random, bytes);
            self.link.input(now, &bytes);
        } else if self.link.next_event().is_some_and(|at| at <= now) {
            self.link.advance(now);
        }
        if let Some(error) = self.link.error() {
            panic!("cycle {}: {error}; {:?}", self.bench.cycles(), self.link.counters());
        }
    }

    fn is_done(&self) -> bool {
        self.readers.iter().all(|reader| reader.todo.is_empty()) && self.writer.todo.is_empty()
    }

    /// Everything at once, to its end.
    fn run(&mut self, accesses: usize) {
        let mut script: VecDeque<(u32, Option<u32>)> = (0..accesses)
            .map(|_| {
                let offset = (self.random.word() & 0xff_ffff) & !3;
                (offset, (self.random.below(2) == 0).then(|| self.random.word()))
            })
            .collect();
        let expected: Vec<_> = script.iter().copied().collect();
        let (mut asked, mut told) = (VecDeque::new(), 0);
        let end = self.bench.cycles() + 6_000_000;
        while !(script.is_empty() && asked.is_empty() && self.link.waiting() == 0 && self.is_done()) {
            assert!(self.bench.cycles() < end, "stuck: {:?}", self.link.counters());
            let now = self.now();
            if self.link.is_open() && self.random.below(2000) == 0 {
                match script.pop_front() {
                    Some((offset, None)) => asked.push_back((self.link.read(now, offset), offset)),
                    Some((offset, Some(value))) => self.link.write(now, offset, value),
                    None => {}
                }
            }
            if self.random.below(20_000) == 0 {
                self.irq = !self.irq;
            }
            self.cycle();
            if let Some((ticket, offset)) = asked.front().copied()
                && let Some(value) = self.link.take_answer(ticket)
            {
                assert_eq!(value, register(offset), "{offset:#x}");
                asked.pop_front();
            }
            told += usize::from(self.link.take_interrupt());
        }
        assert_eq!(self.registers.log, expected, "accesses in order, each once");
        // The level comes to be known, with whatever is lost.
        for level in [true, false] {
            self.irq = level;
            let start = self.bench.cycles();
            while self.link.irq() != level {
                self.cycle();
                assert!(self.bench.cycles() < start + 600_000, "the level is not told");
            }
            told += usize::from(self.link.take_interrupt());
        }
        assert!(told > 0);
        for at in (0x1000..0x9000).filter(|at| is_there(*at)) {
            let expected = self.writer.expected.get(&at).copied().unwrap_or_else(|| original(at));
            assert_eq!(self.memory.byte(at), expected, "at {at:#x}");
        }
        let counters = self.link.counters();
        assert_eq!(counters.senseless, 0);
        println!("{} cycles, {counters:?}", self.bench.cycles());
    }
}

fn quiet() -> Trouble {
    Trouble { one_in: 0 }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Unit>] = &[
    now("all four read masters want something", |u| {
        [&u.walk, &u.source, &u.small, &u.send].iter().all(|port| port.request.val())
    }),
    now("a write waits while a read is under way", |u| u.write.request.val() && u.walk.valid.val()),
    now("a read that the host refuses", |u| u.small.valid.val() && u.small.error.val()),
    now("a write that the host refuses", |u| u.write.answered.val() && u.write.failed.val()),
    now("a master does not take its word", |u| u.send.valid.val() && !u.send.ready.val()),
    now("words of a write with bytes left out", |u| {
        u.write.valid.val() && u.write.ready.val() && !matches!(u.write.strobes.val().get(), 0 | 15)
    }),
    now("the core does not take an access", |u| u.host_valid.val() && !u.host_ready.val()),
    now("a register is read", |u| u.host_valid.val() && u.host_ready.val() && !u.host_write.val()),
    now("its answer waits", |u| u.answer_valid.val() && !u.answer_ready.val()),
    then("the interrupt line rises", |u| !u.irq.val(), |u| u.irq.val()),
    then("the interrupt line falls", |u| u.irq.val(), |u| !u.irq.val()),
    then("a good frame", |u| u.good.val(), |u| !u.good.val()),
    then("a damaged one", |u| u.bad.val(), |u| !u.bad.val()),
    then("the core leaves its reset: HELLO", |u| u.core_reset.val(), |u| !u.core_reset.val()),
    then("both directions of the line at once", |u| !u.rx.val(), |u| !u.tx.val()),
];

#[test]
fn every_situation_occurs() {
    let bench = Bench::new(unit(), |unit| &mut unit.clock).covering(SITUATIONS);
    let mut world = World::new(bench, 10, Trouble { one_in: 600 });
    world.run(12);
    world.bench.check_coverage();
}

#[test]
fn everything_at_once_arrives() {
    for seed in 0..3 {
        let mut world = World::new(Bench::new(unit(), |unit| &mut unit.clock), seed, quiet());
        world.run(12);
        let counters = world.link.counters();
        assert_eq!((counters.repeated, counters.duplicates), (0, 0), "nothing was lost");
    }
}

#[test]
fn damage_loss_and_garbage_cost_time_only() {
    let mut repeated = 0;
    for seed in 10..13 {
        let trouble = Trouble { one_in: 600 };
        let mut world = World::new(Bench::new(unit(), |unit| &mut unit.clock), seed, trouble);
        world.run(12);
        let counters = world.link.counters();
        repeated += counters.repeated + counters.duplicates;
    }
    assert!(repeated > 0, "nothing was hit");
}

#[test]
fn a_break_and_a_flood_of_garbage_are_survived() {
    let mut world = World::new(Bench::new(unit(), |unit| &mut unit.clock), 20, quiet());
    for step in 0..3u64 {
        for _ in 0..20_000 {
            world.cycle();
        }
        let ps = world.bench.cycles() * PERIOD_PS;
        world.line.break_until(ps + 100_000_000);
        let noise: Vec<u8> = (0..700).map(|_| world.random.word() as u8).collect();
        world.to_device.extend(noise);
        // A beginning whose end never comes.
        world.to_device.extend([SYNC, step as u8, 64]);
    }
    world.run(8);
}

#[test]
fn a_host_that_starts_again_finds_a_device_in_reset() {
    let mut world = World::new(Bench::new(unit(), |unit| &mut unit.clock), 30, quiet());
    while !world.writer.taken && world.readers.iter().all(|reader| reader.seen < 20) {
        world.cycle();
    }
    // In the middle of things, and of a frame, the driver dies; so do the masters with the reset.
    world.line.send(&[SYNC, 3, 64, 1, 2]);
    let now = world.now();
    world.link = Link::new(world.memory.clone(), patience(), 4, now);
    let mut resets = 0;
    while !world.link.is_open() || world.bench.block.core_reset.val() {
        world.cycle();
        if world.bench.block.core_reset.val() {
            resets += 1;
            for reader in &mut world.readers {
                (reader.requested, reader.at) = (true, 0);
                reader.todo.clear();
            }
            world.writer.todo.clear();
            (world.writer.taken, world.writer.at, world.writer.valid) = (false, 0, false);
            world.registers.answers.clear();
        }
    }
    assert!(resets > 100, "{resets} cycles of reset");
    let again = World::new(Bench::new(unit(), |unit| &mut unit.clock), 31, quiet());
    world.readers = again.readers;
    world.writer = again.writer;
    *world.memory.0.lock().unwrap() = BTreeMap::new();
    world.run(8);
}

#[test]
fn before_hello_everything_is_answered_with_fresh() {
    let mut bench = Bench::new(unit(), |unit| &mut unit.clock);
    let mut line = Line::new(BAUD);
    line.send(&[0; MAX_FRAME]);
    line.send(&ironwarp_proto::bridge::ToDevice::Poll.encode(3));
    line.send(&ironwarp_proto::bridge::ToDevice::RegisterWrite { offset: 4, value: 1 }.encode(3));
    let mut bytes = Vec::new();
    for _ in 0..20_000 {
        let ps = bench.cycles() * PERIOD_PS;
        let rx = line.drive(ps);
        bench.fall(|unit| unit.rx.next = rx);
        assert!(bench.block.core_reset.val() && !bench.block.host_valid.val() && !bench.block.alive.val());
        line.look(ps, bench.block.tx.val());
        bench.rise();
        bytes.extend(line.take());
    }
    assert_eq!((bytes.len(), bytes[0], bytes[1] & 15, bytes[6] & 15), (10, SYNC, 7, 7));
}

#[test]
fn the_bridge_is_its_verilog() {
    if let Some(bench) = Bench::with_verilog("bridge", unit(), |unit| &mut unit.clock) {
        let mut world = World::new(bench, 40, Trouble { one_in: 900 });
        world.link.read(0, 0x1234);
        for _ in 0..60_000 {
            world.cycle();
            if world.random.below(3000) == 0 {
                let now = world.now();
                world.link.write(now, 0x1000, now as u32);
                world.irq = !world.irq;
            }
        }
        assert!(world.readers.iter().map(|reader| reader.seen).sum::<u64>() > 50);
    }
}

#[test]
fn the_bridge_can_be_synthesised() {
    check_synthesis("bridge", unit());
}

#[test]
fn uarts_understand_one_another_at_all_rates() {
    for (clock, baud) in [(62_500_000, 12_000_000), (31_250_000, 12_000_000), (31_250_000, 3_000_000)] {
        let period = 1_000_000_000_000 / clock;
        // A sender that is 1 % slow or fast.
        for off in [-10i64, 0, 10] {
            let mut line = Line::new((baud as i64 * (1000 + off) / 1000) as u64);
            let mut bench =
                Bench::new(UartReceiver::<12>::new(Baud::new(clock, baud)), |uart| &mut uart.clock);
            let mut random = random(baud ^ clock);
            let sent: Vec<u8> = (0..300).map(|_| random.word() as u8).collect();
            let mut received = Vec::new();
            for _ in 0..50 {
                let ps = bench.cycles() * period;
                let rx = line.drive(ps);
                bench.cycle(|uart| uart.pin.next = rx, |_| ());
            }
            line.send(&sent);
            while received.len() < sent.len() {
                let ps = bench.cycles() * period;
                let rx = line.drive(ps);
                let seen = bench.cycle(
                    |uart| uart.pin.next = rx,
                    |uart| {
                        assert!(!uart.bad.val(), "{clock} Hz, {baud} baud, {off} permille");
                        uart.valid.val().then(|| uart.value.val().get() as u8)
                    },
                );
                received.extend(seen);
            }
            assert_eq!(received, sent);
        }
        let mut line = Line::new(baud);
        let mut bench = Bench::new(UartSender::<12>::new(Baud::new(clock, baud)), |uart| &mut uart.clock);
        let mut received = Vec::new();
        let (mut next, mut bits) = (0u8, 0u64);
        while received.len() < 256 {
            let ps = bench.cycles() * period;
            let (level, ready, sample) = bench.cycle(
                |uart| {
                    uart.value.next = FB::new(next.into());
                    uart.valid.next = true;
                },
                |uart| (uart.pin.val(), uart.ready.val(), uart.sample.val()),
            );
            next = next.wrapping_add(u8::from(ready));
            bits += u64::from(sample);
            line.look(ps, level);
            received.extend(line.take());
        }
        assert_eq!(received, (0..=255).collect::<Vec<u8>>());
        assert!(bits >= 2048 && line.broken() == 0);
    }
}

#[test]
#[should_panic(expected = "needs more than 10 bits")]
fn a_rate_that_comes_out_wrong_is_refused() {
    let _ = Baud::<10>::new(31_250_000, 115_200);
}

#[test]
fn the_crc_is_that_of_the_frames() {
    let mut bench = Bench::new(Crc16::default(), |crc| &mut crc.clock);
    let mut random = random(3);
    for length in [0, 1, 2, 5, 40] {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.word() as u8).collect();
        bench.cycle(|crc| crc.init.next = true, |_| ());
        let mut feed = |bytes: &[u8]| {
            for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)) {
                bench.cycle(
                    |crc| {
                        (crc.init.next, crc.enable.next, crc.level.next) = (false, true, bit);
                    },
                    |_| (),
                );
            }
            bench.cycle(
                |crc| (crc.init.next, crc.enable.next) = (false, false),
                |crc| (crc.value.val().get() as u16, crc.right.val()),
            )
        };
        let (value, _) = feed(&bytes);
        assert_eq!(!value, crc16(&bytes));
        let field = crc16(&bytes).to_le_bytes();
        assert!(feed(&field).1, "the residue");
        bytes.clear();
    }
}
