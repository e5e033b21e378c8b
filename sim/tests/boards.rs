//! Two Cus, pin by pin: UART bits to the driver's serial transport, di-bits between them.

use ironwarp_driver::transport::DeviceName;
use ironwarp_sim::board::Boards;
use ironwarp_sim::cmd::cu::SLOW_BAUD;
use ironwarp_sim::engine::Engine;
use ironwarp_sim::exercise::{Prepared, memory_for};
use ironwarp_sim::lab::{Connection, Lab, LabConfig};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::size::Size;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Messages up to this size, bytes.
const MESSAGE: usize = 256;

/// Boards that run in a thread of their own.
struct Running {
    names: [DeviceName; 2],
    stop: Arc<AtomicBool>,
    /// How often garbage was put on the lines.
    disturbed: Arc<AtomicU64>,
    thread: Option<JoinHandle<u8>>,
}

impl Running {
    /// With garbage between, and in the middle of, the frames of the hosts, so often, ns of the boards.
    fn start(every: Option<u64>) -> Self {
        let mut boards = Boards::new().expect("boards");
        let names = boards.paths().map(|path| DeviceName::Serial { path: path.into(), baud: SLOW_BAUD });
        let (stop, disturbed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ours, count) = (stop.clone(), disturbed.clone());
        let thread = std::thread::spawn(move || {
            let (mut next, mut seen) = (every.unwrap_or(u64::MAX), 0);
            while !ours.load(Ordering::Relaxed) {
                boards.run();
                seen |= boards.leds()[0] & boards.leds()[1];
                if boards.now() >= next {
                    let at = count.fetch_add(1, Ordering::Relaxed);
                    boards.disturb(
                        (at % 2) as usize,
                        &[0xa5, 0x23, 64, at as u8, 0xff, 0xa5][..1 + (at % 6) as usize],
                    );
                    next += every.unwrap_or_default();
                }
            }
            println!("{:.3} ms of the boards", boards.now() as f64 / 1e6);
            seen
        });
        Self { names, stop, disturbed, thread: Some(thread) }
    }

    /// Stop; the lamps that were ever on.
    fn end(mut self) -> u8 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Bring up both devices through their UARTs, register memory, and connect them over the cable: TCP's handshake and MPA's.
fn connect(running: &Running, markers: bool) {
    let config = LabConfig {
        link: LinkConfig::default(),
        mtu: 1500,
        seed: 5,
        engine: Engine::default(),
        device: Size::Small.device(),
        waves: None,
    };
    let lab = Lab::on_devices([&running.names[0], &running.names[1]], &config).expect("hosts");
    let sides = [0, 1].map(|node| Prepared::new(&lab, node, memory_for(MESSAGE)).expect("verbs"));
    lab.connect([sides[0].qp(), sides[1].qp()], &Connection { crc: true, markers }).expect("connection");
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
fn two_boards_are_brought_up_and_connected() {
    if !verilator() {
        return;
    }
    let running = Running::start(None);
    connect(&running, true);
    let lamps = running.end();
    assert_eq!(
        lamps & 0b0011_0110,
        0b0011_0110,
        "hosts there, frames of hosts, Ethernet both ways: {lamps:08b}"
    );
    assert_eq!(lamps & 0b0000_1000, 0, "nothing damaged: {lamps:08b}");
}

#[test]
fn garbage_on_the_lines_of_the_boards_is_survived() {
    if !verilator() {
        return;
    }
    let running = Running::start(Some(3_000_000));
    connect(&running, false);
    assert!(running.disturbed.load(Ordering::Relaxed) > 1);
    running.end();
}
