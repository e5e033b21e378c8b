//! The `ironwarp` command as a user runs it.

use std::process::{Command, Output};

fn ironwarp(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironwarp")).args(args).output().expect("the command runs")
}

/// Kinds of CRC and MPA flags that a run put on the wire.
fn decoded(capture: &str) -> String {
    let output = ironwarp(&["decode", "--json", capture]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("JSON is text")
}

#[test]
fn rping_uses_crc_and_markers_as_both_ends_are_told() {
    for (crc, markers) in [("on", "off"), ("off", "on"), ("off", "off")] {
        let capture = format!("{}/rping-{crc}-{markers}.pcapng", env!("CARGO_TARGET_TMPDIR"));
        let args = ["rping", "--verify", "--crc", crc, "--markers", markers, "--pcap", &capture];
        let output = ironwarp(&args);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "rping: 10 pings of 64 bytes verified\n");
        let decoded = decoded(&capture);
        let mpa: Vec<&str> = decoded.lines().filter(|line| line.contains("\"kind\":\"Mpa")).collect();
        assert_eq!(mpa.len(), 2);
        for frame in mpa {
            assert!(frame.contains(&format!("\"crc_flag\":{}", crc == "on")), "{frame}");
            assert!(frame.contains(&format!("\"markers\":{}", markers == "on")), "{frame}");
        }
        let verdict = if crc == "on" { "\"crc\":\"good\"" } else { "\"crc\":\"none\"" };
        let segments = decoded.lines().filter(|line| line.contains("\"crc\":"));
        assert!(segments.clone().count() >= 60 && segments.clone().all(|line| line.contains(verdict)));
    }
}

#[test]
fn the_demo_ends_with_its_verdict() {
    let output = ironwarp(&["demo", "--rounds", "4"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("demo: ") && last.ends_with(" operations verified, 0 errors"), "{last}");
    assert_ne!(last, "demo: 0 operations verified, 0 errors");
}
