//! The engines around the sequencer, behind its ports.
//!
//! Reads are done when they are commanded; writes and frames are done as late as the document allows: when the sequencer
//! waits, stalls or reads DRAIN or TXDRAIN. A program that forgets to wait for them thus shows it.

use super::command::{Commands, address};
use super::rx::Receiver;
use super::tx::{Outcome, Transmitter};
use super::walker::{Packets, Stretch, walk};
use super::writer::Writer;
use super::{reader, tx, writer};
use ironwarp_micro::interp::Ports;
use ironwarp_micro::isa::Word;
use ironwarp_micro::layout::port::{self, cond};
use ironwarp_proto::pins::{Dma, Frame};
use std::collections::VecDeque;
use std::sync::Arc;

/// Frames to inject that the transmit ring holds at least.
const INJECTED: usize = 4;

/// Words of a walker command.
fn walk_length(_: u32) -> Option<usize> {
    Some(4)
}

/// All of them.
pub struct Engines {
    dma: Arc<dyn Dma>,
    /// The time pins.
    pub now: u32,
    /// Receive path.
    pub receiver: Receiver,
    packets: Packets,
    walks: Commands,
    /// Writer.
    pub writer: Writer,
    writes: Commands,
    reads: Commands,
    replies: VecDeque<u32>,
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
    /// What the program did that no engine does.
    pub fault: Option<String>,
    trace: bool,
}

impl Engines {
    /// At reset, with a receive ring of `2^log2_rx_ring` words; `trace` prints commands.
    pub fn new(log2_rx_ring: u8, dma: Arc<dyn Dma>, trace: bool) -> Self {
        Self {
            dma,
            now: 0,
            receiver: Receiver::new(log2_rx_ring),
            packets: Packets::default(),
            walks: Commands::new(walk_length),
            writer: Writer::default(),
            writes: Commands::new(writer::length),
            reads: Commands::new(reader::length),
            replies: VecDeque::new(),
            transmitter: Transmitter::default(),
            sends: Commands::new(tx::length),
            begun: 0,
            frames: VecDeque::new(),
            room: 0,
            failed: VecDeque::new(),
            host: VecDeque::new(),
            answers: VecDeque::new(),
            alarm: None,
            fault: None,
            trace,
        }
    }

    /// The alarm, if it is enabled.
    pub fn alarm(&self) -> Option<u32> {
        self.alarm
    }

    /// Do what was put off. Tells whether there was anything.
    pub fn work(&mut self) -> bool {
        let idle = self.sends.is_empty() && self.writes.is_empty();
        self.send();
        self.write_out();
        !idle
    }

    /// Commands of which words are missing: the sequencer must not rest on one.
    pub fn unfinished(&self) -> bool {
        let engines = [&self.walks, &self.writes, &self.reads, &self.sends];
        engines.iter().any(|commands| !commands.unfinished().is_empty()) || self.transmitter.is_building()
    }

    fn write_out(&mut self) {
        while let Some(command) = self.writes.pop() {
            self.writer.execute(&command, &mut self.receiver, &*self.dma);
        }
    }

    fn send(&mut self) {
        while let Some(command) = self.sends.pop() {
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
        let len = (first >> 16) as usize;
        let bytes = if bit(2) {
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
        let stretch = Stretch { markers: bit(0), crc: bit(1), to_marker };
        let packets = walk(&bytes, stretch);
        if self.trace {
            packets.iter().for_each(|packet| eprintln!("    walker says {packet:x?}"));
        }
        self.packets.extend(packets);
    }

    fn command(&mut self, to: Word, value: u32) {
        let (name, commands) = match to {
            port::WRITER => ("writer", &mut self.writes),
            port::DMAC => ("reader", &mut self.reads),
            port::WALKC => ("walker", &mut self.walks),
            _ => ("transmit engine", &mut self.sends),
        };
        let begins = commands.unfinished().is_empty();
        if !commands.push(value) {
            return self.refuse(format!("{name}: no command begins with {value:#010x}"));
        }
        if self.trace
            && let Some(command) = commands.completed()
        {
            eprintln!("    {name} {command:x?}");
        }
        match to {
            port::DMAC => {
                while let Some(command) = self.reads.pop() {
                    self.replies.extend(reader::read(&command, &*self.dma));
                }
            }
            port::WALKC => {
                while let Some(command) = self.walks.pop() {
                    self.walk(&command);
                }
            }
            port::TX if begins && value & 15 == 1 => self.begun += 1,
            _ => {}
        }
    }
}

impl Ports for Engines {
    fn read(&mut self, address: u8) -> Option<u32> {
        match Word(address) {
            port::RXD => self.receiver.descriptor(),
            port::HOST => self.host.pop_front(),
            port::DMA => self.replies.pop_front(),
            port::WALK => self.packets.word(),
            port::WALK_FIRST => self.packets.first(),
            port::DRAIN => {
                self.write_out();
                Some(self.writer.drain())
            }
            port::NOW => Some(self.now),
            port::TXERR => Some(self.failed.pop_front().map_or(0, |tag| 1 << 31 | u32::from(tag))),
            port::WERR => Some(self.writer.pending()),
            port::TXDRAIN => {
                self.send();
                Some(0)
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
            port::DMA => !self.replies.is_empty(),
            port::WALK => self.packets.has_word(),
            port::WALK_FIRST => self.packets.is_ready(),
            _ => true,
        }
    }

    fn write(&mut self, address: u8, value: u32) -> bool {
        match Word(address) {
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
            (cond::WALK, self.packets.is_ready()),
            (cond::ALARM, due),
            (cond::TX_ROOM, self.frames.len() + self.begun < self.room),
            (cond::TXERR, !self.failed.is_empty()),
            (cond::WERR, self.writer.has_error()),
            (cond::DMA, !self.replies.is_empty()),
            (cond::INJECT_ROOM, self.begun < INJECTED),
            (cond::TX_IDLE, !sending && self.frames.is_empty()),
        ]
        .into_iter()
        .fold(0, |sum, (bit, set)| sum | u32::from(set) << bit)
    }
}
