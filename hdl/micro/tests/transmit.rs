//! The transmit part of the program against the stream that the protocols' own functions give.

use ironwarp_micro::asm::Program;
use ironwarp_micro::interp::{Machine, Ports, Step};
use ironwarp_micro::isa::Word;
use ironwarp_micro::layout::{Sizes, c, g};
use ironwarp_micro::program::assemble;
use ironwarp_proto::abi::region::{Region, access};
use ironwarp_proto::abi::send_entry::{AtomicOperands, Opcode as Verb, Payload, SLOT, SendEntry, Sge};
use ironwarp_proto::ddp::{self, DdpHeader, QN_ATOMIC, QN_READ, QN_SEND};
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::rdmap::{self, AtomicRequest, AtomicResponse, Opcode, ReadRequest};
use proptest::prelude::*;
use std::collections::VecDeque;

const PD: u16 = 7;
const QP: u32 = 1;
const LKEY: u32 = 0x0011_0305;
const REMOTE: u32 = 0x0022_0409;
const SQ: u64 = 0x10_0000;
const SQ_LOG2: u8 = 6;
/// Host address and TO of the payload region.
const HOST: u64 = 0x20_0000;
const TO: u64 = 0xffff_ff00;
const BYTES: u32 = 0x4_0000;

/// Host memory, and the transmit engine as a list of its command words.
struct Fake {
    memory: Vec<u8>,
    reader: Vec<u32>,
    replies: VecDeque<u32>,
    engine: Vec<u32>,
}

impl Fake {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.memory.get(usize::try_from(address).ok()?..)?.get(..len)
    }
}

impl Ports for Fake {
    fn read(&mut self, address: u8) -> Option<u32> {
        match address {
            115 => self.replies.pop_front(),
            _ => Some(0),
        }
    }
    fn can_read(&mut self, address: u8) -> bool {
        address != 115 || !self.replies.is_empty()
    }
    fn write(&mut self, address: u8, value: u32) -> bool {
        match address {
            115 => {
                self.reader.push(value);
                if let [first, low, high] = self.reader[..] {
                    let (words, mask) = (first & 0xffff, first >> 16);
                    self.reader.clear();
                    let from = u64::from(high) << 32 | u64::from(low);
                    match self.bytes(from, 4 * words as usize).map(<[u8]>::to_vec) {
                        Some(bytes) => {
                            self.replies.push_back(0);
                            let words =
                                bytes.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap()));
                            let kept = |n: usize| mask == 0 || mask >> (n % 16) & 1 != 0;
                            let before = self.replies.len();
                            self.replies
                                .extend(words.enumerate().filter(|(n, _)| kept(*n)).map(|(_, word)| word));
                            assert!(self.replies.len() - before <= 64, "too long a reply: {first:#x}");
                        }
                        None => self.replies.push_back(1),
                    }
                }
            }
            117 => self.engine.push(value),
            _ => {}
        }
        true
    }
    fn can_write(&mut self, _: u8) -> bool {
        true
    }
    fn cond(&mut self) -> u32 {
        0
    }
}

/// A QP of an assembled program, called routine by routine.
struct Bench {
    program: Program,
    machine: Machine,
    fake: Fake,
    sizes: Sizes,
    markers: bool,
    crc: bool,
    /// Cycles of all calls.
    cycles: u32,
}

impl Bench {
    fn new(mulpdu: u16, markers: bool, crc: bool, start: u32) -> Self {
        let sizes = Sizes::FULL;
        let program = assemble(&sizes).unwrap();
        let machine = Machine::new(&program, 1 << sizes.log2_qps, sizes.table());
        let mut memory = vec![0; 0x40_0000];
        for (at, byte) in memory[HOST as usize..][..BYTES as usize].iter_mut().enumerate() {
            *byte = (at * 7 + at / 251) as u8;
        }
        let fake = Fake { memory, reader: Vec::new(), replies: VecDeque::new(), engine: Vec::new() };
        let mut bench = Self { program, machine, fake, sizes, markers, crc, cycles: 0 };
        for _ in 0..2_000_000 {
            if bench.machine.step(&mut bench.fake).unwrap() == Step::Waiting {
                break;
            }
        }
        bench.fake.engine.clear();
        let area = sizes.qps() + QP as u16 * sizes.qp_area();
        bench.machine.qp = QP;
        bench.set(g::QPN, QP);
        bench.set(g::TQ, area.into());
        bench.set(c::ASKER, u32::from(PD) << 16 | QP);
        bench.set(c::STATE, 2);
        bench.set(c::FB, 0);
        bench.set(c::FC, 0);
        bench.set(c::FD, 0);
        bench.set(c::FA, u32::from(markers) << c::fa::MARKERS_TX | u32::from(crc) << c::fa::CRC);
        let context = [
            (2, 16 << 24),
            (3, u32::from(mulpdu) << 16),
            (4, u32::from(SQ_LOG2)),
            (6, SQ as u32),
            (7, (SQ >> 32) as u32),
            (16, start),
        ];
        for (word, value) in context {
            bench.machine.table[usize::from(area) + word] = value;
        }
        for (stag, rights) in [(LKEY, access::LOCAL_WRITE), (REMOTE, access::REMOTE_READ)] {
            let region = Region {
                valid: true,
                access: rights,
                pd: PD,
                length: BYTES.into(),
                base: TO,
                host: HOST,
                stag,
                ..Region::default()
            };
            let at = usize::from(sizes.regions()) + 8 * (stag as usize >> 8 & 0xff);
            bench.machine.table[at..at + 8].copy_from_slice(&region.encode());
        }
        bench.call("rdma_tx_activate", &[]);
        bench
    }

    fn set(&mut self, word: Word, value: u32) {
        if word.0 < 112 {
            self.machine.globals[usize::from(word.0)] = value;
        } else {
            self.machine.contexts[self.machine.qp as usize][usize::from(word.0 - 128)] = value;
        }
    }

    /// Call a routine; what is in R0..R2 then.
    fn call(&mut self, name: &str, arguments: &[u32]) -> [u32; 3] {
        let end = self.program.words.len();
        self.machine.globals[..ironwarp_micro::asm::LINKS].fill(end as u32);
        for (n, argument) in arguments.iter().enumerate() {
            self.machine.globals[usize::from(g::A0.0) + n] = *argument;
        }
        self.machine.pc = self.program.symbols.iter().find(|(_, known)| *known == name).unwrap().0;
        for _ in 0..200_000 {
            if self.machine.pc == end {
                return [g::R0, g::R1, g::R2].map(|word| self.machine.word(word));
            }
            let at = self.program.place(self.machine.pc);
            match self.machine.step(&mut self.fake).unwrap() {
                Step::Ran(cycles) => self.cycles += cycles,
                _ => panic!("stalls at {at:?}"),
            }
        }
        panic!("{name} does not end");
    }

    fn word(&self, word: Word) -> u32 {
        self.machine.word(word)
    }

    fn post(&mut self, entries: &[SendEntry]) {
        let mut index = self.word(c::SQ) >> 16;
        for entry in entries {
            let entry = SendEntry { index: index as u16, ..entry.clone() };
            for slot in entry.encode().chunks(16) {
                let at = SQ as usize + SLOT * (index as usize % (1 << SQ_LOG2));
                for (word, to) in slot.iter().zip(self.fake.memory[at..at + SLOT].chunks_exact_mut(4)) {
                    to.copy_from_slice(&word.to_le_bytes());
                }
                index = (index + 1) & 0xffff;
            }
        }
        assert_eq!(self.call("post_send", &[index])[0], 1, "doorbell");
    }

    /// A segment: its bytes, and whether something waits behind it; `None`: nothing to send.
    fn segment(&mut self, from: u32, room: u32, may_cut: bool) -> Option<(Vec<u8>, bool)> {
        let [something, len, push] = self.call("rdma_plan", &[from, room, may_cut.into()]);
        if something == 0 {
            return None;
        }
        if len > 0 {
            self.call("rdma_build", &[from, len, 0x10]);
        }
        let bytes = self.frame();
        assert_eq!(bytes.len(), len as usize);
        Some((bytes, push == 0))
    }

    /// A segment of a run, if there is one.
    fn run(&mut self, from: u32, room: u32) -> Option<Vec<u8>> {
        let [something, len, _] = self.call("rdma_run", &[from, room]);
        assert!(self.fake.replies.is_empty(), "replies are left");
        let bytes = self.frame();
        assert_eq!(bytes.len() as u32, if something == 0 { 0 } else { len });
        (something != 0).then_some(bytes)
    }

    /// The MPA stream of the frame in the engine.
    fn frame(&mut self) -> Vec<u8> {
        let commands = std::mem::take(&mut self.fake.engine);
        let mut words = commands.into_iter();
        let (mut stream, mut skip, mut stop) = (Vec::new(), 0, 0);
        let (mut phase, mut ulpdu) = (MarkerPhase::START, Vec::new());
        while let Some(head) = words.next() {
            let mut next = || words.next().unwrap();
            match head & 15 {
                1 => {
                    assert_eq!((head >> 6 & 1 == 1, head >> 7 & 1 == 1), (self.markers, self.crc));
                    phase = MarkerPhase::at(u64::from(512 - next()));
                    let cut = next();
                    (skip, stop) = (cut as usize & 0xffff, cut as usize >> 16);
                }
                2 => (0..head >> 8 & 0xff).for_each(|_| _ = next()),
                3 => {
                    ulpdu = (0..head >> 8 & 0xff).flat_map(|_| next().to_le_bytes()).collect();
                }
                4 => {
                    let len = (head >> 8 & 0xff) as usize;
                    let bytes: Vec<u8> = (0..len.div_ceil(4)).flat_map(|_| next().to_le_bytes()).collect();
                    ulpdu.extend(&bytes[..len]);
                }
                5 => {
                    let address = u64::from(next()) | u64::from(next()) << 32;
                    ulpdu.extend(self.fake.bytes(address, head as usize >> 16).unwrap());
                }
                6 => {
                    let length = usize::from(u16::from_be_bytes([ulpdu[0], ulpdu[1]]));
                    assert_eq!(length + 2, ulpdu.len(), "length field");
                    if self.markers {
                        phase = marker::emit(&[&ulpdu[2..]], self.crc, phase, &mut stream).unwrap();
                    } else {
                        ironwarp_proto::mpa::fpdu::emit(&[&ulpdu[2..]], self.crc, &mut stream).unwrap();
                    }
                }
                7 if head == 0x17 => stream.clear(),
                7 => assert_eq!(head, 7),
                _ => panic!("command {head:#x}"),
            }
        }
        stream.drain(..skip);
        stream.truncate(stop);
        stream
    }
}

/// A message as the protocols cut it.
struct Golden {
    mulpdu: usize,
    markers: bool,
    crc: bool,
    phase: MarkerPhase,
    msn: [u32; 4],
    request_id: u32,
    stream: Vec<u8>,
    /// Where FPDUs begin.
    starts: Vec<u32>,
}

impl Golden {
    fn message(&mut self, payload: &[u8], header: impl Fn(bool, u32) -> DdpHeader) {
        let mut offset = 0;
        loop {
            let room = self.mulpdu - header(true, 0).header_len();
            let len = room.min(payload.len() - offset);
            let last = offset + len == payload.len();
            let mut ulpdu = Vec::new();
            header(last, offset as u32).emit(&mut ulpdu);
            ulpdu.extend(&payload[offset..offset + len]);
            self.starts.push(self.stream.len() as u32);
            if self.markers {
                self.phase = marker::emit(&[&ulpdu], self.crc, self.phase, &mut self.stream).unwrap();
            } else {
                ironwarp_proto::mpa::fpdu::emit(&[&ulpdu], self.crc, &mut self.stream).unwrap();
            }
            offset += len;
            if last {
                return;
            }
        }
    }

    fn tagged(&mut self, opcode: Opcode, stag: u32, to: u64, payload: &[u8]) {
        self.message(payload, |last, offset| DdpHeader::Tagged {
            last,
            version: ddp::VERSION,
            rdmap_control: rdmap::control(opcode),
            stag,
            to: to.wrapping_add(offset.into()),
        });
    }

    fn untagged(&mut self, opcode: Opcode, qn: u32, inv_stag: u32, payload: &[u8]) {
        let msn = self.msn[qn as usize];
        self.msn[qn as usize] += 1;
        self.message(payload, |last, mo| DdpHeader::Untagged {
            last,
            version: ddp::VERSION,
            rdmap_control: rdmap::control(opcode),
            inv_stag,
            qn,
            msn,
            mo,
        });
    }

    fn entry(&mut self, entry: &SendEntry, host: &[u8]) {
        let payload: Vec<u8> = match &entry.payload {
            Payload::Inline(bytes) => bytes.clone(),
            Payload::Sges(sges) => sges
                .iter()
                .flat_map(|sge| host[(sge.to - TO) as usize..][..sge.length as usize].to_vec())
                .collect(),
        };
        let sge = match &entry.payload {
            Payload::Sges(sges) => sges.first().copied().unwrap_or_default(),
            Payload::Inline(_) => Sge::default(),
        };
        match entry.opcode {
            Verb::Send => self.untagged(Opcode::Send, QN_SEND, 0, &payload),
            Verb::SendSolicited => self.untagged(Opcode::SendSolicited, QN_SEND, 0, &payload),
            Verb::SendInvalidate => self.untagged(Opcode::SendInvalidate, QN_SEND, entry.stag, &payload),
            Verb::SendSolicitedInvalidate => {
                self.untagged(Opcode::SendSolicitedInvalidate, QN_SEND, entry.stag, &payload);
            }
            Verb::Write => self.tagged(Opcode::Write, entry.stag, entry.to, &payload),
            Verb::WriteImmediate => {
                self.tagged(Opcode::Write, entry.stag, entry.to, &payload);
                self.untagged(Opcode::ImmediateData, QN_SEND, 0, &entry.immediate);
            }
            Verb::Immediate => self.untagged(Opcode::ImmediateData, QN_SEND, 0, &entry.immediate),
            Verb::ImmediateSolicited => {
                self.untagged(Opcode::ImmediateDataSolicited, QN_SEND, 0, &entry.immediate);
            }
            Verb::Read | Verb::ReadInvalidateLocal => {
                let mut bytes = Vec::new();
                ReadRequest {
                    sink_stag: sge.lkey,
                    sink_to: sge.to,
                    size: sge.length,
                    source_stag: entry.stag,
                    source_to: entry.to,
                }
                .emit(&mut bytes);
                self.untagged(Opcode::ReadRequest, QN_READ, 0, &bytes);
            }
            Verb::FetchAdd | Verb::CompareSwap => {
                let add = entry.opcode == Verb::FetchAdd;
                let mut bytes = Vec::new();
                AtomicRequest {
                    opcode: if add { 0 } else { 2 },
                    request_id: self.request_id,
                    stag: entry.stag,
                    to: entry.to,
                    add_or_swap: entry.atomic.add_or_swap,
                    add_or_swap_mask: entry.atomic.add_or_swap_mask,
                    compare: if add { 0 } else { entry.atomic.compare },
                    compare_mask: if add { u64::MAX } else { entry.atomic.compare_mask },
                }
                .emit(&mut bytes);
                self.request_id += 1;
                self.untagged(Opcode::AtomicRequest, QN_READ, 0, &bytes);
            }
            _ => {}
        }
    }

    fn response(&mut self, response: &Response, host: &[u8]) {
        match *response {
            Response::Read { sink, to, from, size } => {
                self.tagged(Opcode::ReadResponse, sink, to, &host[from as usize..][..size as usize]);
            }
            Response::Atomic { request_id, original } => {
                let mut bytes = Vec::new();
                AtomicResponse { request_id, original }.emit(&mut bytes);
                self.untagged(Opcode::AtomicResponse, QN_ATOMIC, 0, &bytes);
            }
        }
    }
}

/// What the peer asked for.
#[derive(Debug, Clone)]
enum Response {
    Read { sink: u32, to: u64, from: u32, size: u32 },
    Atomic { request_id: u32, original: u64 },
}

impl Response {
    fn words(&self) -> [u32; 8] {
        match *self {
            Response::Read { sink, to, from, size } => {
                let source = TO + u64::from(from);
                let (low, high) = (to as u32, (to >> 32) as u32);
                [0, sink, low, high, size, REMOTE, source as u32, (source >> 32) as u32]
            }
            Response::Atomic { request_id, original } => {
                [1, request_id, original as u32, (original >> 32) as u32, 0, 0, 0, 0]
            }
        }
    }
}

fn sge() -> impl Strategy<Value = Sge> {
    (0u32..BYTES / 2, prop_oneof![0u32..20, 0u32..3000]).prop_map(|(offset, length)| Sge {
        to: TO + u64::from(offset),
        length,
        lkey: LKEY,
    })
}

fn send_entry() -> impl Strategy<Value = SendEntry> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..=32).prop_map(Payload::Inline),
        prop::collection::vec(sge(), 0..=6).prop_map(Payload::Sges),
    ];
    let single = sge().prop_map(|sge| Payload::Sges(vec![sge]));
    let eight = sge().prop_map(|sge| Payload::Sges(vec![Sge { length: 8, ..sge }]));
    let none = Just(Payload::Sges(Vec::new()));
    let verb = prop_oneof![
        6 => (1u8..=6, payload.boxed()),
        2 => (7u8..=8, single.boxed()),
        2 => (9u8..=10, eight.boxed()),
        2 => (prop::sample::select(vec![0u8, 11, 12]), none.boxed()),
    ];
    (verb, any::<[u64; 5]>(), any::<u32>(), any::<[u8; 8]>(), any::<bool>()).prop_map(
        |((verb, payload), numbers, stag, immediate, signalled)| SendEntry {
            stag,
            to: numbers[0],
            immediate,
            payload,
            signalled,
            atomic: AtomicOperands {
                add_or_swap: numbers[1],
                add_or_swap_mask: numbers[2],
                compare: numbers[3],
                compare_mask: numbers[4],
            },
            ..SendEntry::new(Verb::from_code(verb).unwrap())
        },
    )
}

/// Small Writes of the same length, and other entries.
fn queue() -> impl Strategy<Value = Vec<SendEntry>> {
    let run = (1usize..=32, prop::collection::vec((any::<u64>(), any::<u8>(), 0u8..4), 1..8));
    let run = run.prop_map(|(len, entries)| {
        let write = |(to, byte, signalled)| SendEntry {
            to,
            payload: Payload::Inline(vec![byte; len]),
            signalled: signalled == 0,
            ..SendEntry::new(Verb::Write)
        };
        entries.into_iter().map(write).collect()
    });
    let item = prop_oneof![3 => send_entry().prop_map(|entry| vec![entry]), 1 => run];
    prop::collection::vec(item, 1..10).prop_map(|items: Vec<Vec<_>>| items.concat())
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        (any::<u32>(), any::<u64>(), 0u32..BYTES / 2, 0u32..3000)
            .prop_map(|(sink, to, from, size)| { Response::Read { sink, to, from, size } }),
        (any::<u32>(), any::<u64>())
            .prop_map(|(request_id, original)| Response::Atomic { request_id, original }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever was posted leaves as the stream that the protocols prescribe, in segments of whole FPDUs, and every part of it can be
    /// built again, byte by byte.
    #[test]
    fn the_stream_is_that_of_the_protocols_and_stays_so(
        entries in queue(),
        responses in prop::collection::vec(response(), 0..8),
        mulpdu in 128u16..1500, markers: bool, crc: bool, start: u32, request_id: u8,
        segments in prop::collection::vec((1u32..1600, any::<bool>(), any::<[u16; 2]>()), 1..8),
    ) {
        let mut bench = Bench::new(mulpdu, markers, crc, start);
        let host = bench.fake.memory[HOST as usize..][..BYTES as usize].to_vec();
        bench.post(&entries);
        bench.set(c::REQUEST_ID, request_id.into());
        let area = bench.word(g::TQ) as usize;
        for (n, response) in responses.iter().enumerate() {
            let at = area + usize::from(bench.sizes.irrq()) + 8 * n;
            bench.machine.table[at..at + 8].copy_from_slice(&response.words());
        }
        bench.set(c::IRRQ, (responses.len() as u32) << 16);

        let mut golden = Golden {
            mulpdu: mulpdu.into(), markers, crc, phase: MarkerPhase::START, msn: [1; 4], request_id: request_id.into(),
            stream: Vec::new(), starts: Vec::new(),
        };
        // Responses and own work take turns, work first.
        let mut waiting = responses.iter();
        for entry in &entries {
            golden.entry(entry, &host);
            if entry.opcode != Verb::Nop
                && let Some(response) = waiting.next()
            {
                golden.response(response, &host);
            }
        }
        waiting.for_each(|response| golden.response(response, &host));

        let mut sent = 0;
        let mut acked = 0;
        for (room, may_cut, [a, b]) in segments.iter().cycle() {
            let from = start.wrapping_add(sent);
            let short = if a & 1 == 0 && bench.word(c::END) == from { bench.run(from, *room) } else { None };
            let segment = short.map(|bytes| (bytes, true));
            let Some((bytes, _)) = segment.or_else(|| bench.segment(from, *room, *may_cut)) else {
                prop_assert_eq!(bench.word(c::FD) >> c::fd::STOPPED & 1, 0, "stopped");
                // The journal is full, or all is sent.
                if sent as usize == golden.stream.len() {
                    break;
                }
                prop_assert!(acked < sent, "stuck at {} of {}", sent, golden.stream.len());
                bench.set(c::SND_UNA, start.wrapping_add(sent));
                bench.call("acknowledged", &[]);
                acked = sent;
                continue;
            };
            prop_assert!(bytes.len() <= *room as usize);
            let expected = &golden.stream[sent as usize..];
            prop_assert!(expected.starts_with(&bytes), "at {}", sent);
            sent += bytes.len() as u32;
            let whole = golden.starts.contains(&sent) || sent as usize == golden.stream.len();
            prop_assert!(whole || *may_cut || bytes.is_empty(), "an FPDU was cut");
            if bytes.is_empty() {
                // It does not fit: let it be cut.
                let room = 1 + u32::from(*a) % 1500;
                let (bytes, _) = bench.segment(start.wrapping_add(sent), room, true).unwrap();
                prop_assert!(expected.starts_with(&bytes) && !bytes.is_empty());
                sent += bytes.len() as u32;
            }
            // Some of it again, from anywhere.
            let from = acked + u32::from(*a) % (sent - acked);
            let room = 1 + u32::from(*b) % (sent - from).min(1500);
            let (bytes, _) = bench.segment(start.wrapping_add(from), room, true).unwrap();
            prop_assert!(!bytes.is_empty() && bytes.len() <= room as usize);
            prop_assert_eq!(&bytes[..], &golden.stream[from as usize..][..bytes.len()]);
        }
        bench.set(c::SND_UNA, start.wrapping_add(sent));
        bench.call("acknowledged", &[]);
        prop_assert_eq!(bench.word(c::JOURNAL) & 0xff, bench.word(c::JOURNAL) >> 8, "all acknowledged");
        prop_assert_eq!(bench.word(c::IRRQ) & 0xff, responses.len() as u32, "responses are free");
        // Complete up to the first that waits for a response.
        let slots = |entries: &[SendEntry]| entries.iter().map(|entry| u32::from(entry.slots())).sum::<u32>();
        let open = entries.iter().position(|entry| entry.opcode.is_read() || entry.opcode.is_atomic());
        if bench.word(c::FD) >> c::fd::POISONED & 1 == 0 && entries.iter().all(|entry| !entry.signalled) {
            let done = slots(&entries[..open.unwrap_or(entries.len())]);
            prop_assert_eq!(bench.word(c::SQ_DONE), done);
        }
    }
}

#[test]
fn an_entry_whose_slot_was_filled_again_is_lost() {
    let mut bench = Bench::new(1440, false, true, 1000);
    let write = SendEntry { payload: Payload::Inline(vec![1; 8]), ..SendEntry::new(Verb::Write) };
    bench.post(&[write.clone(), write]);
    let (first, _) = bench.segment(1000, 1448, false).unwrap();
    assert_eq!(first.len(), 2 * 28, "two FPDUs of 8 bytes payload");
    bench.fake.memory[SQ as usize + 2] = 64;
    // Another connection has used the device's copy.
    bench.set(c::MSG_MSN, 0);
    let [something, len, _] = bench.call("rdma_plan", &[1000, 1448, 0]);
    assert_eq!((something, len), (1, first.len() as u32));
    bench.call("rdma_build", &[1000, len, 0x10]);
    assert_eq!(bench.fake.engine.last(), Some(&0x17), "the frame is dropped");
    assert_eq!(bench.word(c::FB) >> c::fb::DEAD & 1, 1, "only RST is left");
}

/// Cycles of what `call` did.
fn cycles<T>(bench: &mut Bench, call: impl FnOnce(&mut Bench) -> T) -> (u32, T) {
    let before = bench.cycles;
    let result = call(bench);
    (bench.cycles - before, result)
}

#[test]
fn small_writes_cost_few_cycles_each() {
    let mut bench = Bench::new(1440, false, true, 1000);
    let write = SendEntry { payload: Payload::Inline(vec![1; 8]), ..SendEntry::new(Verb::Write) };
    bench.post(&vec![write; 32]);
    let (sent, segment) = cycles(&mut bench, |bench| bench.segment(1000, 1448, false));
    let (segment, _) = segment.unwrap();
    assert_eq!(segment.len(), 32 * 28);
    bench.set(c::SND_UNA, 1000 + segment.len() as u32);
    let (acked, _) = cycles(&mut bench, |bench| bench.call("acknowledged", &[]));
    assert_eq!(bench.word(c::SQ_DONE), 32);
    assert!(sent / 32 <= 150 && acked / 32 <= 40, "{} cycles to send, {} to complete", sent / 32, acked / 32);
}

/// `count` Writes of `len` bytes, each tenth signalled.
fn small_writes(count: usize, len: usize) -> Vec<SendEntry> {
    let write = |n: usize| SendEntry {
        to: n as u64 * 0x1_0001_0001,
        payload: Payload::Inline(vec![n as u8; len]),
        signalled: n % 10 == 9,
        ..SendEntry::new(Verb::Write)
    };
    (0..count).map(write).collect()
}

/// A queue pair that is at index `index` of its send queue.
fn at_index(index: u32) -> Bench {
    let mut bench = Bench::new(1440, false, true, 1000);
    bench.set(c::SQ, index << 16 | index);
    bench.set(c::SQ_DONE, index);
    bench
}

#[test]
fn a_run_costs_few_cycles_a_write() {
    let mut bench = at_index(0);
    let write = SendEntry { payload: Payload::Inline(vec![1; 8]), ..SendEntry::new(Verb::Write) };
    bench.post(&vec![write; 60]);
    let (sent, segment) = cycles(&mut bench, |bench| bench.run(1000, 1448));
    assert_eq!(segment.unwrap().len(), 51 * 28, "as many as fit");
    assert_eq!(bench.word(c::SQ), 60 << 16 | 51);
    assert_eq!(bench.word(c::WORKS), 1 << 8, "one work");
    assert_eq!(bench.word(c::JOURNAL), 1 << 8, "one journal entry");
    bench.set(c::SND_UNA, 1000 + 51 * 28);
    let (acked, _) = cycles(&mut bench, |bench| bench.call("acknowledged", &[]));
    assert_eq!(bench.word(c::SQ_DONE), 51);
    assert!(sent <= 33 * 51 && acked <= 90, "{sent} cycles to send, {acked} to complete");
}

#[test]
fn a_run_goes_over_the_end_of_the_ring_and_of_the_indices() {
    for index in [0, 1, 61, 62, 63, 64, 0xfffe] {
        let mut bench = at_index(index);
        let entries = small_writes(23, 5);
        bench.post(&entries);
        let segment = bench.run(1000, 1448).unwrap();
        let mut other = at_index(0);
        other.post(&entries);
        assert_eq!(segment, other.segment(1000, 1448, false).unwrap().0, "index {index}");
        assert_eq!(bench.word(c::SQ) & 0xffff, (index + 23) & 0xffff);
        assert_eq!(bench.word(c::WORKS), 3 << 8, "two that are signalled, and the rest");
    }
}

#[test]
fn a_run_ends_in_front_of_what_is_different() {
    let read = SendEntry {
        payload: Payload::Sges(vec![Sge { to: TO, length: 8, lkey: LKEY }]),
        ..SendEntry::new(Verb::Read)
    };
    let longer = SendEntry { payload: Payload::Inline(vec![1; 9]), ..SendEntry::new(Verb::Write) };
    let fenced = SendEntry { fence: true, ..small_writes(1, 8).remove(0) };
    let immediate =
        SendEntry { payload: Payload::Inline(vec![1; 8]), ..SendEntry::new(Verb::WriteImmediate) };
    let sge = SendEntry { payload: read.payload.clone(), ..SendEntry::new(Verb::Write) };
    for (n, odd) in [read, longer.clone(), fenced, immediate, sge].into_iter().enumerate() {
        for front in 0..10 {
            let mut bench = at_index(60);
            let mut entries = small_writes(20, 8);
            entries[front] = odd.clone();
            bench.post(&entries);
            bench.set(c::FD, 1 << c::fd::RUNS);
            let segment = bench.run(1000, 1448);
            let runs = bench.word(c::FD) >> c::fd::RUNS & 1;
            if front == 0 {
                // Another length is a run of its own.
                let alone = odd == longer;
                assert_eq!((segment.is_some(), runs), (alone, alone.into()), "{n}: the general way does it");
                continue;
            }
            assert_eq!((segment.unwrap().len(), runs), (front * 28, 1), "{n}, {front} in front");
            assert_eq!(bench.word(c::SQ) & 0xffff, (60 + front) as u32);
            assert_eq!(bench.word(c::END), 1000 + front as u32 * 28);
        }
    }
}

#[test]
fn a_run_stops_at_an_entry_that_is_not_there() {
    for unreadable in [false, true] {
        let mut bench = at_index(0);
        bench.post(&small_writes(20, 8));
        if unreadable {
            // The third batch.
            bench.fake.memory.truncate(SQ as usize + 8 * SLOT);
        } else {
            bench.fake.memory[SQ as usize + 8 * SLOT + 2] = 64;
        }
        assert_eq!(bench.run(1000, 1448).unwrap().len(), 8 * 28);
        assert_eq!(bench.run(1000 + 8 * 28, 1448), None);
        assert_eq!(bench.call("rdma_plan", &[1000 + 8 * 28, 1448, 0])[0], 0);
        assert_eq!(bench.word(c::FD) >> c::fd::POISONED & 1, 1, "it completes as bad");
    }
}

#[test]
fn a_run_waits_for_what_is_in_front_of_it() {
    let states = [
        (c::FA, 1 << c::fa::MARKERS_TX),
        (c::FA, 1 << c::fa::HOLD),
        (c::FB, 1 << c::fb::FIN_WANTED),
        (c::FD, 1 << c::fd::STOPPED),
        (c::FD, 1 << c::fd::POISONED),
        (c::MSG, 0x30),
        (c::IRRQ, 1 << 16),
        (c::JOURNAL, 64 << 8),
        (c::WORKS, 64 << 8),
    ];
    for (word, value) in states {
        let mut bench = at_index(0);
        bench.post(&small_writes(20, 8));
        bench.set(word, bench.word(word) | value);
        assert_eq!(bench.run(1000, 1448), None, "{word:?}");
        assert_eq!((bench.word(c::SQ), bench.word(c::END)), (20 << 16, 1000));
    }
    let mut bench = at_index(0);
    bench.post(&small_writes(20, 8));
    assert_eq!(bench.run(1000, 27), None, "no room");
    assert_eq!(bench.run(1000, 3 * 28 - 1).unwrap().len(), 2 * 28);
}

/// The headers of a Write that is alone go ahead of it, for the length of the last one. Whatever comes then, the stream is that of the general way.
#[test]
fn a_write_that_is_alone_is_sent_whatever_was_expected() {
    let inline = |len: usize| SendEntry {
        payload: Payload::Inline(vec![len as u8; len]),
        to: 0x1_2345_6789_abcd,
        ..SendEntry::new(Verb::Write)
    };
    let sge = SendEntry {
        payload: Payload::Sges(vec![Sge { to: TO, length: 8, lkey: LKEY }]),
        ..SendEntry::new(Verb::Write)
    };
    let signalled = |entry: SendEntry| SendEntry { signalled: true, ..entry };
    let fenced = SendEntry { fence: true, ..inline(8) };
    // What comes, and whether it is sent as a run: of another length than expected it is not, and the next is looked at first.
    let entries = [
        (inline(8), true),
        (inline(8), true),
        (signalled(inline(8)), true),
        (signalled(inline(8)), true),
        (inline(7), false),
        (inline(7), true),
        (inline(32), false),
        (signalled(inline(32)), true),
        (inline(32), true),
        (fenced, false),
        (inline(32), true),
        (sge, false),
        (inline(1), true),
        (inline(1), true),
        (inline(0), false),
        (signalled(inline(8)), true),
    ];
    let (mut bench, mut general) = (at_index(60), at_index(60));
    let mut at = 1000;
    for (n, (entry, as_run)) in entries.into_iter().enumerate() {
        for bench in [&mut bench, &mut general] {
            bench.post(std::slice::from_ref(&entry));
        }
        let expected = general.segment(at, 1448, false).unwrap().0;
        let run = bench.run(at, 1448);
        assert_eq!(run.is_some(), as_run, "{n}");
        let sent = run.unwrap_or_else(|| bench.segment(at, 1448, false).unwrap().0);
        assert_eq!(sent, expected, "{n}");
        at += sent.len() as u32;
        for word in [c::SQ, c::WORKS, c::JOURNAL, c::END] {
            assert_eq!(bench.word(word), general.word(word), "{n}: {word:?}");
        }
    }
    let works = |bench: &Bench| {
        let at = bench.word(g::TQ) as usize + usize::from(Sizes::FULL.works());
        bench.machine.table[at..at + 2 * 16].to_vec()
    };
    assert_eq!(works(&bench), works(&general), "which entries they are, and whether anybody wants to know");
}

#[test]
fn a_write_that_is_alone_waits_for_room_and_survives_bad_memory() {
    let mut bench = at_index(0);
    bench.post(&small_writes(1, 8));
    assert!(bench.run(1000, 1448).is_some());
    bench.post(&small_writes(1, 8));
    assert_eq!(bench.run(1028, 27), None, "no room");
    assert_eq!(bench.word(c::END), 1028);
    bench.fake.memory.truncate(SQ as usize + SLOT);
    assert_eq!(bench.run(1028, 1448), None, "the entry cannot be read");
    assert_eq!((bench.word(c::SQ), bench.word(c::END)), (2 << 16 | 1, 1028));
    assert_eq!(bench.word(c::FB) >> c::fb::ACK_NOW & 1, 1, "the ACK that went ahead is still due");
    assert_eq!(bench.call("rdma_plan", &[1028, 1448, 0])[0], 0);
    assert_eq!(bench.word(c::FD) >> c::fd::POISONED & 1, 1, "it completes as bad");
}

#[test]
fn parts_of_a_run_are_sent_again() {
    let mut bench = at_index(50);
    bench.post(&small_writes(30, 8));
    let first = bench.run(1000, 20 * 28).unwrap();
    let second = bench.run(1000 + 20 * 28, 1448).unwrap();
    let stream = [first, second].concat();
    assert_eq!(stream.len(), 30 * 28);
    for from in (0..stream.len()).step_by(5) {
        for room in [1, 27, 28, 29, 200, 1448] {
            let (bytes, _) = bench.segment(1000 + from as u32, room, true).unwrap();
            assert!(!bytes.is_empty() && stream[from..].starts_with(&bytes), "{from}, {room}");
            assert!(bytes.len() + 28 > (stream.len() - from).min(room as usize), "{from}, {room}");
        }
    }
    // An ACK within a run leaves it in the journal.
    bench.set(c::SND_UNA, 1000 + 21 * 28);
    bench.call("acknowledged", &[]);
    assert_eq!(bench.word(c::JOURNAL), 2 << 8 | 1);
    bench.set(c::SND_UNA, 1000 + 30 * 28);
    bench.call("acknowledged", &[]);
    assert_eq!(bench.word(c::JOURNAL), 2 << 8 | 2);
}

#[test]
fn a_full_segment_costs_few_cycles() {
    let mut bench = Bench::new(1440, false, true, 1000);
    let sge = Sge { to: TO, length: 20 * 1426, lkey: LKEY };
    bench.post(&[SendEntry { payload: Payload::Sges(vec![sge]), ..SendEntry::new(Verb::Write) }]);
    let (first, _) = cycles(&mut bench, |bench| bench.segment(1000, 1448, false));
    let (second, segment) = cycles(&mut bench, |bench| bench.segment(1000 + 1448, 1448, false));
    assert_eq!(segment.unwrap().0.len(), 1448);
    bench.set(c::SND_UNA, 1000 + 2 * 1448);
    let (acked, _) = cycles(&mut bench, |bench| bench.call("acknowledged", &[]));
    let all =
        format!("{first} cycles for the first, {second} for the next, {} to acknowledge one", acked / 2);
    assert!(first <= 650 && second <= 380 && acked / 2 <= 30, "{all}");
}
