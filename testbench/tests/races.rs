//! What can go wrong only where things take time: the RTL's Verilog on host memory that is late and stalls at random,
//! looked at in every cycle. Without Verilator these tests say that they are skipped.

use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::doorbell::{ARM_ANY, Page, cq};
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::regs::{self, Command, CommandStatus, Counter};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::rdmap::Opcode;
use ironwarp_sim::engine::{Engine, EngineError};
use ironwarp_sim::model::ModelConfig;
use ironwarp_sim::rtl::verilated::VerilateError;
use ironwarp_testbench::rig::Rig;
use ironwarp_testbench::scene::{
    BASE, CQ, LEN, QP, STAG, Scene, context, pattern, send_inline, tagged, untagged,
};

/// A cycle of the core.
const CYCLE: Nanos = 16;
/// Long enough for everything that was begun.
const LONG: Nanos = 200_000;

/// The RTL on memory with these whims; `None` without Verilator.
fn rig(seed: u64) -> Option<Rig> {
    let config =
        ModelConfig { dma_latency_ns: 300, dma_jitter_ns: 1500, dma_seed: seed, ..ModelConfig::default() };
    let mut missing = false;
    let rig = Rig::try_new(|dma| match Engine::RtlVerilated.device(&config, dma) {
        Err(EngineError::Verilate(VerilateError::Missing)) => {
            missing = true;
            None
        }
        device => Some(device.expect("device")),
    });
    if missing {
        println!("skipped: verilator is not installed (Debian package verilator)");
    }
    rig
}

/// Let the bench's time catch up with the device, which has taken its own for what it was told.
fn settle(scene: &mut Scene) {
    scene.rig.elapse(20_000_000);
}

/// Let cycles pass.
fn cycles(scene: &mut Scene, count: u64) {
    scene.rig.now += count * CYCLE;
    scene.rig.device.advance(scene.rig.now);
}

/// Trap 6: INVALIDATE returns while the placement of an FPDU waits for memory. Then not one byte may change any more.
#[test]
fn nothing_is_placed_after_invalidate_has_returned() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..40 {
        let Some(rig) = rig(seed) else { return };
        let mut scene = Scene::new(rig, context());
        settle(&mut scene);
        let bytes = pattern(1400, 1);
        scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), &bytes);
        cycles(&mut scene, 30 * seed);
        assert_eq!(scene.rig.command(Command::Invalidate, 0, STAG), CommandStatus::Ok);
        let image = scene.image();
        scene.rig.elapse(LONG);
        assert!(image == scene.image(), "seed {seed}: memory changed after it was revoked");
        match image.iter().any(|byte| *byte != 0) {
            true => {
                assert_eq!(image[..1400], bytes, "seed {seed}: all of an FPDU or nothing");
                before += 1;
            }
            false => after += 1,
        }
    }
    assert!(before > 5 && after > 5, "placed {before} times and refused {after} times");
}

/// Trap 8: a completion that can be seen has its data in place, and an interrupt has its event and completion.
#[test]
fn data_precedes_completion_precedes_interrupt() {
    for seed in 0..12 {
        let Some(rig) = rig(seed) else { return };
        let mut scene = Scene::new(rig, context());
        settle(&mut scene);
        scene.rig.ring(Page::Cq(CQ), cq::ARM, ARM_ANY);
        settle(&mut scene);
        let len = 40 + 113 * seed as usize;
        scene.post_receive(0x100, len as u32);
        let bytes = pattern(len, seed as u8 | 1);
        scene.send_ddp(untagged(Opcode::Send, 0, 1, 0, true), &bytes);
        let (mut completed, mut told) = (false, false);
        for _ in 0..20_000 {
            if !completed {
                let found = scene.rig.completions(CQ, false);
                if let Some(completion) = found.first() {
                    assert_eq!(completion.status, Status::Ok);
                    assert!(scene.bytes(0x100, len) == bytes, "seed {seed}: completion before data");
                    completed = true;
                }
            }
            if scene.rig.device.interrupt() {
                assert!(completed, "seed {seed}: interrupt before completion");
                let events = scene.rig.events();
                assert!(
                    events.iter().any(|event| event.kind == EventKind::CqReady),
                    "seed {seed}: {events:?}"
                );
                told = true;
                break;
            }
            cycles(&mut scene, 1);
        }
        assert!(completed && told, "seed {seed}");
    }
}

/// Trap 7: frames that come at every moment around ACTIVATE and GO are placed once and in order.
#[test]
fn frames_around_the_hand_off_are_neither_lost_nor_reordered() {
    let (mut direct, mut diverted, mut repeated) = (0, 0, 0);
    for offset in (-150i64..150).step_by(5) {
        let Some(rig) = rig(offset.unsigned_abs()) else { return };
        let mut scene = Scene::furnished(rig, context());
        scene.activate();
        settle(&mut scene);
        let write = |scene: &mut Scene, number: u8| {
            scene.send_ddp(tagged(Opcode::Write, STAG, BASE + u64::from(number), true), &[number]);
        };
        write(&mut scene, 1);
        let mut seen = 0;
        let mut goes = 0;
        loop {
            // What was counted has been written, or was dropped.
            settle(&mut scene);
            for (header, frame) in scene.rig.raw_frames() {
                let (qp, count) = header.diverted.expect("a diverted frame");
                assert_eq!((qp, count), (QP, seen + 1), "offset {offset}");
                seen = count;
                scene.rig.raw_send(&frame, true);
            }
            // GO waits for what was injected.
            settle(&mut scene);
            // The second frame comes up to 150 cycles before or behind it.
            let meets = goes == 0;
            if meets && offset < 0 {
                write(&mut scene, 2);
                cycles(&mut scene, offset.unsigned_abs());
            }
            scene.rig.write(regs::CMD_ARG, seen.into());
            scene.rig.write(regs::CMD, u32::from(QP) << 8 | Command::Go as u32);
            if meets && offset >= 0 {
                cycles(&mut scene, offset.unsigned_abs());
                write(&mut scene, 2);
            }
            let status = scene.rig.read(regs::CMD_STAT) as u8;
            goes += 1;
            match CommandStatus::from_code(status) {
                Some(CommandStatus::Ok) => break,
                status => assert_eq!(status, Some(CommandStatus::Again), "offset {offset}"),
            }
            assert!(goes < 4, "offset {offset}");
        }
        scene.rig.elapse(LONG);
        assert_eq!(scene.bytes(1, 3), [1, 2, 0], "offset {offset}");
        assert_eq!(scene.rig.counter(Counter::OutOfOrder), 0, "offset {offset}");
        direct += u32::from(goes == 1 && seen == 1);
        diverted += u32::from(seen == 2);
        repeated += u32::from(goes > 1);
    }
    println!("{direct} times behind GO, {diverted} times in front of it, {repeated} times GO again");
    assert!(direct > 5 && diverted > 5);
}

/// The bench itself: memory that is late and stalls changes nothing but time.
#[test]
fn memory_with_whims_is_still_memory() {
    let Some(rig) = rig(99) else { return };
    let mut scene = Scene::new(rig, context());
    settle(&mut scene);
    let bytes = pattern(LEN, 3);
    for (at, chunk) in bytes.chunks(1400).enumerate() {
        let to = BASE + 1400 * at as u64;
        scene.send_ddp(tagged(Opcode::Write, STAG, to, true), chunk);
        scene.rig.elapse(60_000);
    }
    scene.rig.elapse(LONG);
    assert!(scene.image() == bytes);
}

/// The bench itself: a host whose clock stops at just the time of an alarm sees time go on.
#[test]
fn time_goes_on_at_an_alarm() {
    let Some(rig) = rig(7) else { return };
    let mut scene = Scene::new(rig, context());
    settle(&mut scene);
    scene.post(send_inline(b"nobody acknowledges it"));
    let mut sent = 0;
    for _ in 0..2000 {
        sent += scene.rig.frames().len();
        // Behind the last retry there is nothing to wait for.
        let Some(at) = scene.rig.device.next_event() else { break };
        scene.rig.now = scene.rig.now.max(at);
        scene.rig.device.advance(scene.rig.now);
    }
    assert!(sent > 1, "{sent} frames until {} ns", scene.rig.now);
}
