//! Whatever comes from the wire, from an application or from a driver gone mad: the device does not panic, writes
//! only where it may, and serves everybody else.

use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::context::{Context, Mode, QpState, encode_template};
use ironwarp_proto::abi::doorbell::Page;
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::region::{Region, access};
use ironwarp_proto::abi::regs::{self, Command, CommandStatus};
use ironwarp_proto::abi::send_entry::{Opcode as Verb, Payload, SendEntry, Sge};
use ironwarp_proto::abi::window::Table;
use ironwarp_proto::ddp::{DdpHeader, QN_SEND};
use ironwarp_proto::pins::Device;
use ironwarp_proto::rdmap::Opcode;
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_testbench::rig::Rig;
use ironwarp_testbench::scene::*;
use proptest::prelude::*;

/// The QP that must not suffer, in a protection domain of its own.
const HEALTHY: u16 = QP + 1;
const HEALTHY_STAG: u32 = 0x00c0_3066;
const HEALTHY_CQ: u16 = CQ + 1;

/// Something that a peer, an application or a driver does.
#[derive(Debug, Clone)]
enum Op {
    /// A frame of any bytes.
    Frame(Vec<u8>),
    /// A segment of the connection: offsets from what is expected, flags, window.
    Segment { seq: i32, ack: i32, flags: u8, window: u16, payload: Stuff },
    /// Bytes into a ring or save area of the QP: which, where.
    Memory { area: u8, at: usize, bytes: Vec<u8> },
    /// An entry with some word changed.
    Entry { slot: u16, entry: SendEntry, word: usize, value: u32 },
    /// A doorbell of the QP, its CQ or the SRQ.
    Doorbell { page: u8, doorbell: u32, value: u32 },
    /// Time passes: at most this many timers.
    Time(usize),
    /// A register.
    Register { offset: u32, value: u32 },
    /// Words through the window.
    Window { table: u8, object: u16, first: u8, words: Vec<u32> },
    /// A context with one word changed, then ACTIVATE and GO.
    Context { stream: bool, word: usize, value: u32 },
    /// A command.
    Command { command: u8, object: u16, argument: u32 },
}

/// What a segment carries.
#[derive(Debug, Clone)]
enum Stuff {
    Bytes(Vec<u8>),
    /// FPDUs with good CRCs.
    Fpdus(Vec<Vec<u8>>),
}

/// Mostly small or extreme numbers.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        0u32..20,
        0u32..70_000,
        any::<u32>(),
        (0u32..70_000).prop_map(|n| u32::MAX - n),
        Just(1 << 31)
    ]
}

fn near() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(0), 2 => -100i32..100, 1 => any::<i32>()]
}

fn small_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

prop_compose! {
    /// A DDP segment that is right in most of its fields.
    fn segment_bytes()(
        tagged_one: bool, last: bool, version in prop_oneof![9 => Just(1u8), 1 => 0u8..4],
        control in prop_oneof![9 => (0u8..12).prop_map(|code| 1 << 6 | code), 1 => any::<u8>()],
        stag in prop_oneof![5 => Just(STAG), 1 => Just(HEALTHY_STAG), 1 => any::<u32>()],
        to in prop_oneof![5 => (0u64..LEN as u64 + 10).prop_map(|to| BASE + to), 1 => any::<u64>()],
        qn in prop_oneof![9 => 0u32..4, 1 => any::<u32>()], msn in prop_oneof![9 => 1u32..4, 1 => any::<u32>()],
        mo in prop_oneof![9 => Just(0u32), 1 => number()],
        payload in prop_oneof![small_bytes(80), Just(read_request(0, 100)), atomic_bytes()],
    ) -> Vec<u8> {
        let header = if tagged_one {
            DdpHeader::Tagged { last, version, rdmap_control: control, stag, to }
        } else {
            DdpHeader::Untagged { last, version, rdmap_control: control, inv_stag: stag, qn, msn, mo }
        };
        ulpdu(header, &payload)
    }
}

fn atomic_bytes() -> impl Strategy<Value = Vec<u8>> {
    (any::<u32>(), 0u64..70_000, any::<u64>()).prop_map(|(id, at, add)| {
        let mut bytes = Vec::new();
        fetch_add(id, at, add).emit(&mut bytes);
        bytes
    })
}

fn stuff() -> impl Strategy<Value = Stuff> {
    let ulpdu = prop_oneof![4 => segment_bytes(), 1 => small_bytes(60)];
    prop_oneof![
        1 => small_bytes(200).prop_map(Stuff::Bytes),
        1 => Just(Stuff::Bytes(vec![])),
        3 => prop::collection::vec(ulpdu, 1..4).prop_map(Stuff::Fpdus),
    ]
}

prop_compose! {
    fn entry()(
        verb in prop::sample::select(Verb::ALL.iter().map(|(verb, _)| *verb).collect::<Vec<_>>()),
        signalled: bool, fence: bool,
        stag in prop_oneof![Just(STAG), Just(HEALTHY_STAG), any::<u32>()],
        to in prop_oneof![Just(BASE), any::<u64>()],
        access: u8,
        inline in prop::option::of(small_bytes(33)),
        sges in prop::collection::vec((0u64..70_000, number(), prop_oneof![5 => Just(STAG), 1 => any::<u32>()]), 0..6),
    ) -> SendEntry {
        let sges = sges.into_iter().map(|(at, length, lkey)| Sge { to: BASE + at, length, lkey });
        let payload = inline.map_or_else(|| Payload::Sges(sges.collect()), Payload::Inline);
        SendEntry { signalled, fence, stag, to, access, payload, ..SendEntry::new(verb) }
    }
}

/// What a peer can do.
fn from_the_wire() -> impl Strategy<Value = Op> {
    let flags =
        prop_oneof![6 => Just(TcpFlags::ACK.0), 2 => Just(TcpFlags::ACK.0 | TcpFlags::PSH.0), 1 => 0u8..64];
    prop_oneof![
        1 => small_bytes(120).prop_map(Op::Frame),
        8 => (near(), near(), flags, prop_oneof![Just(60_000u16), any::<u16>()], stuff())
            .prop_map(|(seq, ack, flags, window, payload)| Op::Segment { seq, ack, flags, window, payload }),
        2 => (0usize..20).prop_map(Op::Time),
    ]
}

/// What an application with a QP mapped into it can do.
fn from_the_application() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0u8..4, 0usize..1000, small_bytes(80)).prop_map(|(area, at, bytes)| Op::Memory { area, at, bytes }),
        (0u16..8, entry(), 0usize..32, prop::option::weighted(0.3, number())).prop_map(
            |(slot, entry, word, value)| {
                // Word 40 does not exist: nothing is changed.
                Op::Entry {
                    slot,
                    entry,
                    word: if value.is_some() { word } else { 40 },
                    value: value.unwrap_or(0),
                }
            }
        ),
        (0u8..2, 0u32..8, number()).prop_map(|(page, doorbell, value)| Op::Doorbell {
            page,
            doorbell: doorbell * 4,
            value
        }),
    ]
}

/// What a driver gone mad can do.
fn from_the_driver() -> impl Strategy<Value = Op> {
    let words = prop::collection::vec(number(), 1..20);
    prop_oneof![
        (0u32..0x180, number()).prop_map(|(offset, value)| Op::Register { offset, value }),
        (0u32..0x11_0000, number()).prop_map(|(offset, value)| Op::Register { offset, value }),
        (any::<u8>(), 0u16..70, any::<u8>(), words).prop_map(|(table, object, first, words)| {
            Op::Window { table: table % 8, object, first: first % 20, words }
        }),
        (any::<bool>(), 0usize..20, number()).prop_map(|(stream, word, value)| Op::Context {
            stream,
            word,
            value
        }),
        (0u8..12, 0u16..70, number()).prop_map(|(command, object, argument)| Op::Command {
            command,
            object,
            argument
        }),
        (2u8..3, 0u32..8, number()).prop_map(|(page, doorbell, value)| Op::Doorbell {
            page,
            doorbell: doorbell * 4,
            value
        }),
    ]
}

/// Two connections in two protection domains.
fn stage(attacked: Context) -> (Scene, Peer) {
    let mut scene = Scene::with(attacked);
    scene.rig.cq(HEALTHY_CQ, 8);
    scene.rig.srq(1, PD);
    let rights = access::LOCAL_WRITE | access::REMOTE;
    scene.rig.region(HEALTHY_STAG, Some(BASE), 4096, rights, PD + 1);
    scene.rig.entry(&Region { allocated: true, window: true, pd: PD, stag: 0x4400, ..Region::default() });
    let own = Context { pd: PD + 1, scq: HEALTHY_CQ, rcq: HEALTHY_CQ, ..context() };
    let healthy = Peer::connect(&mut scene.rig, HEALTHY, PORT + 1, own);
    (scene, healthy)
}

/// At most as many frames as any behaviour needs.
fn drain(rig: &mut Rig) {
    let sent = (0..20_000).take_while(|_| rig.device.transmit(rig.now).is_some()).count();
    assert!(sent < 20_000, "the device never stops sending");
}

fn apply(scene: &mut Scene, op: &Op) {
    match op {
        Op::Frame(bytes) => scene.deliver(bytes),
        Op::Segment { seq, ack, flags, window, payload } => {
            let state = scene.rig.state(QP);
            let (at, known) = (Seq(state.rcv_nxt), Seq(state.snd_nxt));
            let bytes = match payload {
                Stuff::Bytes(bytes) => bytes.clone(),
                Stuff::Fpdus(list) => {
                    scene.peer.snd = at;
                    let join = |mut all: Vec<u8>, ulpdu: &Vec<u8>| {
                        all.extend(scene.peer.fpdu_ahead(all.len() as u32, ulpdu));
                        all
                    };
                    list.iter().fold(Vec::new(), join)
                }
            };
            scene.peer.window = *window;
            scene.segment(at + *seq as u32, known + *ack as u32, TcpFlags(*flags), &bytes);
        }
        Op::Memory { area, at, bytes } => {
            let memory = scene.rig.qp_memory(QP);
            let buffer = [&memory.sq, &memory.rq, &memory.save, &memory.staging][usize::from(*area)];
            assert!(buffer.write(at.min(&(buffer.len() - bytes.len())) & !3, bytes));
        }
        Op::Entry { slot, entry, word, value } => {
            let mut words = SendEntry { index: *slot, ..entry.clone() }.encode();
            if let Some(word) = words.get_mut(*word) {
                *word = *value;
            }
            assert!(scene.rig.qp_memory(QP).sq.write(usize::from(*slot) * 64, &bytes_of(&words)));
            let producer = u32::from(*slot) + words.len() as u32 / 16;
            scene.rig.ring(Page::Qp(QP), 0, producer);
        }
        Op::Doorbell { page, doorbell, value } => {
            let page = [Page::Qp(QP), Page::Cq(CQ), Page::Srq(1)][usize::from(*page)];
            scene.rig.ring(page, *doorbell, *value);
        }
        Op::Time(timers) => {
            for _ in 0..*timers {
                let Some(at) = scene.rig.device.next_event() else { break };
                scene.rig.now = scene.rig.now.max(at);
                scene.rig.device.advance(scene.rig.now);
                drain(&mut scene.rig);
            }
        }
        Op::Register { offset, value } => {
            // What stops the device would end the test.
            if *offset & !3 != regs::CTRL {
                scene.rig.write(offset & !3, *value);
                scene.rig.read(offset & !3);
            }
        }
        Op::Window { table, object, first, words } => {
            let table = Table::from_code(*table).unwrap_or(Table::State);
            scene.rig.window(table, *object, *first, words);
        }
        Op::Context { stream, word, value } => {
            let mode = if *stream { Mode::Stream } else { Mode::Rdma };
            let memory = scene.rig.qp_memory(QP);
            let context = Context {
                mode,
                sq_log2: 6,
                rq_log2: 6,
                sq_base: memory.sq.addr(),
                rq_base: memory.rq.addr(),
                save: memory.save.addr(),
                staging: memory.staging.addr(),
                ..context()
            };
            let mut words = context.encode();
            if let Some(word) = words.get_mut(*word) {
                *word = *value;
            }
            scene.rig.command(Command::Reset, QP, 0);
            scene.rig.window(Table::Context, QP, 0, &words);
            scene.rig.command(Command::Activate, QP, 0);
            scene.rig.command(Command::Go, QP, 0);
        }
        Op::Command { command, object, argument } => {
            scene.rig.write(regs::CMD_ARG, *argument);
            scene.rig.write(regs::CMD, u32::from(*object) << 8 | u32::from(*command));
        }
    }
    drain(&mut scene.rig);
    scene.rig.device.interrupt();
}

/// The healthy connection places, sends, receives and completes as if nothing had happened.
fn check_health(scene: &mut Scene, healthy: &mut Peer) {
    scene.swap(healthy);
    let msn = u32::from(scene.rig.completions(HEALTHY_CQ, true).len() as u16) + 1;
    assert_eq!(msn, 1, "nothing strange came");
    let buffer = Sge { to: BASE + 100, length: 64, lkey: HEALTHY_STAG };
    let receive = ironwarp_proto::abi::receive_entry::ReceiveEntry { index: 0, sges: vec![buffer] };
    scene.rig.post_receive(HEALTHY, &receive);
    scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, true), b"hello");
    scene.post(send_inline(b"hello yourself"));
    let (_, fpdus) = scene.pump();
    assert_eq!(segments(&fpdus)[0].1, b"hello yourself");
    let done = scene.rig.completions(HEALTHY_CQ, true);
    assert!(done.len() == 2 && done.iter().all(|done| done.status == Status::Ok), "{done:?}");
    assert_eq!(scene.rig.state(HEALTHY).state, QpState::Running);
    scene.swap(healthy);
}

fn attacked() -> impl Strategy<Value = Context> {
    (any::<[bool; 5]>(), 0u8..3).prop_map(|([markers_rx, markers_tx, crc, hold, atomics], ird)| Context {
        markers_rx,
        markers_tx,
        crc,
        hold,
        atomics,
        ird,
        mulpdu: 1442,
        ..context()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_hostile_peer_and_application_reach_only_their_own_memory(
        context in attacked(),
        ops in prop::collection::vec(prop_oneof![3 => from_the_wire(), 1 => from_the_application()], 1..60),
    ) {
        let (mut scene, mut healthy) = stage(context);
        scene.rig.dma.log();
        for op in &ops {
            apply(&mut scene, op);
            // Someone takes events and completions.
            scene.rig.events();
            scene.rig.completions(CQ, false);
            scene.rig.raw_frames();
        }
        let memory = scene.rig.qp_memory(HEALTHY);
        let foreign = [&memory.sq, &memory.rq, &memory.save, &memory.staging];
        for access in scene.rig.dma.log().into_iter().filter(|access| access.done) {
            let touched = foreign.iter().any(|buffer| {
                access.addr < buffer.addr() + buffer.len() as u64 && buffer.addr() < access.addr + access.len as u64
            });
            prop_assert!(!touched, "{:?}", access);
        }
        check_health(&mut scene, &mut healthy);
    }

    #[test]
    fn a_driver_gone_mad_does_not_make_the_device_panic(
        context in attacked(),
        ops in prop::collection::vec(
            prop_oneof![2 => from_the_wire(), 1 => from_the_application(), 2 => from_the_driver()], 1..80,
        ),
    ) {
        let (mut scene, _) = stage(context);
        for op in &ops {
            apply(&mut scene, op);
        }
    }
}

#[test]
fn every_register_takes_every_extreme_value() {
    for offset in (0..0x200).step_by(4).filter(|offset| *offset != regs::CTRL) {
        for value in [0, 1, 14, 15, 16, 31, 32, 63, 64, 200, 255, 0xffff, 1 << 31, u32::MAX] {
            let (mut scene, _) = stage(context());
            scene.rig.write(offset, value);
            for index in [0, 1, 5, 0xffff] {
                for consumer in [regs::EQ_CONSUMER, regs::RAWRX_CONSUMER, regs::RAWTX_PRODUCER] {
                    scene.rig.write(consumer, index);
                }
            }
            scene.post(write_from(0, 4000));
            scene.deliver(&[0; 60]);
            scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), b"x");
            for _ in 0..20 {
                apply(&mut scene, &Op::Time(3));
            }
            scene.rig.read(offset);
            scene.rig.device.interrupt();
        }
    }
}

#[test]
fn rings_at_the_end_of_the_address_space_fault_and_do_not_panic() {
    for base in [u64::MAX, u64::MAX - 3, u64::MAX - 17, u64::MAX - 127, u64::MAX << 12] {
        let (lo, hi) = (base as u32, (base >> 32) as u32);
        for (low, log2) in [
            (regs::EQ_BASE_LO, regs::EQ_LOG2),
            (regs::RAWRX_BASE_LO, regs::RAWRX_LOG2),
            (regs::RAWTX_BASE_LO, regs::RAWTX_LOG2),
        ] {
            let (mut scene, _) = stage(context());
            for (offset, value) in [(low, lo), (low + 4, hi), (log2, 6)] {
                scene.rig.write(offset, value);
            }
            scene.rig.write(regs::RAWTX_PRODUCER, 3);
            let mut frame = vec![0xff; 60];
            frame[12] = 0x88;
            scene.deliver(&frame);
            scene.segment(scene.peer.snd, scene.peer.rcv, TcpFlags::RST, &[]);
            drain(&mut scene.rig);
        }
        for mode in [Mode::Rdma, Mode::Stream] {
            let (mut scene, _) = stage(context());
            scene.rig.command(Command::Reset, QP, 0);
            let rings = Context { sq_base: base, rq_base: base, save: base, staging: base, ..context() };
            let context = Context { mode, sq_log2: 14, rq_log2: 16 - 2, ..rings };
            scene.rig.window(Table::Context, QP, 0, &context.encode());
            scene.rig.command(Command::Activate, QP, 0);
            scene.rig.command(Command::Go, QP, 0);
            for doorbell in 0..8 {
                scene.rig.ring(Page::Qp(QP), 4 * doorbell, 5);
            }
            scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, true), b"x");
            scene.send_ddp(tagged(Opcode::Write, STAG ^ 1, BASE, true), b"x");
            drain(&mut scene.rig);
            scene.rig.command(Command::Quiesce, QP, 0);
        }
        // A CQ, a SRQ and a region there.
        let (mut scene, _) = stage(context());
        let entry = Region {
            valid: true,
            access: access::LOCAL_WRITE | access::REMOTE,
            pd: PD,
            length: 1 << 40,
            base: 0,
            host: base,
            stag: 0x5511,
            ..Region::default()
        };
        scene.rig.entry(&entry);
        scene.send_ddp(tagged(Opcode::Write, 0x5511, 64, true), b"x");
        assert_eq!(scene.errors().len(), 1);
    }
}

#[test]
fn a_full_event_queue_is_told_and_loses_nothing_else() {
    let mut scene = Scene::model();
    for _ in 0..100 {
        scene.rig.ring(Page::Srq(0), 4, 0);
        scene.rig.ring(Page::Cq(CQ), 4, 1 << 16 | 0xffff);
    }
    assert!(scene.rig.read(regs::STATUS) & regs::status::EQ_OVERFLOW != 0);
    let (kinds, device) = (scene.rig.events(), &scene.rig.device);
    assert!(kinds.len() == 64 && kinds.iter().all(|event| event.kind == EventKind::CqReady));
    assert!(!Device::interrupt(&**device), "all taken");
    scene.rig.write(regs::CTRL, 3 | regs::ctrl::CLEAR_STICKY);
    assert_eq!(scene.rig.read(regs::STATUS) & regs::status::EQ_OVERFLOW, 0);
    scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), b"x");
    assert_eq!(scene.bytes(0, 1), b"x");
}

#[test]
fn contexts_that_cannot_work_are_refused() {
    let stream = Context { mode: Mode::Stream, sq_log2: 12, rq_log2: 12, ..context() };
    let rcv_nxt = context().rcv_nxt;
    let cases = [
        ("segments longer than IPv4 can say", Context { mss: 65_496, ..context() }),
        ("MULPDU below RFC 5044's least", Context { mulpdu: 127, ..context() }),
        ("MULPDU above RFC 5044's most", Context { mulpdu: 64_769, ..context() }),
        ("window scale beyond RFC 7323's", Context { snd_wscale: 15, ..context() }),
        ("more offered than the ring holds", Context { rcv_adv: rcv_nxt.wrapping_add(4097), ..stream }),
        ("a ring too large", Context { sq_log2: 15, ..context() }),
        ("more Reads than the device can take", Context { ird: 255, ..context() }),
        ("a CQ that was not started", Context { scq: 99, ..context() }),
        ("a SRQ that was not started", Context { srq: Some(3), ..context() }),
    ];
    for (name, refused) in cases {
        let mut scene = Scene::furnished(Rig::device(), context());
        scene.rig.window(Table::Context, QP, 0, &refused.encode());
        assert_eq!(scene.rig.command(Command::Activate, QP, 0), CommandStatus::BadContent, "{name}");
    }
    let mut scene = Scene::model();
    for argument in [63 | 1454 << 16, 65_496 | 1454 << 16, 1460 | 127 << 16, 1460 | 64_769 << 16] {
        assert_eq!(
            scene.rig.command(Command::Modify, QP, argument),
            CommandStatus::BadContent,
            "{argument:#x}"
        );
    }
    scene.rig.window(Table::Template, QP + 1, 0, &encode_template(&template_for(PORT)));
    scene.rig.window(Table::Context, QP + 1, 0, &context().encode());
    assert_eq!(scene.rig.command(Command::Activate, QP + 1, 0), CommandStatus::BadContent, "4-tuple in use");
    assert_eq!(scene.rig.command(Command::Activate, QP, 0), CommandStatus::BadState, "active already");
}

#[test]
fn timers_of_the_longest_tick_do_not_overflow() {
    let longest = Context { keepalive: u16::MAX, keepalive_probes: u8::MAX, ..context() };
    let mut scene = Scene::furnished(Rig::device(), longest);
    scene.rig.write(regs::TICK, u32::MAX);
    scene.rig.write(regs::TCPCFG, u32::MAX);
    scene.activate();
    scene.rig.command(Command::Go, QP, 0);
    for _ in 0..300 {
        apply(&mut scene, &Op::Time(1));
    }
    scene.post(send_inline(b"x"));
    scene.ack(scene.peer.rcv, 0);
    scene.post(write_from(0, 4000));
    for _ in 0..100 {
        apply(&mut scene, &Op::Time(1));
    }
}
