//! The engines around the sequencer, behind its ports.
//!
//! Untimed, reads are done when they are commanded; writes and frames are done as late as the document allows: when the
//! sequencer waits, stalls or reads DRAIN or TXDRAIN. A program that forgets to wait for them thus shows it. Timed, each
//! engine takes its cycles, beside the sequencer.

use super::command::{Commands, Delayed, address};
use super::predict::{self, Script};
use super::rx::Receiver;
use super::tx::{Outcome, Transmitter};
use super::walker::{Packets, Stretch, walk};
use super::writer::Writer;
use super::{reader, tx, writer};
use ironwarp_micro::interp::Ports;
use ironwarp_micro::isa::Word;
use ironwarp_micro::layout::port::{self, already, cond, predicted};
use ironwarp_proto::pins::{Dma, Frame};
use std::collections::VecDeque;
use std::sync::Arc;

/// Frames to inject that the transmit ring holds at least.
const INJECTED: usize = 4;
/// Bytes of a page of doorbells; the first page is registers.
const DOORBELL_PAGE: u32 = 1 << 12;
/// Later than anything.
const PUT_OFF: u64 = u64::MAX;

/// Words of a walker command.
fn walk_length(_: u32) -> Option<usize> {
    Some(4)
}

/// How long engines take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// From the command of a read or write of host memory to its first word or its response, cycles. Every word is
    /// a cycle more.
    pub memory: u64,
}

/// When each engine has done what it was told.
#[derive(Debug, Default)]
struct Busy {
    walker: u64,
    writer: u64,
    reader: u64,
    transmitter: u64,
}

/// What is expected, and what the sequencer says once more.
#[derive(Debug, Default)]
struct Predict {
    send: Script,
    receive: Script,
    /// The last prediction completed a receive.
    completed: bool,
    /// Commands to the writer are not executed: they were.
    written: bool,
}

/// All of them.
pub struct Engines {
    dma: Arc<dyn Dma>,
    /// The time pins.
    pub now: u32,
    /// Cycles so far, if time counts.
    pub cycle: u64,
    latency: Option<Latency>,
    busy: Busy,
    /// Receive path.
    pub receiver: Receiver,
    packets: Packets,
    walks: Commands,
    /// Writer.
    pub writer: Writer,
    writes: Commands,
    reads: Commands,
    replies: Delayed<u32>,
    transmitter: Transmitter,
    sends: Commands,
    /// Frames begun and not finished.
    begun: usize,
    /// Frames waiting for the wire.
    pub frames: VecDeque<Frame>,
    /// Frames that the transmit ring has room for now.
    pub room: usize,
    failed: VecDeque<u16>,
    /// Requests of the host.
    pub host: VecDeque<u32>,
    /// Answers to its reads.
    pub answers: VecDeque<u32>,
    alarm: Option<u32>,
    predict: Predict,
    /// What the program did that no engine does.
    pub fault: Option<String>,
    trace: bool,
}

impl Engines {
    /// At reset, with a receive ring of `2^log2_rx_ring` words; without `latency` no time passes; `trace` prints commands.
    pub fn new(log2_rx_ring: u8, dma: Arc<dyn Dma>, latency: Option<Latency>, trace: bool) -> Self {
        Self {
            dma,
            now: 0,
            cycle: 0,
            latency,
            busy: Busy::default(),
            receiver: Receiver::new(log2_rx_ring),
            packets: Packets::default(),
            walks: Commands::new(walk_length),
            writer: Writer::default(),
            writes: Commands::new(writer::length),
            reads: Commands::new(reader::length),
            replies: Delayed::default(),
            transmitter: Transmitter::default(),
            sends: Commands::new(tx::length),
            begun: 0,
            frames: VecDeque::new(),
            room: 0,
            failed: VecDeque::new(),
            host: VecDeque::new(),
            answers: VecDeque::new(),
            alarm: None,
            predict: Predict::default(),
            fault: None,
            trace,
        }
    }

    /// The alarm, if it is enabled.
    pub fn alarm(&self) -> Option<u32> {
        self.alarm
    }

    /// Do what is due at the present cycle.
    pub fn tick(&mut self) {
        self.send(self.cycle);
        self.write_out(self.cycle);
    }

    /// Do all that was put off. Tells whether there was anything.
    pub fn work(&mut self) -> bool {
        let idle = self.sends.is_empty() && self.writes.is_empty();
        self.send(PUT_OFF);
        self.write_out(PUT_OFF);
        !idle
    }

    /// The next cycle at which an engine will have done something.
    pub fn next(&self) -> Option<u64> {
        let times = [self.writes.next(), self.sends.next(), self.replies.next(), self.packets.next()];
        times.into_iter().flatten().filter(|at| *at > self.cycle).min()
    }

    /// Whether words of a command are missing: the sequencer must not rest then.
    pub fn unfinished(&self) -> bool {
        let engines = [&self.walks, &self.writes, &self.reads, &self.sends];
        engines.iter().any(|commands| !commands.unfinished().is_empty())
    }

    /// Whether a frame was begun that cannot end.
    pub fn half_sent(&self) -> bool {
        self.sends.is_empty() && self.transmitter.is_building()
    }

    /// A register write or doorbell. The first doorbell of a page carries an index: behind another request a newer one takes the place
    /// of an older one, as in `hdl/src/host/requests.rs`.
    pub fn post(&mut self, offset: u32, value: u32) {
        let head = offset & 0xff_ffff | 1 << 31;
        let is_index = offset >= DOORBELL_PAGE && offset.is_multiple_of(DOORBELL_PAGE);
        if is_index && self.host.len() > 2 && self.host.iter().rev().nth(1) == Some(&head) {
            self.host.pop_back();
            self.host.push_back(value);
        } else {
            self.host.extend([head, value]);
        }
    }

    fn write_out(&mut self, now: u64) {
        while let Some(command) = self.writes.deferred().pop(now) {
            self.writer.execute(&command, &mut self.receiver, &*self.dma);
        }
    }

    fn send(&mut self, now: u64) {
        while let Some(command) = self.sends.deferred().pop(now) {
            let outcome = self.transmitter.execute(&command, &*self.dma);
            if outcome != Outcome::More {
                self.begun = self.begun.saturating_sub(1);
            }
            match outcome {
                Outcome::More | Outcome::Dropped => {}
                Outcome::Frame(frame) => self.frames.push_back(frame),
                Outcome::Inject(frame) => self.receiver.inject(frame),
                Outcome::Failed(tag) => self.failed.push_back(tag),
                Outcome::Refused(why) => self.refuse(format!("transmit engine: {why}")),
            }
        }
    }

    fn refuse(&mut self, why: String) {
        self.fault.get_or_insert(why);
    }

    fn walk(&mut self, command: &[u32]) {
        let [first, from, to_marker, high] = [command[0], command[1], command[2], command[3]];
        let bit = |n: u32| first >> n & 1 != 0;
        let (host, len) = (bit(2), (first >> 16) as usize);
        let bytes = if host {
            // In words: an FPDU may have more bytes than 16 bits can say.
            let mut bytes = vec![0; 4 * len];
            if len > 0 && self.dma.read(address(from, high), &mut bytes).is_err() {
                // What cannot be read is noise on the bus.
                bytes.fill(0xff);
            }
            bytes
        } else {
            self.receiver.bytes(from as usize, len)
        };
        let start = self.busy.walker.max(self.cycle);
        for packet in walk(&bytes, Stretch { markers: bit(0), crc: bit(1), to_marker }) {
            if self.trace {
                eprintln!("    walker says {packet:x?}");
            }
            if let Some(latency) = self.latency {
                let words = u64::from(packet[1] + packet[2]) / 4;
                self.busy.walker = start + if host { latency.memory } else { 0 } + words;
            }
            self.packets.push(self.busy.walker, packet);
        }
    }

    /// When a write command is done: untimed, not before it is forced.
    fn written_at(&mut self, command: &[u32]) -> u64 {
        let Some(latency) = self.latency else { return PUT_OFF };
        let words = match command[0] & 15 {
            1 => u64::from(command[0] >> 16) / 4,
            2 => command.len() as u64,
            _ => 1,
        };
        // Writes follow each other closely; what a response takes, all of them take.
        self.busy.writer = self.busy.writer.max(self.cycle) + words;
        self.busy.writer + latency.memory
    }

    fn sent_at(&mut self, command: &[u32]) -> u64 {
        let Some(latency) = self.latency else { return PUT_OFF };
        let cycles = match command[0] & 15 {
            5 => latency.memory + u64::from(command[0] >> 16) / 4,
            _ => command.len() as u64,
        };
        self.busy.transmitter = self.busy.transmitter.max(self.cycle) + cycles;
        self.busy.transmitter
    }

    fn read(&mut self, command: &[u32]) {
        let reply = reader::read(command, &*self.dma);
        // The status is known behind the last word and comes first.
        let at = self.latency.map_or(0, |latency| {
            self.busy.reader.max(self.cycle) + latency.memory + u64::from(reader::asked(command[0]))
        });
        self.busy.reader = at;
        reply.into_iter().for_each(|word| self.replies.push(at, word));
    }

    /// Port PREDICTED: the gates would have acted when the first thing came that waits now.
    fn predicted(&mut self) -> u32 {
        let scripts = [&mut self.predict.send, &mut self.predict.receive].map(std::mem::take);
        let sent = scripts[0].armed().map_or(0, |script| self.predict_send(script));
        let received = match scripts[1].armed() {
            Some(script) if sent == 0 => self.predict_receive(script),
            _ => 0,
        };
        self.predict.completed = received >> predicted::COMPLETED & 1 != 0;
        sent | received
    }

    fn predict_send(&mut self, script: &[u32; predict::SCRIPT]) -> u32 {
        let door = self.host.front().zip(self.host.get(1));
        let rings = door
            .is_some_and(|(head, value)| head >> 31 == 1 && predict::rings(script, head & 0xff_ffff, *value));
        if !rings || self.cond() >> cond::TX_ROOM & 1 == 0 {
            return 0;
        }
        let reply = reader::read(&script[..3], &*self.dma);
        let (told, sent) = match reply[1..].try_into() {
            Ok(entry) => predict::send(script, entry, None),
            Err(_) => predict::send(script, &[0; predict::ENTRY], Some(0)),
        };
        told.into_iter().for_each(|word| self.command(port::TX, word));
        sent.map_or(0, predict::Sent::outcome)
    }

    fn predict_receive(&mut self, script: &[u32; predict::SCRIPT]) -> u32 {
        let descriptor = self.receiver.descriptors().get(..9);
        let Some((at, bytes)) = descriptor.and_then(|words| predict::segment(script, words)) else {
            return 0;
        };
        if !self.writes.is_empty() || self.writer.has_error() {
            return 0;
        }
        let both = 1 << predicted::PLACED | 1 << predicted::COMPLETED;
        if predict::is_ack(script) {
            predict::acknowledged(script).iter().for_each(|word| self.command(port::WRITER, *word));
            return both;
        }
        let crc = script[6] >> 16 & 1 != 0;
        let stretch = Stretch { markers: false, crc, to_marker: 0 };
        let packets = walk(&self.receiver.bytes(at as usize, bytes as usize), stretch);
        let Some([place, complete]) = predict::receive(script, at, bytes, &packets[0]) else { return 0 };
        place.into_iter().for_each(|word| self.command(port::WRITER, word));
        self.write_out(PUT_OFF);
        if self.writer.has_error() {
            return 1 << predicted::PLACED;
        }
        complete.into_iter().for_each(|word| self.command(port::WRITER, word));
        both
    }

    fn command(&mut self, to: Word, value: u32) {
        let (name, commands) = match to {
            port::WRITER => ("writer", &mut self.writes),
            port::DMAC => ("reader", &mut self.reads),
            port::WALKC => ("walker", &mut self.walks),
            _ => ("transmit engine", &mut self.sends),
        };
        let command = match commands.push(value) {
            None => return self.refuse(format!("{name}: no command begins with {value:#010x}")),
            Some(false) => return,
            Some(true) => commands.complete(),
        };
        if self.trace {
            eprintln!("    {name} {command:x?}");
        }
        match to {
            port::DMAC => self.read(&command),
            port::WALKC => self.walk(&command),
            port::WRITER => {
                let at = self.written_at(&command);
                self.writes.defer(at, command);
            }
            _ => {
                self.begun += usize::from(command[0] & 15 == 1);
                let at = self.sent_at(&command);
                self.sends.defer(at, command);
            }
        }
    }
}

impl Ports for Engines {
    fn read(&mut self, address: u8) -> Option<u32> {
        let cycle = self.cycle;
        match Word(address) {
            port::RXD => self.receiver.descriptor(),
            port::HOST => self.host.pop_front(),
            port::DMA => self.replies.pop(cycle),
            port::WALK => self.packets.word(),
            port::WALK_FIRST => self.packets.first(cycle),
            port::DRAIN => {
                if self.latency.is_none() {
                    self.write_out(PUT_OFF);
                }
                self.writes.is_empty().then(|| self.writer.drain())
            }
            port::NOW => Some(self.now),
            port::TXERR => Some(self.failed.pop_front().map_or(0, |tag| 1 << 31 | u32::from(tag))),
            port::WERR => Some(self.writer.pending()),
            port::PREDICTED => Some(self.predicted()),
            port::TXDRAIN => {
                if self.latency.is_none() {
                    self.send(PUT_OFF);
                }
                self.sends.is_empty().then_some(0)
            }
            _ => {
                self.refuse(format!("there is no port {address} to read"));
                Some(0)
            }
        }
    }

    fn can_read(&mut self, address: u8) -> bool {
        match Word(address) {
            port::RXD => self.receiver.has_descriptor(),
            port::HOST => !self.host.is_empty(),
            port::DMA => self.replies.is_ready(self.cycle),
            port::WALK => self.packets.has_word(),
            port::WALK_FIRST => self.packets.is_ready(self.cycle),
            port::DRAIN => self.latency.is_none() || self.writes.is_empty(),
            port::TXDRAIN => self.latency.is_none() || self.sends.is_empty(),
            _ => true,
        }
    }

    fn write(&mut self, address: u8, value: u32) -> bool {
        match Word(address) {
            port::WRITER if self.predict.written => {}
            port::EXPECT_SEND => self.predict.send.push(value),
            port::EXPECT_RECEIVE => self.predict.receive.push(value),
            port::ALREADY => {
                let is = |bit: u8| value & u32::from(bit) != 0;
                let goes_on = self.predict.written && self.predict.completed;
                self.predict.written = is(already::WRITTEN) || is(already::IF_COMPLETED) && goes_on;
            }
            to @ (port::WRITER | port::DMAC | port::WALKC | port::TX) => self.command(to, value),
            port::HOSTR => self.answers.push_back(value),
            port::ALARM => self.alarm = Some(value),
            port::ALARM_OFF => self.alarm = None,
            port::MAC0 => self.receiver.set_mac(0, value),
            port::MAC1 => self.receiver.set_mac(1, value),
            _ => self.refuse(format!("there is no port {address} to write")),
        }
        true
    }

    fn can_write(&mut self, _: u8) -> bool {
        true
    }

    fn cond(&mut self) -> u32 {
        let due = self.alarm.is_some_and(|at| self.now.wrapping_sub(at) as i32 >= 0);
        let sending = !self.sends.is_empty() || self.transmitter.is_building();
        [
            (cond::RXD, self.receiver.has_descriptor()),
            (cond::HOST, !self.host.is_empty()),
            (cond::WALK, self.packets.is_ready(self.cycle)),
            (cond::ALARM, due),
            (cond::TX_ROOM, self.failed.is_empty() && self.frames.len() + self.begun < self.room),
            (cond::TXERR, !self.failed.is_empty()),
            (cond::WERR, self.writer.has_error()),
            (cond::DMA, self.replies.is_ready(self.cycle)),
            (cond::INJECT_ROOM, self.failed.is_empty() && self.begun < INJECTED),
            (cond::TX_IDLE, !sending && self.frames.is_empty()),
        ]
        .into_iter()
        .fold(0, |sum, (bit, set)| sum | u32::from(set) << bit)
    }
}
