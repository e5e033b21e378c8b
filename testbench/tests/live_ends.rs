//! `perf` with an end in each of two processes, and `demo` on two Ethernets: application, driver and NIC in one process.

use ironwarp_testbench::live::Scratch;
use ironwarp_testbench::live::engine::Engine;
use ironwarp_testbench::live::process::Running;
use ironwarp_testbench::on_model_and_rtl;
use std::process::Command;
use std::time::Duration;

on_model_and_rtl!(
    perf_measures_every_operation_between_two_processes,
    the_demo_runs_on_two_ethernets_with_a_switch_between,
);

/// Safety net of everything that a test waits for.
const LIMIT: Duration = Duration::from_secs(120);
/// Of the end that is not the default one.
const MAC: &str = "02:1a:ce:00:00:02";

fn ironwarp(args: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp-under-test"));
    Running::start(command.args(args).env_remove("IRONWARP_DEVICE").env_remove("RUST_LOG"))
}

/// Ethernet of either end of a wire.
fn wire(scratch: &Scratch, [a, b]: [&str; 2]) -> [String; 2] {
    let path = |name| scratch.path(name).display().to_string();
    [format!("unix:{},{}", path(a), path(b)), format!("unix:{},{}", path(b), path(a))]
}

fn serve(ether: &str, args: &[&str]) -> Running {
    let fixed = ["perf", "write", "--listen", "10.9.0.2:7200", "--mac", MAC];
    let ether = if ether.starts_with("vfio-user") { ["--device", ether] } else { ["--ether", ether] };
    let mut server = ironwarp(&[&fixed[..], &ether, args].concat());
    server.wait_line("listening", LIMIT).unwrap();
    server
}

fn perf_measures_every_operation_between_two_processes(engine: Engine) {
    let scratch = Scratch::new();
    let [left, right] = wire(&scratch, ["a", "b"]);
    let engine_words = ["--engine", engine.name()];
    let count = if engine == Engine::Model { "300" } else { "5" };
    for operation in ["write", "send", "read", "atomic"] {
        let mut server = serve(&right, &engine_words);
        let fixed = ["perf", operation, "--connect", "10.9.0.2:7200", "--ip", "10.9.0.1", "--ether", &left];
        let work = ["--size", "3000", "--iterations", count, "--qps", "3", "--depth", "4"];
        let said = ironwarp(&[&fixed[..], &work, &engine_words].concat()).succeed(LIMIT).unwrap();
        let messages = said.iter().find(|line| line.contains("  messages")).expect("a report");
        let expected = 3 * count.parse::<u32>().unwrap();
        assert_eq!(messages.split_whitespace().nth(1), Some(&*expected.to_string()), "{said:?}");
        let said = server.succeed(LIMIT).unwrap();
        let size = if operation == "atomic" { 8 } else { 3000 };
        let served = format!("perf: {expected} messages of {size} bytes served");
        assert!(said.contains(&served), "{said:?}");
    }
}

fn the_demo_runs_on_two_ethernets_with_a_switch_between(engine: Engine) {
    let scratch = Scratch::new();
    let ([left, one], [right, two]) = (wire(&scratch, ["a", "b"]), wire(&scratch, ["c", "d"]));
    let faults: &[&str] = if engine == Engine::Model { &["--loss", "0.2%", "--reorder", "1%"] } else { &[] };
    let mut switch = ironwarp(&[&["switch", "--port", &one, "--port", &two], faults].concat());
    switch.wait_line("switch: ", LIMIT).unwrap();
    let fixed = ["demo", "--ether", &left, "--ether", &right, "--engine", engine.name()];
    let rounds = if engine == Engine::Model {
        ["--rounds", "8"].as_slice()
    } else {
        &["--rounds", "1", "--max-message", "2048"]
    };
    let said = ironwarp(&[&fixed[..], rounds].concat()).succeed(LIMIT).unwrap();
    let last = said.iter().rfind(|line| line.starts_with("demo: ")).expect("a summary");
    assert!(last.ends_with(" operations verified, 0 errors") && !last.starts_with("demo: 0 "), "{last}");
    switch.terminate();
    let said = switch.succeed(LIMIT).unwrap();
    let links: Vec<_> = said.iter().filter(|line| line.starts_with("link ")).collect();
    assert_eq!(links.len(), 2, "{said:?}");
}

#[test]
fn perf_serves_from_a_device_elsewhere_and_turns_others_away() {
    let scratch = Scratch::new();
    let [left, right] = wire(&scratch, ["a", "b"]);
    let socket = scratch.path("nic").display().to_string();
    let mut nic = ironwarp(&["nic", "--ether", &right, "--vfio-user", &socket]);
    nic.wait_line("nic: vfio-user:", LIMIT).unwrap();
    let device = format!("vfio-user:{socket}");
    let client = ["--connect", "10.9.0.2:7200", "--ip", "10.9.0.1", "--ether", &left];
    let mut server = serve(&device, &[]);
    let said =
        ironwarp(&[&["perf", "send", "--iterations", "500"], &client[..]].concat()).succeed(LIMIT).unwrap();
    assert!(said.iter().any(|line| line.contains("  messages          500 ")), "{said:?}");
    server.succeed(LIMIT).unwrap();
    let mut server = serve(&device, &[]);
    let (status, said) = ironwarp(&[&["rping"], &client[..]].concat()).wait(LIMIT).unwrap();
    assert!(
        !status.success() && said.iter().any(|line| line.contains("rejected the connection")),
        "{said:?}"
    );
    let (status, said) = server.wait(LIMIT).unwrap();
    assert!(!status.success() && said.iter().any(|line| line.contains("of this version")), "{said:?}");
}

#[test]
fn what_does_not_go_together_is_refused_with_advice() {
    let client = ["perf", "write", "--connect", "10.9.0.2:7200", "--ip", "10.9.0.1", "--ether", "tap:iw0"];
    let cases = [
        ([&client[..], &["--bidir"]].concat(), "leave out --bidir"),
        ([&client[..], &["--link", "1g"]].concat(), "--link"),
        ([&client[..], &["--listen", "10.9.0.1:1"]].concat(), "cannot be used with"),
        (vec!["perf", "write", "--ether", "tap:iw0"], "needs --listen or --connect"),
        (vec!["rping", "--timeout", "3"], "needs --listen or --connect"),
        (vec!["demo", "--ether", "tap:iw0"], "give it twice"),
        (vec!["demo", "--ip", "10.9.0.1"], "--ether"),
        (vec!["demo", "--device", "rtl", "--engine", "micro"], "leave out --engine"),
    ];
    for (args, advice) in cases {
        let (status, said) = ironwarp(&args).wait(LIMIT).unwrap();
        assert!(!status.success() && said.iter().any(|line| line.contains(advice)), "{args:?}: {said:#?}");
    }
}
