//! The RTL as a device: the same driver, verbs and exercises on RustHDL's simulation and on its Verilog.

use ironwarp_sim::engine::{Engine, comparison};
use ironwarp_sim::exercise::{Exercise, Prepared, Round, memory_for};
use ironwarp_sim::lab::{Connection, Lab, LabConfig};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::model::ModelConfig;
use ironwarp_sim::rtl::{FLOWS, Profile, WavesConfig};
use ironwarp_sim::size::Size;
use std::path::Path;
use std::process::Command;

/// Messages up to this size, bytes.
const MESSAGE: usize = 2048;

/// Rounds of verified operations between two devices of this engine.
fn exercise(engine: Engine, link: LinkConfig, markers: bool, rounds: u64) {
    run(&config(engine, link), markers, rounds);
}

fn config(engine: Engine, link: LinkConfig) -> LabConfig {
    LabConfig { link, mtu: 1500, seed: 3, engine, device: ModelConfig::default(), waves: None }
}

/// Rounds of verified operations; what the devices did.
fn run(config: &LabConfig, markers: bool, rounds: u64) -> [Profile; 2] {
    let lab = Lab::new(config, None).expect("hosts");
    let memory = memory_for(MESSAGE);
    let sides = [0, 1].map(|node| Prepared::new(&lab, node, memory).expect("verbs"));
    lab.connect([sides[0].qp(), sides[1].qp()], &Connection { crc: true, markers }).expect("connection");
    let [left, right] = sides;
    let mut exercise = Exercise::new(left, right, config.seed);
    for _ in 0..rounds {
        exercise.round(&lab, Round { operations: 8, max_message: MESSAGE }).expect("verified operations");
    }
    exercise.compare_all().expect("equal memory");
    assert!(exercise.verified() > 0);
    exercise.finish(&lab).expect("orderly end");
    lab.watches.each_ref().map(|watch| watch.profile.lock().expect("profile").clone())
}

fn gigabit() -> LinkConfig {
    LinkConfig { rate_bps: Some(1_000_000_000), ..LinkConfig::default() }
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
fn verbs_are_verified_on_rusthdls_simulation() {
    exercise(Engine::Rtl, gigabit(), false, 1);
}

#[test]
fn verbs_are_verified_on_the_verilog_with_markers() {
    if verilator() {
        exercise(Engine::RtlVerilated, gigabit(), true, 10);
    }
}

/// The wire takes a frame in the time in which the core can build ten: transmit ring and MAC are full, and the core is held.
#[test]
fn verbs_are_verified_on_the_verilog_behind_a_slow_wire() {
    if verilator() {
        let link = LinkConfig { rate_bps: Some(100_000_000), ..LinkConfig::default() };
        exercise(Engine::RtlVerilated, link, false, 4);
    }
}

#[test]
fn verbs_are_verified_on_the_verilog_over_a_bad_link() {
    if verilator() {
        let link = LinkConfig { loss: 0.01, reorder: 0.02, duplicate: 0.01, corrupt: 0.01, ..gigabit() };
        exercise(Engine::RtlVerilated, link, false, 10);
    }
}

/// Instants in a VCD file, picoseconds, and how often the signal `name` at the top changes there.
fn changes(path: &Path, name: &str) -> (Vec<u64>, usize) {
    let text = std::fs::read_to_string(path).expect("waveforms");
    let (header, body) = text.split_once("$enddefinitions $end").expect("header");
    let declared = header.lines().find(|line| line.ends_with(&format!(" {name} $end"))).expect("signal");
    let code = declared.split_whitespace().nth(3).expect("code");
    let times = body.lines().filter_map(|line| line.strip_prefix('#')?.parse().ok()).collect();
    let changed = |line: &&str| line.get(1..) == Some(code) && matches!(line.as_bytes()[0], b'0' | b'1');
    (times, body.lines().filter(changed).count())
}

/// Every channel of host memory stalls by itself, for longer than a frame takes, and frames are lost, doubled and out of order.
#[test]
fn nothing_locks_up_on_moody_memory_and_a_bad_link() {
    if !verilator() {
        return;
    }
    let link = LinkConfig { loss: 0.01, reorder: 0.02, duplicate: 0.02, corrupt: 0.01, ..gigabit() };
    for seed in 0..3 {
        let device = ModelConfig { dma_jitter_ns: 20_000, ..ModelConfig::default() };
        run(&LabConfig { seed, device, ..config(Engine::RtlVerilated, link) }, seed == 1, 2);
    }
}

#[test]
fn waveforms_cover_the_cycles_that_were_asked_for() {
    let folder = std::env::temp_dir().join(format!("ironwarp-waves-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder");
    let mut engines = vec![Engine::Rtl];
    engines.extend(verilator().then_some(Engine::RtlVerilated));
    for engine in engines {
        let path = folder.join(format!("{}.vcd", engine.name()));
        let waves = WavesConfig { path: path.clone(), cycles: 500..540 };
        run(&LabConfig { waves: Some(waves), ..config(engine, gigabit()) }, false, 1);
        for side in ["left", "right"] {
            let (times, clocks) = changes(&path.with_extension(format!("{side}.vcd")), "clock");
            // 62.5 MHz: a rise and a fall every 16 ns.
            assert_eq!(times, (0..80).map(|half| 500 * 16_000 + half * 8_000).collect::<Vec<_>>());
            assert_eq!(clocks, 80, "the clock changes at every instant");
        }
    }
    std::fs::remove_dir_all(&folder).expect("folder");
    let waves = Some(WavesConfig { path: folder.join("gone").join("a.vcd"), cycles: 0..1 });
    let config = LabConfig { waves, ..config(Engine::Rtl, gigabit()) };
    let refused =
        |engine| Lab::new(&LabConfig { engine, ..config.clone() }, None).err().expect("error").to_string();
    assert!(refused(Engine::Rtl).contains("cannot write waveforms to"), "{}", refused(Engine::Rtl));
    assert!(refused(Engine::Model).contains("has no waveforms"), "{}", refused(Engine::Model));
}

#[test]
fn the_profile_accounts_for_every_cycle() {
    if !verilator() {
        return;
    }
    for profile in run(&config(Engine::RtlVerilated, gigabit()), false, 2) {
        let busy: u64 = profile.routines.values().sum();
        assert_eq!(busy + profile.waiting, profile.cycles);
        // An instruction takes a cycle or more.
        assert!(profile.instructions <= busy && profile.instructions * 4 > busy, "{profile:?}");
        assert!(!profile.doorbell_to_wire.is_empty() && !profile.frame_to_completion.is_empty());
        for used in ["frames in", "frames out", "host requests", "small data", "payload data", "write data"] {
            let at = FLOWS.iter().position(|name| *name == used).expect("a stream");
            assert!(profile.flows[at].busy > 0, "{used}");
        }
    }
}

#[test]
fn the_whole_core_is_its_verilog_in_every_cycle_of_verified_traffic() {
    if !verilator() {
        return;
    }
    let mut before = 0;
    for (size, rounds) in [(Size::Full, 3), (Size::Small, 1)] {
        let device = size.device();
        run(&LabConfig { device, ..config(Engine::RtlCompared, gigabit()) }, false, rounds);
        let seen = comparison();
        println!("{}: {} cycles, {} mismatches", size.name(), seen.cycles() - before, seen.mismatches());
        assert_eq!(seen.mismatches(), 0);
        assert!(seen.cycles() - before >= 200_000, "{} cycles", seen.cycles() - before);
        before = seen.cycles();
    }
}

#[test]
fn verbs_are_verified_on_the_gates_of_a_small_device() {
    let yosys = Command::new("yosys").arg("-V").output().is_ok();
    if !yosys {
        println!("skipped: yosys is not installed (Debian package yosys)");
    } else if verilator() {
        let device = Size::Small.device();
        run(&LabConfig { device, ..config(Engine::RtlGates, gigabit()) }, true, 1);
    }
}

#[test]
fn verbs_are_verified_on_a_small_device_whose_program_is_in_a_flash() {
    if verilator() {
        let device = Size::Small.device();
        run(&LabConfig { device, ..config(Engine::RtlVerilated, gigabit()) }, true, 2);
    }
}
