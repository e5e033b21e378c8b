//! The sequencer's program against the golden model: the same calls give the same frames, memory, events and state.

use ironwarp_proto::abi::context::{Context, Mode, StateWords};
use ironwarp_proto::abi::doorbell::{Page, qp as doorbell};
use ironwarp_proto::abi::regs::{self, Command};
use ironwarp_proto::pins::{Frame, Nanos};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_sim::engine::Engine;
use ironwarp_sim::model::ModelConfig;
use ironwarp_testbench::rig::Rig;
use ironwarp_testbench::scene::*;
use proptest::prelude::*;

/// What happens to a connection.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A segment: offset of SEQ from RCV.NXT, of the ACK from SND.UNA (a share of what is in flight, 128ths, and bytes),
    /// flags, window, payload.
    Segment(i32, u8, i32, u8, u16, u16),
    /// Bytes written to the send ring.
    Post(u32),
    /// Part of what has come is taken, 256ths.
    Consume(u8),
    Arm(u32),
    Fin,
    Modify(u16),
    Frames,
    Elapse(Nanos),
}

fn flags() -> impl Strategy<Value = u8> {
    let (fin, syn, rst, psh, ack) = (1u8, 2u8, 4u8, 8u8, 16u8);
    prop_oneof![
        40 => Just(ack),
        20 => Just(ack | psh),
        1 => Just(ack | fin),
        1 => Just(syn),
        1 => Just(rst),
        1 => 0u8..32,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let seq = prop_oneof![12 => Just(0), 3 => -1500i32..3000, 1 => any::<i32>()];
    let share = prop_oneof![3 => Just(0), 3 => Just(128), 4 => 0u8..=128];
    let bytes = prop_oneof![12 => Just(0), 2 => -1500i32..3000, 1 => any::<i32>()];
    let window = prop_oneof![6 => Just(60_000u16), 3 => Just(5000), 1 => Just(0), 1 => any::<u16>()];
    let len = prop_oneof![8 => Just(0u16), 4 => Just(1460), 4 => 0u16..1460];
    prop_oneof![
        16 => (seq, share, bytes, flags(), window, len).prop_map(|(s, a, b, f, w, l)| Step::Segment(s, a, b, f, w, l)),
        4 => (0u32..9000).prop_map(Step::Post),
        3 => any::<u8>().prop_map(Step::Consume),
        1 => (1u32..4).prop_map(|bits| Step::Arm(bits << 16)),
        1 => prop_oneof![10 => Just(Step::Frames), 1 => Just(Step::Fin)],
        1 => (100u16..1460).prop_map(Step::Modify),
        12 => Just(Step::Frames),
        6 => (0u64..90_000_000).prop_map(Step::Elapse),
        2 => (0u64..9_000_000_000).prop_map(Step::Elapse),
    ]
}

fn contexts() -> impl Strategy<Value = Context> {
    let keepalive = prop_oneof![3 => Just((0u16, 0u8)), 1 => (1u16..40, 0u8..4)];
    let bytes = (any::<u32>(), any::<u32>(), 0u32..60_000, 0u32..60_000);
    (bytes, 0u8..5, 0u8..5, 100u16..1460, 10u8..17, 10u8..17, keepalive).prop_map(
        |((rcv_nxt, snd_nxt, offered, snd_wnd), rcv_wscale, snd_wscale, mss, sq_log2, rq_log2, keepalive)| {
            Context {
                mode: Mode::Stream,
                mss,
                sq_log2,
                rq_log2,
                rcv_nxt,
                rcv_adv: rcv_nxt.wrapping_add(offered.min(1 << rq_log2)),
                rcv_wnd: 60_000,
                rcv_wscale,
                snd_nxt,
                snd_wnd,
                snd_wscale,
                keepalive: keepalive.0,
                keepalive_probes: keepalive.1,
                ..context()
            }
        },
    )
}

/// A device and what its host remembers.
struct Side {
    rig: Rig,
    written: u32,
    consumed: u32,
}

impl Side {
    fn new(engine: Engine, context: Context) -> Self {
        let config = ModelConfig::default();
        let rig = Rig::new(|dma| engine.device(&config, dma).expect("engine"));
        let mut scene = Scene::new(rig, context);
        // Give up early: a time-out of minutes would show little.
        scene.rig.write(regs::TCPCFG, 200 | 40 << 12 | 4 << 20 | 5 << 24 | 4 << 28);
        Self { rig: scene.rig, written: 0, consumed: 0 }
    }

    fn status(&self) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        assert!(self.rig.qp_memory(QP).staging.read(0, &mut bytes));
        bytes
    }

    fn ring(&mut self, doorbell: u32, value: u32) {
        self.rig.ring(Page::Qp(QP), doorbell, value);
    }

    fn step(&mut self, step: Step, state: &StateWords, context: &Context) -> Vec<Frame> {
        let status = self.status();
        let word =
            |at: usize| u32::from_le_bytes([status[at], status[at + 1], status[at + 2], status[at + 3]]);
        match step {
            Step::Segment(seq, share, bytes, flags, window, len) => {
                let flight = state.snd_nxt.wrapping_sub(state.snd_una);
                let ack = state.snd_una.wrapping_add((u64::from(flight) * u64::from(share) / 128) as u32);
                let (seq, ack) = (state.rcv_nxt.wrapping_add(seq as u32), ack.wrapping_add(bytes as u32));
                let payload = pattern(len.into(), seq as u8);
                let frame = frame(PORT, Seq(seq), Seq(ack), window, TcpFlags(flags), &payload);
                self.rig.device.receive(self.rig.now, &frame);
            }
            Step::Post(bytes) => {
                let room = (1 << context.sq_log2) - self.written.wrapping_sub(word(4));
                let bytes = bytes.min(room);
                for n in 0..bytes {
                    let at = self.written.wrapping_add(n) as usize & ((1 << context.sq_log2) - 1);
                    assert!(
                        self.rig.qp_memory(QP).sq.write(at, &[(self.written.wrapping_add(n) >> 3) as u8])
                    );
                }
                self.written = self.written.wrapping_add(bytes);
                let written = self.written;
                self.ring(doorbell::STREAM_SEND, written);
            }
            Step::Consume(part) => {
                let there = word(0).wrapping_sub(self.consumed);
                self.consumed += (u64::from(there) * u64::from(part) / 255) as u32;
                let consumed = self.consumed;
                self.ring(doorbell::STREAM_CONSUMED, consumed);
            }
            Step::Arm(bits) => self.ring(doorbell::STREAM_ARM, bits | word(12) & 0xffff),
            Step::Fin => self.ring(doorbell::FIN, 0),
            Step::Modify(mss) => {
                self.rig.command(Command::Modify, QP, u32::from(mss) | 200 << 16);
            }
            Step::Frames => return self.rig.frames(),
            Step::Elapse(_) => {}
        }
        Vec::new()
    }

    /// What is sent until it is `at`.
    fn until(&mut self, at: Nanos) -> Vec<Frame> {
        self.rig.elapse(at - self.rig.now)
    }

    fn counters(&mut self) -> Vec<u32> {
        (0..26).map(|at| self.rig.read(regs::COUNTERS + 4 * at)).collect()
    }

    fn ring_image(&self, context: &Context) -> Vec<u8> {
        let mut bytes = vec![0; 1 << context.rq_log2];
        assert!(self.rig.qp_memory(QP).rq.read(0, &mut bytes));
        bytes
    }
}

/// The sequencer counts time in 1024 ns: its timers run out somewhat earlier or later than those of the model.
const BLUR: Nanos = 300 * 1024;

/// A moment at which no timer of the model is about to run out or has just run out.
fn clear_of(timer: Option<Nanos>, at: Nanos) -> Nanos {
    let at = at.next_multiple_of(1024);
    match timer {
        Some(timer) if timer.abs_diff(at) <= BLUR => (timer + BLUR).next_multiple_of(1024),
        _ => at,
    }
}

fn elapse(model: &mut Side, micro: &mut Side, time: Nanos) -> [Vec<Frame>; 2] {
    let until = model.rig.now + time;
    let mut frames = [model.rig.frames(), micro.rig.frames()];
    loop {
        let timer = model.rig.device.next_event();
        let at = clear_of(timer, timer.map_or(until, |timer| timer.max(model.rig.now).min(until)));
        for (frames, side) in frames.iter_mut().zip([&mut *model, &mut *micro]) {
            frames.extend(side.until(at));
        }
        if at >= until {
            return frames;
        }
    }
}

fn agree(context: Context, steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut model, mut micro) = (Side::new(Engine::Model, context), Side::new(Engine::Micro, context));
    for (at, step) in steps.iter().enumerate() {
        let state = model.rig.state(QP);
        let [wanted, found] = match step {
            Step::Elapse(time) => elapse(&mut model, &mut micro, *time),
            _ => [&mut model, &mut micro].map(|side| side.step(*step, &state, &context)),
        };
        let show = |frames: &[Frame]| {
            frames
                .iter()
                .map(|frame| {
                    let sent = parse(frame);
                    (sent.tcp.seq, sent.tcp.ack, sent.tcp.flags, sent.tcp.window, sent.payload.len())
                })
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(show(&found), show(&wanted), "frames of step {}: {:?}", at, step);
        prop_assert!(found == wanted, "bytes of frames of step {at}: {step:?}");
        let (mut expected, state) = (model.rig.state(QP), micro.rig.state(QP));
        if expected.srtt.abs_diff(state.srtt) <= 16 {
            expected.srtt = state.srtt;
        }
        prop_assert_eq!(state, expected, "state after step {}: {:?}", at, step);
        prop_assert_eq!(micro.status(), model.status(), "status block after step {}: {:?}", at, step);
        prop_assert_eq!(micro.rig.events(), model.rig.events(), "events after step {}: {:?}", at, step);
        prop_assert_eq!(micro.counters(), model.counters(), "counters after step {}: {:?}", at, step);
    }
    prop_assert!(micro.ring_image(&context) == model.ring_image(&context), "bytes received");
    Ok(())
}

proptest! {
    #[test]
    fn a_stream_connection_does_the_same(context in contexts(), steps in prop::collection::vec(step(), 1..120)) {
        agree(context, &steps)?;
    }
}
