//! The transmit engine (docs/microarchitecture.md section 6): commands in, frames out.

use super::command::{address, bytes};
use super::rx::PAD;
use ironwarp_proto::crc;
use ironwarp_proto::mpa::marker::{INTERVAL, MARKER_LEN, Marker};
use ironwarp_proto::pins::{Dma, Frame};
use ironwarp_proto::wire::checksum;
use ironwarp_proto::wire::ipv4::PROTOCOL_TCP;
use std::net::Ipv4Addr;

/// Operations.
mod op {
    pub const BEGIN: u32 = 1;
    pub const HEADER: u32 = 2;
    pub const FPDU: u32 = 3;
    pub const INLINE: u32 = 4;
    pub const READ: u32 = 5;
    pub const CLOSE: u32 = 6;
    pub const END: u32 = 7;
}

/// Where the IPv4 and the TCP header begin, pad included, bytes.
const IP: usize = 16;
const TCP: usize = 36;

/// Words of a command.
pub fn length(first: u32) -> Option<usize> {
    let count = (first >> 8 & 0xff) as usize;
    match first & 15 {
        op::BEGIN | op::READ => Some(3),
        op::HEADER | op::FPDU if count > 0 => Some(1 + count),
        op::INLINE if count > 0 => Some(1 + count.div_ceil(4)),
        op::CLOSE | op::END => Some(1),
        _ => None,
    }
}

/// What a command leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame is not complete.
    More,
    /// A frame for the wire.
    Frame(Frame),
    /// A frame for the own receive path.
    Inject(Frame),
    /// The program has dropped the frame.
    Dropped,
    /// A frame was given up because its payload could not be read.
    Failed(u16),
    /// The engine does not do this.
    Refused(String),
}

/// An FPDU under way.
#[derive(Debug)]
struct Open {
    crc: u32,
    /// Bytes of the stream since its length field.
    behind: u32,
    /// Bytes without markers.
    len: usize,
}

/// A frame under way.
#[derive(Debug)]
struct Building {
    raw: bool,
    inject: bool,
    markers: bool,
    crc: bool,
    tag: u16,
    to_marker: u32,
    skip: usize,
    stop: usize,
    /// MPA bytes so far, also those that were suppressed.
    stream: usize,
    open: Option<Open>,
    failed: bool,
    bytes: Vec<u8>,
}

impl Building {
    fn new(command: &[u32]) -> Self {
        let [c0, c1, c2] = [command[0], command[1], command[2]];
        let bit = |n: u32| c0 >> n & 1 != 0;
        Self {
            raw: bit(4),
            inject: bit(5),
            markers: bit(6),
            crc: bit(7),
            tag: (c0 >> 16) as u16,
            to_marker: c1 & 0xffff,
            skip: (c2 & 0xffff) as usize,
            stop: (c2 >> 16) as usize,
            stream: 0,
            open: None,
            failed: false,
            bytes: Vec::new(),
        }
    }

    /// Bytes of the MPA stream as they are.
    fn stream(&mut self, bytes: &[u8]) {
        let emitted = self.skip..self.skip + self.stop;
        for byte in bytes {
            if emitted.contains(&self.stream) {
                self.bytes.push(*byte);
            }
            self.stream += 1;
        }
        self.to_marker = self.to_marker.wrapping_sub(bytes.len() as u32);
    }

    /// The marker that is due.
    fn marker(&mut self, open: &mut Open) {
        if self.markers && self.to_marker == 0 {
            let marker = Marker { reserved: 0, fpdu_ptr: open.behind as u16 }.to_bytes();
            open.crc = crc::append(open.crc, &marker);
            // In front of the FPDU it is not part of what pointers count.
            if open.len > 0 {
                open.behind += MARKER_LEN as u32;
            }
            self.to_marker = INTERVAL;
            self.stream(&marker);
        }
    }

    /// Bytes of the FPDU under way, with the markers that are due among them.
    fn fpdu(&mut self, open: &mut Open, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.marker(open);
            let piece = if self.markers { self.to_marker as usize } else { bytes.len() };
            let (now, later) = bytes.split_at(piece.min(bytes.len()));
            open.crc = crc::append(open.crc, now);
            open.behind += now.len() as u32;
            open.len += now.len();
            self.stream(now);
            bytes = later;
        }
    }

    fn payload(&mut self, bytes: &[u8]) {
        match self.open.take() {
            Some(mut open) => {
                self.fpdu(&mut open, bytes);
                self.open = Some(open);
            }
            None => self.bytes.extend(bytes),
        }
    }

    fn close(&mut self, mut open: Open) {
        let pad = open.len.wrapping_neg() & 3;
        self.fpdu(&mut open, &[0; 3][..pad]);
        // A marker between pad and CRC belongs to this FPDU.
        self.marker(&mut open);
        self.stream(&if self.crc { crc::to_wire(open.crc) } else { [0; 4] });
    }

    /// Checksums in, pad off.
    fn finish(mut self) -> Outcome {
        if !self.raw {
            let frame = &mut self.bytes;
            let Some(total) = frame.get(IP + 2..IP + 4).map(|t| u16::from_be_bytes([t[0], t[1]])) else {
                return Outcome::Refused(format!("a frame of {} bytes has no IP header", frame.len()));
            };
            if frame.len() < TCP + 20 || frame.len() != IP + usize::from(total) {
                let have = frame.len() - IP;
                return Outcome::Refused(format!("IP total length {total}, but {have} bytes are there"));
            }
            let sum = checksum::finish(checksum::sum(0, &frame[IP..TCP]));
            frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
            let at = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
            let pseudo = checksum::pseudo_header(at(IP + 12), at(IP + 16), PROTOCOL_TCP, total - 20);
            let sum = checksum::finish(checksum::sum(pseudo, &frame[TCP..]));
            frame[TCP + 16..TCP + 18].copy_from_slice(&sum.to_be_bytes());
        }
        if self.bytes.len() < PAD {
            return Outcome::Refused("a frame without its pad".into());
        }
        let frame = self.bytes.split_off(PAD);
        if self.inject { Outcome::Inject(frame) } else { Outcome::Frame(frame) }
    }
}

/// The engine.
#[derive(Debug, Default)]
pub struct Transmitter {
    frame: Option<Building>,
}

impl Transmitter {
    /// Whether a frame is under way.
    pub fn is_building(&self) -> bool {
        self.frame.is_some()
    }

    /// Execute a command.
    pub fn execute(&mut self, command: &[u32], dma: &dyn Dma) -> Outcome {
        let first = command[0];
        let operation = first & 15;
        let refused = |what: &str| Outcome::Refused(format!("{what}: command {first:#010x}"));
        let Some(mut frame) = self.frame.take() else {
            if operation != op::BEGIN {
                return refused("no frame was begun");
            }
            self.frame = Some(Building::new(command));
            return Outcome::More;
        };
        if operation == op::END {
            return if frame.failed {
                Outcome::Failed(frame.tag)
            } else if first >> 4 & 1 != 0 {
                Outcome::Dropped
            } else if frame.open.is_some() {
                refused("the FPDU is open")
            } else {
                frame.finish()
            };
        }
        if !frame.failed {
            match operation {
                op::HEADER => frame.bytes.extend(bytes(&command[1..])),
                op::FPDU if frame.open.is_none() => {
                    frame.open = Some(Open { crc: 0, behind: 0, len: 0 });
                    frame.payload(&bytes(&command[1..]));
                }
                op::INLINE => {
                    let len = (first >> 8 & 0xff) as usize;
                    frame.payload(&bytes(&command[1..])[..len]);
                }
                op::READ => {
                    let mut data = vec![0; (first >> 16) as usize];
                    frame.failed =
                        !data.is_empty() && dma.read(address(command[1], command[2]), &mut data).is_err();
                    frame.payload(&data);
                }
                op::CLOSE => match frame.open.take() {
                    Some(open) => frame.close(open),
                    None => return refused("no FPDU is open"),
                },
                _ => return refused("a frame is under way"),
            }
        }
        self.frame = Some(frame);
        Outcome::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulated::command::words;
    use crate::emulated::memory::Memory;
    use crate::model::frame::{Arrival, Outgoing, Template, classify};
    use ironwarp_proto::mpa::marker::{MarkerPhase, emit};
    use ironwarp_proto::seq::Seq;
    use ironwarp_proto::wire::eth::MacAddr;
    use ironwarp_proto::wire::tcp::TcpFlags;
    use proptest::prelude::*;

    /// Headers with both checksum fields 0, as the sequencer gives them.
    fn headers(payload: usize) -> (Vec<u32>, Template, Outgoing) {
        let mut headers = [0; 54];
        headers[..12].copy_from_slice(&[2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4]);
        headers[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        headers[20..24].copy_from_slice(&[0x40, 0, 64, 6]);
        headers[26..38].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x56, 0x78]);
        headers[46] = 0x50;
        let template = Template::new(headers);
        let fields = Outgoing { seq: Seq(0x1122_3344), ack: Seq(5), window: 0x77, flags: TcpFlags::ACK };
        headers[16..18].copy_from_slice(&(payload as u16 + 40).to_be_bytes());
        headers[38..42].copy_from_slice(&0x1122_3344u32.to_be_bytes());
        headers[45] = 5;
        headers[47] = TcpFlags::ACK.0;
        headers[49] = 0x77;
        (words(&[&[0; PAD], &headers[..]].concat()), template, fields)
    }

    fn run(commands: &[Vec<u32>], memory: &Memory) -> Outcome {
        let mut engine = Transmitter::default();
        let mut last = Outcome::More;
        for command in commands {
            assert_eq!(last, Outcome::More);
            assert_eq!(length(command[0]), Some(command.len()));
            last = engine.execute(command, memory);
        }
        assert!(!engine.is_building());
        last
    }

    fn with(first: u32, rest: &[u32]) -> Vec<u32> {
        [&[first], rest].concat()
    }

    proptest! {
        #[test]
        fn a_cut_of_fpdus_is_what_the_model_puts_into_a_frame(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1300), 1..5),
            start in 0u32..128, markers: bool, crc: bool, cut: [usize; 2], at in 0usize..4096,
        ) {
            let memory = Memory::new(0x8000, 16384);
            let (mut commands, mut stream) = (Vec::new(), Vec::new());
            let mut phase = MarkerPhase::at(512 - u64::from(start) * 4);
            for (index, payload) in payloads.iter().enumerate() {
                let tagged = index % 2 == 0;
                let header = if tagged { [0xc1; 14].to_vec() } else { [0x41; 18].to_vec() };
                let length = ((header.len() + payload.len()) as u16).to_be_bytes();
                let shown = words(&[&length[..], &header[..]].concat());
                commands.push(with(op::FPDU | (shown.len() as u32) << 8, &shown));
                // The first bytes inline, the rest from memory.
                let (near, far) = payload.split_at(payload.len().min(index * 7));
                if !near.is_empty() {
                    commands.push(with(op::INLINE | (near.len() as u32) << 8, &words(near)));
                }
                let from = 0x8000 + at + index * 2048;
                memory.write(from as u64, far).unwrap();
                commands.push(vec![op::READ | (far.len() as u32) << 16, from as u32, 0]);
                commands.push(vec![op::CLOSE]);
                let ulpdu: [&[u8]; 2] = [&header, payload];
                if markers {
                    phase = emit(&ulpdu, crc, phase, &mut stream).unwrap();
                } else {
                    ironwarp_proto::mpa::fpdu::emit(&ulpdu, crc, &mut stream).unwrap();
                }
            }
            let skip = cut[0] % stream.len();
            let stop = 1 + cut[1] % (stream.len() - skip);
            let expected = &stream[skip..skip + stop];
            let (words, mut template, fields) = headers(expected.len());
            let c0 = op::BEGIN | u32::from(markers) << 6 | u32::from(crc) << 7;
            let mut all = vec![vec![c0, start * 4, skip as u32 | (stop as u32) << 16]];
            all.push(with(op::HEADER | 14 << 8, &words));
            all.extend(commands);
            all.push(vec![op::END]);
            let mut frame = template.begin(0);
            frame.extend(expected);
            template.finish(&mut frame, &fields);
            prop_assert_eq!(run(&all, &memory), Outcome::Frame(frame.clone()));
            prop_assert!(matches!(classify(&frame, MacAddr([2; 6])), Arrival::Segment(..)));
        }
    }

    #[test]
    fn raw_frames_are_sent_or_injected_as_they_are() {
        let memory = Memory::new(0x1000, 64);
        memory.write(0x1002, &(1..60).collect::<Vec<u8>>()).unwrap();
        for (bit, inject) in [(0, false), (1 << 5, true)] {
            let commands = [
                vec![op::BEGIN | 1 << 4 | bit, 0, 0],
                vec![op::READ | 41 << 16, 0x1000, 0],
                vec![op::READ | 20 << 16, 0x1029, 0],
                vec![op::END],
            ];
            let frame = (1..60).collect();
            let expected = if inject { Outcome::Inject(frame) } else { Outcome::Frame(frame) };
            assert_eq!(run(&commands, &memory), expected);
        }
    }

    #[test]
    fn a_frame_whose_payload_cannot_be_read_is_given_up_with_its_tag() {
        let memory = Memory::new(0x1000, 64);
        let commands = [
            vec![op::BEGIN | 0xabc << 16, 0, 0],
            vec![op::READ | 10 << 16, 0x5000, 0],
            vec![op::HEADER | 1 << 8, 7],
            vec![op::END],
        ];
        assert_eq!(run(&commands, &memory), Outcome::Failed(0xabc));
    }

    #[test]
    fn a_frame_ended_with_the_drop_bit_is_dropped() {
        let memory = Memory::new(0x1000, 64);
        let commands = [vec![op::BEGIN, 0, 0], vec![op::FPDU | 1 << 8, 7], vec![op::END | 1 << 4]];
        assert_eq!(run(&commands, &memory), Outcome::Dropped);
    }

    #[test]
    fn commands_out_of_place_are_refused() {
        let memory = Memory::new(0x1000, 64);
        let mut engine = Transmitter::default();
        assert!(matches!(engine.execute(&[op::CLOSE], &memory), Outcome::Refused(_)));
        assert_eq!(engine.execute(&[op::BEGIN, 0, 0], &memory), Outcome::More);
        assert!(matches!(engine.execute(&[op::END], &memory), Outcome::Refused(_)));
        let (words, ..) = headers(1);
        engine.execute(&[op::BEGIN, 0, 0], &memory);
        engine.execute(&with(op::HEADER | 14 << 8, &words), &memory);
        assert!(matches!(engine.execute(&[op::END], &memory), Outcome::Refused(_)));
        assert_eq!([0, 8, op::HEADER, op::INLINE].map(length), [None; 4]);
    }
}
