//! The sequencer's program against the golden model: whatever a peer sends, right or wrong and cut anywhere, leaves the same bytes
//! in memory, the same completions, events, error records and counters, and is answered by the same FPDUs.

use ironwarp_proto::abi::context::{Context, RECORD_BYTES};
use ironwarp_proto::abi::region::{Region, access};
use ironwarp_proto::abi::regs::{self, Counter};
use ironwarp_proto::abi::send_entry::{AtomicOperands, Opcode as Verb, Payload, SendEntry};
use ironwarp_proto::ddp::{DdpHeader, QN_ATOMIC, QN_READ, QN_SEND, QN_TERMINATE};
use ironwarp_proto::mpa::stream::Fpdu;
use ironwarp_proto::rdmap::{AtomicRequest, AtomicResponse, Opcode, ReadRequest};
use ironwarp_sim::engine::Engine;
use ironwarp_sim::model::ModelConfig;
use ironwarp_testbench::rig::Rig;
use ironwarp_testbench::scene::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// A region that the peer may invalidate.
const REVOCABLE: u32 = 0x00c0_4099;
/// The shared receive queue, of those contexts that use one.
const SRQ: u16 = 1;
/// Entries of a receive buffer: offset and length of each element.
type Elements = Vec<(u64, u32)>;

/// A message, or a segment of one, that the peer sends.
#[derive(Debug, Clone)]
enum Ulpdu {
    Write {
        at: u64,
        len: usize,
    },
    Send {
        opcode: Opcode,
        len: usize,
        last: bool,
    },
    Immediate {
        solicited: bool,
    },
    Read {
        at: u64,
        size: u32,
    },
    Atomic {
        operation: u8,
        at: u64,
        values: [u64; 4],
    },
    /// The answer to the oldest request of the device, or a part of it.
    Answer {
        most: u32,
    },
    Terminate {
        len: usize,
    },
}

#[derive(Debug, Clone)]
enum Step {
    /// Into the stream; with some byte of the ULPDU changed.
    Ulpdu(Ulpdu, Option<(usize, u8)>),
    /// What is in the stream goes out in pieces of these lengths; with some byte of it changed.
    Flush(Vec<usize>, Option<(usize, u8)>),
    PostReceive(Elements),
    PostSend(SendEntry),
    /// The device sends, the peer acknowledges.
    Pump,
}

fn elements() -> impl Strategy<Value = Elements> {
    let length = prop_oneof![6 => 0u32..200, 2 => 200u32..3000, 1 => Just(0)];
    let at = prop_oneof![30 => 20_000u64..50_000, 1 => Just(LEN as u64 - 10)];
    prop::collection::vec((at, length), 0..4)
}

fn message() -> impl Strategy<Value = Ulpdu> {
    let sends = prop::sample::select(vec![
        Opcode::Send,
        Opcode::Send,
        Opcode::SendSolicited,
        Opcode::SendInvalidate,
        Opcode::SendSolicitedInvalidate,
    ]);
    let length = || prop_oneof![1 => Just(0usize), 6 => 0usize..100, 3 => 100usize..1400];
    let at = || prop_oneof![40 => 0u64..10_000, 1 => Just(LEN as u64 - 4)];
    let values = || prop::array::uniform4(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]);
    prop_oneof![
        6 => (at(), length()).prop_map(|(at, len)| Ulpdu::Write { at, len }),
        6 => (sends, length(), prop::bool::weighted(0.7))
            .prop_map(|(opcode, len, last)| Ulpdu::Send { opcode, len, last }),
        2 => any::<bool>().prop_map(|solicited| Ulpdu::Immediate { solicited }),
        2 => (at(), prop_oneof![Just(0u32), 1u32..4000]).prop_map(|(at, size)| Ulpdu::Read { at, size }),
        2 => (prop::sample::select(vec![0u8, 0, 2, 2, 2, 1]), at(), values()).prop_map(
            |(operation, at, values)| Ulpdu::Atomic { operation, at: if at % 9 == 0 { at } else { at & !7 }, values }
        ),
        4 => prop_oneof![2 => Just(4000u32), 1 => 0u32..300].prop_map(|most| Ulpdu::Answer { most }),
        1 => (0usize..90).prop_map(|len| Ulpdu::Terminate { len }),
    ]
}

fn request() -> impl Strategy<Value = SendEntry> {
    let read = |verb| {
        (0u64..10_000, prop_oneof![1 => Just(0u32), 5 => 0u32..3000]).prop_map(move |(at, length)| {
            let lkey = if verb == Verb::ReadInvalidateLocal { REVOCABLE } else { STAG };
            let sink = ironwarp_proto::abi::send_entry::Sge { lkey, ..sge(50_000 + at, length) };
            SendEntry {
                signalled: true,
                stag: 7,
                to: 8,
                payload: Payload::Sges(vec![sink]),
                ..SendEntry::new(verb)
            }
        })
    };
    let atomic = |verb| {
        (0u64..10_000).prop_map(move |at| {
            let payload = Payload::Sges(vec![sge(50_000 + at, 8)]);
            let atomic = AtomicOperands { add_or_swap: 1, add_or_swap_mask: 2, compare: 3, compare_mask: 4 };
            SendEntry { signalled: true, stag: 7, to: 8, payload, atomic, ..SendEntry::new(verb) }
        })
    };
    prop_oneof![
        4 => read(Verb::Read),
        1 => read(Verb::ReadInvalidateLocal),
        1 => atomic(Verb::FetchAdd),
        1 => atomic(Verb::CompareSwap),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let spoil = |one_in: u32| {
        prop::option::weighted(1.0 / f64::from(one_in), (prop_oneof![0usize..22, 0usize..2000], 1u8..=255))
    };
    let pieces = prop_oneof![
        3 => Just(vec![]),
        2 => prop::collection::vec(1usize..1460, 0..6),
        1 => prop::collection::vec(1usize..9, 0..60),
    ];
    prop_oneof![
        10 => (message(), spoil(40)).prop_map(|(ulpdu, spoil)| Step::Ulpdu(ulpdu, spoil)),
        5 => (pieces, spoil(60)).prop_map(|(pieces, spoil)| Step::Flush(pieces, spoil)),
        4 => elements().prop_map(Step::PostReceive),
        2 => request().prop_map(Step::PostSend),
        2 => Just(Step::Pump),
    ]
}

fn contexts() -> impl Strategy<Value = Context> {
    (any::<bool>(), prop::bool::weighted(0.8), any::<bool>(), prop::bool::weighted(0.9), 1u8..5, any::<u32>())
        .prop_map(|(markers_rx, crc, shared, atomics, ird, rcv_nxt)| Context {
            markers_rx,
            crc,
            atomics,
            ird,
            srq: shared.then_some(SRQ),
            rcv_nxt,
            rcv_adv: rcv_nxt.wrapping_add(60_000),
            ..context()
        })
}

/// What the device asked for and the peer has not answered whole.
#[derive(Debug, Clone)]
enum Owed {
    Read(ReadRequest),
    Atomic(u32),
}

/// Two devices that hear the same.
struct Pair {
    sides: [Scene; 2],
    stream: Vec<u8>,
    msn: [u32; 4],
    /// Bytes sent of an unfinished Send.
    sent: u32,
    owed: VecDeque<Owed>,
    slots: u16,
}

impl Pair {
    fn new(context: Context) -> Self {
        let scene = |engine: Engine| {
            let rig = Rig::new(|dma| engine.device(&ModelConfig::default(), dma).expect("engine"));
            let mut scene = Scene::furnished(rig, context);
            scene.rig.srq(SRQ, PD);
            scene.rig.entry(&Region {
                valid: true,
                access: access::INVALIDATE | access::LOCAL_WRITE,
                pd: PD,
                length: LEN as u64,
                base: BASE,
                host: scene.memory.addr(),
                stag: REVOCABLE,
                ..Region::default()
            });
            scene.activate();
            scene.rig.command(regs::Command::Go, QP, 0);
            scene
        };
        let sides = [scene(Engine::Model), scene(Engine::Micro)];
        Self { sides, stream: vec![], msn: [1; 4], sent: 0, owed: VecDeque::new(), slots: 0 }
    }

    fn untagged(&mut self, opcode: Opcode, queue: u32, mo: u32, last: bool) -> DdpHeader {
        let msn = self.msn[queue as usize];
        self.msn[queue as usize] += u32::from(last);
        untagged(opcode, queue, msn, mo, last)
    }

    fn ulpdu(&mut self, message: &Ulpdu) -> Option<Vec<u8>> {
        let data = |len: usize| pattern(len, len as u8);
        let mut bytes = Vec::new();
        let header = match *message {
            Ulpdu::Write { at, len } => {
                bytes = data(len);
                tagged(Opcode::Write, STAG, BASE + at, true)
            }
            Ulpdu::Send { opcode, len, last } => {
                bytes = data(len);
                let mut header = self.untagged(opcode, QN_SEND, self.sent, last);
                if opcode.invalidates()
                    && let DdpHeader::Untagged { inv_stag, .. } = &mut header
                {
                    *inv_stag = REVOCABLE;
                }
                self.sent = if last { 0 } else { self.sent + len as u32 };
                header
            }
            Ulpdu::Immediate { solicited } => {
                bytes = data(8);
                let opcode = if solicited { Opcode::ImmediateDataSolicited } else { Opcode::ImmediateData };
                self.untagged(opcode, QN_SEND, 0, true)
            }
            Ulpdu::Read { at, size } => {
                bytes = read_request(at, size);
                self.untagged(Opcode::ReadRequest, QN_READ, 0, true)
            }
            Ulpdu::Atomic { operation, at, values: [value, mask, compare, compare_mask] } => {
                let request = AtomicRequest {
                    opcode: operation,
                    add_or_swap: value,
                    add_or_swap_mask: mask,
                    compare,
                    compare_mask,
                    ..fetch_add(at as u32 ^ 0x1234_5678, at, 0)
                };
                request.emit(&mut bytes);
                self.untagged(Opcode::AtomicRequest, QN_READ, 0, true)
            }
            Ulpdu::Answer { most } => match self.owed.pop_front()? {
                Owed::Read(request) => {
                    let len = request.size.min(most).min(1400);
                    bytes = data(len as usize);
                    let (rest, to) = (request.size - len, request.sink_to + u64::from(len));
                    if rest > 0 {
                        self.owed.push_front(Owed::Read(ReadRequest { size: rest, sink_to: to, ..request }));
                    }
                    tagged(Opcode::ReadResponse, request.sink_stag, request.sink_to, rest == 0)
                }
                Owed::Atomic(request_id) => {
                    AtomicResponse { request_id, original: 0x0123_4567_89ab_cdef }.emit(&mut bytes);
                    self.untagged(Opcode::AtomicResponse, QN_ATOMIC, 0, true)
                }
            },
            Ulpdu::Terminate { len } => {
                bytes = data(len);
                untagged(Opcode::Terminate, QN_TERMINATE, 1, 0, true)
            }
        };
        Some(ulpdu(header, &bytes))
    }

    /// The FPDUs that both devices have sent.
    fn pump(&mut self) -> [Vec<Fpdu>; 2] {
        let [model, micro] = &mut self.sides;
        let fpdus = [model.pump().1, micro.pump().1];
        for fpdu in &fpdus[0] {
            let (header, payload) = DdpHeader::parse(&fpdu.ulpdu).expect("a DDP segment");
            match header.rdmap_control() & 15 {
                1 => self.owed.push_back(Owed::Read(ReadRequest::parse(payload).expect("28 bytes"))),
                10 => self
                    .owed
                    .push_back(Owed::Atomic(AtomicRequest::parse(payload).expect("52 bytes").request_id)),
                _ => {}
            }
        }
        fpdus
    }

    fn post_receive(&mut self, elements: &Elements, shared: bool) {
        let sges: Vec<_> = elements.iter().map(|(at, length)| sge(*at, *length)).collect();
        for side in &mut self.sides {
            if shared {
                side.rig.post_shared(SRQ, self.slots, sges.clone());
            } else {
                let entry = ironwarp_proto::abi::receive_entry::ReceiveEntry { index: 0, sges: sges.clone() };
                side.rig.post_receive(QP, &entry);
            }
        }
        self.slots += 1;
    }
}

/// Everything that a host sees of it.
fn seen(scene: &mut Scene) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut record = [0; RECORD_BYTES];
    assert!(scene.rig.qp_memory(QP).save.read(0, &mut record));
    let mut state = scene.rig.state(QP);
    // Offered when an ACK leaves, and ACKs may leave at other times.
    state.rcv_adv = 0;
    let counters = [
        Counter::RxFpdus,
        Counter::CrcErrors,
        Counter::UnalignedFpdus,
        Counter::MarkerErrors,
        Counter::BytesPlaced,
        Counter::Completions,
        Counter::DmaFaults,
    ];
    let counters = counters.map(|counter| scene.rig.counter(counter));
    (scene.rig.completions(CQ, true), scene.rig.events(), record.to_vec(), state, counters)
}

fn agree(context: Context, buffers: &[Elements], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(context);
    for buffer in buffers {
        pair.post_receive(buffer, context.srq.is_some());
    }
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Ulpdu(message, spoil) => {
                let Some(mut ulpdu) = pair.ulpdu(message) else { continue };
                if let Some((at, change)) = *spoil
                    && at < ulpdu.len()
                {
                    ulpdu[at] ^= change;
                }
                let fpdu = pair.sides[0].peer.fpdu_ahead(pair.stream.len() as u32, &ulpdu);
                pair.stream.extend(fpdu);
                continue;
            }
            Step::Flush(pieces, spoil) => {
                let mut stream = std::mem::take(&mut pair.stream);
                if let Some((at, change)) = *spoil
                    && at < stream.len()
                {
                    stream[at] ^= change;
                }
                let mut rest = &stream[..];
                for piece in pieces.iter().copied().chain(std::iter::repeat(1460)) {
                    let (now, later) = rest.split_at(piece.min(rest.len()));
                    if now.is_empty() {
                        break;
                    }
                    for side in &mut pair.sides {
                        side.send(now);
                    }
                    rest = later;
                }
            }
            Step::PostReceive(elements) => {
                // No more than the rings hold.
                if pair.slots < 60 {
                    pair.post_receive(elements, context.srq.is_some());
                }
                continue;
            }
            Step::PostSend(entry) => {
                for side in &mut pair.sides {
                    side.rig.post_send(QP, entry);
                }
            }
            Step::Pump => {}
        }
        let [wanted, found] = pair.pump();
        prop_assert_eq!(found, wanted, "FPDUs of step {}: {:?}", at, step);
        let [model, micro] = &mut pair.sides;
        prop_assert_eq!(seen(micro), seen(model), "after step {}: {:?}", at, step);
        prop_assert!(micro.image() == model.image(), "memory after step {at}: {step:?}");
    }
    Ok(())
}

/// A response that shares its segment with what follows takes the responses' turn, not that of the device's own requests.
#[test]
fn a_response_is_no_turn_of_the_own_work() {
    let payload = |length| Payload::Sges(vec![sge(50_000, length)]);
    let request = |verb, length| SendEntry {
        signalled: true,
        stag: 7,
        to: 8,
        payload: payload(length),
        ..SendEntry::new(verb)
    };
    let atomic = AtomicOperands { add_or_swap: 1, add_or_swap_mask: 2, compare: 3, compare_mask: 4 };
    let asks = || Step::Ulpdu(Ulpdu::Read { at: 0, size: 0 }, None);
    let flush = || Step::Flush(vec![], None);
    let steps = [
        Step::Ulpdu(Ulpdu::Write { at: 0, len: 0 }, None),
        Step::PostSend(SendEntry { atomic, ..request(Verb::FetchAdd, 8) }),
        Step::PostSend(request(Verb::Read, 0)),
        Step::Ulpdu(Ulpdu::Write { at: 0, len: 0 }, None),
        asks(),
        flush(),
        Step::Ulpdu(Ulpdu::Answer { most: 4000 }, None),
        asks(),
        Step::PostSend(request(Verb::Read, 0)),
        flush(),
    ];
    agree(Context { crc: false, atomics: true, ird: 1, ..context() }, &[vec![(20_000, 18)]], &steps).unwrap();
}

proptest! {
    #[test]
    fn a_peer_finds_no_difference(
        context in contexts(), buffers in prop::collection::vec(elements(), 0..20),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        agree(context, &buffers, &steps)?;
    }
}
