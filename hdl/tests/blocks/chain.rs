//! Parser, ring, walker and writer together: from segments of tagged FPDUs to bytes in host memory, with a sequencer in Rust
//! that does what the program does for RDMA Writes.

use crate::common::{Bench, Memory, Packet, Random, Reads, Source, Writes, random};
use crate::receive::frames;
use ironwarp_hdl::dma::{ReadMaster, WriteMaster, Writer};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mem::Ram;
use ironwarp_hdl::mpa::Walk;
use ironwarp_hdl::rx::Receive;
use ironwarp_hdl::stream::StreamIn;
use ironwarp_proto::mpa::marker::MarkerPhase;
use ironwarp_proto::mpa::{fpdu, marker};
use rust_hdl::prelude::*;
use std::collections::VecDeque;

/// The three with a ring of 1024 words between them, each with its memories or with a shared one.
#[derive(LogicBlock)]
struct Chain {
    clock: Signal<In, Clock>,
    reset: Signal<In, Bit>,
    upstream: StreamIn,
    mac_low: Signal<In, FB<32>>,
    mac_high: Signal<In, FB<16>>,
    descriptor: Signal<Out, FB<32>>,
    descriptor_valid: Signal<Out, Bit>,
    descriptor_ready: Signal<In, Bit>,
    walk_command: Signal<In, FB<32>>,
    walk_command_valid: Signal<In, Bit>,
    walk_command_ready: Signal<Out, Bit>,
    packet: Signal<Out, FB<32>>,
    packet_first: Signal<Out, Bit>,
    packet_valid: Signal<Out, Bit>,
    packet_ready: Signal<In, Bit>,
    write_command: Signal<In, FB<32>>,
    write_command_valid: Signal<In, Bit>,
    write_command_ready: Signal<Out, Bit>,
    drained: Signal<Out, Bit>,
    failed: Signal<Out, Bit>,
    walk_channel: ReadMaster,
    source: ReadMaster,
    channel: WriteMaster,
    receive: Receive<10, 7>,
    walk: Walk<10>,
    writer: Writer<10>,
    inbox: Ram<8, 32>,
    turn: DFF<Bit>,
}

impl Chain {
    fn new(receive: Receive<10, 7>, walk: Walk<10>) -> Self {
        Self {
            clock: Default::default(),
            reset: Default::default(),
            upstream: Default::default(),
            mac_low: Default::default(),
            mac_high: Default::default(),
            descriptor: Default::default(),
            descriptor_valid: Default::default(),
            descriptor_ready: Default::default(),
            walk_command: Default::default(),
            walk_command_valid: Default::default(),
            walk_command_ready: Default::default(),
            packet: Default::default(),
            packet_first: Default::default(),
            packet_valid: Default::default(),
            packet_ready: Default::default(),
            write_command: Default::default(),
            write_command_valid: Default::default(),
            write_command_ready: Default::default(),
            drained: Default::default(),
            failed: Default::default(),
            walk_channel: Default::default(),
            source: Default::default(),
            channel: Default::default(),
            receive,
            walk,
            writer: Default::default(),
            inbox: Default::default(),
            turn: Default::default(),
        }
    }

    fn full() -> Self {
        Self::new(Receive::default(), Walk::default())
    }

    fn small() -> Self {
        Self::new(Receive::small(0, 64), Walk::shared(64, 64))
    }
}

impl Logic for Chain {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, turn);
        clock!(self, clock, receive, walk, writer, inbox);
        self.turn.d.next = !self.turn.q.val();
        self.receive.store.turn.next = self.turn.q.val();
        self.walk.store.turn.next = !self.turn.q.val();
        self.inbox.read_address.next = self.walk.store.read_address.val();
        self.inbox.write_address.next = self.walk.store.write_address.val();
        self.inbox.data_in.next = self.walk.store.write_data.val();
        self.inbox.write_enable.next = self.walk.store.write_enable.val();
        if self.turn.q.val() {
            self.inbox.read_address.next = self.receive.store.read_address.val();
            self.inbox.write_address.next = self.receive.store.write_address.val();
            self.inbox.data_in.next = self.receive.store.write_data.val();
            self.inbox.write_enable.next = self.receive.store.write_enable.val();
        }
        self.receive.store.read_data.next = self.inbox.data_out.val();
        self.walk.store.read_data.next = self.inbox.data_out.val();
        self.walk.ring_wait.next = self.receive.walk_wait.val();
        self.writer.ring_wait.next = self.receive.place_wait.val();
        self.receive.reset.next = self.reset.val();
        self.walk.reset.next = self.reset.val();
        self.writer.reset.next = self.reset.val();
        StreamIn::link(&mut self.upstream, &mut self.receive.upstream);
        self.receive.injected.next = false;
        self.receive.promiscuous.next = false;
        self.receive.mac_low.next = self.mac_low.val();
        self.receive.mac_high.next = self.mac_high.val();
        self.descriptor.next = self.receive.word.val();
        self.descriptor_valid.next = self.receive.valid.val();
        self.receive.ready.next = self.descriptor_ready.val();
        self.receive.walk_address.next = self.walk.ring_address.val();
        self.walk.ring_data.next = self.receive.walk_data.val();
        self.receive.place_address.next = self.writer.ring_address.val();
        self.writer.ring_data.next = self.receive.place_data.val();
        self.receive.free_to.next = self.writer.free_to.val();
        self.receive.free_enable.next = self.writer.free_enable.val();
        self.walk.command.next = self.walk_command.val();
        self.walk.command_valid.next = self.walk_command_valid.val();
        self.walk_command_ready.next = self.walk.command_ready.val();
        self.packet.next = self.walk.word.val();
        self.packet_first.next = self.walk.first.val();
        self.packet_valid.next = self.walk.valid.val();
        self.walk.ready.next = self.packet_ready.val();
        self.writer.command.next = self.write_command.val();
        self.writer.command_valid.next = self.write_command_valid.val();
        self.write_command_ready.next = self.writer.command_ready.val();
        self.writer.clear_error.next = false;
        self.drained.next = self.writer.drained.val();
        self.failed.next = self.writer.error.val();
        ReadMaster::link(&mut self.walk_channel, &mut self.walk.channel);
        ReadMaster::link(&mut self.source, &mut self.writer.source);
        WriteMaster::link(&mut self.channel, &mut self.writer.channel);
    }
}

/// A tagged DDP segment for an address: control, STag, tagged offset, payload.
fn tagged(address: u64, payload: &[u8]) -> Vec<u8> {
    [&[0xc1, 0x40, 0, 0, 1, 0], &address.to_be_bytes()[..], payload].concat()
}

/// Segments of FPDUs, the position of markers at the first byte of each, and what memory has to hold in the end.
fn segments(r: &mut Random, count: usize, markers: bool) -> (Vec<(Vec<u8>, MarkerPhase)>, Memory) {
    let (mut segments, mut memory, mut phase) = (vec![], Memory::default(), MarkerPhase::START);
    let mut address = 0x55_0000_0000u64;
    for _ in 0..count {
        let (mut bytes, begin) = (Vec::new(), phase);
        for _ in 0..1 + r.below(4) {
            let length = [r.below(20), r.below(300)][r.below(2)];
            let payload: Vec<u8> = (0..length).map(|_| r.word() as u8).collect();
            let ulpdu = tagged(address, &payload);
            if markers {
                phase = marker::emit(&[&ulpdu], true, phase, &mut bytes).unwrap();
            } else {
                fpdu::emit(&[&ulpdu], true, &mut bytes).unwrap();
            }
            memory.write(address, &payload);
            address += (length + r.below(9)) as u64;
        }
        segments.push((bytes, begin));
    }
    (segments, memory)
}

/// What the program knows of the frame under way, and its commands on their way.
struct Program {
    markers: bool,
    phases: VecDeque<MarkerPhase>,
    descriptor: Vec<u32>,
    packet: Vec<u32>,
    walks: VecDeque<u32>,
    writes: VecDeque<u32>,
    frames: usize,
}

impl Program {
    /// A word of a descriptor: behind the last, the walker is told.
    fn descriptor_word(&mut self, word: u32) {
        self.descriptor.push(word);
        if self.descriptor.len() == 9 {
            let d = &self.descriptor;
            assert_eq!(d[0] & 15, 0, "class");
            let phase = self.phases.pop_front().unwrap();
            let head = u32::from(self.markers) | 1 << 1 | d[2] & 0xffff_0000;
            self.walks.extend([head, self.base(), phase.to_next(), 0]);
        }
    }

    /// Ring byte address of the payload.
    fn base(&self) -> u32 {
        4 * (self.descriptor[1] & 0xffff) + (self.descriptor[2] & 0xffff)
    }

    /// A word of a packet: behind the last, the payload is placed or the frame is done.
    fn packet_word(&mut self, word: u32, first: bool) {
        assert_eq!(first, self.packet.is_empty());
        self.packet.push(word);
        let code = self.packet[0] & 15;
        if self.packet.len() < if code == 0 { 8 } else { 4 } {
            return;
        }
        let p = std::mem::take(&mut self.packet);
        if code == 4 {
            self.writes.push_back(3 | self.descriptor[1] & 0xffff_0000);
            self.descriptor.clear();
            self.frames += 1;
            return;
        }
        assert_eq!(code, 0, "{p:x?}");
        assert_eq!(p[5], 0x0001_0000, "the STag as a stream word");
        // Behind length, control and tagged header, and the markers between.
        let (mut at, mut to_marker) = (p[1], p[3]);
        for _ in 0..4 {
            if self.markers && to_marker == 0 {
                (at, to_marker) = (at + 4, 508);
            }
            (at, to_marker) = (at + 4, to_marker.wrapping_sub(4));
        }
        let length = (p[0] >> 16) - 14;
        let source = (self.base() + at) & 0xffff | (to_marker & 0xffff) << 16;
        self.writes.extend([1 | u32::from(self.markers) << 4 | length << 16, source, p[7].swap_bytes()]);
        self.writes.push_back(p[6].swap_bytes());
    }
}

fn run(bench: &mut Bench<Chain>, seed: u64, count: usize, markers: bool, pace: usize) {
    let mut r = random(seed);
    let (segments, expected) = segments(&mut r, count, markers);
    let mut wire = Source::default();
    for (bytes, _) in &segments {
        let mut frame = frames::segment(&mut r, &[], bytes.len());
        let at = frame.len() - bytes.len();
        frame[at..].copy_from_slice(bytes);
        frames::set_tcp_checksum(&mut frame);
        wire.push(&Packet { bytes: [&[0, 0], &frame[..]].concat(), err: false }, 0, 0, 0);
    }
    let mut program = Program {
        markers,
        phases: segments.iter().map(|(_, phase)| *phase).collect(),
        descriptor: vec![],
        packet: vec![],
        walks: VecDeque::new(),
        writes: VecDeque::new(),
        frames: 0,
    };
    let p = &mut program;
    let mut memory = Memory::default();
    let (mut walk_reads, mut reads, mut writes) =
        (Reads::new(seed, pace), Reads::new(!seed, pace), Writes::new(seed, pace));
    bench.cycle(|u| u.reset.next = true, |_| ());
    let begin = bench.cycles();
    let mut done = false;
    while !done {
        assert!(bench.cycles() - begin < 500_000, "stuck after {} frames", p.frames);
        let willing = r.below(pace) == 0;
        // One frame at a time, as the program does.
        let takes = p.descriptor.len() < 9;
        bench.fall(|u| {
            u.reset.next = false;
            u.mac_low.next = FB::new(u32::from_le_bytes(frames::MAC.0[..4].try_into().unwrap()).into());
            u.mac_high.next = FB::new(u16::from_le_bytes(frames::MAC.0[4..].try_into().unwrap()).into());
            wire.drive(&mut u.upstream, willing);
            u.descriptor_ready.next = takes;
            u.packet_ready.next = true;
            u.walk_command_valid.next = !p.walks.is_empty();
            u.walk_command.next = FB::new(p.walks.front().copied().unwrap_or(0).into());
            u.write_command_valid.next = !p.writes.is_empty();
            u.write_command.next = FB::new(p.writes.front().copied().unwrap_or(0).into());
            walk_reads.drive(&mut u.walk_channel, &memory);
            reads.drive(&mut u.source, &memory);
            writes.drive(&mut u.channel);
        });
        let u = &bench.block;
        wire.look(&u.upstream);
        walk_reads.look(&u.walk_channel);
        reads.look(&u.source);
        writes.look(&u.channel, &mut memory);
        if u.walk_command_ready.val() {
            p.walks.pop_front();
        }
        if u.write_command_ready.val() {
            p.writes.pop_front();
        }
        if takes && u.descriptor_valid.val() {
            p.descriptor_word(u.descriptor.val().get() as u32);
        }
        if u.packet_valid.val() {
            p.packet_word(u.packet.val().get() as u32, u.packet_first.val());
        }
        done = p.frames == count && p.writes.is_empty() && u.drained.val();
        assert!(!u.failed.val());
        bench.rise();
    }
    let sorted = |memory: &Memory| memory.written().collect::<std::collections::BTreeMap<_, _>>();
    assert_eq!(sorted(&memory), sorted(&expected));
}

#[test]
fn writes_arrive_in_host_memory() {
    for form in [Chain::full, Chain::small] {
        let mut bench = Bench::new(form(), |u| &mut u.clock);
        for seed in 0..12 {
            run(&mut bench, seed, 12, seed % 2 == 0, 1 + seed as usize % 4);
        }
    }
}

#[test]
fn like_its_verilog() {
    like_verilog("chain", Chain::full());
}

#[test]
fn with_shared_memories_like_its_verilog() {
    like_verilog("chain-small", Chain::small());
}

fn like_verilog(name: &str, chain: Chain) {
    let Some(mut bench) = Bench::with_verilog(name, chain, |u| &mut u.clock) else { return };
    let mut seed = 20;
    while bench.cycles() < 30_000 {
        seed += 1;
        run(&mut bench, seed, 12, seed % 2 == 0, 1 + seed as usize % 3);
    }
    println!("{name}: {} cycles, 0 mismatches", bench.cycles());
}
