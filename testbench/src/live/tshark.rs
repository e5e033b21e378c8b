//! What Wireshark's dissectors think of what we have sent.

use super::{find_program, note};
use std::path::Path;
use std::process::Command;

/// What tshark prints of the frames of `capture` that match a filter; `None`, with a note, where there is no tshark.
///
/// # Panics
/// If it fails.
pub fn look(capture: &Path, filter: &str, options: &[&str]) -> Option<Vec<String>> {
    let Some(tshark) = find_program("tshark") else {
        note("a capture is not looked at: no tshark");
        return None;
    };
    let mut command = Command::new(tshark);
    command.args(["-n", "-r"]).arg(capture).args(options);
    command.args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", filter]);
    let output = command.output().expect("tshark runs");
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect())
}

/// Nothing that `source` (a MAC address) has sent is malformed or has a bad checksum, and there was something.
///
/// # Panics
/// If tshark objects.
pub fn is_content(capture: &Path, source: &str) {
    let sent = format!("eth.src == {source}");
    let bad =
        "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || icmp.checksum.status == 0";
    let Some(all) = look(capture, &sent, &[]) else { return };
    assert!(all.len() > 3, "the capture holds what was sent");
    let found = look(capture, &format!("{sent} && ({bad})"), &[]).unwrap_or_default();
    assert!(
        found.is_empty(),
        "tshark objects to {} frames: {:#?}",
        found.len(),
        &found[..found.len().min(10)]
    );
}

/// At least `least` FPDUs of `source` have a good CRC, and none has a bad one.
///
/// # Panics
/// If not.
pub fn finds_good_crcs(capture: &Path, source: &str, least: usize) {
    let Some(lines) = look(capture, &format!("eth.src == {source} && iwarp_mpa.crc_check"), &["-V"]) else {
        return;
    };
    let (good, bad): (Vec<_>, Vec<_>) = lines
        .iter()
        .filter(|line| line.contains("CRC check:"))
        .partition(|line| line.contains("(Good CRC32)"));
    assert!(good.len() >= least && bad.is_empty(), "{} good, others: {bad:#?}", good.len());
}
