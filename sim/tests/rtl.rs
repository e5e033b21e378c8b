//! The RTL as a device: the same driver, verbs and exercises on RustHDL's simulation and on its Verilog.

use ironwarp_sim::engine::{Engine, comparison};
use ironwarp_sim::exercise::{Exercise, Prepared, Round, memory_for};
use ironwarp_sim::lab::{Connection, Lab, LabConfig};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::model::ModelConfig;
use std::process::Command;

/// Messages up to this size, bytes.
const MESSAGE: usize = 2048;

/// Rounds of verified operations between two devices of this engine.
fn exercise(engine: Engine, link: LinkConfig, markers: bool, rounds: u64) {
    let config = LabConfig { link, mtu: 1500, seed: 3, engine, device: ModelConfig::default() };
    let lab = Lab::new(&config, None).expect("hosts");
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

#[test]
fn the_whole_core_is_its_verilog_in_every_cycle_of_verified_traffic() {
    if !verilator() {
        return;
    }
    exercise(Engine::RtlCompared, gigabit(), false, 3);
    let seen = comparison();
    println!("{} cycles, {} mismatches", seen.cycles(), seen.mismatches());
    assert_eq!(seen.mismatches(), 0);
    assert!(seen.cycles() >= 200_000, "{} cycles", seen.cycles());
}
