//! Devices and drivers in processes of their own, and the death of either.

mod common;

use common::{Folder, PATIENCE, Process, ironwarp, resources, serve_two, until};
use std::io::Read;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

fn demo(devices: &str, rounds: &str) -> Output {
    ironwarp(&["demo", "--rounds", rounds, "--device", devices]).output().expect("the command runs")
}

#[track_caller]
fn assert_verified(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    let verified = last.ends_with(" operations verified, 0 errors") && !last.starts_with("demo: 0 ");
    assert!(output.status.success() && verified, "{output:?}");
}

#[test]
fn the_demo_verifies_every_verb_between_two_devices_of_another_process() {
    let folder = Folder::new("demo");
    let (server, devices) = serve_two(&folder);
    assert_verified(&demo(&devices, "20"));
    // The one who sets up the environment need not name them again.
    let output = ironwarp(&["demo", "--rounds", "2"]).env("IRONWARP_DEVICE", &devices).output().unwrap();
    assert_verified(&output);
    drop(server);
}

#[test]
fn a_driver_killed_at_any_moment_leaves_nothing_behind() {
    let folder = Folder::new("client-dies");
    let (server, devices) = serve_two(&folder);
    let before = resources(&server);
    assert_eq!(before.1, 0);
    for moment in [0, 1, 2, 4, 7, 12, 20, 33, 50, 80, 130, 200] {
        let args = ["demo", "--rounds", "100000", "--device", &devices];
        let client = Process::start(ironwarp(&args).stdout(Stdio::null()).stderr(Stdio::null()));
        std::thread::sleep(Duration::from_millis(moment));
        client.kill();
        until("the server's release of all that the client gave", || resources(&server) == before);
    }
    assert_verified(&demo(&devices, "4"));
    until("the release", || resources(&server) == before);
    drop(server);
}

#[test]
fn a_server_killed_at_any_moment_is_reported_at_once() {
    let folder = Folder::new("server-dies");
    let mut slowest = Duration::ZERO;
    for moment in [0, 1, 2, 4, 7, 12, 20, 33, 50, 80, 130, 200] {
        // The socket left behind by the last one is no obstacle.
        let (server, devices) = serve_two(&folder);
        let args = ["demo", "--rounds", "100000", "--device", &devices];
        let mut client = Process::start(ironwarp(&args).stdout(Stdio::null()).stderr(Stdio::piped()));
        std::thread::sleep(Duration::from_millis(moment));
        let death = Instant::now();
        server.kill();
        let mut status = None;
        until("the client's end", || {
            status = client.0.try_wait().unwrap();
            status.is_some()
        });
        slowest = slowest.max(death.elapsed());
        let mut error = String::new();
        client.0.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert!(!status.unwrap().success());
        let told = ["closed the connection, or died", "nobody listens at the socket"];
        assert!(told.iter().any(|told| error.contains(told)) && error.contains("error: "), "{error}");
        assert!(!error.contains("panicked"), "{error}");
        std::fs::remove_file(folder.path("right")).unwrap();
    }
    println!("slowest report {slowest:?}");
    assert!(slowest < PATIENCE);
}

#[test]
fn a_living_server_keeps_its_socket_and_a_signal_ends_it_without_a_trace() {
    let folder = Folder::new("signal");
    let (mut server, _) = serve_two(&folder);
    let left = folder.path("left").display().to_string();
    let output = ironwarp(&["vfio-user", "--socket", &left]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("another process listens"), "{error}");
    assert_eq!(folder.names(), ["left", "right"]);
    let pid = rustix::process::Pid::from_raw(server.0.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    until("the server's end", || server.0.try_wait().unwrap().is_some());
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn devices_that_cannot_be_used_are_errors_that_say_what_to_do() {
    let folder = Folder::new("errors");
    let (server, devices) = serve_two(&folder);
    let left = devices.split(',').next().unwrap();
    for (device, advice) in [
        ("vfio-user:/does/not/exist,vfio-user:/neither", "is the server started?"),
        ("vfio:fffe:00:00.0,vfio:fffe:00:01.0", "no such PCI device"),
        ("modell", "vfio-user:PATH"),
        ("model,model", "two devices are needed"),
        (left, "1 devices are named, two are needed"),
        (&format!("{left},{left}"), "named twice"),
        (&format!("model,{left}"), "not part of the driver"),
    ] {
        let output = demo(device, "1");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(advice), "{device}: {error}");
    }
    let mut busy =
        Process::start(ironwarp(&["demo", "--rounds", "100000", "--device", &devices]).stdout(Stdio::null()));
    until("the first client's work", || resources(&server).1 > 2);
    let output = demo(&devices, "1");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("is it in use?"), "{error}");
    assert!(busy.0.try_wait().unwrap().is_none(), "the first client goes on");
}

#[test]
fn perf_device_measures_every_path_to_a_device() {
    let folder = Folder::new("perf");
    let (server, devices) = serve_two(&folder);
    for device in ["model", "rtl", devices.split(',').next().unwrap()] {
        // RustHDL's simulation takes its time.
        let iterations = if device == "rtl" { 10 } else { 200 };
        let count = iterations.to_string();
        let args = ["perf", "device", "--json", "--iterations", &count, "--device", device];
        let output = ironwarp(&args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!((&report["device"], &report["iterations"]), (&device.into(), &iterations.into()));
        for path in ["register_read", "doorbell_posted", "doorbell_to_event", "doorbell_to_interrupt"] {
            let time = |which: &str| report[path][which].as_u64().expect("nanoseconds");
            let order = [1, time("min"), time("p50"), time("p99")];
            assert!(order.is_sorted() && (time("min")..).contains(&time("mean")), "{path}: {report}");
        }
    }
    drop(server);
}
