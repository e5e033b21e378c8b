//! Two Cus, pin by pin: UART bits to the driver's serial transport, di-bits between them.

use ironwarp_driver::transport::DeviceName;
use ironwarp_sim::board::Boards;
use ironwarp_sim::cmd::cu::SLOW_BAUD;
use ironwarp_sim::engine::Engine;
use ironwarp_sim::exercise::{Exercise, Kind, Prepared, Round, memory_for};
use ironwarp_sim::lab::{Connection, Lab, LabConfig};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::pcap::PcapWriter;
use ironwarp_sim::size::Size;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Messages up to this size, bytes: some take several segments.
const MESSAGE: usize = 1300;

/// Lamps, in the order of docs/board.md.
mod lamp {
    pub const HOST: u8 = 1 << 1;
    pub const FROM_HOST: u8 = 1 << 2;
    pub const DAMAGED: u8 = 1 << 3;
    pub const RECEIVED: u8 = 1 << 4;
    pub const SENT: u8 = 1 << 5;
    pub const LOST: u8 = 1 << 6;
    pub const INTERRUPT: u8 = 1 << 7;
}

/// What a thread with boards shows.
#[derive(Default)]
struct Shown {
    stop: AtomicU64,
    /// Time of the boards, ns.
    now: AtomicU64,
    /// How often garbage was put on the lines.
    disturbed: AtomicU64,
    /// The lamps of both, in a byte each; and those that have ever been on.
    lamps: AtomicU64,
    ever: AtomicU64,
}

/// Boards that run in a thread of their own.
struct Running {
    names: [DeviceName; 2],
    shown: Arc<Shown>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// With garbage between, and in the middle of, the frames of the hosts, so often, ns of the boards.
    fn start(every: Option<u64>) -> Self {
        let mut boards = Boards::new().expect("boards");
        if let Some(path) = std::env::var_os("IRONWARP_PCAP") {
            boards.capture(PcapWriter::create(path).expect("capture"));
        }
        let names = boards.paths().map(|path| DeviceName::Serial { path: path.into(), baud: SLOW_BAUD });
        let shown = Arc::new(Shown::default());
        let ours = shown.clone();
        let thread = std::thread::spawn(move || {
            let mut next = every.unwrap_or(u64::MAX);
            while ours.stop.load(Ordering::Relaxed) == 0 {
                boards.run();
                let lamps = u64::from(u16::from_le_bytes(boards.leds()));
                ours.lamps.store(lamps, Ordering::Relaxed);
                ours.ever.fetch_or(lamps, Ordering::Relaxed);
                ours.now.store(boards.now(), Ordering::Relaxed);
                if boards.now() >= next {
                    let at = ours.disturbed.fetch_add(1, Ordering::Relaxed);
                    boards.disturb(
                        (at % 2) as usize,
                        &[0xa5, 0x23, 64, at as u8, 0xff, 0xa5][..1 + (at % 6) as usize],
                    );
                    next += every.unwrap_or_default();
                }
            }
            if let Some(writer) = boards.end_capture() {
                writer.finish().expect("capture");
            }
        });
        Self { names, shown, thread: Some(thread) }
    }

    /// The lamps of both.
    fn lamps(&self, which: &AtomicU64) -> [u8; 2] {
        (which.load(Ordering::Relaxed) as u16).to_le_bytes()
    }

    /// Open both devices.
    fn lab(&self) -> Lab {
        let config = LabConfig {
            link: LinkConfig::default(),
            mtu: 1500,
            seed: 5,
            engine: Engine::default(),
            device: Size::Small.device(),
            waves: None,
        };
        Lab::on_devices([&self.names[0], &self.names[1]], &config).expect("hosts")
    }

    /// Verbs at random, verified byte for byte, in both directions; the connection is closed at the end. The kinds there were.
    fn exercise(&self, markers: bool, rounds: usize) -> Vec<Kind> {
        let lab = self.lab();
        let [left, right] = [0, 1].map(|node| Prepared::new(&lab, node, memory_for(MESSAGE)).expect("verbs"));
        lab.connect([left.qp(), right.qp()], &Connection { crc: true, markers }).expect("connection");
        let mut exercise = Exercise::new(left, right, 5);
        for round in 0..rounds {
            let size = Round { operations: 4, max_message: MESSAGE };
            exercise.round(&lab, size).expect("round");
            println!("round {round}: {:.3} ms of the boards", self.milliseconds());
        }
        exercise.compare_all().expect("memory");
        assert_eq!(exercise.errors, Vec::<String>::new());
        assert!(exercise.verified() >= 8 * rounds as u64, "{} operations", exercise.verified());
        let kinds = exercise.score.keys().copied().collect();
        exercise.finish(&lab).expect("end");
        // All events are told and taken.
        let end = self.shown.now.load(Ordering::Relaxed) + 20_000_000;
        while self.lamps(&self.shown.lamps).iter().any(|lamps| lamps & lamp::INTERRUPT != 0) {
            assert!(self.shown.now.load(Ordering::Relaxed) < end, "an interrupt that nobody serves");
            lab.hosts[0].wait(Some(lab.hosts[0].now() + 1_000_000)).expect("wait");
        }
        kinds
    }

    fn milliseconds(&self) -> f64 {
        self.shown.now.load(Ordering::Relaxed) as f64 / 1e6
    }

    fn stop(&mut self) {
        self.shown.stop.store(1, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether there is a Verilator; says so if not.
fn verilator() -> bool {
    let there = Command::new("verilator").arg("--version").output().is_ok();
    if !there {
        println!("skipped: verilator is not installed (Debian package verilator)");
    }
    there
}

#[test]
fn verbs_between_two_boards_are_verified_and_no_frame_is_lost() {
    if !verilator() {
        return;
    }
    let running = Running::start(None);
    let done = running.exercise(true, 3);
    use Kind::*;
    let wanted = [Send, SendInvalidate, Write, WriteImmediate, Read, FetchAdd, CompareSwap, Immediate];
    for kind in wanted.into_iter().chain([BindWindow, FastRegister, LocalInvalidate]) {
        assert!(done.contains(&kind), "{kind:?} is not among {done:?}");
    }
    for ever in running.lamps(&running.shown.ever) {
        let all = lamp::HOST | lamp::FROM_HOST | lamp::RECEIVED | lamp::SENT | lamp::INTERRUPT;
        assert_eq!(ever & all, all, "{ever:08b}");
        assert_eq!(ever & lamp::DAMAGED, 0, "nothing damaged: {ever:08b}");
        assert_eq!(ever & lamp::LOST, 0, "nothing lost: {ever:08b}");
    }
}

#[test]
fn garbage_on_the_lines_of_the_boards_is_survived() {
    if !verilator() {
        return;
    }
    let running = Running::start(Some(3_000_000));
    running.exercise(false, 1);
    assert!(running.shown.disturbed.load(Ordering::Relaxed) > 1);
    let ever = running.lamps(&running.shown.ever);
    assert!(ever.iter().all(|ever| ever & lamp::DAMAGED != 0), "{ever:?}");
}
