//! The driver over a real kernel's VFIO: in a QEMU guest, on devices that another process simulates.

mod common;

use common::{Folder, ironwarp, resources, serve_two, until};
use std::io::Write;
use std::path::Path;
use std::process::Command;

#[test]
fn a_guest_runs_the_demo_over_vfio() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbench/guest");
    let setup = Command::new(scripts.join("setup.sh")).output().expect("the script runs");
    if !setup.status.success() {
        let why = String::from_utf8_lossy(&setup.stderr).into_owned();
        // Not by a macro, whose output is captured: whoever runs the tests shall see it.
        let _ = writeln!(std::io::stderr(), "SKIPPED: the guest's packages cannot be had: {why}");
        return;
    }
    let folder = Folder::new("guest");
    let (server, _) = serve_two(&folder);
    let before = resources(&server);
    let sockets = ["left", "right"].map(|name| folder.path(name).display().to_string()).join(",");
    let binary = ironwarp(&[]).get_program().to_owned();
    let output = Command::new("timeout")
        .args(["--kill-after=5", "280"])
        .arg(scripts.join("boot.sh"))
        .arg(binary)
        .arg(&sockets)
        .args(["demo", "--rounds", "12", "--device", "DEVICES"])
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
