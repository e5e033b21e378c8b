//! The driver over a real kernel's VFIO: in a QEMU guest, on devices that another process simulates.

mod common;

use common::{Folder, ironwarp, resources, serve_two_of, until};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Not by a macro, whose output is captured: whoever runs the tests shall see it.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// The demo in a guest on two devices of this engine: it is verified, and all of the guest's memory is released.
fn demo_in_a_guest(engine: &str, demo: &[&str]) {
    // One guest at a time: it is emulated.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbench/guest");
    let setup = Command::new(scripts.join("setup.sh")).output().expect("the script runs");
    if !setup.status.success() {
        let why = String::from_utf8_lossy(&setup.stderr).into_owned();
        return skipped(&format!("the guest's packages cannot be had: {why}"));
    }
    let folder = Folder::new(&format!("guest-{engine}"));
    let (server, _) = serve_two_of(engine, &folder);
    let before = resources(&server);
    let sockets = ["left", "right"].map(|name| folder.path(name).display().to_string()).join(",");
    let binary = ironwarp(&[]).get_program().to_owned();
    let output = Command::new("timeout")
        .args(["--kill-after=5", "280"])
        .arg(scripts.join("boot.sh"))
        .arg(binary)
        .arg(&sockets)
        .args(["demo", "--device", "DEVICES"])
        .args(demo)
        .output()
        .expect("the script runs");
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = console.lines().find(|line| line.starts_with("demo: ")).unwrap_or_default();
    assert!(output.status.success(), "{console}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        verdict.ends_with(" operations verified, 0 errors") && !verdict.starts_with("demo: 0"),
        "{console}"
    );
    assert!(console.contains("vfio:0000:00:01.0 and vfio:0000:00:02.0"), "{console}");
    println!("{verdict}");
    until("the release of the guest's memory", || resources(&server) == before);
}

#[test]
fn a_guest_runs_the_demo_over_vfio_on_the_model() {
    demo_in_a_guest("model", &["--rounds", "12"]);
}

#[test]
fn a_guest_runs_a_short_demo_over_vfio_on_the_rtl() {
    if Command::new("verilator").arg("--version").output().is_err() {
        return skipped("verilator is not installed (Debian package verilator)");
    }
    demo_in_a_guest("rtl-verilated", &["--rounds", "2", "--max-message", "4096"]);
}
