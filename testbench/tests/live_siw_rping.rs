//! `ironwarp rping` against rdma-core's rping on Linux's siw, in both directions.

use ironwarp_testbench::live::process::Running;
use ironwarp_testbench::live::siw::{self, Guest, Peer};
use ironwarp_testbench::live::{tshark, with_retries};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Pings of a run. Each takes 50 ms: Linux delays the ACK on which our Write completes.
const PINGS: u32 = 10;
/// Siw's responder now and then never reads the first FPDU (docs/interop.md): tries of a run, and how long one may take.
const TRIES: u32 = 3;
/// (A server's includes the boot of the guest, which takes its time on a busy machine.)
const LIMIT: Duration = Duration::from_secs(25);

/// Our address.
const MAC: &str = "02:1a:ce:00:00:01";

fn ironwarp(peer: &Peer, args: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp-under-test"));
    command.args(["rping", "--ether", &peer.ether()]).args(args);
    Running::start(&mut command)
}

/// The guest pings us; returns what it says.
fn guest_pings(tool: &Path, siw: &[&str], mtu: u16, size: u32, args: &[&str]) -> Result<(), String> {
    let script = format!("timeout 12 rping -c -V -a 10.7.0.1 -C {PINGS} -S {size}");
    let mut peer = Guest { siw, mtu, script: &script, ..Guest::default() }.boot(tool);
    let (mtu, capture) = (mtu.to_string(), peer.path("rping.pcapng"));
    let fixed = [
        "--listen",
        "10.7.0.1:7174",
        "--timeout",
        "20",
        "--mtu",
        &mtu,
        "--pcap",
        capture.to_str().expect("the path is text"),
    ];
    let mut server = ironwarp(&peer, &[&fixed[..], args].concat());
    server.wait_line("listening", LIMIT)?;
    peer.ready()?;
    let served = server.succeed(LIMIT)?;
    assert!(served.contains(&format!("rping: {PINGS} pings served")), "{served:?}");
    tshark::is_content(&capture, MAC);
    if !args.contains(&"off") {
        // A Read Request, two Sends and a Write each.
        tshark::finds_good_crcs(&capture, MAC, 4 * PINGS as usize);
    }
    // rping compares what comes back (-V) and fails if it differs.
    peer.succeed(LIMIT).map(|_| ())
}

/// We ping the guest.
fn guest_serves(tool: &Path, siw: &[&str], mtu: u16, size: u32, args: &[&str]) -> Result<(), String> {
    let script = format!("timeout 12 rping -s -a 10.7.0.2 -C {PINGS} -S {size}");
    let mut peer = Guest { siw, mtu, ready_port: Some(7174), script: &script }.boot(tool);
    peer.ready()?;
    let (mtu, size, pings) = (mtu.to_string(), size.to_string(), PINGS.to_string());
    let fixed = [
        "--timeout",
        "8",
        "--connect",
        "10.7.0.2:7174",
        "--ip",
        "10.7.0.1",
        "--verify",
        "--mtu",
        &mtu,
        "--size",
        &size,
        "--count",
        &pings,
    ];
    let said = ironwarp(&peer, &[&fixed, args].concat()).succeed(LIMIT)?;
    assert!(said.contains(&format!("rping: {PINGS} pings of {size} bytes verified")), "{said:?}");
    peer.succeed(LIMIT).map(|_| ())
}

const CRC: &str = "mpa_crc_required=1";

#[test]
fn siw_pings_us_with_and_without_crc() {
    let Some(tool) = siw::find("siw_pings_us_with_and_without_crc") else { return };
    with_retries("CRC wanted by both", TRIES, || guest_pings(&tool, &[CRC], 1500, 4096, &[]));
    with_retries("CRC wanted by us", TRIES, || guest_pings(&tool, &[], 1500, 64, &[]));
    with_retries("CRC wanted by siw", TRIES, || guest_pings(&tool, &[CRC], 1500, 64, &["--crc", "off"]));
    with_retries("CRC wanted by neither", TRIES, || guest_pings(&tool, &[], 1500, 5000, &["--crc", "off"]));
}

#[test]
fn siw_pings_us_in_every_kind_of_set_up() {
    let Some(tool) = siw::find("siw_pings_us_in_every_kind_of_set_up") else { return };
    for (name, siw) in [
        ("RTR Write", &[CRC, "peer_to_peer=1", "rtr_type=128"][..]),
        ("RTR Read", &[CRC, "peer_to_peer=1", "rtr_type=64"]),
        ("RTR of either kind", &["peer_to_peer=1", "rtr_type=192"]),
        ("MPA revision 1", &["mpa_version=1"]),
    ] {
        with_retries(name, TRIES, || guest_pings(&tool, siw, 1500, 300, &[]));
    }
}

#[test]
fn siw_pings_us_in_jumbo_frames() {
    let Some(tool) = siw::find("siw_pings_us_in_jumbo_frames") else { return };
    with_retries("MTU 9000", TRIES, || guest_pings(&tool, &[CRC], 9000, 60_000, &[]));
}

#[test]
fn we_ping_siw_with_and_without_crc() {
    let Some(tool) = siw::find("we_ping_siw_with_and_without_crc") else { return };
    with_retries("CRC wanted by both", TRIES, || guest_serves(&tool, &[CRC], 1500, 4096, &[]));
    with_retries("CRC wanted by us", TRIES, || guest_serves(&tool, &[], 1500, 64, &[]));
    with_retries("CRC wanted by neither", TRIES, || guest_serves(&tool, &[], 1500, 5000, &["--crc", "off"]));
}

#[test]
fn we_ping_siw_in_jumbo_frames() {
    let Some(tool) = siw::find("we_ping_siw_in_jumbo_frames") else { return };
    with_retries("MTU 9000", TRIES, || guest_serves(&tool, &[CRC], 9000, 60_000, &[]));
}
