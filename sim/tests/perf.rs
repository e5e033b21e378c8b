//! `ironwarp perf` on the RTL: what it reports of single messages at rest, beside what it measures under load.

use ironwarp_sim::rtl::ENGINES;
use serde_json::Value;
use std::process::Command;

/// The report of a run on the RTL, with steps.
fn perf(args: &[&str]) -> Value {
    let common = ["--json", "--profile", "--link", "1g", "--dma-latency-ns", "500"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp"));
    let output = command.arg("perf").args(args).args(common).output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// A latency in good order; the number of its samples.
fn samples(latency: &Value) -> u64 {
    let cycles = |which: &str| latency[which].as_u64().expect("cycles");
    assert!([1, cycles("least"), cycles("median"), cycles("most")].is_sorted(), "{latency}");
    latency["samples"].as_u64().expect("a number")
}

/// At rest a doorbell finds engines that wait, and no other work in front of it.
fn rests(device: &Value) -> u64 {
    let doorbell = &device["at_rest"]["doorbell_to_wire"];
    let steps = doorbell["steps"].as_array().expect("steps");
    assert_eq!(steps[0][0], ENGINES, "{doorbell}");
    assert!(steps.iter().all(|step| step[0] != "rx_frame" && step[0] != "cq_doorbell"), "{doorbell}");
    samples(doorbell)
}

/// What is said of the transfer is of the transfer alone: a single rest takes longer.
fn check_transfer(report: &Value, messages: u64) {
    assert_eq!((&report["messages"], &report["retransmissions"]), (&messages.into(), &0.into()));
    assert!(report["sim_seconds"].as_f64().expect("seconds") < 0.05, "{report}");
}

#[test]
fn single_messages_at_rest_are_reported_beside_those_under_load() {
    let [size, count] = [["--size", "8"], ["--iterations", "3"]];
    let engine = ["--engine", "rtl", "--config", "small", "--clock-mhz", "31.25", "--depth", "1"];
    let report = perf(&[&["write"], &size[..], &count, &engine].concat());
    check_transfer(&report, 3);
    let [left, right] = [0, 1].map(|node| &report["rtl"][node]);
    assert_eq!(samples(&left["doorbell_to_wire"]), 3);
    assert_eq!(samples(&left["frame_to_completion"]), 3);
    assert_eq!(rests(left), 3);
    assert_eq!(samples(&left["at_rest"]["frame_to_completion"]), 3);
    // Nobody rings there, and nothing completes.
    assert_eq!(right["at_rest"]["doorbell_to_wire"], Value::Null);
    assert_eq!(right["at_rest"]["frame_to_completion"], Value::Null);
}

#[test]
fn both_hosts_send_single_messages_if_both_send_many() {
    if Command::new("verilator").arg("--version").output().is_err() {
        println!("skipped: verilator is not installed (Debian package verilator)");
        return;
    }
    for (op, completions) in [("write", 64), ("send", 2 * 64), ("read", 64), ("atomic", 64)] {
        let args =
            [op, "--size", "100", "--iterations", "70", "--qps", "2", "--bidir", "--engine", "rtl-verilated"];
        let report = perf(&args);
        check_transfer(&report, 2 * 2 * 70);
        for device in [0, 1].map(|node| &report["rtl"][node]) {
            assert_eq!(rests(device), 64, "{op}");
            // A Send also completes a receive on the other side.
            assert_eq!(samples(&device["at_rest"]["frame_to_completion"]), completions, "{op}");
        }
    }
}
