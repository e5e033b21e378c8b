//! `ironwarp rping` against rdma-core's rping on Linux's siw, in both directions.

use ironwarp_testbench::live::engine::{Engine, rtl};
use ironwarp_testbench::live::process::Running;
use ironwarp_testbench::live::siw::{self, Guest, Peer};
use ironwarp_testbench::live::{tshark, with_retries};
use ironwarp_testbench::on_model_and_rtl;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

on_model_and_rtl!(
    siw_pings_us_with_and_without_crc,
    siw_pings_us_in_every_kind_of_set_up,
    siw_pings_us_in_jumbo_frames,
    we_ping_siw_with_and_without_crc,
    we_ping_siw_in_jumbo_frames,
);

/// Pings of a run, unless it is said otherwise. Each takes 50 ms: Linux delays the ACK on which our Write completes.
const PINGS: u32 = 10;
const SECONDS: u32 = 15;
/// Siw's responder now and then never reads the first FPDU (docs/interop.md): tries of a run, and how long one may take.
const TRIES: u32 = 3;
/// (A server's includes the boot of the guest, which takes its time on a busy machine.)
const LIMIT: Duration = Duration::from_secs(140);

/// Our address.
const MAC: &str = "02:1a:ce:00:00:01";

/// What is run.
#[derive(Clone, Copy)]
struct Run<'a> {
    /// `siw-peer`.
    tool: &'a Path,
    /// What plays our device.
    engine: Engine,
    /// Parameters of siw.
    siw: &'a [&'a str],
    mtu: u16,
    /// Bytes of a ping.
    size: u32,
    pings: u32,
    /// How long the pings may take, seconds.
    seconds: u32,
    /// What `ironwarp rping` is told besides.
    args: &'a [&'a str],
}

impl<'a> Run<'a> {
    fn new(tool: &'a Path, engine: Engine, siw: &'a [&'a str], size: u32) -> Self {
        Self { tool, engine, siw, mtu: 1500, size, pings: PINGS, seconds: SECONDS, args: &[] }
    }

    /// With large pings, of which the RTL, simulated, does fewer.
    fn large(self) -> Self {
        if self.engine == Engine::Model { self } else { Self { pings: 3, seconds: 40, ..self } }
    }

    fn ironwarp(&self, peer: &Peer, args: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp-under-test"));
        command.args(["rping", "--ether", &peer.ether(), "--engine", self.engine.name()]);
        command.args(["--mtu", &self.mtu.to_string()]).args(args).args(self.args);
        Running::start(&mut command)
    }

    /// The guest pings us.
    fn guest_pings(self) -> Result<(), String> {
        let Self { siw, mtu, size, pings, seconds, .. } = self;
        let rping = format!("timeout {seconds} rping -c -V -a 10.7.0.1 -C {pings} -S {size}");
        // The guest may be up before our device, which takes seconds on a busy machine: until then, rping ends at once.
        let script = format!("n=0; until {rping}; do n=$((n+1)); [ $n -lt 30 ] || exit 1; sleep 1; done");
        let guest = Guest { siw, mtu, script: &script, seconds: seconds + 45, ..Guest::default() };
        let mut peer = guest.boot(self.tool);
        let capture = peer.path("rping.pcapng");
        let limit = (seconds + 30).to_string();
        let args = ["--listen", "10.7.0.1:7174", "--timeout", &limit, "--pcap"];
        let args = [&args[..], &[capture.to_str().expect("the path is text")]].concat();
        let mut server = self.ironwarp(&peer, &args);
        server.wait_line("listening", LIMIT)?;
        peer.ready()?;
        let served = server.succeed(LIMIT)?;
        if !served.contains(&format!("rping: {pings} pings served")) {
            return Err(format!("{served:?}"));
        }
        tshark::is_content(&capture, MAC);
        if !self.args.contains(&"off") {
            // A Read Request, two Sends and a Write each.
            tshark::finds_good_crcs(&capture, MAC, 4 * pings as usize);
        }
        // rping compares what comes back (-V) and fails if it differs.
        peer.succeed(LIMIT).map(|_| ())
    }

    /// We ping the guest.
    fn guest_serves(self) -> Result<(), String> {
        let Self { siw, mtu, size, pings, seconds, .. } = self;
        let script = format!("timeout {seconds} rping -s -a 10.7.0.2 -C {pings} -S {size}");
        let ready_port = Some(7174);
        let mut peer = Guest { siw, mtu, ready_port, script: &script, seconds: seconds + 45 }.boot(self.tool);
        peer.ready()?;
        let capture = peer.path("rping.pcapng");
        let [size, count, limit] = [size, pings, seconds - 2].map(|number| number.to_string());
        let said = self
            .ironwarp(
                &peer,
                &[
                    "--connect",
                    "10.7.0.2:7174",
                    "--ip",
                    "10.7.0.1",
                    "--timeout",
                    &limit,
                    "--verify",
                    "--size",
                    &size,
                    "--count",
                    &count,
                    "--pcap",
                    capture.to_str().expect("the path is text"),
                ],
            )
            .succeed(LIMIT)?;
        assert!(said.contains(&format!("rping: {pings} pings of {size} bytes verified")), "{said:?}");
        tshark::is_content(&capture, MAC);
        if !self.args.contains(&"off") {
            // Two Sends and a Read Response each.
            tshark::finds_good_crcs(&capture, MAC, 3 * pings as usize);
        }
        peer.succeed(LIMIT).map(|_| ())
    }
}

const CRC: &str = "mpa_crc_required=1";
const NO_CRC: &[&str] = &["--crc", "off"];

fn siw_pings_us_with_and_without_crc(engine: Engine) {
    let Some(tool) = siw::find("siw_pings_us_with_and_without_crc") else { return };
    let run = |siw, size| Run::new(&tool, engine, siw, size);
    with_retries("CRC wanted by both", TRIES, || run(&[CRC], 4096).guest_pings());
    with_retries("CRC wanted by us", TRIES, || run(&[], 64).guest_pings());
    with_retries("CRC wanted by siw", TRIES, || Run { args: NO_CRC, ..run(&[CRC], 64) }.guest_pings());
    with_retries("CRC wanted by neither", TRIES, || Run { args: NO_CRC, ..run(&[], 5000) }.guest_pings());
}

fn siw_pings_us_in_every_kind_of_set_up(engine: Engine) {
    let Some(tool) = siw::find("siw_pings_us_in_every_kind_of_set_up") else { return };
    for (name, siw) in [
        ("RTR Write", &[CRC, "peer_to_peer=1", "rtr_type=128"][..]),
        ("RTR Read", &[CRC, "peer_to_peer=1", "rtr_type=64"]),
        ("RTR of either kind", &["peer_to_peer=1", "rtr_type=192"]),
        ("MPA revision 1", &["mpa_version=1"]),
    ] {
        with_retries(name, TRIES, || Run::new(&tool, engine, siw, 300).guest_pings());
    }
}

fn siw_pings_us_in_jumbo_frames(engine: Engine) {
    let Some(tool) = siw::find("siw_pings_us_in_jumbo_frames") else { return };
    let run = Run { mtu: 9000, ..Run::new(&tool, engine, &[CRC], 60_000) }.large();
    with_retries("MTU 9000", TRIES, || run.guest_pings());
}

fn we_ping_siw_with_and_without_crc(engine: Engine) {
    let Some(tool) = siw::find("we_ping_siw_with_and_without_crc") else { return };
    let run = |siw, size| Run::new(&tool, engine, siw, size);
    with_retries("CRC wanted by both", TRIES, || run(&[CRC], 4096).guest_serves());
    with_retries("CRC wanted by us", TRIES, || run(&[], 64).guest_serves());
    with_retries("CRC wanted by neither", TRIES, || Run { args: NO_CRC, ..run(&[], 5000) }.guest_serves());
}

fn we_ping_siw_in_jumbo_frames(engine: Engine) {
    let Some(tool) = siw::find("we_ping_siw_in_jumbo_frames") else { return };
    let run = Run { mtu: 9000, ..Run::new(&tool, engine, &[CRC], 60_000) }.large();
    with_retries("MTU 9000", TRIES, || run.guest_serves());
}

#[test]
fn a_hundred_pings_go_each_way_between_siw_and_the_rtl() {
    let test = "a_hundred_pings_go_each_way_between_siw_and_the_rtl";
    let (Some(tool), Some(engine)) = (siw::find(test), rtl(test)) else { return };
    let run = Run { pings: 100, seconds: 80, ..Run::new(&tool, engine, &[CRC], 4096) };
    with_retries("siw pings the RTL", TRIES, || run.guest_pings());
    with_retries("the RTL pings siw", TRIES, || run.guest_serves());
}

#[test]
fn siw_and_rusthdls_simulation_of_the_rtl_ping_one_another() {
    let Some(tool) = siw::find("siw_and_rusthdls_simulation_of_the_rtl_ping_one_another") else { return };
    let run = Run { pings: 2, seconds: 100, ..Run::new(&tool, Engine::RtlSettled, &[CRC], 512) };
    with_retries("siw pings the RTL", TRIES, || run.guest_pings());
    with_retries("the RTL pings siw", TRIES, || run.guest_serves());
}
