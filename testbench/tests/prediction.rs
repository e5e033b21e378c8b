//! What the gates predict is what the program would have done: the RTL's Verilog with prediction and without gives the same messages, memory,
//! completions and errors, only sooner. Without Verilator these tests say that they are skipped.

use ironwarp_proto::abi::completion::Completion;
use ironwarp_proto::abi::context::QpState;
use ironwarp_proto::abi::doorbell::{Page, qp};
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::regs::{self, ctrl};
use ironwarp_proto::abi::send_entry::{Opcode as Verb, Payload, SendEntry};
use ironwarp_proto::ddp::{DdpHeader, QN_SEND};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::rdmap::Opcode;
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_sim::engine::{Engine, EngineError};
use ironwarp_sim::model::ModelConfig;
use ironwarp_sim::rtl::verilated::VerilateError;
use ironwarp_testbench::rig::Rig;
use ironwarp_testbench::scene::*;

/// A cycle of the core.
const CYCLE: Nanos = 16;
/// What gates need at most, frame on the wire included, and no program does, with memory that takes 500 ns.
const SOON: u64 = 150;
/// Everything that was begun is done; what comes is acknowledged at once, since it has PSH.
const LONG: Nanos = 1_000_000;
/// Where receives put their bytes.
const SINK: u64 = 0x400;

/// A connection with prediction or without; `None` without Verilator.
fn scene(predicts: bool, refused: Option<usize>) -> Option<Scene> {
    let mut missing = false;
    let rig = Rig::try_new(|dma| match Engine::RtlVerilated.device(&ModelConfig::default(), dma) {
        Err(EngineError::Verilate(VerilateError::Missing)) => {
            missing = true;
            None
        }
        device => Some(device.expect("device")),
    });
    if missing {
        println!("skipped: verilator is not installed (Debian package verilator)");
    }
    let mut scene = Scene::new(rig?, context());
    if !predicts {
        scene.rig.write(regs::CTRL, ctrl::RX_ENABLE | ctrl::TX_ENABLE | ctrl::NO_PREDICTION);
    }
    for slot in 0..4 {
        scene.post_receive(SINK + 0x800 * slot, 1400);
    }
    scene.pump_after(LONG);
    if let Some(count) = refused {
        scene.rig.dma.refuse_after(count);
    }
    Some(scene)
}

/// What a run leaves behind.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The stream of the device, wherever it was cut into segments.
    stream: Vec<u8>,
    /// The last ACK of the device.
    acknowledged: Option<u32>,
    image: Vec<u8>,
    completions: Vec<Completion>,
    errors: Vec<ErrorCause>,
    state: QpState,
}

/// What the peer has heard, while the scene goes on.
#[derive(Default)]
struct Ear {
    stream: Vec<u8>,
    acknowledged: Option<u32>,
}

impl Ear {
    fn hear(&mut self, scene: &mut Scene, time: Nanos) {
        let (sent, fpdus) = scene.pump_after(time);
        segments(&fpdus);
        for segment in &sent {
            self.acknowledged = Some(segment.tcp.ack.0);
            self.stream.extend(&segment.payload);
        }
    }
}

/// Let `act` happen and everything that follows.
fn run(predicts: bool, refused: Option<usize>, act: &dyn Fn(&mut Scene, &mut Ear)) -> Option<Outcome> {
    let mut scene = scene(predicts, refused)?;
    let mut ear = Ear::default();
    act(&mut scene, &mut ear);
    for _ in 0..4 {
        ear.hear(&mut scene, LONG);
    }
    Some(Outcome {
        stream: ear.stream,
        acknowledged: ear.acknowledged,
        image: scene.image(),
        completions: scene.rig.completions(CQ, true),
        errors: scene.errors().into_iter().map(|error| error.0).collect(),
        state: scene.rig.state(QP).state,
    })
}

/// With prediction and without: the same; gives it.
fn both(what: &str, act: impl Fn(&mut Scene, &mut Ear)) -> Option<Outcome> {
    let [with, without] = [true, false].map(|predicts| run(predicts, None, &act));
    let (with, without) = (with?, without?);
    assert!(with == without, "{what}:\nwith    {with:?}\nwithout {without:?}");
    Some(with)
}

/// Let cycles pass.
fn cycles(scene: &mut Scene, count: u64) {
    scene.rig.now += count * CYCLE;
    scene.rig.device.advance(scene.rig.now);
}

fn inline(verb: Verb, len: usize) -> SendEntry {
    let payload = Payload::Inline(pattern(len, len as u8 + 1));
    SendEntry { stag: 0x77, to: 0x1_2345_6789, payload, ..SendEntry::new(verb) }
}

fn send_header(msn: u32) -> DdpHeader {
    untagged(Opcode::Send, QN_SEND, msn, 0, true)
}

#[test]
fn the_same_message_leaves_sooner() {
    let entry_of = |verb, len| move |scene: &mut Scene| scene.post(inline(verb, len));
    for verb in [Verb::Write, Verb::Send] {
        for len in [0, 1, 8, 32] {
            let what = format!("{verb:?} of {len}");
            let post = entry_of(verb, len);
            let outcome = both(&what, |scene, ear| {
                post(scene);
                ear.hear(scene, LONG);
                post(scene);
                ear.hear(scene, LONG);
            });
            let Some(outcome) = outcome else { return };
            assert_eq!(outcome.completions.len(), 2, "{what}");
            assert!(!outcome.stream.is_empty(), "{what}");
            for predicts in [true, false] {
                let Some(mut scene) = scene(predicts, None) else { return };
                post(&mut scene);
                cycles(&mut scene, SOON);
                assert_eq!(scene.rig.frames().len(), usize::from(predicts), "{what}: prediction {predicts}");
            }
        }
    }
}

#[test]
fn the_same_message_is_received_sooner() {
    for len in [1, 2, 3, 4, 100, 1400] {
        let what = format!("Send of {len}");
        let bytes = pattern(len, 7);
        let outcome = both(&what, |scene, ear| {
            for msn in 1..4 {
                scene.send_ddp(send_header(msn), &bytes);
                ear.hear(scene, LONG);
            }
        });
        let Some(outcome) = outcome else { return };
        assert_eq!(outcome.completions.len(), 3, "{what}");
        assert_eq!(outcome.image[SINK as usize..][..len], bytes, "{what}");
        // What is long takes its time in any case.
        for predicts in [true, false].into_iter().filter(|_| len <= 100) {
            let Some(mut scene) = scene(predicts, None) else { return };
            scene.send_ddp(send_header(1), &bytes);
            cycles(&mut scene, SOON + len as u64);
            assert_eq!(
                scene.rig.completions(CQ, false).len(),
                usize::from(predicts),
                "{what}: prediction {predicts}"
            );
        }
    }
}

#[test]
fn what_is_acknowledged_completes_sooner() {
    for predicts in [true, false] {
        let Some(mut scene) = scene(predicts, None) else { return };
        scene.post(inline(Verb::Send, 9));
        // Its ACK is not sent yet.
        let sent = scene.hear_after(100_000);
        assert_eq!(sent.len(), 1);
        scene.ack(sent[0].tcp.seq + sent[0].payload.len() as u32, 60_000);
        cycles(&mut scene, SOON);
        assert_eq!(scene.rig.completions(CQ, true).len(), usize::from(predicts), "prediction {predicts}");
        scene.pump_after(LONG);
        assert_eq!(
            scene.rig.completions(CQ, true).len(),
            usize::from(!predicts),
            "prediction {predicts}: once"
        );
    }
}

/// Segments that are nearly what is expected.
#[test]
fn what_is_not_as_expected_is_left_to_the_program() {
    type Act = fn(&mut Scene);
    let acts: [(&str, Act); 13] = [
        ("MSN", |scene| scene.send_ddp(send_header(2), b"text")),
        ("MO", |scene| scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 4, true), b"text")),
        ("QN", |scene| scene.send_ddp(untagged(Opcode::Send, 1, 1, 0, true), b"text")),
        ("not the last", |scene| scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, false), b"text")),
        ("solicited", |scene| scene.send_ddp(untagged(Opcode::SendSolicited, QN_SEND, 1, 0, true), b"text")),
        ("no bytes", |scene| scene.send_ddp(send_header(1), b"")),
        ("too long", |scene| scene.send_ddp(send_header(1), &[5; 1401])),
        ("tagged", |scene| scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), b"text")),
        ("bad CRC", |scene| {
            let mut fpdu = scene.fpdu(&ulpdu(send_header(1), b"text"));
            *fpdu.last_mut().expect("CRC") ^= 1;
            scene.send(&fpdu);
        }),
        ("two of them", |scene| {
            let first = ulpdu(send_header(1), b"text");
            let mut both = scene.fpdu(&first);
            both.extend(scene.peer.fpdu_ahead(both.len() as u32, &ulpdu(send_header(2), b"more")));
            scene.send(&both);
        }),
        ("cut", |scene| {
            let fpdu = scene.fpdu(&ulpdu(send_header(1), b"some text"));
            scene.send(&fpdu[..20]);
            scene.send(&fpdu[20..]);
        }),
        ("FIN", |scene| {
            let fpdu = scene.fpdu(&ulpdu(send_header(1), b"text"));
            scene.send_as(TcpFlags::ACK | TcpFlags::PSH | TcpFlags::FIN, &fpdu);
        }),
        ("from the future", |scene| {
            let fpdu = scene.fpdu(&ulpdu(send_header(1), b"text"));
            let frame = scene.frame_at(scene.peer.snd + 4, TcpFlags::ACK | TcpFlags::PSH, &fpdu);
            scene.deliver(&frame);
        }),
    ];
    for (what, act) in acts {
        let outcome = both(what, |scene, ear| {
            act(scene);
            ear.hear(scene, LONG);
        });
        if outcome.is_none() {
            return;
        }
    }
}

/// Two entries with one doorbell, two doorbells, other entries, and an entry that is none.
#[test]
fn doorbells_that_are_not_as_expected_are_left_to_the_program() {
    type Act = fn(&mut Scene);
    let acts: [(&str, Act); 6] = [
        ("two doorbells", |scene| {
            scene.post(inline(Verb::Write, 8));
            scene.post(inline(Verb::Send, 8));
        }),
        ("two doorbells, later", |scene| {
            scene.post(inline(Verb::Send, 8));
            cycles(scene, 20);
            scene.post(inline(Verb::Write, 8));
        }),
        ("not inline", |scene| {
            scene.post(write_from(0, 40));
        }),
        ("Read", |scene| {
            scene.post(read_into(0, 40));
        }),
        ("the same doorbell twice", |scene| {
            let index = scene.post(inline(Verb::Write, 8));
            scene.ring(qp::SQ_PRODUCER, u32::from(index) + 1);
        }),
        ("a stale entry", |scene| {
            scene.post(inline(Verb::Write, 8));
            scene.rig.elapse(100_000);
            scene.rig.ring(Page::Qp(QP), qp::SQ_PRODUCER, 2);
        }),
    ];
    for (what, act) in acts {
        let outcome = both(what, |scene, ear| {
            act(scene);
            ear.hear(scene, LONG);
        });
        if outcome.is_none() {
            return;
        }
    }
}

/// A message is posted while another comes, at every moment around it: both are done, once, and what came is acknowledged.
#[test]
fn a_doorbell_meets_a_segment_in_any_cycle() {
    let bytes = pattern(64, 3);
    for offset in -60i64..60 {
        let act = |scene: &mut Scene, _: &mut Ear| {
            if offset < 0 {
                scene.post(inline(Verb::Send, 8));
                cycles(scene, offset.unsigned_abs());
                scene.send_ddp(send_header(1), &bytes);
            } else {
                scene.send_ddp(send_header(1), &bytes);
                cycles(scene, offset.unsigned_abs());
                scene.post(inline(Verb::Send, 8));
            }
        };
        let Some(outcome) = run(true, None, &act) else { return };
        assert_eq!(outcome.state, QpState::Running, "offset {offset}");
        assert_eq!(outcome.stream.len(), 2 + 18 + 8 + 4, "offset {offset}: {:?}", outcome.stream);
        assert_eq!(outcome.completions.len(), 2, "offset {offset}: {:?}", outcome.completions);
        assert_eq!(outcome.image[SINK as usize..][..64], bytes, "offset {offset}");
        let ack = context().rcv_nxt.wrapping_add(2 + 18 + 64 + 4);
        assert_eq!(outcome.acknowledged, Some(ack), "offset {offset}");
    }
}

/// Host memory refuses any one access.
#[test]
fn a_dma_fault_at_any_access_is_no_other_with_prediction() {
    let act = |scene: &mut Scene, ear: &mut Ear| {
        scene.post(inline(Verb::Send, 8));
        ear.hear(scene, LONG);
        scene.send_ddp(send_header(1), b"some text");
        ear.hear(scene, LONG);
    };
    let mut stopped = 0;
    for count in 0..12 {
        let [with, without] = [true, false].map(|predicts| run(predicts, Some(count), &act));
        let (Some(with), Some(without)) = (with, without) else { return };
        let told = |outcome: &Outcome| (outcome.errors.clone(), outcome.state);
        // An entry is read once more by the program if the gates could not: what was refused once is then good.
        if told(&with) != told(&without) {
            assert_eq!((&with.errors[..], with.state), (&[][..], QpState::Running), "access {count}");
            assert_eq!(with.completions.len(), 2, "access {count}");
        }
        stopped += u32::from(with.state == QpState::Error);
    }
    println!("{stopped} of 12 accesses stop the connection");
    assert!(stopped > 2);
}
